//! Files that are hard links of blobs.
//!
//! Linking changes an inode's change time, and any checkout may link a blob at any moment, so such a file is not known by
//! its stamp but by being the blob: same inode, with the attributes that no writer leaves behind (mode, size, and the
//! modification time that all blobs share).

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use vrift_core::digest::Digest;
use vrift_store::cas::{BLOB_MTIME, MODE_EXEC, MODE_PLAIN, is_blob_mode};
use vrift_store::{Blob, Cas};

use crate::sync::lock;

/// Inodes that are remembered; then the memory starts anew.
const MAX_INODES: usize = 500_000;

/// What names an inode for ever: a number is given again after its file is gone, with a later birth.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct InodeKey {
    dev: u64,
    ino: u64,
    birth: SystemTime,
}

/// Which inodes are blobs.
#[derive(Default)]
pub struct Inodes {
    known: Mutex<HashMap<InodeKey, (u64, Digest)>>,
}

/// Whether a file has the attributes of a blob.
pub fn is_blob_like(meta: &Metadata) -> bool {
    let mode = meta.mode() & 0o7777;
    meta.mtime() == BLOB_MTIME
        && meta.mtime_nsec() == 0
        && (is_blob_mode(MODE_PLAIN, mode) || is_blob_mode(MODE_EXEC, mode))
        && meta.is_file()
}

impl Inodes {
    /// Remembers that the file with `meta`, just checked in the store, is the blob `digest`.
    pub fn learn(&self, meta: &Metadata, digest: Digest) {
        let Some(key) = key(meta) else { return };
        let mut known = lock(&self.known);
        if known.len() >= MAX_INODES {
            known.clear();
        }
        known.insert(key, (meta.size(), digest));
    }

    /// The content of the blob-like file with `meta`, as far as it was seen in the store.
    pub fn recall(&self, meta: &Metadata) -> Option<Digest> {
        let (size, digest) = *lock(&self.known).get(&key(meta)?)?;
        (size == meta.size()).then_some(digest)
    }

    /// Whether the blob-like file with `meta` is the blob `digest`, by asking the store.
    pub fn confirm(&self, cas: &Cas, meta: &Metadata, digest: Digest) -> bool {
        let blob = Blob { digest, size: meta.size(), exec: is_blob_mode(MODE_EXEC, meta.mode() & 0o7777) };
        match cas.check(&blob) {
            Ok(own) if (own.dev(), own.ino()) == (meta.dev(), meta.ino()) => {
                self.learn(&own, digest);
                true
            }
            _ => false,
        }
    }
}

/// `None` where the file system tells no birth: then only the store itself can say what the file is.
fn key(meta: &Metadata) -> Option<InodeKey> {
    let birth = meta.created().ok().filter(|birth| *birth > UNIX_EPOCH)?;
    Some(InodeKey { dev: meta.dev(), ino: meta.ino(), birth })
}
