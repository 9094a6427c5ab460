//! Spare copies: what the next hit would have to copy, copied before it is asked for.
//!
//! A final program gets an inode of its own in each checkout. Where the file system cannot share blocks, writing it is most of
//! the time of such a hit: a debug build's program has tens of megabytes. So a worker that has nothing to do lays a copy by, and
//! the next hit gives it its place by a rename.
//!
//! A spare is as good as its blob was when it was copied: nobody has a link to it, and whatever an unclean end left is in a
//! folder of another boot, which is never looked at.

use std::fs::{self, File, FileTimes};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::mark::boot_id;
use super::{BLOB_MTIME, Blob, Cas, CasError};
use crate::fsio::{self, Temp};

/// Smaller blobs are copied in no time, bytes.
pub const SPARE_FROM: u64 = 1 << 20;

/// What all spares together may take, bytes; the oldest go first.
const MAX_BYTES: u64 = 512 << 20;

impl Cas {
    /// Whether a spare copy of `blob` would save time.
    pub fn wants_spare(&self, blob: &Blob) -> bool {
        (SPARE_FROM..=MAX_BYTES).contains(&blob.size) && !self.can_clone()
    }

    /// Lays a spare copy of `blob` by, if there is none. Returns whether there is one now.
    ///
    /// # Errors
    /// [`CasError::Io`].
    pub fn lay_by(&self, blob: &Blob) -> Result<bool, CasError> {
        let Some(dir) = self.spares_of_this_boot() else { return Ok(false) };
        let path = dir.join(blob.file_name());
        if path.exists() {
            return Ok(true);
        }
        if self.check(blob).is_err() {
            return Ok(false);
        }
        self.make_room(&dir, blob.size);
        fsio::create_private_dir(&dir).map_err(CasError::io("create", &dir))?;
        let source = self.path(blob);
        let mut from = File::open(&source).map_err(CasError::io("open", &source))?;
        let (temp, mut file) = Temp::create(&dir).map_err(CasError::io("create a file in", &dir))?;
        let copied = fsio::copy_blocks(&mut from, &mut file).map_err(CasError::io("write", temp.path()))?;
        fsio::chmod_file(&file, blob.mode()).map_err(CasError::io("set the mode of", temp.path()))?;
        fsio::utime_file(&file, BLOB_MTIME).map_err(CasError::io("set the time of", temp.path()))?;
        drop(file);
        // Once more: a program that has the blob open may have written to it meanwhile.
        if copied != blob.size || self.check(blob).is_err() {
            return Ok(false);
        }
        temp.rename(&path).map_err(CasError::io("lay by", path))?;
        Ok(true)
    }

    /// A spare copy of `blob`, as a temporary file in the folder `dir`; its time is now. `None` where there is none, or where it
    /// is on another file system.
    pub(crate) fn take_spare(&self, blob: &Blob, dir: &Path) -> Option<Temp> {
        if blob.size < SPARE_FROM {
            return None;
        }
        let spare = self.spares_of_this_boot()?.join(blob.file_name());
        let (temp, ()) = Temp::make(dir, |to| fs::rename(&spare, to)).ok()?;
        let meta = fs::symlink_metadata(temp.path()).ok()?;
        let sound = super::check::attributes_fault(&meta, blob).is_none() && meta.nlink() == 1;
        if !sound {
            return None;
        }
        let file = File::open(temp.path()).ok()?;
        file.set_times(FileTimes::new().set_modified(SystemTime::now())).ok()?;
        Some(temp)
    }

    /// Where spares are.
    pub fn spares_dir(&self) -> PathBuf {
        self.dir.join("spare")
    }

    fn spares_of_this_boot(&self) -> Option<PathBuf> {
        Some(self.spares_dir().join(boot_id()?))
    }

    /// Removes spares until there is room for `bytes` more, and all of other boots. Best effort.
    fn make_room(&self, dir: &Path, bytes: u64) {
        let others = fs::read_dir(self.spares_dir()).into_iter().flatten().flatten().map(|entry| entry.path());
        for other in others.filter(|other| other != dir) {
            let _ = fs::remove_dir_all(other);
        }
        let mut spares: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            spares.push((meta.created().unwrap_or(SystemTime::UNIX_EPOCH), meta.size(), entry.path()));
        }
        spares.sort();
        let mut total: u64 = spares.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in spares {
            if total.saturating_add(bytes) <= MAX_BYTES {
                break;
            }
            if matches!(fs::remove_file(path), Err(e) if e.kind() != io::ErrorKind::NotFound) {
                continue;
            }
            total -= size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Cas, Blob, Vec<u8>) {
        let dir = tempfile::tempdir().expect("tempdir");
        let cas = Cas::open(dir.path().join("source"));
        let content: Vec<u8> = (0..SPARE_FROM).map(|n| (n * 7 % 251) as u8).collect();
        let blob = cas.insert_bytes(&content).expect("inserts");
        (dir, cas, blob, content)
    }

    #[test]
    fn a_spare_is_taken_once() {
        let (dir, cas, blob, content) = store();
        assert!(cas.take_spare(&blob, dir.path()).is_none());
        assert!(cas.lay_by(&blob).expect("copies") && cas.lay_by(&blob).expect("is there"));
        let temp = cas.take_spare(&blob, dir.path()).expect("is there");
        assert!(cas.take_spare(&blob, dir.path()).is_none());
        let out = dir.path().join("out");
        temp.rename(&out).expect("renames");
        assert_eq!(fs::read(&out).expect("reads"), content);
        let meta = fs::metadata(&out).expect("is there");
        assert_eq!(meta.nlink(), 1);
        assert!(meta.mtime() > BLOB_MTIME, "its time is its own");
    }

    #[test]
    fn a_restored_copy_uses_the_spare() {
        use vrift_core::action::Place;
        let (dir, cas, blob, content) = store();
        cas.lay_by(&blob).expect("copies");
        let spare = fs::read_dir(cas.spares_dir()).expect("is there").next().expect("one").expect("reads").path();
        let inode =
            |dir: &Path| fs::read_dir(dir).expect("lists").next().map(|e| e.expect("reads").metadata().expect("is").ino());
        let before = inode(&spare);
        let out = dir.path().join("a/b/out");
        cas.restore_file(&blob, &out, Place::Copy, 0o755, None).expect("restores");
        let meta = fs::metadata(&out).expect("is there");
        assert_eq!((Some(meta.ino()), meta.mode() & 0o7777), (before, 0o755));
        assert_eq!(fs::read(&out).expect("reads"), content);
        assert_eq!(inode(&spare), None);
        // The blob stays what it was, whatever happens to the copy.
        fs::write(&out, "x").expect("writes");
        assert!(cas.verify(&blob).is_ok());
    }

    #[test]
    fn a_spare_that_was_tampered_with_is_not_taken() {
        let (dir, cas, blob, _) = store();
        cas.lay_by(&blob).expect("copies");
        let spare = cas.spares_of_this_boot().expect("linux").join(blob.file_name());
        fs::hard_link(&spare, dir.path().join("other")).expect("links");
        assert!(cas.take_spare(&blob, dir.path()).is_none());
        assert!(!spare.exists());
    }

    #[test]
    fn spares_of_other_boots_go() {
        let (_dir, cas, blob, _) = store();
        let old = cas.spares_dir().join("another-boot");
        fs::create_dir_all(&old).expect("creates");
        cas.lay_by(&blob).expect("copies");
        assert!(!old.exists());
    }
}
