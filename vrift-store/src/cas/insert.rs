//! Putting content into the store.

use std::fs::{self, File, FileTimes, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use vrift_core::digest::Digest;
use vrift_core::wire::Stamp;

use super::check::file_stamp;
use super::{BLOB_MTIME, Blob, BlobFault, Cas, CasError, linked_mode};
use crate::fsio::{self, Temp};

/// Names that a file has while it is adopted: the user's and the temporary one.
const LINKS_WHILE_ADOPTED: u64 = 2;

/// How often a blob that appears or fails while it is published is looked at again.
const PUBLISH_TRIES: usize = 4;

/// Bytes that are copied at a time.
const COPY_PIECE: usize = 64 * 1024;

/// Smaller files are copied even where the file system can share blocks.
const CLONE_FROM: u64 = 16 * 1024;

/// How a file comes into the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ingest {
    /// The file itself becomes the blob, or a link to it, with a blob's mode and modification time. For files
    /// that their tools never rewrite in place.
    Link,
    /// The file stays as it is.
    Copy,
    /// The file stays as it is; the blob is the one that [`Ingest::Link`] makes, to be linked elsewhere.
    Keep,
}

impl Cas {
    /// Stores `content`. Content that is there already is not written again.
    ///
    /// # Errors
    /// [`CasError::Io`]; [`CasError::is_full`] tells a full disk.
    pub fn insert_bytes(&self, content: &[u8]) -> Result<Blob, CasError> {
        let blob = Blob::of(content);
        if !self.has_sound(&blob)? {
            self.write_new(&blob, content)?;
        }
        Ok(blob)
    }

    /// Stores the file at `path`, whose whole content the caller has read, and found to have `digest`, after taking `stamp`
    /// with `fstat`. A program that comes in by [`Ingest::Link`] becomes an executable blob.
    ///
    /// Where a link is refused (another file system, too many links, a file of another owner or with further names, which
    /// somebody else may rely on) the content is copied and the file left alone.
    ///
    /// # Errors
    /// [`CasError::ChangedUnderneath`] where the file is no longer the one that was read, and [`CasError::Io`].
    pub fn ingest_file(&self, path: &Path, how: Ingest, digest: Digest, stamp: &Stamp) -> Result<Blob, CasError> {
        let program = how != Ingest::Copy && stamp.mode & 0o111 != 0 && stamp.size > 0;
        let blob = Blob { digest, size: stamp.size, exec: program };
        if how != Ingest::Link || stamp.size == 0 {
            unchanged(path, stamp)?;
            if !self.has_sound(&blob)? && !self.clone_new(&blob, path, stamp)? {
                self.copy_new(&blob, path)?;
            }
            return Ok(blob);
        }
        if self.has_sound(&blob)? {
            self.share(path, &blob, stamp)?;
        } else if !self.adopt(path, &blob, stamp)? {
            self.copy_new(&blob, path)?;
        }
        Ok(blob)
    }

    /// Whether the blob is there and passes the quick check. One that does not is taken out of the way.
    fn has_sound(&self, blob: &Blob) -> Result<bool, CasError> {
        match self.check(blob) {
            Ok(_) => Ok(true),
            Err(BlobFault::Missing { .. }) => Ok(false),
            Err(BlobFault::Changed { .. }) => {
                self.quarantine(blob)?;
                Ok(false)
            }
            // Not the blob's fault: too many open files, or a folder that may not be entered.
            Err(fault @ BlobFault::Unreadable { .. }) => Err(fault.into()),
        }
    }

    fn write_new(&self, blob: &Blob, content: &[u8]) -> Result<(), CasError> {
        let (temp, mut file) = self.create_temp()?;
        fsio::write_all(&mut file, content).map_err(CasError::io("write", temp.path()))?;
        self.finish(blob, temp, file)
    }

    /// Copies the file, which is hashed again on the way: what is stored is what the name says, whoever writes meanwhile.
    /// A piece at a time, since memory that is touched for the first time costs more than the copying.
    fn copy_new(&self, blob: &Blob, path: &Path) -> Result<(), CasError> {
        let mut from = File::open(path).map_err(CasError::io("open", path))?;
        let (temp, mut file) = self.create_temp()?;
        let (mut piece, mut hasher) = ([0; COPY_PIECE], blake3::Hasher::new());
        loop {
            match from.read(&mut piece) {
                Ok(0) => break,
                Ok(len) => {
                    hasher.update(&piece[..len]);
                    fsio::write_all(&mut file, &piece[..len]).map_err(CasError::io("write", temp.path()))?;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(CasError::io("read", path)(e)),
            }
        }
        if *hasher.finalize().as_bytes() != *blob.digest.as_bytes() {
            return Err(CasError::ChangedUnderneath { path: path.to_owned() });
        }
        self.finish(blob, temp, file)
    }

    /// Shares the file's blocks with a new blob; `false` where the file system cannot.
    fn clone_new(&self, blob: &Blob, path: &Path, stamp: &Stamp) -> Result<bool, CasError> {
        if blob.size < CLONE_FROM || !self.can_clone() {
            return Ok(false);
        }
        let from = File::open(path).map_err(CasError::io("open", path))?;
        let (temp, file) = self.create_temp()?;
        if let Err(e) = fsio::clone_blocks(&from, &file) {
            self.note_clone_failure(&e);
            return Ok(false);
        }
        // The clone is of what the file holds now, the hash of what was read: the two must be the same.
        let meta = from.metadata().map_err(CasError::io("look at", path))?;
        if !same_file(&file_stamp(&meta), stamp) {
            return Err(CasError::ChangedUnderneath { path: path.to_owned() });
        }
        self.finish(blob, temp, file)?;
        Ok(true)
    }

    fn finish(&self, blob: &Blob, temp: Temp, file: File) -> Result<(), CasError> {
        fsio::chmod_file(&file, blob.mode()).map_err(CasError::io("set the mode of", temp.path()))?;
        fsio::utime_file(&file, BLOB_MTIME).map_err(CasError::io("set the time of", temp.path()))?;
        drop(file);
        self.publish(blob, temp)
    }

    /// Makes the user's file the blob; `false` where it must be copied instead.
    fn adopt(&self, path: &Path, blob: &Blob, stamp: &Stamp) -> Result<bool, CasError> {
        let temp = match self.link_temp(path) {
            Ok(temp) => temp,
            Err(e) if link_refused(&e) => {
                unchanged(path, stamp)?;
                return Ok(false);
            }
            Err(e) => return Err(CasError::io("link", path)(e)),
        };
        // From here on the temporary name holds the inode, whatever happens to the user's name.
        let meta = fs::symlink_metadata(temp.path()).map_err(CasError::io("look at", temp.path()))?;
        if !same_file(&file_stamp(&meta), stamp) {
            return Err(CasError::ChangedUnderneath { path: path.to_owned() });
        }
        if meta.nlink() != LINKS_WHILE_ADOPTED || !is_ours(&meta) {
            return Ok(false);
        }
        let done = self.make_blob_of(temp, &meta, path, blob, stamp);
        if done.is_err() {
            // The user's file gets back what it had; the temporary name is gone, so its own name must do.
            restore_attributes(path, stamp);
        }
        done.map(|()| true)
    }

    /// Turns the inode under the temporary name, which is the user's file at `path`, into the blob.
    fn make_blob_of(&self, temp: Temp, meta: &Metadata, path: &Path, blob: &Blob, stamp: &Stamp) -> Result<(), CasError> {
        let mode = linked_mode(blob.mode(), meta);
        fsio::chmod_path(temp.path(), mode).map_err(CasError::io("set the mode of", temp.path()))?;
        // A program that holds the file open could still write; once its owner may not write nobody new can open it. The look is
        // repeated here to keep the gap before the time is set as small as it can be.
        let meta = fs::symlink_metadata(temp.path()).map_err(CasError::io("look at", temp.path()))?;
        if !same_content(&file_stamp(&meta), stamp) {
            return Err(CasError::ChangedUnderneath { path: path.to_owned() });
        }
        fsio::utime_path(temp.path(), BLOB_MTIME).map_err(CasError::io("set the time of", temp.path()))?;
        self.publish(blob, temp)
    }

    /// Replaces the user's file by a link to the blob with the same content. That saves disk and nothing else, so a refusal
    /// is no error.
    fn share(&self, path: &Path, blob: &Blob, stamp: &Stamp) -> Result<(), CasError> {
        let source = self.path(blob);
        let meta = unchanged(path, stamp)?;
        let Ok(there) = fs::symlink_metadata(&source) else { return Ok(()) };
        let same = (there.dev(), there.ino()) == (meta.dev(), meta.ino());
        let Some(dir) = path.parent().filter(|_| !same && is_ours(&meta)) else { return Ok(()) };
        if self.make_linkable(blob, &there).is_err() {
            return Ok(());
        }
        let Ok(temp) = self.link_out(blob, &source, |from| Temp::link(dir, from)) else { return Ok(()) };
        // The last look before the file is replaced: what was written to it since it was read must not be lost.
        unchanged(path, stamp)?;
        let _ = temp.rename_link(path);
        Ok(())
    }

    /// Gives the blob the mode that it needs to be linked from a checkout.
    pub(crate) fn make_linkable(&self, blob: &Blob, meta: &Metadata) -> io::Result<()> {
        let mode = linked_mode(blob.mode(), meta);
        if meta.mode() & 0o7777 == mode { Ok(()) } else { fsio::chmod_path(&self.path(blob), mode) }
    }

    /// Links the blob with `make`; where it has as many links as the file system allows, a fresh copy takes its place first.
    pub(crate) fn link_out<T>(&self, blob: &Blob, source: &Path, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
        match make(source) {
            Err(e) if e.kind() == io::ErrorKind::TooManyLinks => {
                self.renew(blob).map_err(|e| match e {
                    CasError::Io { source, .. } => source,
                    other => io::Error::other(other),
                })?;
                make(source)
            }
            other => other,
        }
    }

    /// Gives the blob's name to a fresh copy, which has room for links (ext4 allows 65,000 for one file).
    pub(crate) fn renew(&self, blob: &Blob) -> Result<(), CasError> {
        let content = self.read(blob)?;
        let (temp, mut file) = self.create_temp()?;
        fsio::write_all(&mut file, &content).map_err(CasError::io("write", temp.path()))?;
        let meta = file.metadata().map_err(CasError::io("look at", temp.path()))?;
        let mode = linked_mode(blob.mode(), &meta);
        fsio::chmod_file(&file, mode).map_err(CasError::io("set the mode of", temp.path()))?;
        fsio::utime_file(&file, BLOB_MTIME).map_err(CasError::io("set the time of", temp.path()))?;
        drop(file);
        let to = self.path(blob);
        temp.rename(&to).map_err(CasError::io("replace", to))
    }

    /// Gives a finished temporary file the blob's name.
    fn publish(&self, blob: &Blob, mut temp: Temp) -> Result<(), CasError> {
        let to = self.path(blob);
        let mut failure = io::Error::other("the blob keeps failing its check");
        for _ in 0..PUBLISH_TRIES {
            let (back, error) = match temp.rename_new(&to) {
                Ok(()) => return Ok(()),
                Err(back) => back,
            };
            temp = back;
            match error.kind() {
                io::ErrorKind::AlreadyExists => {
                    if self.has_sound(blob)? {
                        return Ok(());
                    }
                }
                io::ErrorKind::NotFound => {
                    let dir = to.parent().unwrap_or(&self.dir);
                    fsio::create_private_dir(dir).map_err(CasError::io("create", dir))?;
                }
                _ => {
                    failure = error;
                    break;
                }
            }
        }
        Err(CasError::io("store", to)(failure))
    }

    fn create_temp(&self) -> Result<(Temp, File), CasError> {
        self.in_tmp(Temp::create).map_err(CasError::io("create a file in", self.tmp_dir()))
    }

    fn link_temp(&self, path: &Path) -> io::Result<Temp> {
        self.in_tmp(|dir| Temp::link(dir, path))
    }

    fn in_tmp<T>(&self, make: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
        let dir = self.tmp_dir();
        match make(&dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && !dir.is_dir() => {
                fsio::create_private_dir(&dir)?;
                make(&dir)
            }
            other => other,
        }
    }

    /// Whether the store's file system may share blocks between files.
    pub(crate) fn can_clone(&self) -> bool {
        self.reflink.load(Ordering::Relaxed) && *self.reflink_probe.get_or_init(|| may_clone(&self.dir))
    }

    pub(crate) fn note_clone_failure(&self, error: &io::Error) {
        use rustix::io::Errno;
        // Another file system is a matter of the one destination; the rest holds for all of them.
        if Errno::from_io_error(error) != Some(Errno::XDEV) {
            self.reflink.store(false, Ordering::Relaxed);
        }
    }
}

/// Whether the file system at `dir` is of a kind that can share blocks. Asking costs one call; trying costs several and a
/// temporary file, each time, on the many file systems that cannot.
fn may_clone(dir: &Path) -> bool {
    const BTRFS: u64 = 0x9123_683e;
    const XFS: u64 = 0x5846_5342;
    const BCACHEFS: u64 = 0xca45_1a4e;
    const ZFS: u64 = 0x2fc1_2fc1;
    const OVERLAY: u64 = 0x794c_7630;
    rustix::fs::statfs(dir).is_ok_and(|fs| matches!(fs.f_type as u64, BTRFS | XFS | BCACHEFS | ZFS | OVERLAY))
}

/// Whether a refused link means "copy instead".
pub(crate) fn link_refused(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::XDEV | Errno::MLINK | Errno::PERM | Errno::ACCESS | Errno::NOSYS | Errno::OPNOTSUPP)
    )
}

fn unchanged(path: &Path, stamp: &Stamp) -> Result<Metadata, CasError> {
    let meta = fs::symlink_metadata(path).map_err(CasError::io("look at", path))?;
    if same_file(&file_stamp(&meta), stamp) { Ok(meta) } else { Err(CasError::ChangedUnderneath { path: path.to_owned() }) }
}

/// Whether the file belongs to this user. What belongs to another one is never made a blob, which its owner could then
/// write to, nor replaced by a file of ours.
fn is_ours(meta: &Metadata) -> bool {
    meta.uid() == rustix::process::geteuid().as_raw()
}

/// Puts mode and modification time back after a failed adoption, as far as that goes.
fn restore_attributes(path: &Path, stamp: &Stamp) {
    let Ok(file) = File::open(path) else { return };
    let Ok(meta) = file.metadata() else { return };
    if (meta.dev(), meta.ino()) != (stamp.dev, stamp.ino) {
        return;
    }
    let _ = file.set_permissions(fs::Permissions::from_mode(stamp.mode & 0o7777));
    if meta.mtime() == BLOB_MTIME
        && let Ok(ns) = u64::try_from(stamp.mtime_ns)
    {
        let _ = file.set_times(FileTimes::new().set_modified(UNIX_EPOCH + Duration::from_nanos(ns)));
    }
}

/// The change time is left out: making a link moves it.
fn same_file(now: &Stamp, then: &Stamp) -> bool {
    same_content(now, then) && now.mode == then.mode
}

fn same_content(now: &Stamp, then: &Stamp) -> bool {
    (now.dev, now.ino, now.size, now.mtime_ns) == (then.dev, then.ino, then.size, then.mtime_ns)
}
