//! Files that are hard links of blobs.
//!
//! Linking changes an inode's change time, and any checkout may link a blob at any moment, so such a file is not known by
//! its stamp but by being the blob: same inode, with the attributes that no writer leaves behind (mode, size, and the
//! modification time that all blobs share).

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;

use vrift_core::digest::Digest;
use vrift_store::cas::{BLOB_MTIME, MODE_EXEC, MODE_PLAIN, is_blob_mode};
use vrift_store::{Blob, Cas};

use super::super::sight::Sight;
use crate::sync::lock;

/// Inodes that are remembered; then the memory starts anew.
const MAX_INODES: usize = 500_000;

/// What names an inode for ever: a number is given again after its file is gone, with a later birth.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct InodeKey {
    dev: u64,
    ino: u64,
    birth_ns: i64,
}

/// Which inodes are blobs.
#[derive(Default)]
pub struct Inodes {
    known: Mutex<HashMap<InodeKey, (u64, Digest), foldhash::fast::RandomState>>,
}

/// Whether a file has the attributes of a blob.
pub fn is_blob_like(sight: &Sight) -> bool {
    let mode = sight.permissions();
    sight.is_file()
        && sight.stamp.mtime_ns == BLOB_MTIME * 1_000_000_000
        && (is_blob_mode(MODE_PLAIN, mode) || is_blob_mode(MODE_EXEC, mode))
}

impl Inodes {
    /// Remembers that the file with `sight`, just checked in the store, is the blob `digest`.
    pub fn learn(&self, sight: &Sight, digest: Digest) {
        let Some(key) = key(sight) else { return };
        let mut known = lock(&self.known);
        if known.len() >= MAX_INODES {
            known.clear();
        }
        known.insert(key, (sight.stamp.size, digest));
    }

    /// The content of the blob-like file with `sight`, as far as it was seen in the store.
    pub fn recall(&self, sight: &Sight) -> Option<Digest> {
        let (size, digest) = *lock(&self.known).get(&key(sight)?)?;
        (size == sight.stamp.size).then_some(digest)
    }

    /// Whether the blob-like file with `sight` is the blob `digest`, by asking the store.
    pub fn confirm(&self, cas: &Cas, sight: &Sight, digest: Digest) -> bool {
        let blob = Blob { digest, size: sight.stamp.size, exec: is_blob_mode(MODE_EXEC, sight.permissions()) };
        match cas.check(&blob) {
            Ok(own) if (own.dev(), own.ino()) == (sight.stamp.dev, sight.stamp.ino) => {
                self.learn(&Sight::from(&own), digest);
                true
            }
            _ => false,
        }
    }
}

/// `None` where the file system tells no birth: then only the store itself can say what the file is.
fn key(sight: &Sight) -> Option<InodeKey> {
    Some(InodeKey { dev: sight.stamp.dev, ino: sight.stamp.ino, birth_ns: sight.birth_ns? })
}
