//! What can go wrong in the store.

use std::io;
use std::path::PathBuf;

/// Why a blob cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BlobFault {
    /// It is not in the store.
    #[error("the blob `{path}` is not in the store")]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// It is not what its name says, or somebody touched it.
    #[error("the blob `{path}` was changed: {what}")]
    Changed {
        /// Where it is.
        path: PathBuf,
        /// What gave it away.
        what: What,
    },
    /// The file system does not say.
    #[error("cannot read the blob `{path}`: {source}")]
    Unreadable {
        /// Where it is.
        path: PathBuf,
        /// The file system's answer.
        source: io::Error,
    },
}

/// How a changed blob shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum What {
    /// It is a folder, a link or a device.
    #[error("it is no regular file")]
    Kind,
    /// Bytes were added or cut off.
    #[error("its size is not the one in its name")]
    Size,
    /// It was made writable, or executable, or not executable.
    #[error("its mode is not that of a blob")]
    Mode,
    /// It was written to, or touched.
    #[error("its modification time is not that of a blob")]
    Time,
    /// It was written to by a program that put the modification time back, or the disk lost it.
    #[error("its content does not have the hash in its name")]
    Content,
}

/// Why something could not be stored or looked after.
#[derive(Debug, thiserror::Error)]
pub enum CasError {
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
    /// The file that was to be stored is no longer the one that was read.
    #[error("`{path}` changed while it was being stored")]
    ChangedUnderneath {
        /// Which file.
        path: PathBuf,
    },
    /// A blob that is needed cannot be used.
    #[error(transparent)]
    Fault(#[from] BlobFault),
}

impl CasError {
    /// Whether the disk or the quota is full: nothing more will fit, so there is no point in trying again soon.
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. } | Self::Fault(BlobFault::Unreadable { source, .. }) => is_full(source),
            _ => false,
        }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// Whether the disk or the quota is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
