//! `vrift stop`: end the daemons. Builds that run go on, uncached from then on.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use vrift_core::home::Home;
use vrift_core::wire::{CoordinatorStatus, method};

use super::HiArgs;
use crate::error::Error;
use crate::{daemon, say};

/// How long the daemons may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// Stops them.
///
/// # Errors
/// Where they run and do not end.
pub fn run(hi: &HiArgs) -> Result<ExitCode, Error> {
    match stop_all(&hi.home)? {
        None => say::line("vriftd is not running"),
        Some(workers) => say::line(format_args!("stopped vriftd and {}", say::count(workers, "worker"))),
    }
    Ok(ExitCode::SUCCESS)
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
    let sockets = status.workers.iter().map(|worker| worker.socket.as_path().to_owned()).chain([home.coordinator_socket()]);
    let deadline = Instant::now() + PATIENCE;
    for socket in sockets {
        while daemon::running_worker(&socket).is_some() {
            if Instant::now() > deadline {
                return Err(Error::Daemon(format!("the daemon at `{}` does not end", socket.display())));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
    Ok(Some(status.workers.len() as u64))
}
