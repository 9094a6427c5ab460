//! The base manifest's schema, and what its reader and writer share.

use std::ops::Range;

use rusqlite::types::Type;
use rusqlite::{OptionalExtension, Params, Row, params};
use vrift_core::digest::Digest;
use vrift_core::paths::AbsPath;
use vrift_core::wire::{KnownFile, Stamp};

use super::db::{Db, Schema};
use super::{Counts, ManifestError, StoredAction, codec};

/// The base manifest's versions. docs/formats.md explains the columns.
pub(super) const BASE: Schema = Schema {
    migrations: &["
        CREATE TABLE meta (
            name  TEXT PRIMARY KEY,
            value ANY
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE blobs (
            digest BLOB    NOT NULL CHECK (length(digest) = 32),
            exec   INTEGER NOT NULL CHECK (exec IN (0, 1)),
            size   INTEGER NOT NULL,
            PRIMARY KEY (digest, exec)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE actions (
            id         INTEGER PRIMARY KEY AUTOINCREMENT,
            key        BLOB    NOT NULL CHECK (length(key) = 32),
            conditions BLOB    NOT NULL CHECK (length(conditions) = 32),
            outcome    BLOB    NOT NULL CHECK (length(outcome) = 32),
            label      TEXT    NOT NULL,
            tool       TEXT    NOT NULL,
            project    TEXT    NOT NULL,
            bound      INTEGER NOT NULL CHECK (bound IN (0, 1)),
            created_at INTEGER NOT NULL,
            used_at    INTEGER NOT NULL,
            uses       INTEGER NOT NULL DEFAULT 0,
            wall_us    INTEGER NOT NULL,
            cpu_us     INTEGER NOT NULL,
            record     BLOB    NOT NULL,
            UNIQUE (key, conditions)
        ) STRICT;
        CREATE INDEX actions_by_label ON actions (label, id);
        CREATE INDEX actions_by_use ON actions (used_at, id);
        CREATE TABLE action_blobs (
            action_id INTEGER NOT NULL REFERENCES actions (id) ON DELETE CASCADE,
            digest    BLOB    NOT NULL,
            exec      INTEGER NOT NULL,
            PRIMARY KEY (action_id, digest, exec),
            FOREIGN KEY (digest, exec) REFERENCES blobs (digest, exec) ON DELETE RESTRICT
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX action_blobs_by_blob ON action_blobs (digest, exec);
        CREATE TABLE files (
            path     BLOB PRIMARY KEY,
            dev      INTEGER NOT NULL,
            ino      INTEGER NOT NULL,
            size     INTEGER NOT NULL,
            mtime_ns INTEGER NOT NULL,
            ctime_ns INTEGER NOT NULL,
            mode     INTEGER NOT NULL,
            digest   BLOB    NOT NULL CHECK (length(digest) = 32)
        ) STRICT, WITHOUT ROWID;
    "],
};

impl Db {
    pub(super) fn candidate_ids(&self, key: &Digest) -> Result<Vec<i64>, ManifestError> {
        let err = self.err();
        let mut statement = self.conn.prepare_cached("SELECT id FROM actions WHERE key = ? ORDER BY id DESC").map_err(&err)?;
        let ids = statement.query_map([key.as_bytes()], |row| row.get(0)).map_err(&err)?;
        ids.collect::<Result<_, _>>().map_err(err)
    }

    pub(super) fn action(&self, id: i64) -> Result<Option<StoredAction>, ManifestError> {
        let err = self.err();
        let mut statement = self.conn.prepare_cached("SELECT record FROM actions WHERE id = ?").map_err(&err)?;
        let stored = statement.query_row([id], |row| Ok(codec::decode(blob(row, 0)?))).optional().map_err(err)?;
        Ok(stored.and_then(Result::ok).map(|record| StoredAction { id, record }))
    }

    pub(super) fn candidates(&self, key: &Digest) -> Result<Vec<StoredAction>, ManifestError> {
        let mut found = self.all("SELECT id, record FROM actions WHERE key = ? ORDER BY id DESC", [key.as_bytes()])?;
        found.retain(|stored| stored.record.key == *key);
        Ok(found)
    }

    pub(super) fn actions(&self, rows: Range<i64>) -> Result<Vec<StoredAction>, ManifestError> {
        self.all("SELECT id, record FROM actions WHERE id >= ? AND id < ?", [rows.start, rows.end])
    }

    fn all(&self, sql: &str, params: impl Params) -> Result<Vec<StoredAction>, ManifestError> {
        let err = self.err();
        let mut statement = self.conn.prepare_cached(sql).map_err(&err)?;
        let mut rows = statement.query(params).map_err(&err)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(&err)? {
            // What does not decode (damage, another version) is passed over; fsck removes it.
            if let Ok(record) = codec::decode(blob(row, 1).map_err(&err)?) {
                found.push(StoredAction { id: row.get(0).map_err(&err)?, record });
            }
        }
        Ok(found)
    }

    pub(super) fn newest(&self, key: &Digest) -> Result<Option<StoredAction>, ManifestError> {
        self.first("SELECT id, record FROM actions WHERE key = ? ORDER BY id DESC LIMIT 1", [key.as_bytes()])
    }

    pub(super) fn nearest(&self, label: &str) -> Result<Option<StoredAction>, ManifestError> {
        self.first("SELECT id, record FROM actions WHERE label = ? ORDER BY id DESC LIMIT 1", [label])
    }

    fn first(&self, sql: &str, params: impl Params) -> Result<Option<StoredAction>, ManifestError> {
        let err = self.err();
        let mut statement = self.conn.prepare_cached(sql).map_err(&err)?;
        let stored =
            statement.query_row(params, |row| Ok((row.get(0)?, codec::decode(blob(row, 1)?)))).optional().map_err(err)?;
        Ok(stored.and_then(|(id, record)| Some(StoredAction { id, record: record.ok()? })))
    }

    pub(super) fn known_file(&self, path: &AbsPath) -> Result<Option<KnownFile>, ManifestError> {
        let err = self.err();
        let sql = "SELECT path, dev, ino, size, mtime_ns, ctime_ns, mode, digest FROM files WHERE path = ?";
        let mut statement = self.conn.prepare_cached(sql).map_err(&err)?;
        let found = statement.query_row([path.as_bytes()], known_file).optional().map_err(err)?;
        Ok(found.flatten())
    }

    pub(super) fn known_files_under(&self, folder: &AbsPath) -> Result<Vec<KnownFile>, ManifestError> {
        let err = self.err();
        // Everything that starts with the folder and a slash sorts from there up to the folder and `0`, the next byte.
        let (mut from, mut to) = (folder.as_bytes().to_vec(), folder.as_bytes().to_vec());
        if from != b"/" {
            from.push(b'/');
            to.push(b'0');
        } else {
            to = vec![b'0'];
        }
        let sql = "SELECT path, dev, ino, size, mtime_ns, ctime_ns, mode, digest FROM files WHERE path > ? AND path < ?";
        let mut statement = self.conn.prepare_cached(sql).map_err(&err)?;
        let rows = statement.query_map(params![from, to], known_file).map_err(&err)?;
        let found: Result<Vec<_>, _> = rows.collect();
        Ok(found.map_err(err)?.into_iter().flatten().collect())
    }

    pub(super) fn counts(&self) -> Result<Counts, ManifestError> {
        let err = self.err();
        let sql = "SELECT (SELECT count(*) FROM actions), (SELECT count(*) FROM blobs),
                   (SELECT coalesce(sum(size), 0) FROM blobs), (SELECT count(*) FROM files)";
        let mut statement = self.conn.prepare_cached(sql).map_err(&err)?;
        statement
            .query_row([], |row| {
                Ok(Counts {
                    actions: unsigned(row, 0)?,
                    blobs: unsigned(row, 1)?,
                    blob_bytes: unsigned(row, 2)?,
                    files: unsigned(row, 3)?,
                })
            })
            .map_err(err)
    }

    /// A number that changes when another connection changes the database.
    pub(super) fn data_version(&self) -> Result<i64, ManifestError> {
        self.conn.prepare_cached("PRAGMA data_version").and_then(|mut s| s.query_row([], |row| row.get(0))).map_err(self.err())
    }

    /// What SQLite's own check of the whole file finds; empty where all is well.
    pub(super) fn integrity(&self) -> Result<Vec<String>, ManifestError> {
        let err = self.err();
        let mut found = Vec::new();
        for sql in ["PRAGMA integrity_check(20)", "PRAGMA foreign_key_check"] {
            let mut statement = self.conn.prepare(sql).map_err(&err)?;
            let mut rows = statement.query([]).map_err(&err)?;
            while let Some(row) = rows.next().map_err(&err)? {
                let line = match row.get_ref(0).and_then(|v| Ok(v.as_str()?.to_owned())) {
                    Ok(text) if text == "ok" => continue,
                    Ok(text) if sql.ends_with("foreign_key_check") => format!("a row of `{text}` refers to nothing"),
                    Ok(text) => text,
                    Err(_) => "a check that cannot be read".to_owned(),
                };
                found.push(line);
            }
        }
        Ok(found)
    }
}

/// A column that SQLite keeps signed and that holds the same 64 bits unsigned (device numbers, inodes).
pub(super) fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(column)?.cast_unsigned())
}

pub(super) fn blob<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a [u8]> {
    let value = row.get_ref(column)?;
    value.as_blob().map_err(|_| rusqlite::Error::InvalidColumnType(column, "blob".to_owned(), Type::Blob))
}

pub(super) fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Digest> {
    Digest::from_slice(blob(row, column)?)
        .ok_or_else(|| rusqlite::Error::InvalidColumnType(column, "digest".to_owned(), Type::Blob))
}

/// Columns from `first` on: dev, ino, size, mtime_ns, ctime_ns, mode.
pub(super) fn stamp(row: &Row<'_>, first: usize) -> rusqlite::Result<Stamp> {
    Ok(Stamp {
        dev: unsigned(row, first)?,
        ino: unsigned(row, first + 1)?,
        size: unsigned(row, first + 2)?,
        mtime_ns: row.get(first + 3)?,
        ctime_ns: row.get(first + 4)?,
        mode: row.get(first + 5)?,
    })
}

fn known_file(row: &Row<'_>) -> rusqlite::Result<Option<KnownFile>> {
    let Ok(path) = AbsPath::new(blob(row, 0)?) else { return Ok(None) };
    Ok(Some(KnownFile { path, stamp: stamp(row, 1)?, digest: digest(row, 7)? }))
}
