//! Files that a script changed although nobody knew what was in them: a checkout may have been built before vrift came. The run during
//! which that shows cannot be stored; before the next one the worker looks at them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use vrift_core::digest::Digest;
use vrift_core::paths::AbsPath;

use crate::sync::lock;

/// So many keys are remembered; beyond, all are forgotten and found out once more.
const MOST_KEYS: usize = 1024;

/// Files of one key.
const MOST_FILES: usize = 256;

/// The files, by the key of the script.
#[derive(Default)]
pub struct Unknown(Mutex<HashMap<Digest, BTreeSet<AbsPath>>>);

impl Unknown {
    /// A run with this key changed these.
    pub fn note(&self, key: Digest, files: impl Iterator<Item = AbsPath>) {
        let mut files = files.peekable();
        if files.peek().is_none() {
            return;
        }
        let mut keys = lock(&self.0);
        if keys.len() >= MOST_KEYS && !keys.contains_key(&key) {
            keys.clear();
        }
        let known = keys.entry(key).or_default();
        known.extend(files.take(MOST_FILES.saturating_sub(known.len())));
    }

    /// Those to look at before the next run.
    pub fn of(&self, key: &Digest) -> Vec<AbsPath> {
        lock(&self.0).get(key).map(|files| files.iter().cloned().collect()).unwrap_or_default()
    }
}
