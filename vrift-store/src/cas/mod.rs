//! The content-addressed store: files named by the hash of what is in them.
//!
//! ```text
//! <store>/                     0700
//!   blake3/ab/cd/<hash>_<size>     a blob: 0444, once it is linked with a write bit (`linked_mode`); dated BLOB_MTIME
//!   blake3/ab/cd/<hash>_<size>.x   the same with 0555, for programs that are restored as hard links
//!   tmp/                           files on their way in
//!   quarantine/                    blobs that failed a check
//!   mark                           up to when everything is known to be on the disk
//! ```
//!
//! # Checks
//! Hard links share an inode, and root ignores modes: a blob can be overwritten from a checkout. Whoever writes moves the
//! modification time; whoever truncates moves the size. So one `stat` ([`Cas::check`]) compares kind, size (from the name),
//! mode and modification time before every use. [`Cas::verify`] hashes the content again.
//!
//! # Locking
//! None. A blob appears under its name in one rename, complete; two writers of one blob both succeed.
//!
//! # Durability
//! No fsync per blob; see [`mark`](Cas::sync_mark).

mod blob;
mod check;
mod error;
mod insert;
mod mark;
mod scan;
mod spare;

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

pub use blob::Blob;
pub use check::file_stamp;
pub(crate) use error::is_full;
pub use error::{BlobFault, CasError, What};
pub use insert::Ingest;
pub(crate) use insert::link_refused;
pub use mark::{Mark, Recovery};
#[cfg(feature = "manifest")]
pub(crate) use scan::disk_bytes;
pub use scan::{Blobs, Found, FoundBlob, Totals};

/// The modification time of every blob: 2020-01-01 00:00:00 UTC, seconds since 1970.
///
/// One for all, because Cargo compares the times of a crate's artifacts with those of its dependencies; long past, so that a
/// program which writes into a blob shows; and later than the sources of crates from the registry, which all carry a date of
/// 2006, so that a build script's result of the same time is fresh to Cargo.
pub const BLOB_MTIME: i64 = 1_577_836_800;

/// Mode of a blob; linked ones have [`linked_mode`].
pub const MODE_PLAIN: u32 = 0o444;

/// Mode of a blob whose name ends in `.x`.
pub const MODE_EXEC: u32 = 0o555;

/// The mode of a blob that is linked from a checkout, `meta` being its file's.
///
/// rustc refuses to replace an artifact whose mode has no write bit at all, although it replaces it by a rename and never
/// writes into it. So a linked blob gets one: the group's, which leaves the file read-only for its owner, where the file's
/// group is the owner's private one (it has the same number); else the owner's. The choice hangs on the file alone, so that
/// every process makes the same one, whatever group it runs with.
pub fn linked_mode(blob: u32, meta: &Metadata) -> u32 {
    blob | if meta.gid() == meta.uid() { 0o020 } else { 0o200 }
}

/// Whether `mode` can be that of a blob's file, `blob` being [`MODE_PLAIN`] or [`MODE_EXEC`]. A blob's file has passed this
/// and more when it passes [`Cas::check`].
pub fn is_blob_mode(blob: u32, mode: u32) -> bool {
    [0, 0o020, 0o200].contains(&(mode ^ blob))
}

/// A store in a folder.
#[derive(Debug)]
pub struct Cas {
    dir: PathBuf,
    /// Cleared by the first clone of blocks that the file system refuses.
    reflink: AtomicBool,
    reflink_probe: OnceLock<bool>,
    suspicion: OnceLock<mark::Suspicion>,
    /// Set once the mark is found to be of this boot.
    all_durable: AtomicBool,
}

impl Cas {
    /// The store in `dir`. Makes no system call: folders are created (0700) when the first blob needs them.
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            reflink: AtomicBool::new(true),
            reflink_probe: OnceLock::new(),
            suspicion: OnceLock::new(),
            all_durable: AtomicBool::new(false),
        }
    }

    /// The store's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where `blob` is or would be.
    pub fn path(&self, blob: &Blob) -> PathBuf {
        let name = blob.file_name();
        let mut path = self.dir.join("blake3");
        path.push(&name[..2]);
        path.push(&name[2..4]);
        path.push(name);
        path
    }

    /// Files on their way in.
    pub fn tmp_dir(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// Blobs that failed a check.
    pub fn quarantine_dir(&self) -> PathBuf {
        self.dir.join("quarantine")
    }
}

#[cfg(test)]
mod tests;
