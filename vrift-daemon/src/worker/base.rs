//! The base manifest as a worker sees it: read-only, and never in the way.

use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;

use vrift_core::digest::Digest;
use vrift_core::home::Home;
use vrift_core::paths::AbsPath;
use vrift_core::wire::KnownFile;
use vrift_store::manifest::{BaseReader, ManifestError, StoredAction};

use super::digests::SharedFiles;
use crate::sync::lock;

/// Readers kept open; each serves one thread at a time.
const MAX_READERS: usize = 8;

/// Readers of the base manifest.
pub struct Base {
    home: Home,
    readers: Mutex<Vec<BaseReader>>,
    off: Mutex<Option<String>>,
}

impl Base {
    /// Nothing is opened yet.
    pub fn new(home: Home) -> Self {
        Self { home, readers: Mutex::default(), off: Mutex::default() }
    }

    /// Opens a reader for the first look-up to find.
    pub fn warm_up(&self) {
        self.with(|reader| reader.data_version());
    }

    /// Nobody has asked for a while: what is held open is let go.
    pub fn rest(&self) {
        lock(&self.readers).clear();
    }

    /// Why the manifest cannot be used at all, if so.
    pub fn off(&self) -> Option<String> {
        lock(&self.off).clone()
    }

    /// Rows of the stored actions with this key, newest first.
    pub fn candidate_ids(&self, key: &Digest) -> Vec<i64> {
        self.with(|reader| reader.candidate_ids(key)).unwrap_or_default()
    }

    /// The newest stored action with this key, which mostly is the one: one question instead of two.
    pub fn newest(&self, key: &Digest) -> Option<StoredAction> {
        self.with(|reader| reader.newest(key)).flatten().filter(|stored| stored.record.key == *key)
    }

    /// The action in a row.
    pub fn action(&self, id: i64) -> Option<StoredAction> {
        self.with(|reader| reader.action(id)).flatten()
    }

    /// The actions in these rows.
    pub fn actions(&self, rows: Range<i64>) -> Vec<StoredAction> {
        self.with(|reader| reader.actions(rows.clone())).unwrap_or_default()
    }

    /// The newest action with this label.
    pub fn nearest(&self, label: &str) -> Option<StoredAction> {
        self.with(|reader| reader.nearest(label)).flatten()
    }

    /// What is known of a file in a shared tree.
    pub fn known_file(&self, path: &AbsPath) -> Option<KnownFile> {
        self.with(|reader| reader.known_file(path)).flatten()
    }

    /// What `ask` finds; `None` where the manifest is not there or fails, which is the same as knowing nothing.
    fn with<R>(&self, ask: impl Fn(&BaseReader) -> Result<R, ManifestError>) -> Option<R> {
        let kept = lock(&self.readers).pop().filter(|reader| !reader.is_replaced());
        let reader = match kept.map_or_else(|| BaseReader::open(&self.home), Ok) {
            Ok(reader) => reader,
            Err(e) => {
                self.note(&e);
                return None;
            }
        };
        match ask(&reader) {
            Ok(found) => {
                let mut readers = lock(&self.readers);
                if readers.len() < MAX_READERS {
                    readers.push(reader);
                }
                Some(found)
            }
            Err(e) => {
                self.note(&e);
                None
            }
        }
    }

    fn note(&self, error: &ManifestError) {
        match error {
            // The coordinator is about to make it.
            ManifestError::Missing { .. } => {}
            ManifestError::Newer { .. } => *lock(&self.off) = Some(error.to_string()),
            other => tracing::warn!("{other}"),
        }
    }
}

impl SharedFiles for Base {
    fn under(&self, folder: &Path) -> Vec<KnownFile> {
        let Ok(folder) = AbsPath::try_from(folder) else { return Vec::new() };
        self.with(|reader| reader.known_files_under(&folder)).unwrap_or_default()
    }
}
