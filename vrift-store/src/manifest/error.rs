//! What can go wrong with a manifest.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// There is none yet.
    #[error("there is no manifest at `{path}`")]
    Missing {
        /// Where it would be.
        path: PathBuf,
    },
    /// It is damaged, or no manifest at all.
    #[error("the manifest `{path}` is damaged: {detail}")]
    Corrupt {
        /// Which.
        path: PathBuf,
        /// What SQLite or the check says.
        detail: String,
    },
    /// A newer vrift made it.
    #[error(
        "the manifest `{path}` was made by a newer vrift (its version is {found}, this one knows {known}); update vrift, or point \
         VRIFT_HOME elsewhere"
    )]
    Newer {
        /// Which.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// It, or its folder, cannot be written.
    #[error("the manifest `{path}` cannot be written: {detail}")]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// The file system's answer.
        detail: String,
    },
    /// The disk or the quota is full.
    #[error("the manifest `{path}` cannot grow: the disk is full")]
    Full {
        /// Which.
        path: PathBuf,
    },
    /// Another process holds it for too long.
    #[error("the manifest `{path}` is locked by another process")]
    Busy {
        /// Which.
        path: PathBuf,
    },
    /// The action is too large to store.
    #[error("`{label}` is too large to store: {bytes} bytes")]
    TooLarge {
        /// The action.
        label: String,
        /// Bytes of its record.
        bytes: usize,
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
    /// SQLite refused for another reason.
    #[error("the manifest `{path}` fails: {source}")]
    Sqlite {
        /// Which.
        path: PathBuf,
        /// SQLite's answer.
        source: rusqlite::Error,
    },
}

impl ManifestError {
    /// Whether the database itself is bad, so that moving it aside helps.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }

    /// Sorts what SQLite says about the database at `path`.
    pub(super) fn sqlite(path: &Path) -> impl Fn(rusqlite::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| {
            let path = path.clone();
            let detail = source.to_string();
            if is_unexpected(&source) {
                return Self::Corrupt { path, detail };
            }
            match source.sqlite_error_code() {
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt { path, detail },
                Some(ErrorCode::DiskFull) => Self::Full { path },
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
                Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                    Self::Unwritable { path, detail }
                }
                _ => Self::Sqlite { path, source },
            }
        }
    }

    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }
}

/// Whether what is stored is not what vrift stores: values of another type, tables that do not fit its questions. Bytes that
/// changed on the disk look like this where SQLite, which has no checksums, sees nothing wrong.
fn is_unexpected(error: &rusqlite::Error) -> bool {
    use rusqlite::Error;
    // Questions never change, so a question that SQLite does not understand finds other tables than ours. And where a file ends
    // before what was written to it, it was cut, or its log is gone.
    let codes = [rusqlite::ffi::SQLITE_ERROR, rusqlite::ffi::SQLITE_IOERR_SHORT_READ];
    match error {
        Error::InvalidColumnType(..)
        | Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::Utf8Error(..) => true,
        Error::SqliteFailure(error, _) | Error::SqlInputError { error, .. } => codes.contains(&error.extended_code),
        _ => false,
    }
}
