//! Writing the base manifest.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use vrift_core::digest::Digest;
use vrift_core::home::Home;
use vrift_core::wire::{InsertParams, KnownFile};

use super::audit::Audit;
use super::codec::{self, MAX_RECORD};
use super::compare;
use super::db::{Db, move_aside};
use super::rows::{BASE, digest};
use super::{Counts, ManifestError, StoredAction};
use crate::cas::{Blob, Cas, Found};

/// Stored results per key. More than this many situations of one command are more likely noise than use, and each of them
/// is looked at on a miss.
pub const MAX_CANDIDATES: usize = 64;

/// The base manifest's writer.
#[derive(Debug)]
pub struct BaseWriter {
    db: Db,
}

impl BaseWriter {
    /// Opens the base manifest of `home`, creating and migrating it as needed.
    ///
    /// # Errors
    /// [`ManifestError::Corrupt`], [`ManifestError::Newer`] and [`ManifestError::Unwritable`] among others; in each case
    /// nothing was changed.
    pub fn open(home: &Home) -> Result<Self, ManifestError> {
        Ok(Self { db: Db::open_write(&home.manifest(), &BASE)? })
    }

    /// As [`BaseWriter::open`], but a damaged manifest is moved aside and a fresh one takes its place, with the store's blobs
    /// in it: all actions become misses. Then a line for the user comes along.
    ///
    /// # Errors
    /// [`ManifestError::Newer`]: a newer vrift's manifest is left alone. Others as in [`BaseWriter::open`].
    pub fn open_or_rebuild(home: &Home) -> Result<(Self, Option<String>), ManifestError> {
        match Self::open(home) {
            Ok(writer) => Ok((writer, None)),
            Err(error) if error.is_corrupt() => {
                let (writer, notice) = Self::rebuild(home, &error)?;
                Ok((writer, Some(notice)))
            }
            Err(error) => Err(error),
        }
    }

    /// Moves the manifest aside because of `damage` and makes a fresh one. For damage that shows later than at opening: drop
    /// the writer that met it, then call this.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn rebuild(home: &Home, damage: &ManifestError) -> Result<(Self, String), ManifestError> {
        let aside = move_aside(&home.manifest())?;
        let mut writer = Self::open(home)?;
        // Without the blobs' rows nothing goes wrong: they are added again as actions need them.
        let known = writer.add_missing_blobs(&Cas::open(home.the_source()));
        let blobs = known.map_or_else(|_| String::new(), |n| format!(", {n} blobs kept"));
        Ok((writer, format!("{damage}; it was moved to `{}` and a new one was made{blobs}", aside.display())))
    }

    fn add_missing_blobs(&mut self, cas: &Cas) -> Result<u64, ManifestError> {
        let found = cas.blobs().map_err(|e| self.db.corrupt(e.to_string()))?;
        let blobs: Vec<Blob> = found
            .filter_map(|found| match found {
                Ok(Found::Blob(found)) => Some(found.blob),
                _ => None,
            })
            .collect();
        self.insert_blobs(&blobs)?;
        Ok(blobs.len() as u64)
    }

    /// Stores actions, all or none. Returns their rows, in order.
    ///
    /// An action whose result was stored before under the same conditions (key, inputs, variables, bound roots) replaces it
    /// under a new row; one that is the same in its outputs too only counts as a use of it. At most [`MAX_CANDIDATES`] stay
    /// per key, the least recently used ones go.
    ///
    /// # Errors
    /// [`ManifestError::TooLarge`], [`ManifestError::Full`] and others.
    pub fn insert_actions(&mut self, actions: &[InsertParams]) -> Result<Vec<i64>, ManifestError> {
        self.insert_actions_at(actions, now())
    }

    pub(crate) fn insert_actions_at(&mut self, actions: &[InsertParams], at: i64) -> Result<Vec<i64>, ManifestError> {
        let err = self.db.err();
        let encoded: Vec<Vec<u8>> = actions.iter().map(|action| codec::encode(&action.record)).collect();
        if let Some((action, bytes)) = actions.iter().zip(&encoded).find(|(_, bytes)| bytes.len() > MAX_RECORD) {
            return Err(ManifestError::TooLarge { label: action.record.label.clone(), bytes: bytes.len() });
        }
        let tx = self.db.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&err)?;
        let mut ids = Vec::with_capacity(actions.len());
        for (action, bytes) in actions.iter().zip(&encoded) {
            ids.push(insert_action(&tx, action, bytes, at).map_err(&err)?);
        }
        tx.commit().map_err(err)?;
        Ok(ids)
    }

    /// Notes that actions were restored, and forgets others with what refers to them. Rows that are gone are no error.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn touch(&mut self, hit: &[i64], forget: &[i64]) -> Result<(), ManifestError> {
        self.touch_at(hit, forget, now())
    }

    pub(crate) fn touch_at(&mut self, hit: &[i64], forget: &[i64], at: i64) -> Result<(), ManifestError> {
        let err = self.db.err();
        let tx = self.db.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&err)?;
        let change = || -> rusqlite::Result<()> {
            let mut used = tx.prepare_cached("UPDATE actions SET used_at = max(used_at, ?), uses = uses + 1 WHERE id = ?")?;
            for id in hit {
                used.execute([at, *id])?;
            }
            let mut gone = tx.prepare_cached("DELETE FROM actions WHERE id = ?")?;
            for id in forget {
                gone.execute([id])?;
            }
            Ok(())
        };
        change().map_err(&err)?;
        tx.commit().map_err(err)
    }

    /// Stores what is known of files in shared trees; what was known of the same paths is replaced.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn insert_files(&mut self, files: &[KnownFile]) -> Result<(), ManifestError> {
        let err = self.db.err();
        let tx = self.db.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&err)?;
        let change = || -> rusqlite::Result<()> {
            let sql = "INSERT OR REPLACE INTO files (path, dev, ino, size, mtime_ns, ctime_ns, mode, digest)
                       VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
            let mut insert = tx.prepare_cached(sql)?;
            for KnownFile { path, stamp, digest } in files {
                insert.execute(params![
                    path.as_bytes(),
                    stamp.dev.cast_signed(),
                    stamp.ino.cast_signed(),
                    stamp.size.cast_signed(),
                    stamp.mtime_ns,
                    stamp.ctime_ns,
                    stamp.mode,
                    digest.as_bytes(),
                ])?;
            }
            Ok(())
        };
        change().map_err(&err)?;
        tx.commit().map_err(err)
    }

    /// How much is in the manifest.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn counts(&self) -> Result<Counts, ManifestError> {
        self.db.counts()
    }

    /// The actions with this key, newest first.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn candidates(&self, key: &Digest) -> Result<Vec<StoredAction>, ManifestError> {
        self.db.candidates(key)
    }

    /// What is wrong where the database, or its log, was removed or replaced while this writer has it open. What it writes then
    /// reaches nobody: drop it, and [`BaseWriter::rebuild`].
    pub fn loss(&self) -> Option<ManifestError> {
        self.db.is_replaced().then(|| self.db.corrupt("it was removed or replaced while it was in use"))
    }

    /// The database's path, for messages.
    pub fn path(&self) -> &Path {
        &self.db.path
    }

    pub(crate) fn audit(&self) -> Audit<'_> {
        Audit(&self.db)
    }

    pub(crate) fn insert_blobs(&mut self, blobs: &[Blob]) -> Result<(), ManifestError> {
        let err = self.db.err();
        let tx = self.db.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&err)?;
        blobs.iter().try_for_each(|blob| insert_blob(&tx, blob)).map_err(&err)?;
        tx.commit().map_err(err)
    }

    /// Removes rows of blobs; one that an action still refers to stays.
    pub(crate) fn remove_blobs(&mut self, blobs: &[Blob]) -> Result<(), ManifestError> {
        let err = self.db.err();
        let tx = self.db.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&err)?;
        let change = || -> rusqlite::Result<()> {
            let sql = "DELETE FROM blobs WHERE digest = ?1 AND exec = ?2
                       AND NOT EXISTS (SELECT 1 FROM action_blobs WHERE digest = ?1 AND exec = ?2)";
            let mut delete = tx.prepare_cached(sql)?;
            for blob in blobs {
                delete.execute(params![blob.digest.as_bytes(), blob.exec])?;
            }
            Ok(())
        };
        change().map_err(&err)?;
        tx.commit().map_err(err)
    }

    /// Gives freed pages back to the file system.
    pub(crate) fn shrink(&mut self) -> Result<(), ManifestError> {
        self.db.conn.execute_batch("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(PASSIVE);").map_err(self.db.err())
    }
}

fn insert_action(tx: &Transaction<'_>, action: &InsertParams, bytes: &[u8], at: i64) -> rusqlite::Result<i64> {
    let InsertParams { record, project } = action;
    let (conditions, outcome) = (compare::conditions(record), compare::outcome(record));
    let existing = tx
        .prepare_cached("SELECT id, outcome FROM actions WHERE key = ? AND conditions = ?")?
        .query_row([record.key.as_bytes(), conditions.as_bytes()], |row| Ok((row.get::<_, i64>(0)?, digest(row, 1)?)))
        .optional()?;
    match existing {
        Some((id, old)) if old == outcome => {
            tx.prepare_cached("UPDATE actions SET used_at = max(used_at, ?) WHERE id = ?")?.execute([at, id])?;
            return Ok(id);
        }
        Some((id, _)) => {
            tx.prepare_cached("DELETE FROM actions WHERE id = ?")?.execute([id])?;
        }
        None => {}
    }
    let sql = "INSERT INTO actions (key, conditions, outcome, label, tool, project, bound, created_at, used_at, wall_us, cpu_us, \
               record) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10, ?11)";
    let id = tx.prepare_cached(sql)?.insert(params![
        record.key.as_bytes(),
        conditions.as_bytes(),
        outcome.as_bytes(),
        record.label,
        record.request.tool.name(),
        project.to_hex(),
        !record.bound.is_empty(),
        at,
        record.wall_us.cast_signed(),
        record.cpu_us.cast_signed(),
        bytes,
    ])?;
    for blob in record.outputs.iter().filter_map(Blob::of_output) {
        insert_blob(tx, &blob)?;
        tx.prepare_cached("INSERT OR IGNORE INTO action_blobs (action_id, digest, exec) VALUES (?, ?, ?)")?.execute(params![
            id,
            blob.digest.as_bytes(),
            blob.exec
        ])?;
    }
    let sql = "DELETE FROM actions WHERE id IN
               (SELECT id FROM actions WHERE key = ? AND id <> ? ORDER BY used_at DESC, id DESC LIMIT -1 OFFSET ?)";
    tx.prepare_cached(sql)?.execute(params![record.key.as_bytes(), id, (MAX_CANDIDATES - 1) as i64])?;
    Ok(id)
}

fn insert_blob(tx: &Transaction<'_>, blob: &Blob) -> rusqlite::Result<()> {
    tx.prepare_cached("INSERT OR IGNORE INTO blobs (digest, exec, size) VALUES (?, ?, ?)")?.execute(params![
        blob.digest.as_bytes(),
        blob.exec,
        blob.size.cast_signed()
    ])?;
    Ok(())
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|d| i64::try_from(d.as_secs()).ok()).unwrap_or_default()
}
