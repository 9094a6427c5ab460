//! The shim and `vrift-exec`, which this program carries inside itself, and their place on disk.
//!
//! They are unpacked on first use into a folder that carries their hash, so that programs of two versions, or a running build
//! and an update, do not meet. A part is written to a temporary name and renamed: whoever sees it sees it whole. Later
//! starts look at size and modification time alone, two `stat` calls: this happens before every build.

use std::fs::{self, DirBuilder, FileTimes, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use vrift_core::home::Home;

use crate::error::Error;

/// A file that this program carries.
struct Part {
    name: &'static str,
    content: &'static [u8],
}

const SHIM: Part = Part { name: "libvrift_preload.so", content: include_bytes!(env!("VRIFT_SHIM")) };
const EXEC: Part = Part { name: "vrift-exec", content: include_bytes!(env!("VRIFT_EXEC")) };

/// 16 hex digits over the content of both parts.
pub const HASH: &str = env!("VRIFT_PARTS_HASH");

/// Every unpacked part has this modification time, seconds since 1970: one that was written to has another.
const STAMP: u64 = 1_000_000_000;

/// Where the unpacked parts are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parts {
    /// The shim.
    pub shim: PathBuf,
    /// `vrift-exec`.
    pub exec: PathBuf,
}

/// Makes sure that both parts are on disk, whole.
///
/// # Errors
/// [`Error::File`] where the folder cannot be made or written.
pub fn unpack(home: &Home) -> Result<Parts, Error> {
    let dir = folder(home)?;
    let parts = Parts { shim: dir.join(SHIM.name), exec: dir.join(EXEC.name) };
    for (part, path) in [(&SHIM, &parts.shim), (&EXEC, &parts.exec)] {
        if !is_whole(part, path) {
            write(part, &dir, path)?;
        }
    }
    Ok(parts)
}

/// Where the parts belong. `LD_PRELOAD` is split at colons and blanks, and `$` starts a variable of the loader: where the
/// state folder's path has one of these, a private folder in `/var/tmp` serves.
fn folder(home: &Home) -> Result<PathBuf, Error> {
    let dir = home.lib(HASH);
    if loadable(&dir) {
        return Ok(dir);
    }
    let base = PathBuf::from(format!("/var/tmp/vrift-{}", nix::unistd::geteuid()));
    make_private(&base)?;
    Ok(base.join("lib").join(HASH))
}

/// Whether the loader takes a library of this path from `LD_PRELOAD`.
fn loadable(path: &Path) -> bool {
    path.as_os_str().as_bytes().iter().all(|c| !matches!(c, b':' | b'$') && !c.is_ascii_whitespace())
}

/// A folder in a public place: ours, for us alone, and no link.
fn make_private(dir: &Path) -> Result<(), Error> {
    let fail = |source| Error::File { action: "use", path: dir.to_owned(), source };
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(fail(e)),
        _ => {}
    }
    let meta = fs::symlink_metadata(dir).map_err(fail)?;
    if meta.is_dir() && meta.uid() == nix::unistd::geteuid().as_raw() && meta.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(fail(io::Error::other("it belongs to somebody else, or others can write to it")))
}

fn stamp() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(STAMP)
}

fn is_whole(part: &Part, path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| {
        meta.is_file()
            && meta.len() == part.content.len() as u64
            && meta.mtime() == STAMP as i64
            && meta.mtime_nsec() == 0
            && meta.mode() & 0o777 == 0o755
    })
}

fn write(part: &Part, dir: &Path, path: &Path) -> Result<(), Error> {
    let fail = |action, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File { action, path, source }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(fail("create", dir))?;
    // Containers that share a home share process ids too.
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    let (pid, n) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let temp = dir.join(format!(".{}-{pid}-{n}-{now}.tmp", part.name));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(&temp)?;
        file.write_all(part.content)?;
        // Not by the mode of `open` alone: the umask takes bits away.
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        file.set_times(FileTimes::new().set_modified(stamp()))?;
        // Once per installed version: after a power cut the size and time that later starts trust must not be there without
        // the content.
        file.sync_all()?;
        drop(file);
        fs::rename(&temp, path)
    })();
    written.map_err(|source| {
        let _ = fs::remove_file(&temp);
        Error::File { action: "write", path: path.to_owned(), source }
    })
}

/// Folders of parts that other versions left, for garbage collection: those that were not touched for `age`.
pub fn stale(home: &Home, age: Duration) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(home.dir().join("lib")) else { return Vec::new() };
    let old = |path: &PathBuf| {
        let touched = fs::symlink_metadata(path).and_then(|meta| meta.modified());
        touched.is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|passed| passed > age))
    };
    entries.flatten().filter(|entry| entry.file_name() != HASH).map(|entry| entry.path()).filter(old).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpacks_once_and_mends() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let home = Home::at(tmp.path().join(".vrift"));
        let parts = unpack(&home).expect("unpacks");
        assert_eq!(fs::read(&parts.exec).expect("read"), EXEC.content);
        assert_eq!(fs::read(&parts.shim).expect("read"), SHIM.content);
        assert_eq!(fs::metadata(home.dir()).expect("stat").mode() & 0o777, 0o700);
        let inode = || fs::metadata(&parts.exec).expect("stat").ino();
        let first = inode();
        assert_eq!(unpack(&home).expect("finds"), parts);
        assert_eq!(inode(), first, "written again although it was whole");

        // Same size, other bytes: the time tells.
        let mut other = EXEC.content.to_vec();
        other[0] ^= 1;
        fs::write(&parts.exec, other).expect("write");
        unpack(&home).expect("mends");
        assert_eq!(fs::read(&parts.exec).expect("read"), EXEC.content);
        fs::set_permissions(&parts.exec, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("chmod");
        unpack(&home).expect("mends");
        assert_eq!(fs::metadata(&parts.exec).expect("stat").mode() & 0o777, 0o755);
        let left: Vec<_> = fs::read_dir(home.lib(HASH)).expect("list").flatten().map(|e| e.file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn many_at_once_all_find_whole_parts() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let home = Home::at(tmp.path().to_owned());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let parts = unpack(&home).expect("unpacks");
                    assert!(is_whole(&EXEC, &parts.exec) && is_whole(&SHIM, &parts.shim));
                });
            }
        });
    }

    #[test]
    fn awkward_paths_are_known() {
        assert!(loadable(Path::new("/home/jörg/.vrift")));
        for path in ["/home/a b/.vrift", "/home/a:b", "/home/$x"] {
            assert!(!loadable(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn a_file_in_the_way_is_a_clear_error() {
        let tmp = tempfile::tempdir().expect("tempdir");
        fs::write(tmp.path().join("home"), "").expect("write");
        let error = unpack(&Home::at(tmp.path().join("home"))).expect_err("a file is in the way");
        assert!(error.to_string().contains("/home/lib/"), "{error}");
    }
}
