//! What `vriftd` answers.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use vrift_core::PROTOCOL_VERSION;
use vrift_core::digest::Digest;
use vrift_core::home::Home;
use vrift_core::wire::{
    CoordinatorStatus, FilesParams, GcParams, HelloParams, HelloResult, InsertParams, LeaseParams, ProjectOpenParams, RpcError,
    ShutdownParams, ShutdownResult, TouchParams, method,
};

use super::leases::Leases;
use super::projects::Projects;
use super::writer::Writer;
use crate::build;
use crate::server::{Call, Service};
use crate::stop::Stop;
use crate::worker::vdir::Shared;

/// The longest that anybody waits for another's result.
const MAX_LEASE_WAIT: Duration = Duration::from_secs(60);

/// What only workers call.
const OF_WORKERS: [&str; 5] =
    [method::LEASE_ACQUIRE, method::LEASE_RELEASE, method::ACTION_INSERT, method::ACTION_TOUCH, method::FILES_INSERT];

/// The coordinator's state.
pub struct Coordinator {
    home: Home,
    build: String,
    started: Instant,
    leases: Arc<Leases>,
    writer: Arc<Writer>,
    projects: Arc<Projects>,
    stop: Arc<Stop>,
    /// The map of shared trees.
    trees: Arc<Shared>,
    sessions: AtomicU64,
    /// Connections of others than workers.
    guests: AtomicUsize,
}

/// One connection.
pub struct Session {
    number: u64,
    /// It is a worker's, which stays open whether or not anything happens.
    worker: bool,
    /// It asked the coordinator to end, which comes after the answer.
    ending: bool,
}

impl Coordinator {
    /// Serves with these parts.
    pub fn new(
        home: Home,
        started: Instant,
        trees: Arc<Shared>,
        leases: Arc<Leases>,
        writer: Arc<Writer>,
        projects: Arc<Projects>,
        stop: Arc<Stop>,
    ) -> Self {
        let (sessions, guests) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { home, build: build::own(), started, leases, writer, projects, stop, trees, sessions, guests }
    }

    fn status(&self) -> CoordinatorStatus {
        let (mut notices, counts) = self.writer.report();
        if let Err(e) = vrift_core::settings::Settings::load(&self.home, None) {
            notices.push(e.to_string());
        }
        CoordinatorStatus {
            build: self.build.clone(),
            pid: process::id(),
            uptime_s: self.started.elapsed().as_secs(),
            workers: self.projects.list(),
            actions: counts.actions,
            blobs: counts.blobs,
            blob_bytes: counts.blob_bytes,
            notices,
        }
    }

    /// Ends only when nothing is computed, where the caller wants that; the caller's own connection does not count.
    fn shutdown(&self, session: &mut Session, params: ShutdownParams) -> ShutdownResult {
        let busy = self.leases.len() > 0 || self.guests.load(Ordering::SeqCst) > 1;
        if params.only_if_idle && busy {
            return ShutdownResult { stopping: false };
        }
        self.projects.shut_down(params.only_if_idle);
        session.ending = true;
        ShutdownResult { stopping: true }
    }
}

impl Service for Coordinator {
    type Session = Session;

    fn open(&self, _: i32) -> Session {
        self.guests.fetch_add(1, Ordering::SeqCst);
        Session { number: self.sessions.fetch_add(1, Ordering::Relaxed), worker: false, ending: false }
    }

    fn call(&self, session: &mut Session, call: &Call<'_>) -> Result<Vec<u8>, RpcError> {
        // What has no result says so with something that is not JSON's `null`, which reads as no result at all.
        let done = true;
        if OF_WORKERS.contains(&call.method) && !std::mem::replace(&mut session.worker, true) {
            self.guests.fetch_sub(1, Ordering::SeqCst);
        }
        match call.method {
            method::HELLO => {
                let _: HelloParams = call.params()?;
                call.reply(&HelloResult { protocol: PROTOCOL_VERSION, build: self.build.clone(), pid: process::id() })
            }
            method::PROJECT_OPEN => {
                let params: ProjectOpenParams = call.params()?;
                params.shared.iter().for_each(|tree| self.trees.add_top(&tree.0));
                call.reply(&self.projects.open(params)?)
            }
            method::LEASE_ACQUIRE => {
                let LeaseParams { key, wait_ms } = call.params()?;
                let wait = wait_ms.map_or(MAX_LEASE_WAIT, |ms| Duration::from_millis(ms).min(MAX_LEASE_WAIT));
                call.reply(&self.leases.acquire(key, session.number, wait))
            }
            method::LEASE_RELEASE => {
                let LeaseParams { key, .. } = call.params()?;
                self.release(key, session);
                call.reply(&done)
            }
            method::ACTION_INSERT => {
                self.writer.insert(call.params::<InsertParams>()?)?;
                call.reply(&done)
            }
            method::ACTION_TOUCH => {
                self.writer.touch(call.params::<TouchParams>()?)?;
                call.reply(&done)
            }
            method::FILES_INSERT => {
                let FilesParams { files } = call.params()?;
                self.trees.learn_all(&files);
                self.writer.files(files)?;
                call.reply(&done)
            }
            method::GC => call.reply(&self.writer.gc(&call.params::<GcParams>()?)?),
            method::STATUS => call.reply(&self.status()),
            method::SHUTDOWN => call.reply(&self.shutdown(session, call.params()?)),
            _ => Err(call.unknown()),
        }
    }

    fn answered(&self, session: &mut Session) {
        if session.ending {
            self.stop.ask();
        }
    }

    /// Workers keep connections open, for their leases and for the next call.
    fn awaited(&self, session: &Session) -> bool {
        session.worker
    }

    fn closed(&self, session: Session) {
        self.leases.release_all(session.number);
        if session.ending {
            self.stop.ask();
        }
        if !session.worker {
            self.guests.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

impl Coordinator {
    fn release(&self, key: Digest, session: &Session) {
        self.writer.release(key, session.number);
    }
}
