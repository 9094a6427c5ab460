//! Scripts that the shim saw in part only: a library of theirs calls the kernel past libc. Their next run is watched through the
//! kernel, which costs more.

use std::collections::HashSet;
use std::sync::Mutex;

use vrift_core::digest::Digest;

use crate::sync::lock;

/// So many are remembered; beyond, all are forgotten and found out once more.
const MOST: usize = 4096;

/// Their keys.
#[derive(Default)]
pub struct PastLibc(Mutex<HashSet<Digest>>);

impl PastLibc {
    /// One more.
    pub fn note(&self, key: Digest) {
        let mut keys = lock(&self.0);
        if keys.len() >= MOST {
            keys.clear();
        }
        keys.insert(key);
    }

    /// Whether the command with this key is one of them.
    pub fn holds(&self, key: &Digest) -> bool {
        lock(&self.0).contains(key)
    }
}
