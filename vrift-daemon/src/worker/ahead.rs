//! Reading ahead in the base manifest.
//!
//! What was stored one after the other is asked for one after the other: a build asks for the same actions in much the same
//! order as the build that stored them. So the rows around one that was just used are brought into memory, once, while the
//! client that used it is busy; and with them what is known of the shared files that they read.

use std::collections::HashSet;
use std::sync::Mutex;

use vrift_core::action::InputState;
use vrift_core::paths::{Root, Roots};

use super::Worker;
use crate::sync::lock;

/// Rows that are read at once.
const STRETCH: i64 = 16;

/// Stretches that were read.
#[derive(Default)]
pub struct Ahead {
    read: Mutex<HashSet<i64>>,
}

impl Ahead {
    /// The action in `row` was used by a client with these roots.
    pub fn used(&self, row: i64, roots: &Roots, worker: &Worker) {
        for stretch in [row / STRETCH, (row + STRETCH / 2) / STRETCH] {
            if !lock(&self.read).insert(stretch) {
                continue;
            }
            for stored in worker.base.actions(stretch * STRETCH..(stretch + 1) * STRETCH) {
                if worker.candidates.is_forgotten(stored.id) {
                    continue;
                }
                let candidate = worker.candidates.add_stored(stored);
                let read = candidate
                    .record
                    .inputs
                    .iter()
                    .filter(|input| matches!(input.state, InputState::Content(_) | InputState::Program(_)));
                for input in read.filter(|input| input.path.root() == Some(Root::Cargo)) {
                    if let Some(path) = roots.expand_path(&input.path) {
                        worker.digests.ask_shared(path.as_bytes());
                    }
                }
            }
        }
    }
}
