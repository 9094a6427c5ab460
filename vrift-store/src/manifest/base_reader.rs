//! Reading the base manifest.

use std::ops::Range;

use vrift_core::digest::Digest;
use vrift_core::home::Home;
use vrift_core::paths::AbsPath;
use vrift_core::wire::KnownFile;

use super::audit::Audit;
use super::db::Db;
use super::rows::BASE;
use super::{Counts, ManifestError, StoredAction};

/// A read-only view of the base manifest. It sees what others commit meanwhile.
#[derive(Debug)]
pub struct BaseReader {
    db: Db,
}

impl BaseReader {
    /// Opens the base manifest of `home`.
    ///
    /// # Errors
    /// [`ManifestError::Missing`] until `vriftd` has created or migrated it; [`ManifestError::Corrupt`] and
    /// [`ManifestError::Newer`].
    pub fn open(home: &Home) -> Result<Self, ManifestError> {
        Ok(Self { db: Db::open_read(&home.manifest(), &BASE)? })
    }

    /// Whether the database, or its log, was removed or replaced since it was opened (damage, a reset): then open it again.
    pub fn is_replaced(&self) -> bool {
        self.db.is_replaced()
    }

    /// A number that changes when the manifest changes. For caches.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn data_version(&self) -> Result<i64, ManifestError> {
        self.db.data_version()
    }

    /// Rows of the actions with this key, newest first. For callers that keep decoded records.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn candidate_ids(&self, key: &Digest) -> Result<Vec<i64>, ManifestError> {
        self.db.candidate_ids(key)
    }

    /// The action in a row; `None` where there is none, or where its record cannot be read.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn action(&self, id: i64) -> Result<Option<StoredAction>, ManifestError> {
        self.db.action(id)
    }

    /// The actions in these rows. Records that cannot be read are left out.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn actions(&self, rows: Range<i64>) -> Result<Vec<StoredAction>, ManifestError> {
        self.db.actions(rows)
    }

    /// The actions with this key, newest first. Records that cannot be read are left out.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn candidates(&self, key: &Digest) -> Result<Vec<StoredAction>, ManifestError> {
        self.db.candidates(key)
    }

    /// The newest action with this key; `None` where there is none, or where its record cannot be read.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn newest(&self, key: &Digest) -> Result<Option<StoredAction>, ManifestError> {
        self.db.newest(key)
    }

    /// The newest action with this label, to tell a miss what changed.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn nearest(&self, label: &str) -> Result<Option<StoredAction>, ManifestError> {
        self.db.nearest(label)
    }

    /// What is known of a file in a shared tree.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn known_file(&self, path: &AbsPath) -> Result<Option<KnownFile>, ManifestError> {
        self.db.known_file(path)
    }

    /// What is known of the files below a folder.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn known_files_under(&self, folder: &AbsPath) -> Result<Vec<KnownFile>, ManifestError> {
        self.db.known_files_under(folder)
    }

    /// How much is in the manifest.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn counts(&self) -> Result<Counts, ManifestError> {
        self.db.counts()
    }

    pub(crate) fn audit(&self) -> Audit<'_> {
        Audit(&self.db)
    }
}
