//! What the worker passes on while no client waits: records and shared digests to the coordinator, the project's digests
//! to the delta manifest, its state to its folder.
//!
//! Records that cannot be delivered are kept, within limits, until a coordinator is there again. What is lost with the
//! worker is computed again, never wrong.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use vrift_core::home::Home;
use vrift_core::identity::ProjectId;
use vrift_core::paths::{AbsPath, ProjectPath};
use vrift_core::wire::{FilesParams, InsertParams, KnownFile, TouchParams, code, method};
use vrift_store::manifest::{DeltaEntry, DeltaFile, DeltaWriter, ManifestError, Tier};
use vrift_store::state_dir;

use super::digests::Digests;
use super::ledger::Ledger;
use super::upstream::{Failure, Lease, Upstream};

/// How often what has gathered is passed on.
const TICK: Duration = Duration::from_millis(500);

/// State goes to the disk when nothing has happened for so long, or at the latest after [`LATEST_SAVE`].
const QUIET: Duration = Duration::from_millis(900);

/// See [`QUIET`].
const LATEST_SAVE: Duration = Duration::from_secs(30);

/// Jobs that may wait.
const QUEUE: usize = 4096;

/// Records kept for a coordinator to come.
const MAX_KEPT: usize = 1024;

/// Files in one message.
const FILES_AT_ONCE: usize = 2000;

/// Rows in one message.
const ROWS_AT_ONCE: usize = 10_000;

/// Something to pass on.
pub enum Job {
    /// A new action, and the lease that it was computed under.
    Record(Box<InsertParams>, Option<Lease>),
    /// A lease that ends without a record.
    Release(Lease),
    /// An action was restored.
    Hit(i64),
    /// An action proved useless.
    Forget(i64),
    /// Pass on everything, then end.
    End,
}

/// The way to the thread that does it.
#[derive(Clone)]
pub struct Courier {
    jobs: SyncSender<Job>,
}

/// What the thread works with.
pub struct Parts {
    /// The user's state folder.
    pub home: Home,
    /// The project.
    pub id: ProjectId,
    /// Its root.
    pub root: AbsPath,
    /// The coordinator.
    pub upstream: Arc<Upstream>,
    /// Where digests come from.
    pub digests: Arc<Digests>,
    /// What happened.
    pub ledger: Arc<Ledger>,
    /// Where to say what is off.
    pub notices: Arc<super::notices::Notices>,
}

impl Courier {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where there can be none.
    pub fn start(parts: Parts) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, queue) = sync_channel(QUEUE);
        let thread = thread::Builder::new().name("courier".to_owned()).spawn(move || Thread::new(parts).run(&queue))?;
        Ok((Self { jobs }, thread))
    }

    /// Takes a job; false where too many wait. A lease that is not taken ends with its connection.
    pub fn take(&self, job: Job) -> bool {
        !matches!(self.jobs.try_send(job), Err(TrySendError::Full(_) | TrySendError::Disconnected(_)))
    }

    /// Passes on everything, then ends the thread.
    pub fn end(&self) {
        // Waits for room where the queue is full.
        let _ = self.jobs.send(Job::End);
    }
}

struct Thread {
    parts: Parts,
    /// The project's state folder, where it has one.
    folder: Option<PathBuf>,
    delta: Option<DeltaWriter>,
    kept: VecDeque<Box<InsertParams>>,
    files: Vec<KnownFile>,
    touch: TouchParams,
    active: Instant,
    saved: Instant,
}

impl Thread {
    fn new(parts: Parts) -> Self {
        let now = Instant::now();
        let touch = TouchParams { hit: Vec::new(), forget: Vec::new() };
        Self { parts, folder: None, delta: None, kept: VecDeque::new(), files: Vec::new(), touch, active: now, saved: now }
    }

    fn run(mut self, queue: &Receiver<Job>) {
        self.move_in();
        let mut due = Instant::now() + TICK;
        loop {
            match queue.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(Job::End) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(job) => {
                    self.active = Instant::now();
                    self.work(job);
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if Instant::now() >= due {
                self.pass_on();
                due = Instant::now() + TICK;
            }
        }
        self.pass_on();
        self.parts.ledger.save();
    }

    /// Finds the project's state folder and reads what earlier workers left. A delta that is not there yet is made when
    /// there is something to put into it: a build that starts has better things to do.
    fn move_in(&mut self) {
        match state_dir::prepare(&self.parts.home, self.parts.id, &self.parts.root) {
            Ok(folder) => self.folder = Some(folder),
            Err(e) => self.parts.notices.add(e.to_string()),
        }
        if self.folder.as_ref().is_some_and(|folder| DeltaWriter::file(folder).exists()) {
            self.open_delta();
        }
        self.parts.ledger.settle_in(self.folder.clone());
    }

    fn open_delta(&mut self) {
        let Some(folder) = &self.folder else { return };
        match DeltaWriter::open_and_load(folder, self.parts.id) {
            Ok((delta, rows, notice)) => {
                notice.into_iter().for_each(|notice| self.parts.notices.add(notice));
                self.parts.digests.load(rows.into_iter().filter_map(|(path, entry)| match entry {
                    DeltaEntry::File(DeltaFile { digest, stamp, .. }) => {
                        Some(KnownFile { path: path.under(&self.parts.root), stamp, digest })
                    }
                    DeltaEntry::Tombstone => None,
                }));
                self.delta = Some(delta);
            }
            // Without it, the next worker hashes the project's files again.
            Err(e) => {
                tracing::warn!("{e}");
                self.parts.notices.add(e.to_string());
            }
        }
    }

    fn work(&mut self, job: Job) {
        match job {
            Job::Record(action, lease) => self.record(action, lease),
            Job::Release(lease) => self.parts.upstream.end(lease),
            Job::Hit(row) if self.touch.hit.len() < ROWS_AT_ONCE => self.touch.hit.push(row),
            Job::Forget(row) if self.touch.forget.len() < ROWS_AT_ONCE => self.touch.forget.push(row),
            Job::Hit(_) | Job::Forget(_) | Job::End => {}
        }
    }

    fn record(&mut self, action: Box<InsertParams>, lease: Option<Lease>) {
        let sent = match lease {
            // On the lease's own connection the two arrive in order.
            Some(mut lease) => {
                let sent = self.parts.upstream.call_on::<_, bool>(&mut lease, method::ACTION_INSERT, &action);
                if !matches!(sent, Err(Failure::Down)) {
                    self.parts.upstream.end(lease);
                }
                sent
            }
            None => self.parts.upstream.call(method::ACTION_INSERT, &action),
        };
        match sent {
            Ok(_) => {}
            Err(Failure::Down) => self.keep(action),
            Err(Failure::Refused(e)) => self.refused(&e),
        }
    }

    fn keep(&mut self, action: Box<InsertParams>) {
        if self.kept.len() == MAX_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(action);
    }

    fn refused(&self, error: &vrift_core::wire::RpcError) {
        tracing::warn!("the coordinator takes no record: {error}");
        if error.code == code::UNAVAILABLE {
            self.parts.notices.add(error.message.clone());
        }
    }

    /// `git clean` takes the project's state folder along: then it is made again, for what comes from now on.
    fn look_after_folder(&mut self) {
        let Some(folder) = &self.folder else { return };
        if DeltaWriter::file(folder).exists() {
            return;
        }
        self.delta = None;
        match state_dir::prepare(&self.parts.home, self.parts.id, &self.parts.root) {
            Ok(_) => self.open_delta(),
            Err(e) => tracing::warn!("{e}"),
        }
    }

    fn pass_on(&mut self) {
        let unsaved = self.parts.digests.take_unsaved();
        if !unsaved.project.is_empty() {
            self.look_after_folder();
        }
        self.save_project(unsaved.project);
        self.files.extend(unsaved.shared);
        self.send_kept();
        self.send_files();
        self.send_touch();
        if self.active.elapsed() >= QUIET || self.saved.elapsed() >= LATEST_SAVE {
            self.parts.ledger.save();
            self.saved = Instant::now();
        }
    }

    fn send_kept(&mut self) {
        while let Some(action) = self.kept.pop_front() {
            match self.parts.upstream.call::<_, bool>(method::ACTION_INSERT, &action) {
                Ok(_) => {}
                Err(Failure::Down) => {
                    self.kept.push_front(action);
                    return;
                }
                Err(Failure::Refused(e)) => self.refused(&e),
            }
        }
    }

    fn send_files(&mut self) {
        while !self.files.is_empty() {
            let rest = self.files.split_off(self.files.len().min(FILES_AT_ONCE));
            let params = FilesParams { files: std::mem::replace(&mut self.files, rest) };
            match self.parts.upstream.call::<_, bool>(method::FILES_INSERT, &params) {
                Ok(_) => {}
                Err(Failure::Down) => {
                    self.files.extend(params.files);
                    return;
                }
                Err(Failure::Refused(e)) => tracing::warn!("the coordinator takes no digests: {e}"),
            }
        }
    }

    fn send_touch(&mut self) {
        if self.touch.hit.is_empty() && self.touch.forget.is_empty() {
            return;
        }
        match self.parts.upstream.call::<_, bool>(method::ACTION_TOUCH, &self.touch) {
            Err(Failure::Down) => {}
            Ok(_) | Err(Failure::Refused(_)) => self.touch = TouchParams { hit: Vec::new(), forget: Vec::new() },
        }
    }

    fn save_project(&mut self, files: Vec<KnownFile>) {
        let Some(delta) = &mut self.delta else { return };
        let entries: Vec<_> = files
            .into_iter()
            .filter_map(|KnownFile { path, stamp, digest }| {
                let path = ProjectPath::new(&self.parts.root, &path).ok()?;
                Some((path, DeltaEntry::File(DeltaFile { digest, stamp, tier: Tier::Plain })))
            })
            .collect();
        if entries.is_empty() {
            return;
        }
        let put = match delta.loss() {
            Some(lost) => Err(lost),
            None => delta.put(&entries),
        };
        if let Err(e) = put {
            tracing::warn!("{e}");
            if e.is_corrupt() {
                self.replace_delta(&e);
            }
        }
    }

    /// The delta is damaged: an empty one takes its place, in which this worker's digests gather again.
    fn replace_delta(&mut self, damage: &ManifestError) {
        // What was open must be closed before another takes its place.
        self.delta = None;
        let Some(folder) = &self.folder else { return };
        match DeltaWriter::rebuild(folder, self.parts.id, damage) {
            Ok((delta, notice)) => {
                self.parts.notices.add(notice);
                self.delta = Some(delta);
            }
            Err(e) => tracing::warn!("{e}"),
        }
    }
}
