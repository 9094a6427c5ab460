//! The delta manifest: what is known of one project's own files.

use std::path::{Path, PathBuf};

use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Row, TransactionBehavior, params};
use vrift_core::digest::Digest;
use vrift_core::identity::ProjectId;
use vrift_core::paths::{AbsPath, ProjectPath};
use vrift_core::wire::Stamp;

use super::ManifestError;
use super::db::{Db, Schema, move_aside};
use super::rows::{blob, digest, stamp};

/// The delta's versions. docs/formats.md explains the columns.
const DELTA: Schema = Schema {
    migrations: &["
        CREATE TABLE meta (
            name  TEXT PRIMARY KEY,
            value ANY
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE files (
            path     BLOB PRIMARY KEY,
            digest   BLOB CHECK (length(digest) = 32),
            dev      INTEGER NOT NULL DEFAULT 0,
            ino      INTEGER NOT NULL DEFAULT 0,
            size     INTEGER NOT NULL DEFAULT 0,
            mtime_ns INTEGER NOT NULL DEFAULT 0,
            ctime_ns INTEGER NOT NULL DEFAULT 0,
            mode     INTEGER NOT NULL DEFAULT 0,
            tier     INTEGER NOT NULL DEFAULT 0 CHECK (tier BETWEEN 0 AND 2)
        ) STRICT, WITHOUT ROWID;
    "],
};

/// How a file may change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Tier {
    /// An ordinary file, not projected.
    #[default]
    Plain = 0,
    /// Immutable: toolchains, registry sources.
    Immutable = 1,
    /// Mutable: a hard link to a blob, replaced before it is written.
    Mutable = 2,
}

/// A file of the project.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeltaFile {
    /// Its content.
    pub digest: Digest,
    /// How `stat` showed it when it was hashed.
    pub stamp: Stamp,
    /// How it may change.
    pub tier: Tier,
}

/// What the delta says of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeltaEntry {
    /// A file.
    File(DeltaFile),
    /// The project has nothing there, whatever the base knows.
    Tombstone,
}

/// An entry and its path.
pub type DeltaRow = (ProjectPath, DeltaEntry);

/// A project's delta manifest.
#[derive(Debug)]
pub struct DeltaWriter {
    db: Db,
}

impl DeltaWriter {
    /// The database in a project's state folder (see [`crate::state_dir`]).
    pub fn file(state_dir: &Path) -> PathBuf {
        state_dir.join("manifest.db")
    }

    /// Opens the delta of the project `id`, creating and migrating it as needed. One that came along with a copy of another
    /// checkout is emptied: its inodes and times are those of other files.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn open(state_dir: &Path, id: ProjectId) -> Result<Self, ManifestError> {
        let db = Db::open_write(&Self::file(state_dir), &DELTA)?;
        let mut delta = Self { db };
        delta.claim(id)?;
        Ok(delta)
    }

    /// As [`DeltaWriter::open`], but a damaged delta is moved aside and an empty one takes its place: the project's files are
    /// hashed anew. Then a line for the user comes along.
    ///
    /// # Errors
    /// [`ManifestError::Newer`] and others.
    pub fn open_or_rebuild(state_dir: &Path, id: ProjectId) -> Result<(Self, Option<String>), ManifestError> {
        match Self::open(state_dir, id) {
            Err(damage) if damage.is_corrupt() => Self::rebuild(state_dir, id, &damage).map(|(delta, line)| (delta, Some(line))),
            other => Ok((other?, None)),
        }
    }

    /// As [`DeltaWriter::open_or_rebuild`], with all entries: some damage shows only when everything is read.
    ///
    /// # Errors
    /// [`ManifestError::Newer`] and others.
    pub fn open_and_load(state_dir: &Path, id: ProjectId) -> Result<(Self, Vec<DeltaRow>, Option<String>), ManifestError> {
        let (delta, line) = Self::open_or_rebuild(state_dir, id)?;
        match delta.load_all() {
            Err(damage) if damage.is_corrupt() => {
                drop(delta);
                let (delta, line) = Self::rebuild(state_dir, id, &damage)?;
                Ok((delta, Vec::new(), Some(line)))
            }
            other => Ok((delta, other?, line)),
        }
    }

    /// Moves the delta aside because of `damage` and makes an empty one. For damage that shows later than at opening: drop the
    /// writer that met it, then call this. Returns a line for the user, too.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn rebuild(state_dir: &Path, id: ProjectId, damage: &ManifestError) -> Result<(Self, String), ManifestError> {
        let aside = set_aside(state_dir)?;
        let line = format!("{damage}; it was moved to `{}` and a new one was made", aside.display());
        Ok((Self::open(state_dir, id)?, line))
    }

    fn claim(&mut self, id: ProjectId) -> Result<(), ManifestError> {
        let err = self.db.err();
        let id = id.to_hex();
        let owner = self.db.conn.query_row("SELECT value FROM meta WHERE name = 'project'", [], |row| row.get::<_, String>(0));
        if owner.optional().map_err(&err)?.is_some_and(|owner| owner == id) {
            return Ok(());
        }
        let tx = self.db.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&err)?;
        tx.execute("DELETE FROM files", []).map_err(&err)?;
        tx.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('project', ?)", [id]).map_err(&err)?;
        tx.commit().map_err(err)
    }

    /// What the delta says of a path; `None` where it says nothing.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn get(&self, path: &ProjectPath) -> Result<Option<DeltaEntry>, ManifestError> {
        let err = self.db.err();
        let sql = "SELECT path, digest, dev, ino, size, mtime_ns, ctime_ns, mode, tier FROM files WHERE path = ?";
        let mut statement = self.db.conn.prepare_cached(sql).map_err(&err)?;
        statement.query_row([path.as_bytes()], entry).optional().map_err(err)
    }

    /// Sets entries, all or none.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn put(&mut self, entries: &[(ProjectPath, DeltaEntry)]) -> Result<(), ManifestError> {
        let err = self.db.err();
        let tx = self.db.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&err)?;
        let change = || -> rusqlite::Result<()> {
            let sql = "INSERT OR REPLACE INTO files (path, digest, dev, ino, size, mtime_ns, ctime_ns, mode, tier)
                       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
            let mut insert = tx.prepare_cached(sql)?;
            let mut bury = tx.prepare_cached("INSERT OR REPLACE INTO files (path) VALUES (?)")?;
            for (path, entry) in entries {
                match entry {
                    DeltaEntry::Tombstone => bury.execute([path.as_bytes()])?,
                    DeltaEntry::File(DeltaFile { digest, stamp, tier }) => insert.execute(params![
                        path.as_bytes(),
                        digest.as_bytes(),
                        stamp.dev.cast_signed(),
                        stamp.ino.cast_signed(),
                        stamp.size.cast_signed(),
                        stamp.mtime_ns,
                        stamp.ctime_ns,
                        stamp.mode,
                        *tier as i64,
                    ])?,
                };
            }
            Ok(())
        };
        change().map_err(&err)?;
        tx.commit().map_err(err)
    }

    /// What is wrong where the database, or its log, was removed or replaced while this writer has it open: drop it, and
    /// [`DeltaWriter::rebuild`].
    pub fn loss(&self) -> Option<ManifestError> {
        self.db.is_replaced().then(|| self.db.corrupt("it was removed or replaced while it was in use"))
    }

    /// Removes entries, all or none: the delta then says nothing of these paths.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn remove(&mut self, paths: &[ProjectPath]) -> Result<(), ManifestError> {
        let err = self.db.err();
        let tx = self.db.conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&err)?;
        let change = || -> rusqlite::Result<()> {
            let mut delete = tx.prepare_cached("DELETE FROM files WHERE path = ?")?;
            for path in paths {
                delete.execute([path.as_bytes()])?;
            }
            Ok(())
        };
        change().map_err(&err)?;
        tx.commit().map_err(err)
    }

    /// All entries, by path.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn load_all(&self) -> Result<Vec<DeltaRow>, ManifestError> {
        let err = self.db.err();
        let sql = "SELECT path, digest, dev, ino, size, mtime_ns, ctime_ns, mode, tier FROM files ORDER BY path";
        let mut statement = self.db.conn.prepare_cached(sql).map_err(&err)?;
        let mut rows = statement.query([]).map_err(&err)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().map_err(&err)? {
            let stored = blob(row, 0).map_err(&err)?;
            // A path that leaves the project was not put there by us: it is passed over.
            if let Some(path) = project_path(stored) {
                all.push((path, entry(row).map_err(&err)?));
            }
        }
        Ok(all)
    }
}

/// What SQLite's own check of the delta in a state folder finds; empty where all is well or there is none. Changes nothing.
pub(crate) fn integrity(state_dir: &Path) -> Result<Vec<String>, ManifestError> {
    match Db::open_read(&DeltaWriter::file(state_dir), &DELTA) {
        Ok(db) => db.integrity(),
        Err(ManifestError::Missing { .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Moves the delta in a state folder aside; its project's worker makes a new one. Returns where it is now.
pub(crate) fn set_aside(state_dir: &Path) -> Result<PathBuf, ManifestError> {
    move_aside(&DeltaWriter::file(state_dir))
}

fn entry(row: &Row<'_>) -> rusqlite::Result<DeltaEntry> {
    if row.get_ref(1)? == rusqlite::types::ValueRef::Null {
        return Ok(DeltaEntry::Tombstone);
    }
    let tier = match row.get::<_, i64>(8)? {
        0 => Tier::Plain,
        1 => Tier::Immutable,
        2 => Tier::Mutable,
        _ => return Err(rusqlite::Error::InvalidColumnType(8, "tier".to_owned(), Type::Integer)),
    };
    Ok(DeltaEntry::File(DeltaFile { digest: digest(row, 1)?, stamp: stamp(row, 2)?, tier }))
}

/// The path of stored bytes; `None` where they are not clean.
fn project_path(stored: &[u8]) -> Option<ProjectPath> {
    let mut absolute = vec![b'/'];
    absolute.extend_from_slice(stored);
    let path = ProjectPath::new(&AbsPath::new(b"/").ok()?, &AbsPath::new(&absolute).ok()?).ok()?;
    (path.as_bytes() == stored).then_some(path)
}

#[cfg(test)]
#[path = "delta_tests.rs"]
mod tests;
