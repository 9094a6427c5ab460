//! What the tests of this crate share.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use vrift_core::digest::Digest;
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
        self.cas.ingest_file(path, how, Digest::of(&content), &stamp).expect("ingests")
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

/// Whether the file has the mode of a linked blob.
pub(crate) fn has_linked_mode(path: &Path, blob: u32) -> bool {
    mode(path) == crate::cas::linked_mode(blob, &fs::symlink_metadata(path).expect("stat"))
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
        let _ = fs::remove_file(&copy);
        // A link where it can be: nobody has it open for writing.
        fs::hard_link(&binary, &copy).or_else(|_| fs::copy(&binary, &copy).map(drop)).expect("copies");
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
    let run = patiently(|| rerun(name, dir, uid).output());
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&run.stderr));
}

/// Starts a program that was written just now. A child that another thread forked meanwhile may hold it open for writing
/// until its own exec, and the kernel then refuses.
pub(crate) fn patiently<T>(start: impl Fn() -> std::io::Result<T>) -> T {
    for _ in 0..200 {
        match start() {
            Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            done => return done.expect("starts"),
        }
    }
    panic!("somebody keeps the program open for writing")
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

/// Actions for manifests.
#[cfg(feature = "manifest")]
pub(crate) mod actions {
    use vrift_core::action::{
        ActionRecord, EnvInput, FileKind, Input, InputState, Output, OutputState, Place, Request, StdioChunk, Stream, Tool,
    };
    use vrift_core::bytes::ByteText;
    use vrift_core::digest::Digest;
    use vrift_core::identity::ProjectId;
    use vrift_core::paths::{AbsPath, Root, Roots, TemplatePath};
    use vrift_core::wire::InsertParams;

    use crate::cas::Blob;

    pub(crate) fn roots() -> Roots {
        let root = |root, path: &str| (root, AbsPath::new(path.as_bytes()).expect("absolute"));
        Roots::new([root(Root::Project, "/w/a"), root(Root::Cargo, "/home/u/.cargo")])
    }

    pub(crate) fn path(text: &str) -> TemplatePath {
        roots().template_path(&AbsPath::new(text.as_bytes()).expect("absolute"))
    }

    pub(crate) fn project() -> ProjectId {
        ProjectId::new(&AbsPath::new(b"/w/a").expect("absolute"), None)
    }

    /// A record of `key` that read the source `input` and made the file of `blobs`.
    pub(crate) fn record(key: &str, input: &[u8], blobs: &[Blob]) -> ActionRecord {
        let output = |(n, blob): (usize, &Blob)| Output {
            path: path(&format!("/w/a/target/debug/{n}")),
            state: OutputState::File {
                blob: blob.digest,
                size: blob.size,
                mode: if blob.exec { 0o755 } else { 0o644 },
                place: Place::Link,
            },
            optional: false,
        };
        ActionRecord {
            key: Digest::of(key.as_bytes()),
            label: format!("{key} 1.0.0 lib"),
            request: Request {
                tool: Tool::Rustc,
                program: path("/home/u/.cargo/bin/rustc"),
                program_digest: Digest::of(b"rustc"),
                argv: vec![roots().template_text(b"rustc"), roots().template_text(b"/w/a/src/lib.rs")],
                cwd: path("/w/a"),
                umask: 0o022,
            },
            inputs: vec![Input { path: path("/w/a/src/lib.rs"), state: InputState::Content(Digest::of(input)) }],
            env: Vec::new(),
            env_closed: false,
            outputs: blobs.iter().enumerate().map(output).collect(),
            stdio: Vec::new(),
            bound: Vec::new(),
            wall_us: 1_000_000,
            cpu_us: 900_000,
        }
    }

    pub(crate) fn insert(record: ActionRecord) -> InsertParams {
        InsertParams { record, project: project() }
    }

    /// A record with one of everything, and `inputs` inputs.
    pub(crate) fn full(inputs: usize) -> ActionRecord {
        let digest = |n: usize| Digest::of(&n.to_le_bytes());
        let states = |n: usize| match n % 16 {
            0 => InputState::Absent,
            1 => InputState::Kind(FileKind::File),
            2 => InputState::Kind(FileKind::Dir),
            3 => InputState::Kind(FileKind::Symlink),
            4 => InputState::Kind(FileKind::Other),
            5 => InputState::Link(digest(n)),
            6 => InputState::Listing(digest(n)),
            7 => InputState::Itself(FileKind::File),
            8 => InputState::Itself(FileKind::Dir),
            9 => InputState::Itself(FileKind::Symlink),
            10 => InputState::Itself(FileKind::Other),
            11 => InputState::Fresh,
            12 => InputState::Program(digest(n)),
            13 => InputState::Runnable,
            14 => InputState::Barred,
            _ => InputState::Content(digest(n)),
        };
        let file = |place| OutputState::File { blob: digest(1), size: u64::MAX, mode: 0o100_755, place };
        let output = |name: &str, state, optional| Output { path: path(name), state, optional };
        let variable = |name: &[u8], value, shown: Option<&str>| EnvInput {
            name: ByteText(name.to_vec()),
            value,
            shown: shown.map(str::to_owned),
        };
        let mut full = record("full", b"", &[]);
        full.inputs = (0..inputs)
            .map(|n| Input {
                path: path(&format!("/home/u/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/serde-1.0.219/src/de/m{n}.rs")),
                state: states(n),
            })
            .collect();
        full.env = vec![
            variable(b"OUT_DIR", Some(digest(2)), Some("{project}/target")),
            variable(b"UNSET", None, None),
            variable(b"\xff odd", Some(digest(3)), None),
        ];
        full.env_closed = true;
        full.outputs = vec![
            output("/w/a/target", OutputState::Dir { mode: 0o755 }, false),
            output("/w/a/target/l", file(Place::Link), false),
            output("/w/a/target/c", file(Place::Copy), true),
            output("/w/a/target/r", file(Place::Render), false),
            output("/w/a/target/s", OutputState::Symlink { target: roots().template_text(b"/w/a/target/l") }, false),
            output("/w/a/gone", OutputState::Removed, true),
        ];
        let chunk = |stream, text: &[u8]| StdioChunk { stream, text: roots().template_text(text) };
        full.stdio = vec![chunk(Stream::Out, b"one"), chunk(Stream::Err, b"warning: /w/a/src \xfe /x/w/a")];
        full.bound = roots().iter().cloned().collect();
        full.wall_us = u64::MAX;
        full
    }
}
