//! A concurrent table from paths to what is known about them.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Mutex;

use crate::sync::lock;

/// Power of two, so that few threads meet at one lock.
const SHARDS: usize = 16;

/// Entries of one shard; a full shard starts anew, which costs hashing, never correctness.
const MAX_SHARD: usize = 100_000;

/// The table. Keys are path bytes.
pub struct Table<V> {
    shards: [Mutex<Shard<V>>; SHARDS],
    hasher: foldhash::fast::RandomState,
}

type Shard<V> = HashMap<Box<[u8]>, V, foldhash::fast::RandomState>;

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { shards: Default::default(), hasher: foldhash::fast::RandomState::default() }
    }
}

impl<V: Clone> Table<V> {
    /// What is known about `path`.
    pub fn get(&self, path: &[u8]) -> Option<V> {
        lock(self.shard(path)).get(path).cloned()
    }

    /// Remembers `value` for `path`.
    pub fn insert(&self, path: &[u8], value: V) {
        let mut shard = lock(self.shard(path));
        if shard.len() >= MAX_SHARD && !shard.contains_key(path) {
            shard.clear();
        }
        shard.insert(path.into(), value);
    }

    /// Remembers `value` for `path` unless something is known already.
    pub fn insert_new(&self, path: &[u8], value: V) {
        let mut shard = lock(self.shard(path));
        if shard.len() < MAX_SHARD {
            shard.entry(path.into()).or_insert(value);
        }
    }

    /// Changes what is known about `path`, if anything is.
    pub fn update(&self, path: &[u8], change: impl FnOnce(&mut V)) {
        if let Some(value) = lock(self.shard(path)).get_mut(path) {
            change(value);
        }
    }

    /// How many paths are known.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    fn shard(&self, path: &[u8]) -> &Mutex<Shard<V>> {
        &self.shards[self.hasher.hash_one(path) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out() {
        let table = Table::default();
        for i in 0..1000_u32 {
            table.insert(format!("/w/{i}").as_bytes(), i);
        }
        table.insert_new(b"/w/7", 0);
        table.update(b"/w/8", |v| *v = 88);
        assert_eq!((table.get(b"/w/7"), table.get(b"/w/8"), table.get(b"/w")), (Some(7), Some(88), None));
        assert_eq!(table.len(), 1000);
    }
}
