//! What vrift keeps on disk: contents by their hash, and what is believed about them.
//!
//! - [`cas`]: the content-addressed store. A blob proves itself by its name.
//! - [`restore`]: putting blobs and the other outputs of an action in place.
//! - [`manifest`] (feature `manifest`): the base manifest with the action cache, and the delta manifest of a project.
//! - [`fsck`] and [`gc`] (feature `manifest`): upkeep.
//! - [`state_dir`]: the state folder of a project.
//!
//! # Who writes
//! Any process of the user inserts blobs and restores them. `vriftd` alone writes the base manifest and collects garbage; a
//! project's `vdir_d` alone writes its delta. Everybody reads.
//!
//! # Failure
//! Nothing here is allowed to stop a build. Every error says which path it is about; the caller answers with a miss or with
//! running the command uncached.

#![forbid(unsafe_code)]

pub mod cas;
pub mod faults;
#[cfg(feature = "manifest")]
pub mod fsck;
mod fsio;
#[cfg(feature = "manifest")]
pub mod gc;
#[cfg(feature = "manifest")]
pub mod manifest;
pub mod restore;
pub mod state_dir;
#[cfg(test)]
mod testing;

pub use cas::{Blob, BlobFault, Cas, CasError, Ingest};
pub use restore::{RestoreError, Restored};
