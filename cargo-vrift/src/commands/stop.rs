//! `vrift stop`: end this project's worker, or all daemons. Builds that run go on, uncached from then on. A daemon that does
//! not answer is killed: what it had not written down is lost, and is computed again.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::geteuid;
use vrift_core::home::Home;
use vrift_core::vdir;
use vrift_core::wire::SILENCE;
use vrift_daemon::client::{ClientError, Connection};
use vrift_daemon::processes;

use super::HiArgs;
use crate::args::Stop;
use crate::error::Error;
use crate::{daemon, say};

/// How long the daemons may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a daemon ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// There was none.
    NotThere,
    /// It was asked to.
    InOrder,
    /// It did not answer, or did not end.
    Killed,
}

/// Stops them.
///
/// # Errors
/// Where they run and do not end.
pub fn run(hi: &HiArgs, args: &Stop) -> Result<ExitCode, Error> {
    if !args.all {
        let slug = hi.project.slug();
        match stop_worker(&hi.home.worker_socket(hi.project.id()))? {
            Ended::InOrder => say::line(format_args!("stopped the worker of {slug}")),
            Ended::Killed => say::line(format_args!("killed the worker of {slug}, which did not answer")),
            Ended::NotThere => say::line(format_args!("{slug} has no worker")),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let (ended, workers) = stop_all(&hi.home)?;
    let workers_too = say::count(workers, "worker");
    match ended {
        Ended::NotThere if workers == 0 => say::line("vriftd is not running"),
        Ended::NotThere => say::line(format_args!("stopped {workers_too}; vriftd was not running")),
        Ended::InOrder => say::line(format_args!("stopped vriftd and {workers_too}")),
        Ended::Killed => say::line(format_args!("stopped {workers_too}, and killed vriftd, which did not answer")),
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops the worker at `socket`.
///
/// # Errors
/// Where it runs and does not end.
pub fn stop_worker(socket: &Path) -> Result<Ended, Error> {
    let asked = Connection::connect(socket, SILENCE).and_then(|mut worker| {
        let pid = worker.hello(env!("CARGO_PKG_VERSION"))?.pid;
        worker.shutdown(false).map(|_| pid)
    });
    match asked {
        // Its socket goes first; until its process has gone, too, it writes down what it knows.
        Ok(pid) if processes::is_gone_within(pid, Instant::now() + PATIENCE) => Ok(Ended::InOrder),
        Ok(pid) => kill(pid, socket),
        Err(e) if e.is_silence() => match processes::worker_at(socket) {
            Some(pid) => kill(pid, socket),
            None => Err(e.into()),
        },
        Err(ClientError::Unreachable { .. }) => Ok(Ended::NotThere),
        Err(e) => Err(e.into()),
    }
}

/// Stops the workers, then the coordinator; how that ended, and the number of workers.
///
/// # Errors
/// Where they run and do not end.
pub fn stop_all(home: &Home) -> Result<(Ended, u64), Error> {
    // Workers first: one that loses its coordinator starts another. One that is gone by now is as wanted.
    let workers = processes::workers_of(home);
    thread::scope(|scope| {
        let threads: Vec<_> = workers.iter().map(|socket| scope.spawn(|| stop_worker(socket).map(drop))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
    })?;
    let ended = stop_coordinator(home)?;
    if ended != Ended::InOrder {
        // Nobody is left to take it along.
        vdir::remove(&vdir::base_place(home.dir(), geteuid().as_raw()));
    }
    Ok((ended, workers.len() as u64))
}

fn stop_coordinator(home: &Home) -> Result<Ended, Error> {
    let socket = home.coordinator_socket();
    if daemon::is_asleep(home) {
        return Ok(Ended::NotThere);
    }
    let asked = Connection::connect(&socket, SILENCE).and_then(|mut coordinator| {
        let pid = coordinator.hello(env!("CARGO_PKG_VERSION"))?.pid;
        coordinator.shutdown(false).map(|_| pid)
    });
    match asked {
        Ok(pid) if processes::is_gone_within(pid, Instant::now() + PATIENCE) => Ok(Ended::InOrder),
        Ok(pid) => kill(pid, &socket),
        Err(e) if e.is_silence() => match processes::coordinator_of(home) {
            Some(pid) => kill(pid, &socket),
            None => Err(e.into()),
        },
        Err(ClientError::Unreachable { .. }) => Ok(Ended::NotThere),
        Err(e) => Err(e.into()),
    }
}

/// Kills the daemon that serves `socket`. The socket goes first, as where one ends in order: then nobody starts another.
fn kill(pid: u32, socket: &Path) -> Result<Ended, Error> {
    let _ = fs::remove_file(socket);
    match processes::end(pid, PATIENCE) {
        Ok(()) => Ok(Ended::Killed),
        Err(e) => Err(Error::Daemon(format!("the daemon {pid} at `{}` does not end: {e}", socket.display()))),
    }
}
