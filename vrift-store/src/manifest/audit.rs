//! Reading a whole base manifest, for upkeep.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::ManifestError;
use super::codec;
use super::db::Db;
use super::rows::{blob, digest};
use crate::cas::Blob;

/// An action and the blobs that it needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ActionUse {
    pub(crate) id: i64,
    pub(crate) label: String,
    pub(crate) blobs: Vec<Blob>,
}

/// Everything in one base manifest.
pub(crate) struct Audit<'a>(pub(super) &'a Db);

impl Audit<'_> {
    /// What SQLite's own check of the whole file finds; empty where all is well.
    pub(crate) fn integrity(&self) -> Result<Vec<String>, ManifestError> {
        self.0.integrity()
    }

    /// All blobs that the manifest knows of.
    pub(crate) fn blobs(&self) -> Result<BTreeSet<Blob>, ManifestError> {
        let err = self.0.err();
        let mut statement = self.0.conn.prepare("SELECT digest, exec, size FROM blobs").map_err(&err)?;
        let rows = statement
            .query_map([], |row| {
                Ok(Blob { digest: digest(row, 0)?, exec: row.get(1)?, size: row.get::<_, i64>(2)?.cast_unsigned() })
            })
            .map_err(&err)?;
        rows.collect::<Result<_, _>>().map_err(err)
    }

    /// All actions with the blobs that they need, least recently used first.
    pub(crate) fn uses(&self) -> Result<Vec<ActionUse>, ManifestError> {
        let err = self.0.err();
        let sql = "SELECT a.action_id, b.digest, b.exec, b.size FROM action_blobs a
                   JOIN blobs b ON b.digest = a.digest AND b.exec = a.exec";
        let mut blobs: HashMap<i64, Vec<Blob>> = HashMap::new();
        let mut statement = self.0.conn.prepare(sql).map_err(&err)?;
        let mut rows = statement.query([]).map_err(&err)?;
        let mut read = || -> rusqlite::Result<()> {
            while let Some(row) = rows.next()? {
                let size = row.get::<_, i64>(3)?.cast_unsigned();
                let blob = Blob { digest: digest(row, 1)?, exec: row.get(2)?, size };
                blobs.entry(row.get(0)?).or_default().push(blob);
            }
            Ok(())
        };
        read().map_err(&err)?;
        let mut statement = self.0.conn.prepare("SELECT id, label FROM actions ORDER BY used_at, id").map_err(&err)?;
        let actions = statement
            .query_map([], |row| {
                let id = row.get(0)?;
                Ok(ActionUse { id, label: row.get(1)?, blobs: blobs.remove(&id).unwrap_or_default() })
            })
            .map_err(&err)?;
        actions.collect::<Result<_, _>>().map_err(err)
    }

    /// Rows whose record cannot be read or does not fit its row, with their labels.
    pub(crate) fn bad_records(&self) -> Result<BTreeMap<i64, String>, ManifestError> {
        let err = self.0.err();
        let mut statement = self.0.conn.prepare("SELECT id, key, label, record FROM actions").map_err(&err)?;
        let mut rows = statement.query([]).map_err(&err)?;
        let mut bad = BTreeMap::new();
        while let Some(row) = rows.next().map_err(&err)? {
            let read = || -> rusqlite::Result<Option<(i64, String)>> {
                let key = digest(row, 1)?;
                let sound = codec::decode(blob(row, 3)?).is_ok_and(|record| record.key == key);
                Ok(if sound { None } else { Some((row.get(0)?, row.get(2)?)) })
            };
            bad.extend(read().map_err(&err)?);
        }
        Ok(bad)
    }
}
