//! Stored actions that this worker has met, decoded.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use vrift_core::action::{ActionRecord, Input, InputState, Tool};
use vrift_core::digest::Digest;
use vrift_core::paths::Root;
use vrift_store::manifest::StoredAction;

use super::memo::Memo;
use crate::sync::lock;

/// Inputs of all remembered actions together, some 100 bytes each. The keys that were met first go first.
const MAX_INPUTS: usize = 600_000;

/// Actions remembered for one key; the base manifest keeps as many.
const MAX_PER_KEY: usize = 64;

/// From so many inputs in one folder on, looking at the folder first pays.
const SHARED: u32 = 3;

/// Forgotten rows that are remembered as such, until the coordinator has removed them.
const MAX_FORGOTTEN: usize = 10_000;

/// An action that may be what a look-up wants.
pub struct Candidate {
    /// Its row in the base manifest; negative while it is not known, a number of this worker's own.
    id: AtomicI64,
    /// The action.
    pub record: ActionRecord,
    /// In which order to look at its inputs.
    pub order: Box<[Step]>,
    /// What the last look-up found out about them.
    pub memo: Memo,
}

impl Candidate {
    fn new(id: i64, record: ActionRecord) -> Arc<Self> {
        let mut in_folder: HashMap<&[u8], u32, foldhash::fast::RandomState> = HashMap::default();
        for input in &record.inputs {
            *in_folder.entry(folder_of(input.path.as_bytes())).or_default() += 1;
        }
        let step = |(index, input): (usize, &Input)| Step {
            index: index as u32,
            shared: in_folder.get(folder_of(input.path.as_bytes())).is_some_and(|n| *n >= SHARED),
        };
        let mut order: Vec<Step> = record.inputs.iter().enumerate().map(step).collect();
        order.sort_by_key(|step| {
            let input = &record.inputs[step.index as usize];
            let own = input.path.root().is_some_and(Root::per_checkout);
            match input.state {
                // What people edit comes first, for it tells most candidates of a key apart.
                InputState::Content(_) | InputState::Program(_) if own => 0_u8,
                _ if own => 1,
                _ => 2,
            }
        });
        Arc::new(Self { id: AtomicI64::new(id), record, order: order.into(), memo: Memo::default() })
    }

    /// Whether what a compiler said holds a terminal's escapes. (A script that asks whether there is a terminal has that in its key.)
    pub fn is_coloured(&self) -> bool {
        self.record.request.tool != Tool::Script && self.record.stdio.iter().any(|chunk| chunk.text.bytes.contains(&0x1b))
    }

    /// See the field.
    pub fn id(&self) -> i64 {
        self.id.load(Ordering::Relaxed)
    }

    /// The action turned out to be in that row.
    pub fn found_in(&self, row: i64) {
        self.id.store(row, Ordering::Relaxed);
    }
}

/// One input of a candidate.
#[derive(Clone, Copy)]
pub struct Step {
    /// Which.
    pub index: u32,
    /// Several inputs are in its folder.
    pub shared: bool,
}

/// The remembered actions.
#[derive(Default)]
pub struct Candidates {
    known: Mutex<Known>,
    next_own: AtomicI64,
}

#[derive(Default)]
struct Known {
    /// Newest first.
    by_key: HashMap<Digest, Vec<Arc<Candidate>>>,
    /// Keys, in the order in which they were met.
    met: VecDeque<Digest>,
    inputs: usize,
    /// Rows that are on their way out of the manifest.
    forgotten: HashSet<i64>,
}

impl Candidates {
    /// The actions with this key, newest first.
    pub fn get(&self, key: &Digest) -> Vec<Arc<Candidate>> {
        lock(&self.known).by_key.get(key).cloned().unwrap_or_default()
    }

    /// Remembers an action that this worker has just recorded.
    pub fn add_own(&self, record: ActionRecord) -> Arc<Candidate> {
        let candidate = Candidate::new(-1 - self.next_own.fetch_add(1, Ordering::Relaxed), record);
        self.add(&candidate, true);
        candidate
    }

    /// Remembers an action of the base manifest, unless it is one of those known; gives the one to use.
    pub fn add_stored(&self, stored: StoredAction) -> Arc<Candidate> {
        let known = self.get(&stored.record.key);
        if let Some(same) = known.iter().find(|c| c.id() == stored.id || (c.id() < 0 && c.record == stored.record)) {
            same.found_in(stored.id);
            return Arc::clone(same);
        }
        let candidate = Candidate::new(stored.id, stored.record);
        self.add(&candidate, false);
        candidate
    }

    /// Forgets an action that cannot be restored.
    pub fn forget(&self, key: &Digest, id: i64) {
        let mut known = lock(&self.known);
        if id >= 0 && known.forgotten.len() < MAX_FORGOTTEN {
            known.forgotten.insert(id);
        }
        let Some(list) = known.by_key.get_mut(key) else { return };
        let before: usize = list.iter().map(|c| c.record.inputs.len()).sum();
        list.retain(|c| c.id() != id);
        let after: usize = list.iter().map(|c| c.record.inputs.len()).sum();
        known.inputs -= before - after;
    }

    /// Whether a row was forgotten.
    pub fn is_forgotten(&self, row: i64) -> bool {
        lock(&self.known).forgotten.contains(&row)
    }

    fn add(&self, candidate: &Arc<Candidate>, newest: bool) {
        let key = candidate.record.key;
        let mut guard = lock(&self.known);
        let known = &mut *guard;
        known.inputs += candidate.record.inputs.len();
        let list = known.by_key.entry(key).or_default();
        if list.is_empty() {
            known.met.push_back(key);
        }
        list.insert(if newest { 0 } else { list.len() }, Arc::clone(candidate));
        if list.len() > MAX_PER_KEY
            && let Some(oldest) = list.pop()
        {
            known.inputs -= oldest.record.inputs.len();
        }
        while known.inputs > MAX_INPUTS && known.met.len() > 1 {
            let Some(first) = known.met.pop_front() else { break };
            let gone = known.by_key.remove(&first).unwrap_or_default();
            known.inputs -= gone.iter().map(|c| c.record.inputs.len()).sum::<usize>();
        }
    }
}

/// The folder's part of a path.
fn folder_of(path: &[u8]) -> &[u8] {
    path.iter().rposition(|c| *c == b'/').map_or(&[], |at| &path[..at])
}

#[cfg(test)]
mod tests {
    use vrift_core::action::Request;
    use vrift_core::paths::TemplatePath;

    use super::*;

    fn record(key: u8, inputs: usize) -> ActionRecord {
        let input = |i: usize| Input { path: TemplatePath::from_stored(format!("/{i}").as_bytes()), state: InputState::Absent };
        let path = TemplatePath::from_stored(b"/x");
        let digest = Digest::of(b"program");
        ActionRecord {
            key: Digest::of(&[key]),
            label: String::new(),
            request: Request { tool: Tool::Cc, program: path.clone(), program_digest: digest, argv: vec![], cwd: path, umask: 0 },
            inputs: (0..inputs).map(input).collect(),
            env: vec![],
            env_closed: false,
            outputs: vec![],
            stdio: vec![],
            bound: vec![],
            wall_us: 0,
            cpu_us: 0,
        }
    }

    #[test]
    fn own_actions_come_first_and_merge_with_their_rows() {
        let candidates = Candidates::default();
        candidates.add_stored(StoredAction { id: 7, record: record(1, 3) });
        let own = candidates.add_own(record(1, 2));
        assert!(own.id() < 0);
        let ids = |key: u8| candidates.get(&Digest::of(&[key])).iter().map(|c| c.id()).collect::<Vec<_>>();
        assert_eq!(ids(1), [own.id(), 7]);
        let again = candidates.add_stored(StoredAction { id: 9, record: record(1, 2) });
        assert!(Arc::ptr_eq(&own, &again));
        assert_eq!(ids(1), [9, 7]);
        candidates.forget(&Digest::of(&[1]), 9);
        assert_eq!(ids(1), [7]);
    }

    #[test]
    fn memory_is_bounded() {
        let candidates = Candidates::default();
        for key in 0..4 {
            candidates.add_own(record(key, MAX_INPUTS / 3));
        }
        assert!(candidates.get(&Digest::of(&[0])).is_empty());
        assert_eq!(candidates.get(&Digest::of(&[3])).len(), 1);
        for _ in 0..100 {
            candidates.add_own(record(9, 1));
        }
        assert_eq!(candidates.get(&Digest::of(&[9])).len(), MAX_PER_KEY);
    }
}
