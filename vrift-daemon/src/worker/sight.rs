//! One look at a file.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use rustix::fs::{Access, AtFlags, StatxFlags, access, makedev, statx};
use rustix::io::Errno;
use vrift_core::action::FileKind;
use vrift_core::wire::Stamp;
use vrift_store::cas::file_stamp;

/// What a look at a path showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sight {
    /// Its kind.
    pub kind: FileKind,
    /// What tells whether it changed.
    pub stamp: Stamp,
    /// When its inode came into being, nanoseconds since 1970, where the file system tells.
    pub birth_ns: Option<i64>,
}

impl Sight {
    /// Whether it is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::File
    }

    /// Whether somebody may execute it. Other permissions differ between users and umasks.
    pub fn is_runnable(&self) -> bool {
        self.stamp.mode & 0o111 != 0
    }

    /// The permission bits.
    pub fn permissions(&self) -> u32 {
        self.stamp.mode & 0o7777
    }
}

impl From<&Metadata> for Sight {
    fn from(meta: &Metadata) -> Self {
        let birth = meta.created().ok().and_then(|birth| birth.duration_since(UNIX_EPOCH).ok());
        let stamp = file_stamp(meta);
        let birth_ns = birth.and_then(|since| i64::try_from(since.as_nanos()).ok()).filter(|ns| *ns > 0);
        Self { kind: kind_of(stamp.mode), stamp, birth_ns }
    }
}

/// Looks at `path`, links followed.
///
/// # Errors
/// What the kernel gives.
pub fn look(path: &[u8]) -> io::Result<Sight> {
    fs::metadata(as_path(path)).map(|meta| Sight::from(&meta))
}

/// Looks at `path` itself, be it a link.
///
/// # Errors
/// What the kernel gives.
pub fn look_itself(path: &[u8]) -> io::Result<Sight> {
    fs::symlink_metadata(as_path(path)).map(|meta| Sight::from(&meta))
}

/// Looks at `name` in an open folder, which spares the kernel the way there; an empty name is what the descriptor itself is.
///
/// # Errors
/// What the kernel gives.
pub fn look_within(folder: BorrowedFd<'_>, name: &[u8], follow: bool) -> io::Result<Sight> {
    let mut flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
    flags.set(AtFlags::EMPTY_PATH, name.is_empty());
    let seen = statx(folder, name, flags, StatxFlags::BASIC_STATS | StatxFlags::BTIME)?;
    let ns = |seconds: i64, part: u32| seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(part));
    let mode = u32::from(seen.stx_mode);
    let stamp = Stamp {
        dev: makedev(seen.stx_dev_major, seen.stx_dev_minor),
        ino: seen.stx_ino,
        size: seen.stx_size,
        mtime_ns: ns(seen.stx_mtime.tv_sec, seen.stx_mtime.tv_nsec),
        ctime_ns: ns(seen.stx_ctime.tv_sec, seen.stx_ctime.tv_nsec),
        mode,
    };
    let told = StatxFlags::from_bits_retain(seen.stx_mask).contains(StatxFlags::BTIME);
    let birth_ns = Some(ns(seen.stx_btime.tv_sec, seen.stx_btime.tv_nsec)).filter(|ns| told && *ns > 0);
    Ok(Sight { kind: kind_of(mode), stamp, birth_ns })
}

/// Whether an error means that nothing is there.
pub fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether this user may not read what is at `path`, or not look there at all.
///
/// # Errors
/// Nobody can tell; nothing is there, say.
pub fn is_barred(path: &[u8]) -> io::Result<bool> {
    match access(path, Access::READ_OK) {
        Ok(()) => Ok(false),
        Err(Errno::ACCESS) => Ok(true),
        Err(e) => Err(e.into()),
    }
}

/// What [`is_barred`] says, for messages.
pub const BARRED: &str = "not readable";

/// A kind, for messages.
pub fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "a file",
        FileKind::Dir => "a folder",
        FileKind::Symlink => "a link",
        FileKind::Other => "no file or folder",
    }
}

/// Bytes as a path.
pub fn as_path(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

fn kind_of(mode: u32) -> FileKind {
    /// The kind's bits of a mode, and their values; see inode(7).
    const KIND: u32 = 0o170_000;
    match mode & KIND {
        0o100_000 => FileKind::File,
        0o040_000 => FileKind::Dir,
        0o120_000 => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn all_ways_of_looking_agree() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::write(dir.path().join("file"), "x").expect("writes");
        fs::create_dir(dir.path().join("folder")).expect("creates");
        std::os::unix::fs::symlink("file", dir.path().join("link")).expect("links");
        let open = File::open(dir.path()).expect("opens");
        let bytes = |name: &str| dir.path().join(name).into_os_string().into_encoded_bytes();
        for (name, kind) in [("file", FileKind::File), ("folder", FileKind::Dir), ("link", FileKind::Symlink)] {
            let itself = look_itself(&bytes(name)).expect("there");
            assert_eq!(itself.kind, kind);
            assert_eq!(look_within(open.as_fd(), name.as_bytes(), false).expect("there"), itself);
        }
        let through = look(&bytes("link")).expect("there");
        assert_eq!(look_within(open.as_fd(), b"link", true).expect("there"), through);
        assert_eq!(through, look(&bytes("file")).expect("there"));
        assert!(is_absent(&look_within(open.as_fd(), b"none", true).expect_err("absent")));
        assert!(is_absent(&look(&bytes("file/below")).expect_err("absent")));
        assert_eq!(look(b"/dev/null").expect("there").kind, FileKind::Other);
    }
}
