//! Keeping workers alive.
//!
//! | what is seen | how | what is done |
//! |---|---|---|
//! | a child ended with status 0 | `wait(2)`, at once | nothing: it was asked to, or had nothing to do |
//! | a child was killed, its socket gone before | the same | nothing: whoever ends one that hangs takes its socket away |
//! | a child ended otherwise | the same | another one, at once the first time, then after growing pauses |
//! | an adopted worker's socket is gone | health check | nothing: a worker that ends in order takes its socket along |
//! | an adopted worker's socket is there, and nobody listens | health check | another one |
//! | no answer to `hello`, twice in a row | health check | SIGKILL, then as above |
//!
//! A build never waits for any of this: its commands run uncached until the worker is back.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vrift_core::identity::ProjectId;

use super::instances::Instance;
use super::projects::Projects;
use super::vdirs;
use crate::client::{ClientError, Connection};
use crate::processes;

/// How long a healthy worker may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// Checks in a row that a worker may leave unanswered. One is what a machine that was asleep or swaps costs.
const PATIENCE: u32 = 2;

/// The pause before the second restart in a row; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// See [`FIRST_PAUSE`].
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// A worker that lived so long starts with a clean record.
const GOOD_LIFE: Duration = Duration::from_secs(60);

/// Restarts of one project's worker, one after the other.
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Nothing has failed yet.
    pub fn new() -> Self {
        Self { failures: 0 }
    }

    /// The worker ended after `life`: how long to wait before the next one.
    pub fn pause(&mut self, life: Duration) -> Duration {
        self.failures = if life >= GOOD_LIFE { 1 } else { self.failures.saturating_add(1) };
        match self.failures {
            0 | 1 => Duration::ZERO,
            more => FIRST_PAUSE.saturating_mul(1_u32.checked_shl(more - 2).unwrap_or(u32::MAX)).min(MAX_PAUSE),
        }
    }
}

/// Waits for the worker `child` of a project, and starts another one each time that it fails, until one ends in order or
/// another one is there.
///
/// # Errors
/// Where there can be no thread for that.
pub fn look_after(projects: &Arc<Projects>, instance: Instance, child: Child) -> io::Result<()> {
    let projects = Arc::clone(projects);
    let thread = thread::Builder::new().name("worker".to_owned()).stack_size(128 << 10);
    thread.spawn(move || stay_with(&projects, instance, child)).map(drop)
}

fn stay_with(projects: &Projects, mut instance: Instance, mut child: Child) {
    let mut backoff = Backoff::new();
    projects.write_registry();
    loop {
        let began = Instant::now();
        let pid = child.id();
        let failed = match child.wait() {
            Ok(status) if status.success() => false,
            Ok(_) if fs::symlink_metadata(instance.socket.as_path()).is_err() => false,
            Ok(status) => {
                tracing::warn!("the worker {pid} of {} ended: {status}", instance.slug);
                true
            }
            Err(e) => {
                tracing::warn!("cannot wait for the worker {pid}: {e}");
                false
            }
        };
        projects.forget(instance.id, pid);
        if failed {
            vdirs::remove(instance.id);
        }
        if !failed || projects.are_leaving() {
            return;
        }
        let mut life = began.elapsed();
        (instance, child) = loop {
            thread::sleep(backoff.pause(life));
            match projects.restart(&instance) {
                Ok(Some(next)) => break next,
                Ok(None) => return,
                Err(e) => tracing::warn!("no other worker for {} yet: {e}", instance.slug),
            }
            life = Duration::ZERO;
        };
    }
}

/// Checks the workers every `interval`, in a thread of its own, as long as this process lives.
pub fn start_checks(projects: &Arc<Projects>, interval: Duration) {
    let projects = Arc::clone(projects);
    let thread = thread::Builder::new().name("health".to_owned()).stack_size(128 << 10).spawn(move || {
        let mut silent: HashMap<ProjectId, u32> = HashMap::new();
        loop {
            thread::sleep(interval);
            let workers = projects.instances();
            silent.retain(|id, _| workers.iter().any(|worker| worker.id == *id));
            for worker in workers {
                if projects.are_leaving() {
                    return;
                }
                check(&projects, &worker, silent.entry(worker.id).or_default());
            }
        }
    });
    if let Err(e) = thread {
        tracing::warn!("no thread for health checks: {e}");
    }
}

fn check(projects: &Arc<Projects>, worker: &Instance, silent: &mut u32) {
    match greet(worker.socket.as_path()) {
        Ok(()) => *silent = 0,
        Err(ClientError::Unreachable { source, .. }) if source.kind() != io::ErrorKind::WouldBlock => {
            *silent = 0;
            gone(projects, worker);
        }
        Err(e) => {
            *silent += 1;
            tracing::warn!("the worker {} of {} does not answer ({silent} of {PATIENCE}): {e}", worker.pid, worker.slug);
            if *silent >= PATIENCE {
                *silent = 0;
                end_stuck(projects, worker);
            }
        }
    }
}

fn greet(socket: &Path) -> Result<(), ClientError> {
    Connection::connect(socket, ANSWER)?.hello(env!("CARGO_PKG_VERSION")).map(drop)
}

/// Nobody listens. For a child the thread that waits for it does the rest.
fn gone(projects: &Arc<Projects>, worker: &Instance) {
    if projects.is_child(worker) {
        return;
    }
    projects.forget(worker.id, worker.pid);
    if fs::symlink_metadata(worker.socket.as_path()).is_err() {
        return;
    }
    tracing::warn!("the worker {} of {} is gone", worker.pid, worker.slug);
    vdirs::remove(worker.id);
    replace(projects, worker);
}

fn end_stuck(projects: &Arc<Projects>, worker: &Instance) {
    let is_child = projects.is_child(worker);
    if !end(worker) || is_child {
        return;
    }
    projects.forget(worker.id, worker.pid);
    replace(projects, worker);
}

/// Kills a worker that does not answer; whether that was possible.
pub fn end(worker: &Instance) -> bool {
    // An adopted one's number may be somebody else's by now.
    if !processes::is_worker(worker.pid, worker.socket.as_path()) {
        return false;
    }
    tracing::warn!("the worker {} of {} is stuck and is killed", worker.pid, worker.slug);
    let Ok(pid) = i32::try_from(worker.pid) else { return false };
    kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok()
}

fn replace(projects: &Arc<Projects>, worker: &Instance) {
    let replaced = match projects.restart(worker) {
        Ok(Some((instance, child))) => look_after(projects, instance, child),
        Ok(None) => Ok(()),
        Err(e) => Err(e),
    };
    if let Err(e) = replaced {
        tracing::warn!("no other worker for {}: {e}", worker.slug);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_restart_is_at_once_and_the_others_wait_ever_longer() {
        let mut backoff = Backoff::new();
        let soon = Duration::from_millis(3);
        let ms: Vec<u128> = (0..5).map(|_| backoff.pause(soon).as_millis()).collect();
        assert_eq!(ms, [0, 100, 200, 400, 800]);
        for _ in 0..100 {
            assert!(backoff.pause(soon) <= MAX_PAUSE);
        }
        assert_eq!(backoff.pause(soon), MAX_PAUSE);
        assert_eq!(backoff.pause(GOOD_LIFE), Duration::ZERO);
    }
}
