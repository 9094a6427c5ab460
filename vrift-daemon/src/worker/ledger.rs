//! What happened: numbers for each session, and why each action was run.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vrift_core::wire::{Change, SessionSummary, WhyEntry};

use crate::atomic;
use crate::clock::now_s;
use crate::sync::lock;

/// Look-ups remembered.
const MAX_ENTRIES: usize = 4096;

/// Look-ups that the next worker is told of.
const MAX_SAVED: usize = 512;

/// Sessions remembered; the one that was heard of first goes first.
const MAX_SESSIONS: usize = 64;

/// How long a question waits for what earlier workers left.
const SETTLE_TIME: Duration = Duration::from_secs(2);

/// Reasons counted apart in one summary.
const MAX_REASONS: usize = 64;

/// The largest state file that is read, bytes.
const MAX_STATE: u64 = 8 << 20;

/// How an action went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Restored.
    Hit,
    /// Run, and stored as far as is known.
    Miss,
    /// Run and not stored.
    Uncached,
    /// The same, of a part of another action: that one is what counts.
    Part,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Uncached | Self::Part => "uncached",
        }
    }
}

/// Names a look-up in the ledger.
pub type EntryId = u64;

/// What the next worker reads.
#[derive(Default, Serialize, Deserialize)]
struct State {
    #[serde(default)]
    lifetime: SessionSummary,
}

/// What the next worker can tell about earlier look-ups.
#[derive(Default, Serialize, Deserialize)]
struct Log {
    #[serde(default)]
    entries: Vec<Entry>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Entry {
    #[serde(skip)]
    id: EntryId,
    /// Paths that the command names, to be found by them.
    #[serde(default)]
    paths: String,
    #[serde(flatten)]
    why: WhyEntry,
}

/// The ledger.
pub struct Ledger {
    inner: Mutex<Inner>,
    settled: Condvar,
}

#[derive(Default)]
struct Inner {
    sessions: HashMap<String, SessionSummary>,
    heard: VecDeque<String>,
    total: SessionSummary,
    /// Before this worker.
    earlier: SessionSummary,
    entries: VecDeque<Entry>,
    next: EntryId,
    changed: bool,
    /// What earlier workers left was read.
    settled: bool,
    folder: Option<PathBuf>,
}

impl Ledger {
    /// An empty ledger. It takes entries at once; questions wait until [`Ledger::settle_in`].
    pub fn new() -> Self {
        Self { inner: Mutex::new(Inner { next: 1, ..Inner::default() }), settled: Condvar::new() }
    }

    /// Reads what earlier workers left in `folder`, and keeps state there from now on; without a folder, nowhere.
    pub fn settle_in(&self, folder: Option<PathBuf>) {
        let (mut earlier, mut entries) = (SessionSummary::default(), Vec::new());
        if let Some(folder) = &folder {
            earlier = read::<State>(&folder.join("state.json")).lifetime;
            entries = read::<Log>(&folder.join("session.json")).entries;
        }
        let mut inner = lock(&self.inner);
        inner.earlier = earlier;
        for entry in entries.into_iter().rev() {
            inner.entries.push_front(entry);
        }
        inner.folder = folder;
        inner.settled = true;
        self.settled.notify_all();
    }

    /// The ledger with what earlier workers left; bounded.
    fn whole(&self) -> MutexGuard<'_, Inner> {
        let inner = lock(&self.inner);
        let waited = self.settled.wait_timeout_while(inner, SETTLE_TIME, |inner| !inner.settled);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// A look-up was answered.
    pub fn looked_up(&self, session: &str, took: Duration, entry: NewEntry) -> EntryId {
        let mut inner = lock(&self.inner);
        let us = took.as_micros().try_into().unwrap_or(u64::MAX);
        let NewEntry { label, outcome, reason, paths, saved_cpu_us } = entry;
        inner.count(session, |sum| {
            sum.lookups += 1;
            sum.lookup_us += us;
            match outcome {
                Outcome::Hit => {
                    sum.hits += 1;
                    sum.saved_cpu_us += saved_cpu_us;
                }
                // Counted when it was run.
                Outcome::Miss | Outcome::Part => {}
                Outcome::Uncached => sum.add_uncached(&reason),
            }
        });
        let id = inner.next;
        inner.next += 1;
        let outcome = outcome.name().to_owned();
        let why = WhyEntry { label, outcome, reason, at: now_s(), lookup_us: us, changes: Vec::new() };
        inner.entries.push_back(Entry { id, paths, why });
        if inner.entries.len() > MAX_ENTRIES {
            inner.entries.pop_front();
        }
        id
    }

    /// More is known about what differed from the nearest stored result.
    pub fn explain(&self, id: EntryId, changes: Vec<Change>) {
        lock(&self.inner).edit(id, |why| why.changes = changes);
    }

    /// The command of a look-up names these paths.
    pub fn name_paths(&self, id: EntryId, paths: String) {
        if let Some(entry) = lock(&self.inner).entry(id) {
            entry.paths = paths;
        }
    }

    /// A run was stored.
    pub fn stored(&self, session: &str) {
        lock(&self.inner).count(session, |sum| sum.misses += 1);
    }

    /// A run was not stored, and why. `id` is its look-up, where that is known.
    pub fn not_stored(&self, session: &str, id: Option<EntryId>, reason: &str) {
        lock(&self.inner).count(session, |sum| sum.add_uncached(reason));
        self.part_not_stored(id, reason);
    }

    /// The same for a part of another action, which is counted by itself.
    pub fn part_not_stored(&self, id: Option<EntryId>, reason: &str) {
        let mut inner = lock(&self.inner);
        if let Some(id) = id {
            inner.edit(id, |why| {
                why.outcome = Outcome::Uncached.name().to_owned();
                why.reason = format!("{}; not stored: {reason}", why.reason);
            });
        }
    }

    /// A hit could not be restored, so it was none.
    pub fn take_back_hit(&self, session: &str, saved_cpu_us: u64) {
        lock(&self.inner).count(session, |sum| {
            sum.hits = sum.hits.saturating_sub(1);
            sum.saved_cpu_us = sum.saved_cpu_us.saturating_sub(saved_cpu_us);
        });
    }

    /// What happened in a session so far.
    pub fn session(&self, session: &str) -> SessionSummary {
        lock(&self.inner).sessions.get(session).cloned().unwrap_or_default()
    }

    /// Since this worker started, and since the project was first built.
    pub fn totals(&self) -> (SessionSummary, SessionSummary) {
        let inner = self.whole();
        (inner.total.clone(), inner.lifetime())
    }

    /// The look-ups that `query`, part of a label or of a path, finds; newest first.
    pub fn why(&self, query: &str, limit: usize) -> Vec<WhyEntry> {
        let inner = self.whole();
        let matches = |entry: &&Entry| {
            entry.why.label.contains(query)
                || entry.paths.contains(query)
                || entry.why.changes.iter().any(|change| change.name.contains(query))
        };
        inner.entries.iter().rev().filter(matches).take(limit.min(MAX_ENTRIES)).map(|entry| entry.why.clone()).collect()
    }

    /// Writes what changed since the last time.
    pub fn save(&self) {
        let (folder, state, log) = {
            let mut inner = lock(&self.inner);
            let Some(folder) = inner.folder.clone() else { return };
            if !std::mem::take(&mut inner.changed) {
                return;
            }
            let skip = inner.entries.len().saturating_sub(MAX_SAVED);
            (folder, State { lifetime: inner.lifetime() }, Log { entries: inner.entries.iter().skip(skip).cloned().collect() })
        };
        write(&folder.join("state.json"), &state);
        write(&folder.join("session.json"), &log);
    }
}

/// A look-up, for the ledger.
pub struct NewEntry {
    /// The action's label.
    pub label: String,
    /// How it went.
    pub outcome: Outcome,
    /// One sentence.
    pub reason: String,
    /// Paths that the command names.
    pub paths: String,
    /// Of a hit: the time that its run took.
    pub saved_cpu_us: u64,
}

impl Inner {
    fn count(&mut self, session: &str, change: impl Fn(&mut SessionSummary)) {
        if !self.sessions.contains_key(session) {
            self.heard.push_back(session.to_owned());
            if self.heard.len() > MAX_SESSIONS
                && let Some(first) = self.heard.pop_front()
            {
                self.sessions.remove(&first);
            }
        }
        change(self.sessions.entry(session.to_owned()).or_default());
        change(&mut self.total);
        self.changed = true;
    }

    fn edit(&mut self, id: EntryId, change: impl FnOnce(&mut WhyEntry)) {
        if let Some(entry) = self.entry(id) {
            change(&mut entry.why);
        }
        self.changed = true;
    }

    fn entry(&mut self, id: EntryId) -> Option<&mut Entry> {
        // Entries of an earlier worker have no number.
        let own = self.entries.iter_mut().rev().take_while(|entry| entry.id >= id);
        own.filter(|entry| entry.id == id).last()
    }

    fn lifetime(&self) -> SessionSummary {
        let mut sum = self.earlier.clone();
        sum.hits += self.total.hits;
        sum.misses += self.total.misses;
        sum.uncached += self.total.uncached;
        sum.saved_cpu_us += self.total.saved_cpu_us;
        sum.lookups += self.total.lookups;
        sum.lookup_us += self.total.lookup_us;
        for (reason, n) in &self.total.uncached_reasons {
            if sum.uncached_reasons.len() < MAX_REASONS || sum.uncached_reasons.contains_key(reason) {
                *sum.uncached_reasons.entry(reason.clone()).or_default() += n;
            }
        }
        sum
    }
}

trait AddUncached {
    fn add_uncached(&mut self, reason: &str);
}

impl AddUncached for SessionSummary {
    fn add_uncached(&mut self, reason: &str) {
        self.uncached += 1;
        let full = self.uncached_reasons.len() >= MAX_REASONS && !self.uncached_reasons.contains_key(reason);
        let reason = if full { "other reasons" } else { reason };
        *self.uncached_reasons.entry(reason.to_owned()).or_default() += 1;
    }
}

fn read<T: Default + serde::de::DeserializeOwned>(path: &Path) -> T {
    if fs::metadata(path).map_or(0, |meta| meta.len()) > MAX_STATE {
        return T::default();
    }
    let Ok(json) = fs::read(path) else { return T::default() };
    serde_json::from_slice(&json).unwrap_or_else(|e| {
        tracing::warn!("{} is damaged and starts anew: {e}", path.display());
        T::default()
    })
}

fn write<T: Serialize>(path: &Path, state: &T) {
    let written = serde_json::to_vec(state).map_err(Into::into).and_then(|json| atomic::write(path, &json));
    if let Err(e) = written {
        tracing::warn!("cannot write {}: {e}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(folder: Option<&Path>) -> Ledger {
        let ledger = Ledger::new();
        ledger.settle_in(folder.map(Path::to_owned));
        ledger
    }

    fn entry(label: &str, outcome: Outcome) -> NewEntry {
        NewEntry { label: label.to_owned(), outcome, reason: "why".to_owned(), paths: "src/lib.rs".to_owned(), saved_cpu_us: 7 }
    }

    #[test]
    fn numbers_add_up_and_outlive_the_worker() {
        let dir = tempfile::tempdir().expect("tempdir");
        let took = Duration::from_micros(5);
        let ledger = settled(Some(dir.path()));
        ledger.looked_up("s", took, entry("a", Outcome::Hit));
        let miss = ledger.looked_up("s", took, entry("b", Outcome::Miss));
        ledger.stored("s");
        let other = ledger.looked_up("t", took, entry("curl", Outcome::Miss));
        ledger.not_stored("t", Some(other), "it used the network");
        ledger.explain(miss, vec![Change { kind: "env".into(), name: "X".into(), old: "1".into(), new: "2".into() }]);
        let of = |s: &SessionSummary| (s.hits, s.misses, s.uncached, s.saved_cpu_us, s.lookup_us);
        assert_eq!(of(&ledger.session("s")), (1, 1, 0, 7, 10));
        assert_eq!(of(&ledger.session("t")), (0, 0, 1, 0, 5));
        assert_eq!(of(&ledger.totals().0), (1, 1, 1, 7, 15));
        ledger.save();

        let ledger = settled(Some(dir.path()));
        ledger.looked_up("u", took, entry("a", Outcome::Hit));
        assert_eq!(of(&ledger.totals().0), (1, 0, 0, 7, 5));
        assert_eq!(of(&ledger.totals().1), (2, 1, 1, 14, 20));
        let labels = |query: &str| ledger.why(query, 9).into_iter().map(|w| w.label + " " + &w.outcome).collect::<Vec<_>>();
        assert_eq!(labels("lib.rs"), ["a hit", "curl uncached", "b miss", "a hit"]);
        assert_eq!(labels("X"), ["b miss"]);
        assert!(ledger.why("curl", 9)[0].reason.contains("the network"));
    }

    #[test]
    fn a_hit_that_failed_is_taken_back() {
        let ledger = settled(None);
        ledger.looked_up("s", Duration::ZERO, entry("a", Outcome::Hit));
        ledger.take_back_hit("s", 7);
        ledger.not_stored("s", None, "it could not be restored");
        let sum = ledger.session("s");
        assert_eq!((sum.hits, sum.uncached, sum.saved_cpu_us), (0, 1, 0));
        // Of a part of another action neither counts.
        let part = ledger.looked_up("p", Duration::ZERO, entry("a", Outcome::Part));
        ledger.part_not_stored(Some(part), "it failed");
        assert_eq!((ledger.session("p").lookups, ledger.session("p").uncached), (1, 0));
    }

    #[test]
    fn damaged_state_starts_anew() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::write(dir.path().join("state.json"), "{").expect("writes");
        fs::write(dir.path().join("session.json"), "[]").expect("writes");
        assert_eq!(settled(Some(dir.path())).totals().1, SessionSummary::default());
    }
}
