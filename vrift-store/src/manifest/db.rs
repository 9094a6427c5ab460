//! Opening a database: settings, versions, migrations.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::{BUSY_TIMEOUT, ManifestError};
use crate::fsio;

/// Statements kept prepared per connection.
const CACHED_STATEMENTS: usize = 32;

/// The write-ahead log is cut back to this after a checkpoint, bytes.
const JOURNAL_LIMIT: i64 = 64 << 20;

/// `VRFT`: marks a database as vrift's.
const APPLICATION_ID: i64 = 0x5652_4654;

/// How many damaged databases may lie aside before the oldest numbers are reused.
const MAX_DAMAGED: u32 = 100;

/// An open database and where it is, for messages.
#[derive(Debug)]
pub(super) struct Db {
    pub(super) conn: Connection,
    pub(super) path: PathBuf,
    /// Device and inode of the database and of its log when it was opened.
    files: [Option<(u64, u64)>; 2],
}

/// A kind of database: its migrations, of which the nth leads from version n to n + 1. Append only: never change one that
/// was released.
pub(super) struct Schema {
    pub(super) migrations: &'static [&'static str],
}

impl Schema {
    fn version(&self) -> i64 {
        self.migrations.len() as i64
    }
}

impl Db {
    /// Opens for writing, creating (0600) and migrating as needed.
    pub(super) fn open_write(path: &Path, schema: &Schema) -> Result<Self, ManifestError> {
        create_private(path)?;
        let err = ManifestError::sqlite(path);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let conn = Connection::open_with_flags(path, flags).map_err(&err)?;
        if conn.is_readonly("main").map_err(&err)? {
            // SQLite opens what it may not write as read-only, without a word.
            return Err(ManifestError::Unwritable { path: path.to_owned(), detail: "it is read-only".to_owned() });
        }
        let mut db = Self { conn, path: path.to_owned(), files: [None; 2] };
        db.settle()?;
        let found = db.version(schema)?;
        if db.conn.is_readonly("main").map_err(&err)? {
            // Known once the header was read: it says that a SQLite to come wrote the file, and ours never does.
            return Err(db.corrupt("its header is not one of ours"));
        }
        if found == 0 {
            // Counts only before the first table is made; gc gives freed pages back.
            db.conn.pragma_update(None, "auto_vacuum", "incremental").map_err(&err)?;
        }
        db.conn.pragma_update(None, "journal_mode", "wal").map_err(&err)?;
        db.conn.pragma_update(None, "synchronous", "normal").map_err(&err)?;
        db.conn.pragma_update(None, "journal_size_limit", JOURNAL_LIMIT).map_err(&err)?;
        db.migrate(found, schema)?;
        db.files = db.look();
        Ok(db)
    }

    /// Opens for reading. Nothing is created or migrated: an older version reads as [`ManifestError::Missing`], for the
    /// writer is about to migrate it.
    pub(super) fn open_read(path: &Path, schema: &Schema) -> Result<Self, ManifestError> {
        match fs::symlink_metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ManifestError::Missing { path: path.to_owned() }),
            Err(e) => return Err(ManifestError::io("look at", path)(e)),
            Ok(_) => {}
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let conn = Connection::open_with_flags(path, flags).map_err(ManifestError::sqlite(path))?;
        let mut db = Self { conn, path: path.to_owned(), files: [None; 2] };
        db.settle()?;
        if db.version(schema)? < schema.version() {
            return Err(ManifestError::Missing { path: path.to_owned() });
        }
        db.files = db.look();
        Ok(db)
    }

    /// Whether the database, or its log, was removed or replaced since it was opened. What is written here then reaches nobody
    /// else, and others cannot read.
    pub(super) fn is_replaced(&self) -> bool {
        self.look() != self.files
    }

    fn look(&self) -> [Option<(u64, u64)>; 2] {
        ["", "-wal"].map(|part| fs::symlink_metadata(beside(&self.path, part)).ok().map(|meta| (meta.dev(), meta.ino())))
    }

    pub(super) fn err(&self) -> impl Fn(rusqlite::Error) -> ManifestError + use<> {
        ManifestError::sqlite(&self.path)
    }

    pub(super) fn corrupt(&self, detail: impl Into<String>) -> ManifestError {
        ManifestError::Corrupt { path: self.path.clone(), detail: detail.into() }
    }

    /// What holds for every connection. The file may come with a checkout: its schema is not trusted to call functions.
    fn settle(&self) -> Result<(), ManifestError> {
        let err = self.err();
        self.conn.busy_timeout(BUSY_TIMEOUT).map_err(&err)?;
        self.conn.pragma_update(None, "trusted_schema", false).map_err(&err)?;
        self.conn.pragma_update(None, "foreign_keys", true).map_err(&err)?;
        self.conn.pragma_update(None, "cell_size_check", true).map_err(&err)?;
        self.conn.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        Ok(())
    }

    fn version(&self, schema: &Schema) -> Result<i64, ManifestError> {
        let err = self.err();
        // One transaction: somebody may be creating the tables between two questions.
        let _snapshot = self.conn.unchecked_transaction().map_err(&err)?;
        let get = |name: &str| self.conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(&err);
        let (found, application) = (get("user_version")?, get("application_id")?);
        // Asked first: whatever else a later version changes, what it wrote is left alone.
        if found > schema.version() {
            return Err(ManifestError::Newer { path: self.path.clone(), found, known: schema.version() });
        }
        // Migrations are one transaction, so ours has tables only together with a version.
        let tables = || self.conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).map_err(&err);
        if found < 0 || found > 0 && application != APPLICATION_ID || found == 0 && tables()? > 0 {
            return Err(self.corrupt("it is a database of another program"));
        }
        Ok(found)
    }

    fn migrate(&mut self, found: i64, schema: &Schema) -> Result<(), ManifestError> {
        if found == schema.version() {
            return Ok(());
        }
        let err = self.err();
        let tx = self.conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(&err)?;
        // Another process may have migrated it while this one waited for the lock.
        let found: i64 = tx.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(&err)?;
        for step in schema.migrations.iter().skip(usize::try_from(found).unwrap_or(usize::MAX)) {
            tx.execute_batch(step).map_err(&err)?;
        }
        tx.pragma_update(None, "application_id", APPLICATION_ID).map_err(&err)?;
        tx.pragma_update(None, "user_version", schema.version().max(found)).map_err(&err)?;
        tx.commit().map_err(&err)
    }
}

/// The file that belongs to the database at `path`, by what its name has on top.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Moves a damaged database and what belongs to it aside, as `<name>.damaged-<n>`. Returns where it is now.
pub(super) fn move_aside(path: &Path) -> Result<PathBuf, ManifestError> {
    let named = |suffix: &str| beside(path, suffix);
    let free = (1..MAX_DAMAGED).map(|n| format!(".damaged-{n}")).find(|suffix| fs::symlink_metadata(named(suffix)).is_err());
    let suffix = free.unwrap_or_else(|| format!(".damaged-{MAX_DAMAGED}"));
    // The database last: as long as it is there, a process that dies in between leaves a case for the next one.
    for part in ["-wal", "-shm", ""] {
        match fs::rename(named(part), named(&format!("{suffix}{part}"))) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(ManifestError::io("move aside", named(part))(e)),
            _ => {}
        }
    }
    Ok(named(&suffix))
}

/// SQLite creates files with the umask's mode and gives its helpers the mode of the database: so the database is created
/// first, private.
fn create_private(path: &Path) -> Result<(), ManifestError> {
    let unwritable = |e: io::Error| match e.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ManifestError::Full { path: path.to_owned() },
        _ => ManifestError::Unwritable { path: path.to_owned(), detail: e.to_string() },
    };
    if let Some(dir) = path.parent() {
        fsio::create_private_dir(dir).map_err(unwritable)?;
    }
    match fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(unwritable(e)),
        _ => Ok(()),
    }
}
