//! The few system calls that change a file system, each with its fault point, and temporary files that clean up after
//! themselves.

use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, RenameFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use crate::faults;

/// How often a taken temporary name is answered with another one.
const NAME_TRIES: usize = 64;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A file under a temporary name. It is removed when this is dropped, unless it was renamed away.
pub(crate) struct Temp {
    path: PathBuf,
    renamed: bool,
}

impl Temp {
    /// The temporary name.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes a temporary name in `dir` with `make`, which must fail with `AlreadyExists` where the name is taken.
    ///
    /// Names carry the process and a counter. Containers that share a folder may share a process id, and a dead process may
    /// have left its file: a taken name is skipped.
    pub(crate) fn make<T>(dir: &Path, mut make: impl FnMut(&Path) -> io::Result<T>) -> io::Result<(Self, T)> {
        for _ in 0..NAME_TRIES {
            let path = dir.join(format!(".vrift-{}-{}.tmp", std::process::id(), next_number()));
            match make(&path) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
                Ok(made) => return Ok((Self { path, renamed: false }, made)),
            }
        }
        Err(io::Error::new(io::ErrorKind::AlreadyExists, "every temporary name that was tried is taken"))
    }

    /// A new empty file that only this process may touch.
    pub(crate) fn create(dir: &Path) -> io::Result<(Self, File)> {
        Self::make(dir, |path| {
            faults::point()?;
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
        })
    }

    /// A second name for the file at `from`.
    pub(crate) fn link(dir: &Path, from: &Path) -> io::Result<Self> {
        Ok(Self::make(dir, |path| link(from, path))?.0)
    }

    /// Gives the file its final name, replacing what is there.
    pub(crate) fn rename(mut self, to: &Path) -> io::Result<()> {
        faults::point()?;
        fs::rename(&self.path, to)?;
        self.renamed = true;
        Ok(())
    }

    /// As [`Temp::rename`], for a name that is a hard link. Where the final name is a link to the same inode already (somebody
    /// else was faster), the kernel's rename does nothing and leaves the temporary name: it is removed.
    pub(crate) fn rename_link(self, to: &Path) -> io::Result<()> {
        let path = self.path.clone();
        self.rename(to)?;
        let _ = fs::remove_file(path);
        Ok(())
    }

    /// Gives the file its final name unless that is taken (`AlreadyExists`). Hands the file back where it could not.
    pub(crate) fn rename_new(mut self, to: &Path) -> Result<(), (Self, io::Error)> {
        if let Err(e) = faults::point() {
            return Err((self, e));
        }
        let done = match rustix::fs::renameat_with(CWD, &self.path, CWD, to, RenameFlags::NOREPLACE) {
            // Network file systems lack the flag; there the last writer wins, with the same content.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => fs::rename(&self.path, to),
            other => other.map_err(io::Error::from),
        };
        match done {
            Ok(()) => {
                self.renamed = true;
                Ok(())
            }
            Err(e) => Err((self, e)),
        }
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.renamed {
            // A leftover is harmless: fsck and gc sweep it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The process that made the temporary file at `path`, as its name tells.
#[cfg(feature = "manifest")]
pub(crate) fn temp_owner(path: &Path) -> Option<i32> {
    let name = path.file_name()?.to_str()?.strip_prefix(".vrift-")?.strip_suffix(".tmp")?;
    name.split_once('-')?.0.parse().ok()
}

fn next_number() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

pub(crate) fn link(from: &Path, to: &Path) -> io::Result<()> {
    faults::point()?;
    fs::hard_link(from, to)
}

pub(crate) fn write_all(file: &mut File, content: &[u8]) -> io::Result<()> {
    faults::point()?;
    file.write_all(content)
}

pub(crate) fn chmod_file(file: &File, mode: u32) -> io::Result<()> {
    faults::point()?;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

pub(crate) fn chmod_path(path: &Path, mode: u32) -> io::Result<()> {
    faults::point()?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Sets the modification time, seconds since 1970; the access time stays.
pub(crate) fn utime_file(file: &File, seconds: i64) -> io::Result<()> {
    faults::point()?;
    let time = time_at(seconds)?;
    file.set_times(FileTimes::new().set_modified(time))
}

/// As [`utime_file`], by name; a symbolic link is not followed.
pub(crate) fn utime_path(path: &Path, seconds: i64) -> io::Result<()> {
    faults::point()?;
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: 0 },
    };
    Ok(rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

fn time_at(seconds: i64) -> io::Result<SystemTime> {
    u64::try_from(seconds)
        .ok()
        .and_then(|s| UNIX_EPOCH.checked_add(Duration::from_secs(s)))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "time out of range"))
}

/// Shares the blocks of `from` with the empty file `to`.
pub(crate) fn clone_blocks(from: &File, to: &File) -> io::Result<()> {
    faults::point()?;
    Ok(rustix::fs::ioctl_ficlone(to, from)?)
}

/// Copies the rest of `from` into `to`; the kernel does it where it can. Returns how many bytes.
pub(crate) fn copy_blocks(from: &mut File, to: &mut File) -> io::Result<u64> {
    faults::point()?;
    io::copy(from, to)
}

/// Creates a folder that only its owner may enter, and its missing parents likewise.
pub(crate) fn create_private_dir(dir: &Path) -> io::Result<()> {
    faults::point()?;
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Replaces `path` by `content` in one step that survives a crash: temp file, fsync, rename.
pub(crate) fn write_atomically(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let dir = path.parent().unwrap_or_else(|| Path::new("/"));
    let (temp, mut file) = Temp::create(dir)?;
    write_all(&mut file, content)?;
    chmod_file(&file, mode)?;
    file.sync_all()?;
    drop(file);
    temp.rename(path)
}

/// Creates a folder of the user's tree and its missing parents, as any program would: the umask decides.
pub(crate) fn create_dirs(dir: &Path) -> io::Result<()> {
    faults::point()?;
    fs::create_dir_all(dir)
}
