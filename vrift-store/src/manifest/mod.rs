//! What is believed about contents, in SQLite.
//!
//! The **base** manifest (`manifest.db` in the user's state folder) is shared by all projects: stored actions, the blobs that
//! they need, and digests of files in shared trees. Written by `vriftd` alone, through [`BaseWriter`].
//!
//! The **delta** manifest (`manifest.db` in a project's state folder) holds what is known of the project's own files, and
//! tombstones for what the base knows and the project deleted. Written by the project's `vdir_d` alone, through
//! [`DeltaWriter`]. A look-up is delta, then base: [`known_file`].
//!
//! # Locking
//! WAL: readers never wait, and a writer waits for another one at most [`BUSY_TIMEOUT`].
//!
//! # Failure
//! A process killed at any instruction loses at most the transaction it was in; a power cut may lose the last few
//! (`synchronous=NORMAL`), never half of one. A database that is damaged is moved aside, see [`BaseWriter::open_or_rebuild`]; one of a newer
//! version is left alone. Records carry a checksum of their own: a flipped bit is a miss.

mod audit;
mod base_reader;
mod base_writer;
mod codec;
mod compare;
mod db;
pub(crate) mod delta;
mod error;
mod rows;

use std::time::Duration;

use vrift_core::digest::Digest;
use vrift_core::paths::{AbsPath, ProjectPath};
use vrift_core::wire::{KnownFile, Stamp};

pub(crate) use audit::{ActionUse, Audit};
pub use base_reader::BaseReader;
pub use base_writer::{BaseWriter, MAX_CANDIDATES};
pub use codec::{DecodeError, MAX_RECORD, decode, encode};
pub use delta::{DeltaEntry, DeltaFile, DeltaRow, DeltaWriter, Tier};
pub use error::ManifestError;

use vrift_core::action::ActionRecord;

/// How long a statement waits for another process's lock.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// A stored action.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredAction {
    /// Its row. A row's record never changes: another record gets another row.
    pub id: i64,
    /// The action.
    pub record: ActionRecord,
}

/// How much is in the base manifest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Stored actions.
    pub actions: u64,
    /// Blobs that the manifest knows of.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// Files of shared trees whose digest is known.
    pub files: u64,
}

/// What is known of a file: the delta's word, else the base's. A tombstone in the delta hides the base.
///
/// # Errors
/// [`ManifestError`].
pub fn known_file(
    delta: &DeltaWriter,
    base: &BaseReader,
    root: &AbsPath,
    path: &AbsPath,
) -> Result<Option<(Digest, Stamp)>, ManifestError> {
    if let Ok(inside) = ProjectPath::new(root, path) {
        match delta.get(&inside)? {
            Some(DeltaEntry::File(file)) => return Ok(Some((file.digest, file.stamp))),
            Some(DeltaEntry::Tombstone) => return Ok(None),
            None => {}
        }
    }
    Ok(base.known_file(path)?.map(|KnownFile { digest, stamp, .. }| (digest, stamp)))
}

#[cfg(test)]
mod tests;
