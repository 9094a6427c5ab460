//! Walking over everything that is in the store.

use std::fs::{self, Metadata, ReadDir};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::{Blob, Cas, CasError};

/// A blob's file.
#[derive(Debug)]
pub struct FoundBlob {
    /// The blob that its name says it is.
    pub blob: Blob,
    /// Where it is.
    pub path: PathBuf,
    /// Its attributes.
    pub meta: Metadata,
}

/// What lies in the store's folders.
#[derive(Debug)]
pub enum Found {
    /// A blob under its proper name. Nothing is said about its content.
    Blob(Box<FoundBlob>),
    /// Something that no store of this version puts there.
    Stray(PathBuf),
}

/// The store in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Blobs.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What they take on the disk, bytes.
    pub disk: u64,
    /// Of `disk`, what belongs to blobs that have no other name: removing them would free it.
    pub disk_unshared: u64,
}

impl Cas {
    /// Everything under `blake3/`, in no order. What vanishes meanwhile is passed over.
    ///
    /// # Errors
    /// [`CasError::Io`] where a folder cannot be listed.
    pub fn blobs(&self) -> Result<Blobs, CasError> {
        let root = self.dir.join("blake3");
        let top = match fs::read_dir(&root) {
            Ok(list) => vec![(root, list)],
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(CasError::io("list", root)(e)),
        };
        Ok(Blobs { open: top })
    }

    /// The store in numbers. Looks at every blob.
    ///
    /// # Errors
    /// [`CasError::Io`] where a folder cannot be listed.
    pub fn totals(&self) -> Result<Totals, CasError> {
        let mut totals = Totals::default();
        for found in self.blobs()? {
            let Found::Blob(found) = found? else { continue };
            totals.blobs += 1;
            totals.bytes += found.meta.size();
            totals.disk += disk_bytes(&found.meta);
            if found.meta.nlink() == 1 {
                totals.disk_unshared += disk_bytes(&found.meta);
            }
        }
        Ok(totals)
    }
}

/// What a file takes on the disk, bytes.
pub(crate) fn disk_bytes(meta: &Metadata) -> u64 {
    meta.blocks().saturating_mul(512)
}

/// See [`Cas::blobs`].
#[derive(Debug)]
pub struct Blobs {
    /// The folders being listed, outermost first: at most `blake3`, `ab` and `cd`.
    open: Vec<(PathBuf, ReadDir)>,
}

/// Depth at which blobs lie: `blake3/ab/cd`.
const BLOB_DEPTH: usize = 3;

impl Iterator for Blobs {
    type Item = Result<Found, CasError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let depth = self.open.len();
            let (dir, list) = self.open.last_mut()?;
            let entry = match list.next() {
                None => {
                    self.open.pop();
                    continue;
                }
                Some(Err(e)) => {
                    let error = CasError::io("list", &*dir)(e);
                    self.open.pop();
                    return Some(Err(error));
                }
                Some(Ok(entry)) => entry,
            };
            let path = entry.path();
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Some(Err(CasError::io("look at", path)(e))),
            };
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            if depth < BLOB_DEPTH {
                if !meta.is_dir() || !is_shard(name) {
                    return Some(Ok(Found::Stray(path)));
                }
                match fs::read_dir(&path) {
                    Ok(list) => self.open.push((path, list)),
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Some(Err(CasError::io("list", path)(e))),
                }
                continue;
            }
            let blob = Blob::parse(name).filter(|_| in_its_shard(&path, name));
            return Some(Ok(match blob {
                Some(blob) => Found::Blob(Box::new(FoundBlob { blob, path, meta })),
                None => Found::Stray(path),
            }));
        }
    }
}

fn is_shard(name: &str) -> bool {
    name.len() == 2 && name.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

fn in_its_shard(path: &std::path::Path, name: &str) -> bool {
    let mut up = path.ancestors().skip(1).filter_map(|dir| dir.file_name()?.to_str());
    (up.next(), up.next()) == (Some(&name[2..4]), Some(&name[..2]))
}
