//! What `vdir_d` answers.

use std::process;
use std::sync::Arc;

use vrift_core::PROTOCOL_VERSION;
use vrift_core::wire::{
    AbandonParams, BuildOpenParams, ConfirmParams, HelloParams, HelloResult, LookupParams, PAST_LIBC, ProjectStatus,
    RecordParams, RpcError, SessionParams, SessionSummary, ShutdownParams, ShutdownResult, WhyParams, code, method,
};

use super::candidates::Candidate;
use super::courier::Job;
use super::ledger::EntryId;
use super::session::{Pending, Session, Used};
use super::{Worker, builds, lookup, nearest, nested, record};
use crate::server::{Call, Service, error};

/// Answers to one `why`.
const MAX_WHY: usize = 1000;

impl Worker {
    fn status(&self) -> ProjectStatus {
        let (total, lifetime) = self.ledger.totals();
        ProjectStatus {
            build: self.build.clone(),
            id: self.id,
            root: self.root.clone(),
            pid: process::id(),
            clients: self.activity.connections() as u64,
            total,
            lifetime,
            known_files: self.digests.len() as u64,
            notices: self.notices(),
        }
    }

    fn notices(&self) -> Vec<String> {
        self.base.off().into_iter().chain(self.notices.all()).collect()
    }

    fn summary(&self, session: &str) -> SessionSummary {
        SessionSummary { notice: self.notices().into_iter().next(), ..self.ledger.session(session) }
    }

    fn abandon(&self, session: &mut Session, params: &AbandonParams) {
        if params.reason.starts_with(PAST_LIBC) {
            self.past_libc.note(params.key);
        }
        let pending = session.pending.take().filter(|pending| pending.key == params.key);
        let entry = pending.as_ref().map(|pending| pending.entry);
        if let Some(lease) = pending.and_then(|pending| pending.lease) {
            self.courier.take(Job::Release(lease));
        }
        if params.failed_hit.is_some()
            && let Some(candidate) = session.hit.take()
        {
            self.ledger.take_back_hit(&params.session, candidate.record.cpu_us);
            // A blob that is bad or gone condemns the action; a full disk does not.
            let bad = candidate.record.outputs.iter().filter_map(vrift_store::Blob::of_output);
            if bad.filter(|blob| blob.size > 0).any(|blob| self.cas.verify(&blob).is_err()) {
                self.forget(&candidate);
            }
        }
        self.not_stored(session.nested.is_some(), &params.session, entry, &params.reason);
    }

    /// An action whose outputs are not in the store any more is none, here and for everybody.
    pub(super) fn forget(&self, candidate: &Arc<Candidate>) {
        let row = self.row_of(candidate);
        self.candidates.forget(&candidate.record.key, candidate.id());
        if let Some(row) = row {
            self.courier.take(Job::Forget(row));
        }
    }

    /// The action's row in the base manifest, where it is there by now.
    fn row_of(&self, candidate: &Arc<Candidate>) -> Option<i64> {
        if candidate.id() < 0 {
            for row in self.base.candidate_ids(&candidate.record.key) {
                if let Some(stored) = self.base.action(row) {
                    self.candidates.add_stored(stored);
                }
            }
        }
        Some(candidate.id()).filter(|id| *id >= 0)
    }

    /// Whatever the last hit put in place is in place: the client asks for something else, or is gone.
    fn settle(&self, session: &mut Session) {
        for path in session.restoring.drain(..) {
            self.bindings.restored(path.as_bytes());
        }
    }

    /// A run was not stored. That one is not which is `nested` in another action says nothing of that one.
    pub(super) fn not_stored(&self, nested: bool, session: &str, entry: Option<EntryId>, reason: &str) {
        match nested {
            true => self.ledger.part_not_stored(entry, reason),
            false => self.ledger.not_stored(session, entry, reason),
        }
    }

    /// A run of which no result will come.
    fn give_up(&self, pending: Pending, nested: bool, reason: &str) {
        self.not_stored(nested, &pending.session, Some(pending.entry), reason);
        if let Some(lease) = pending.lease {
            self.courier.take(Job::Release(lease));
        }
    }

    fn shutdown(&self, session: &mut Session, params: ShutdownParams) -> ShutdownResult {
        let stopping = !params.only_if_idle || self.activity.connections() <= 1;
        session.ending |= stopping;
        ShutdownResult { stopping }
    }
}

fn check_protocol(theirs: u32) -> Result<(), RpcError> {
    if theirs == PROTOCOL_VERSION {
        return Ok(());
    }
    Err(error(code::VERSION_MISMATCH, format!("vdir_d speaks protocol {PROTOCOL_VERSION}, the caller {theirs}")))
}

/// The worker as a service.
pub struct Front(pub Arc<Worker>);

impl Service for Front {
    type Session = Session;

    fn open(&self, peer: i32) -> Session {
        Session { peer, ..Session::default() }
    }

    fn call(&self, session: &mut Session, call: &Call<'_>) -> Result<Vec<u8>, RpcError> {
        let worker = &*self.0;
        // Whoever speaks again has put in place what he was given, or asks before he does.
        if call.method != method::ACTION_CONFIRM {
            session.staged = None;
        }
        match call.method {
            method::ACTION_LOOKUP => {
                worker.settle(session);
                if let Some(pending) = session.pending.take() {
                    let nested = session.nested.is_some();
                    worker.give_up(pending, nested, "the client asked for something else before it had a result");
                }
                let params: LookupParams = call.params()?;
                check_protocol(params.protocol)?;
                call.reply(&lookup::lookup(worker, session, params))
            }
            method::ACTION_CONFIRM => call.reply(&nested::confirm(worker, session, &call.params::<ConfirmParams>()?)),
            method::ACTION_RECORD => {
                let params: RecordParams = call.params()?;
                call.reply(&record::record(worker, session, params))
            }
            method::ACTION_ABANDON => {
                worker.abandon(session, &call.params()?);
                call.reply(&true)
            }
            method::BUILD_OPEN => {
                worker.settle(session);
                let params: BuildOpenParams = call.params()?;
                check_protocol(params.protocol)?;
                call.reply(&builds::open(worker, params, session))
            }
            method::BUILD_KEEP => {
                session.ended = worker.builds.take(&call.params::<SessionParams>()?.session);
                call.reply(&session.ended.is_some())
            }
            method::SESSION_SUMMARY => call.reply(&worker.summary(&call.params::<SessionParams>()?.session)),
            method::WHY => {
                let WhyParams { query, limit } = call.params()?;
                call.reply(&worker.why(&query, limit.min(MAX_WHY)))
            }
            method::STATUS => call.reply(&worker.status()),
            method::HELLO => {
                let _: HelloParams = call.params()?;
                call.reply(&HelloResult { protocol: PROTOCOL_VERSION, build: worker.build.clone(), pid: process::id() })
            }
            method::SHUTDOWN => call.reply(&worker.shutdown(session, call.params()?)),
            _ => Err(call.unknown()),
        }
    }

    fn answered(&self, session: &mut Session) {
        let worker = &*self.0;
        if session.ending {
            worker.stop.ask();
        }
        if let Some(Used { candidate, entry, command }) = session.used.take() {
            worker.ledger.name_paths(entry, lookup::named_paths(&command));
            worker.spares.want(&candidate.record, &worker.cas);
            if let Some(row) = worker.row_of(&candidate) {
                worker.courier.take(Job::Hit(row));
                worker.ahead.used(row, &command.roots, worker);
            }
        }
        if let Some(build) = session.ended.take() {
            builds::keep(worker, build);
        }
        if let Some(unexplained) = session.unexplained.take() {
            worker.ledger.explain(unexplained.entry, nearest::changes(worker, &unexplained));
        }
    }

    /// A client that runs its command is silent for as long as that takes, and so is one that puts a result in place: until it
    /// speaks or is gone, that is not to be taken for done.
    fn awaited(&self, session: &Session) -> bool {
        session.pending.is_some() || !session.restoring.is_empty()
    }

    fn closed(&self, mut session: Session) {
        let worker = &*self.0;
        worker.settle(&mut session);
        if session.ending {
            worker.stop.ask();
        }
        if let Some(staged) = session.staged.take() {
            staged.roll_back(session.peer);
        }
        if let Some(pending) = session.pending.take() {
            worker.give_up(pending, session.nested.is_some(), "the client ended before it had a result");
        }
    }
}

impl Worker {
    /// What is known of look-ups that `query` finds. A path inside the project may be given as people see it.
    fn why(&self, query: &str, limit: usize) -> Vec<vrift_core::wire::WhyEntry> {
        let root = self.root.to_string();
        let query = query.strip_prefix(root.as_str()).map_or(query, |rest| rest.trim_start_matches('/'));
        self.ledger.why(query.strip_prefix("./").unwrap_or(query), limit)
    }
}
