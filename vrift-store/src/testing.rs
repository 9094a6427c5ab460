//! What the tests of this crate share.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use vrift_core::wire::Stamp;

use crate::cas::{Blob, Cas, Ingest, file_stamp};

/// A store and a checkout beside it.
pub(crate) struct Bench {
    pub(crate) tmp: TempDir,
    pub(crate) cas: Cas,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let tmp = tempfile::tempdir().expect("tempdir");
        let cas = Cas::open(tmp.path().join("store"));
        fs::create_dir(tmp.path().join("work")).expect("mkdir");
        Self { tmp, cas }
    }

    /// A path in the checkout.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.tmp.path().join("work").join(name)
    }

    /// Writes a file in the checkout.
    pub(crate) fn file(&self, name: &str, content: &[u8], mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
        path
    }

    /// Reads and ingests a file as a caller would.
    pub(crate) fn ingest(&self, path: &Path, how: Ingest) -> Blob {
        let (content, stamp) = read(path);
        self.cas.ingest_file(path, how, &content, &stamp).expect("ingests")
    }

    /// Names in the store's folder of temporary files.
    pub(crate) fn leftovers(&self) -> Vec<String> {
        names(&self.cas.tmp_dir())
            .into_iter()
            .chain(names(&self.tmp.path().join("work")))
            .filter(|n| n.contains(".tmp"))
            .collect()
    }
}

/// Content and stamp of a file, the stamp first.
pub(crate) fn read(path: &Path) -> (Vec<u8>, Stamp) {
    let stamp = file_stamp(&fs::metadata(path).expect("stat"));
    (fs::read(path).expect("read"), stamp)
}

/// The names in a folder, none where there is no folder.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let Ok(list) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> = list.map(|e| e.expect("entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

pub(crate) fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).expect("stat").ino()
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("stat").mode() & 0o7777
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Set in processes that [`rerun`] starts: the folder to work in.
const INNER: &str = "STORE_TEST_DIR";

/// In a process that [`rerun`] started: the folder to work in.
pub(crate) fn inner() -> Option<PathBuf> {
    std::env::var_os(INNER).map(PathBuf::from)
}

/// A command that runs the test `name` of this binary alone, in a process of its own, with `dir` as its [`inner`] folder. As
/// another user where `uid` is given; the binary is copied to where that user can reach it.
pub(crate) fn rerun(name: &str, dir: &Path, uid: Option<u32>) -> Command {
    let mut binary = std::env::current_exe().expect("own path");
    if uid.is_some() {
        let copy = dir.join("test-binary");
        fs::copy(&binary, &copy).expect("copies");
        binary = copy;
    }
    let mut command = Command::new(binary);
    command.args(["--exact", name, "--nocapture"]).env(INNER, dir);
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    command
}

/// Runs the test `name` as [`rerun`] does; it must run and pass.
pub(crate) fn passes_alone(name: &str, dir: &Path, uid: Option<u32>) {
    let run = rerun(name, dir, uid).output().expect("starts");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&run.stderr));
}

/// A folder that the user `uid` owns and can reach.
pub(crate) fn dir_of(uid: u32) -> TempDir {
    let tmp = tempfile::tempdir().expect("tempdir");
    std::os::unix::fs::chown(tmp.path(), Some(uid), Some(uid)).expect("chown");
    fs::set_permissions(tmp.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
    tmp
}

/// An ordinary user that every Linux has.
pub(crate) const NOBODY: u32 = 65534;

/// A small tmpfs, unmounted when dropped. `None` where this user may not mount.
pub(crate) struct SmallDisk {
    pub(crate) dir: TempDir,
}

impl SmallDisk {
    pub(crate) fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("tempdir");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .output()
            .is_ok_and(|out| out.status.success());
        mounted.then_some(Self { dir })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}
