//! Is a blob what its name says?

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use vrift_core::digest::Digest;
use vrift_core::wire::Stamp;

use super::{BLOB_MTIME, Blob, BlobFault, Cas, CasError, What};
use crate::fsio;

/// How often a quarantined blob looks for a free name.
const QUARANTINE_TRIES: u32 = 10_000;

/// Bytes hashed at a time.
const HASH_CHUNK: usize = 256 * 1024;

impl Cas {
    /// The check before every use: one `stat`, which compares kind, size, mode and modification time.
    ///
    /// After an unclean boot, a blob that may not have reached the disk is hashed too.
    ///
    /// # Errors
    /// [`BlobFault`]: the blob must not be used.
    pub fn check(&self, blob: &Blob) -> Result<Metadata, BlobFault> {
        self.check_at(&self.path(blob), blob)
    }

    pub(crate) fn check_at(&self, path: &Path, blob: &Blob) -> Result<Metadata, BlobFault> {
        let meta = self.quick_check_at(path, blob)?;
        if self.is_suspect(&meta) {
            self.verify_at(path, blob)?;
        }
        Ok(meta)
    }

    pub(crate) fn quick_check_at(&self, path: &Path, blob: &Blob) -> Result<Metadata, BlobFault> {
        let meta = fs::symlink_metadata(path).map_err(|e| fault(path, e))?;
        match attributes_fault(&meta, blob) {
            None => Ok(meta),
            Some(what) => Err(BlobFault::Changed { path: path.to_owned(), what }),
        }
    }

    /// The check by content: hashes all of it.
    ///
    /// # Errors
    /// [`BlobFault`]: the blob must not be used.
    pub fn verify(&self, blob: &Blob) -> Result<(), BlobFault> {
        let path = self.path(blob);
        self.quick_check_at(&path, blob)?;
        self.verify_at(&path, blob)
    }

    pub(crate) fn verify_at(&self, path: &Path, blob: &Blob) -> Result<(), BlobFault> {
        match hash_file(path) {
            Ok((digest, size)) if digest == blob.digest && size == blob.size => Ok(()),
            Ok(_) => Err(BlobFault::Changed { path: path.to_owned(), what: What::Content }),
            Err(e) => Err(fault(path, e)),
        }
    }

    /// The content, checked by its hash.
    ///
    /// # Errors
    /// [`BlobFault`]: the blob must not be used.
    pub fn read(&self, blob: &Blob) -> Result<Vec<u8>, BlobFault> {
        let path = self.path(blob);
        let content = fs::read(&path).map_err(|e| fault(&path, e))?;
        if content.len() as u64 != blob.size || Digest::of(&content) != blob.digest {
            return Err(BlobFault::Changed { path, what: What::Content });
        }
        Ok(content)
    }

    /// Takes a blob out of service: its file moves to the folder `quarantine`. Other names of the file, such as those in a
    /// user's tree, stay as they are. A blob that is gone is no error.
    ///
    /// # Errors
    /// [`CasError::Io`] where the file can be neither moved nor removed.
    pub fn quarantine(&self, blob: &Blob) -> Result<(), CasError> {
        let path = self.path(blob);
        let dir = self.quarantine_dir();
        let name = blob.file_name();
        for n in 0..QUARANTINE_TRIES {
            let to = dir.join(format!("{name}.{n}"));
            match fs::symlink_metadata(&to) {
                Ok(_) => continue,
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(_) => break,
            }
            match rename_into(&path, &to, &dir) {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                Err(_) => break,
            }
        }
        // A bad blob must not stay. Removing its name takes nothing from anybody.
        self.remove(blob)
    }

    /// Removes a blob's file; other names of it stay. A blob that is gone is no error.
    ///
    /// # Errors
    /// [`CasError::Io`].
    pub fn remove(&self, blob: &Blob) -> Result<(), CasError> {
        let path = self.path(blob);
        match crate::faults::point().and_then(|()| fs::remove_file(&path)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(CasError::io("remove", path)(e)),
            _ => Ok(()),
        }
    }
}

/// What in a file's attributes is not as it must be for `blob`.
pub(crate) fn attributes_fault(meta: &Metadata, blob: &Blob) -> Option<What> {
    if !meta.is_file() {
        Some(What::Kind)
    } else if meta.size() != blob.size {
        Some(What::Size)
    } else if ![blob.mode(), super::linked_mode(blob.mode(), meta)].contains(&(meta.mode() & 0o7777)) {
        Some(What::Mode)
    } else if meta.mtime() != BLOB_MTIME || meta.mtime_nsec() != 0 {
        Some(What::Time)
    } else {
        None
    }
}

/// What of a file's attributes tells that it has not changed.
pub fn file_stamp(meta: &Metadata) -> Stamp {
    let ns = |seconds: i64, part: i64| seconds.saturating_mul(1_000_000_000).saturating_add(part);
    Stamp {
        dev: meta.dev(),
        ino: meta.ino(),
        size: meta.size(),
        mtime_ns: ns(meta.mtime(), meta.mtime_nsec()),
        ctime_ns: ns(meta.ctime(), meta.ctime_nsec()),
        mode: meta.mode(),
    }
}

/// The hash and length of a file's content.
pub(crate) fn hash_file(path: &Path) -> io::Result<(Digest, u64)> {
    use std::io::Read;
    let mut file = fs::File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; HASH_CHUNK];
    let mut size = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((Digest::from_bytes(*hasher.finalize().as_bytes()), size)),
            Ok(n) => {
                hasher.update(&buffer[..n]);
                size += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

fn rename_into(from: &Path, to: &Path, dir: &Path) -> io::Result<()> {
    crate::faults::point()?;
    match fs::rename(from, to) {
        Err(e) if e.kind() == io::ErrorKind::NotFound && !dir.is_dir() => {
            fsio::create_private_dir(dir)?;
            fs::rename(from, to)
        }
        other => other,
    }
}

fn fault(path: &Path, source: io::Error) -> BlobFault {
    // A file where a folder of the store should be is a missing blob too.
    if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
        BlobFault::Missing { path: path.to_owned() }
    } else {
        BlobFault::Unreadable { path: path.to_owned(), source }
    }
}
