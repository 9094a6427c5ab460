//! `vrift stop`: end this project's worker, or all daemons. Builds that run go on, uncached from then on.

use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use vrift_core::home::Home;
use vrift_core::wire::{CoordinatorStatus, method};
use vrift_daemon::client::Connection;

use super::HiArgs;
use crate::args::Stop;
use crate::error::Error;
use crate::{daemon, say};

/// How long the daemons may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Stops them.
///
/// # Errors
/// Where they run and do not end.
pub fn run(hi: &HiArgs, args: &Stop) -> Result<ExitCode, Error> {
    if !args.all {
        match stop_worker(&hi.home.worker_socket(hi.project.id()))? {
            true => say::line(format_args!("stopped the worker of {}", hi.project.slug())),
            false => say::line(format_args!("{} has no worker", hi.project.slug())),
        }
        return Ok(ExitCode::SUCCESS);
    }
    match stop_all(&hi.home)? {
        None => say::line("vriftd is not running"),
        Some(workers) => say::line(format_args!("stopped vriftd and {}", say::count(workers, "worker"))),
    }
    Ok(ExitCode::SUCCESS)
}

/// Stops the worker at `socket`; whether there was one.
///
/// # Errors
/// Where it runs and does not end.
pub fn stop_worker(socket: &Path) -> Result<bool, Error> {
    let Ok(mut worker) = Connection::connect(socket, PATIENCE) else { return Ok(false) };
    let pid = worker.hello(env!("CARGO_PKG_VERSION"))?.pid;
    worker.shutdown(false)?;
    drop(worker);
    let deadline = Instant::now() + PATIENCE;
    await_end(socket, deadline)?;
    // Its socket goes first; until its process has gone, too, it writes down what it knows.
    let process = Path::new("/proc").join(pid.to_string());
    while process.exists() {
        if Instant::now() > deadline {
            return Err(Error::Daemon(format!("the worker {pid} does not end")));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(true)
}

/// Stops the workers, then the coordinator; the number of workers, or `None` where no coordinator ran.
///
/// # Errors
/// Where they run and do not end.
pub fn stop_all(home: &Home) -> Result<Option<u64>, Error> {
    let Some(mut coordinator) = daemon::running(home)? else { return Ok(None) };
    let status: CoordinatorStatus = coordinator.call(method::STATUS, &serde_json::json!({}))?;
    // Workers first: one that loses its coordinator starts another. A worker that is gone already is as wanted.
    for worker in &status.workers {
        if let Some(mut connection) = daemon::running_worker(worker.socket.as_path()) {
            let _ = connection.shutdown(false);
        }
    }
    coordinator.shutdown(false)?;
    drop(coordinator);
    let deadline = Instant::now() + PATIENCE;
    for worker in &status.workers {
        await_end(worker.socket.as_path(), deadline)?;
    }
    await_end(&home.coordinator_socket(), deadline)?;
    Ok(Some(status.workers.len() as u64))
}

fn await_end(socket: &Path, deadline: Instant) -> Result<(), Error> {
    while daemon::running_worker(socket).is_some() {
        if Instant::now() > deadline {
            return Err(Error::Daemon(format!("the daemon at `{}` does not end", socket.display())));
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
