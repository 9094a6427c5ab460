//! Why an output could not be put in place.

use std::io;
use std::path::PathBuf;

use crate::cas::{BlobFault, CasError};

/// Why an output could not be put in place. Whatever it is, the command is then run for real.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The blob is missing or was changed: the action is to be forgotten.
    #[error(transparent)]
    Blob(#[from] BlobFault),
    /// The output names a root that is not known in this run, or its template is damaged.
    #[error("`{path}` cannot be written: its template names a root that this run does not have")]
    UnknownRoot {
        /// The output.
        path: PathBuf,
    },
    /// The step makes no sense: a file without a parent folder, a rendered file without roots.
    #[error("`{path}` cannot be restored: {why}")]
    Invalid {
        /// The output.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The file system refused.
    #[error("cannot {action} `{path}`: {source}")]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The file system's answer.
        source: io::Error,
    },
}

impl RestoreError {
    /// Whether the blob is to blame, so that the action is to be forgotten.
    pub fn is_blob_fault(&self) -> bool {
        matches!(self, Self::Blob(BlobFault::Missing { .. } | BlobFault::Changed { .. }))
    }

    /// Whether the disk or the quota is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if crate::cas::is_full(source))
    }

    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

impl From<CasError> for RestoreError {
    fn from(error: CasError) -> Self {
        match error {
            CasError::Io { action, path, source } => Self::Io { action, path, source },
            CasError::Fault(fault) => Self::Blob(fault),
            CasError::ChangedUnderneath { path } => Self::Invalid { path, why: "it changes while it is restored" },
        }
    }
}
