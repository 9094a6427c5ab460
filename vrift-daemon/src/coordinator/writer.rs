//! The one writer of the base manifest.
//!
//! Records come in bursts, and a transaction costs as much for one as for many: whatever arrives within [`GATHER`] goes
//! into one. A lease whose holder recorded a result ends when that result is committed, so that whoever waited finds it.
//!
//! # Failure
//! A damaged manifest, and one that is removed while it is in use, is moved aside and begun anew, with a notice. One of a newer
//! vrift, or one that cannot be written, is left alone: then everything here answers that it is unavailable, builds run
//! uncached, and the notice says why.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use vrift_core::digest::Digest;
use vrift_core::home::Home;
use vrift_core::wire::{GcParams, GcResult, InsertParams, KnownFile, RpcError, TouchParams, code};
use vrift_store::Cas;
use vrift_store::gc::{GcOptions, default_cap, gc};
use vrift_store::manifest::{BaseWriter, Counts, ManifestError};

use super::leases::Leases;
use crate::server::error;
use crate::sync::lock;

/// How long the first of a batch waits for others.
const GATHER: Duration = Duration::from_millis(10);

/// A batch that has so many records is written at once.
const BATCH: usize = 64;

/// Records that wait to be written; a worker that comes on top is told that there is no room.
const QUEUE: usize = 4096;

/// What is to be written.
enum Job {
    Insert(Box<InsertParams>),
    Files(Vec<KnownFile>),
    Touch(TouchParams),
    /// End a lease once everything before is committed.
    Release {
        work: Digest,
        owner: u64,
    },
    /// Commit what came before and end.
    Finish,
}

/// The writer's state.
struct State {
    base: Result<BaseWriter, String>,
    notices: Vec<String>,
    counts: Counts,
}

/// The queue in front of the base manifest.
pub struct Writer {
    jobs: SyncSender<Job>,
    shared: Arc<Shared>,
}

struct Shared {
    home: Home,
    leases: Arc<Leases>,
    /// `None` until the manifest was opened.
    state: Mutex<Option<State>>,
    changed: Condvar,
    finished: Mutex<bool>,
}

impl Writer {
    /// Opens the manifest in a thread of its own.
    pub fn start(home: Home, leases: Arc<Leases>) -> Self {
        let (jobs, queue) = sync_channel(QUEUE);
        let shared =
            Arc::new(Shared { home, leases, state: Mutex::new(None), changed: Condvar::new(), finished: Mutex::new(false) });
        let own = Arc::clone(&shared);
        let started = thread::Builder::new().name("writer".to_owned()).spawn(move || own.run(&queue));
        if let Err(e) = started {
            shared.opened(State { base: Err(format!("no thread: {e}")), notices: Vec::new(), counts: Counts::default() });
            *lock(&shared.finished) = true;
        }
        Self { jobs, shared }
    }

    /// Takes an action to be stored.
    ///
    /// # Errors
    /// [`code::UNAVAILABLE`] where the manifest cannot be written, [`code::LIMIT`] where too much waits.
    pub fn insert(&self, action: InsertParams) -> Result<(), RpcError> {
        self.send(Job::Insert(Box::new(action)))
    }

    /// Takes digests of files in shared trees.
    ///
    /// # Errors
    /// As [`Writer::insert`].
    pub fn files(&self, files: Vec<KnownFile>) -> Result<(), RpcError> {
        self.send(Job::Files(files))
    }

    /// Takes uses of actions, and actions to forget.
    ///
    /// # Errors
    /// As [`Writer::insert`].
    pub fn touch(&self, touch: TouchParams) -> Result<(), RpcError> {
        self.send(Job::Touch(touch))
    }

    /// Ends a lease once everything that was taken before is committed.
    pub fn release(&self, work: Digest, owner: u64) {
        if self.jobs.try_send(Job::Release { work, owner }).is_err() {
            self.shared.leases.release(work, owner);
        }
    }

    fn send(&self, job: Job) -> Result<(), RpcError> {
        // Until the manifest is open, jobs wait in the queue.
        if let Some(State { base: Err(why), .. }) = &*lock(&self.shared.state) {
            return Err(error(code::UNAVAILABLE, why.clone()));
        }
        self.jobs.try_send(job).map_err(|_| error(code::LIMIT, "too many records wait to be written"))
    }

    /// What is off, and how much is stored.
    pub fn report(&self) -> (Vec<String>, Counts) {
        let mut state = self.shared.wait_open();
        let Some(state) = state.as_mut() else { return Default::default() };
        if let Ok(base) = &state.base
            && let Ok(counts) = base.counts()
        {
            state.counts = counts;
        }
        let off = state.base.as_ref().err().cloned();
        (off.into_iter().chain(state.notices.iter().cloned()).collect(), state.counts)
    }

    /// Collects garbage, down to the size that is asked for, or else configured, or else the default.
    ///
    /// # Errors
    /// [`code::UNAVAILABLE`] where the manifest cannot be written, [`code::INTERNAL_ERROR`] where collecting fails.
    pub fn gc(&self, params: &GcParams) -> Result<GcResult, RpcError> {
        let home = &self.shared.home;
        let cas = Cas::open(home.the_source());
        let configured = || vrift_core::settings::Settings::load(home, None).ok().and_then(|s| s.max_size);
        let max_bytes = params.max_bytes.or_else(configured).unwrap_or_else(|| default_cap(&cas));
        let options = GcOptions { dry_run: params.dry_run, ..GcOptions::with_cap(max_bytes) };
        match self.shared.wait_open().as_ref().map(|state| &state.base) {
            Some(Ok(_)) => {}
            Some(Err(why)) => return Err(error(code::UNAVAILABLE, why.clone())),
            None => return Err(error(code::UNAVAILABLE, "the manifest is not open")),
        }
        // A connection of its own: collecting takes long, and records go on being written in between.
        let mut base = BaseWriter::open(home).map_err(|e| error(code::UNAVAILABLE, e.to_string()))?;
        gc(&mut base, &cas, &options).map_err(|e| error(code::INTERNAL_ERROR, e.to_string()))
    }

    /// Bytes of blobs now.
    pub fn stored_bytes(&self) -> u64 {
        self.report().1.blob_bytes
    }

    /// Commits everything that was taken. Nothing is taken afterwards.
    pub fn finish(&self) {
        let _ = self.jobs.send(Job::Finish);
        let mut finished = lock(&self.shared.finished);
        while !*finished {
            let (guard, waited) =
                self.shared.changed.wait_timeout(finished, Duration::from_secs(10)).unwrap_or_else(PoisonError::into_inner);
            finished = guard;
            if waited.timed_out() {
                return;
            }
        }
    }
}

impl Shared {
    fn opened(&self, state: State) {
        *lock(&self.state) = Some(state);
        self.changed.notify_all();
    }

    /// The state, once the manifest was opened; bounded.
    fn wait_open(&self) -> std::sync::MutexGuard<'_, Option<State>> {
        let state = lock(&self.state);
        let waited = self.changed.wait_timeout_while(state, Duration::from_secs(5), |state| state.is_none());
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn run(&self, queue: &Receiver<Job>) {
        self.opened(open(&self.home));
        let mut ending = false;
        while !ending {
            let Ok(first) = queue.recv() else { break };
            let mut batch = Batch::default();
            ending = batch.add(first);
            let deadline = Instant::now() + GATHER;
            while !ending && batch.actions.len() < BATCH {
                match queue.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                    Ok(job) => ending = batch.add(job),
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => ending = true,
                }
            }
            self.write(batch);
        }
        *lock(&self.finished) = true;
        self.changed.notify_all();
    }

    fn write(&self, batch: Batch) {
        if let Some(state) = lock(&self.state).as_mut() {
            self.write_to(state, &batch);
        }
        for (work, owner) in batch.releases {
            self.leases.release(work, owner);
        }
    }

    fn write_to(&self, state: &mut State, batch: &Batch) {
        let Ok(base) = &mut state.base else { return };
        let failed = match base.loss() {
            Some(lost) => lost,
            None => match batch.write(base) {
                Ok(()) => return,
                Err(failed) => failed,
            },
        };
        tracing::warn!("{failed}");
        if !failed.is_corrupt() {
            return;
        }
        // What was open must be closed before another takes its place.
        state.base = Err(failed.to_string());
        match BaseWriter::rebuild(&self.home, &failed) {
            Ok((mut fresh, notice)) => {
                if let Err(e) = batch.write(&mut fresh) {
                    tracing::warn!("{e}");
                }
                state.base = Ok(fresh);
                state.notices.push(notice);
            }
            Err(e) => state.base = Err(e.to_string()),
        }
    }
}

fn open(home: &Home) -> State {
    match BaseWriter::open_or_rebuild(home) {
        Ok((base, notice)) => State { base: Ok(base), notices: notice.into_iter().collect(), counts: Counts::default() },
        Err(e) => {
            tracing::warn!("{e}");
            State { base: Err(e.to_string()), notices: Vec::new(), counts: Counts::default() }
        }
    }
}

#[derive(Default)]
struct Batch {
    actions: Vec<InsertParams>,
    files: Vec<KnownFile>,
    hit: Vec<i64>,
    forget: Vec<i64>,
    releases: Vec<(Digest, u64)>,
}

impl Batch {
    /// Whether the job ends the writer.
    fn add(&mut self, job: Job) -> bool {
        match job {
            Job::Insert(action) => self.actions.push(*action),
            Job::Files(files) => self.files.extend(files),
            Job::Touch(touch) => {
                self.hit.extend(touch.hit);
                self.forget.extend(touch.forget);
            }
            Job::Release { work, owner } => self.releases.push((work, owner)),
            Job::Finish => return true,
        }
        false
    }

    /// Writes all of it; one action that cannot be stored does not keep the others out. The first error that is about the
    /// manifest as a whole comes back.
    fn write(&self, base: &mut BaseWriter) -> Result<(), ManifestError> {
        if !self.actions.is_empty()
            && let Err(e) = base.insert_actions(&self.actions)
        {
            if e.is_corrupt() {
                return Err(e);
            }
            for action in &self.actions {
                if let Err(e) = base.insert_actions(std::slice::from_ref(action)) {
                    tracing::warn!("`{}` is not stored: {e}", action.record.label);
                }
            }
        }
        if !self.files.is_empty() {
            base.insert_files(&self.files)?;
        }
        if !self.hit.is_empty() || !self.forget.is_empty() {
            base.touch(&self.hit, &self.forget)?;
        }
        Ok(())
    }
}
