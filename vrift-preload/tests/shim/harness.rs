//! Building the shim, and running a C program under it with a trace.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use vrift_core::arena::{ArenaFile, Trace, read_trace};
use vrift_core::context::{Context, Field};
use vrift_core::env;
use vrift_core::event::EventKind;

/// No program of these tests runs nearly as long.
const LONGEST: Duration = Duration::from_secs(20);

/// The shim as it is installed. Cargo builds no `cdylib` for a test, so that this does.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shim");
        let built = Command::new(env!("CARGO"))
            .args(["build", "--offline", "--quiet", "--package", "vrift-preload", "--features", "bare", "--profile", "embedded"])
            .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "--target-dir"])
            .arg(&target)
            .status()
            .expect("cargo starts");
        assert!(built.success(), "the shim does not build");
        target.join("embedded/libvrift_preload.so")
    })
}

/// A folder with a program in it.
pub struct Program {
    pub dir: tempfile::TempDir,
    /// The VDir that it is told of.
    pub vdir: PathBuf,
}

/// What a run left.
pub struct Run {
    pub status: ExitStatus,
    pub stdout: String,
    pub trace: Trace,
}

impl Program {
    /// Compiles `source`.
    pub fn new(source: &str) -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::write(dir.path().join("p.c"), format!("#define _GNU_SOURCE\n{source}")).expect("writes");
        let compiled = Command::new("cc")
            .args(["-w", "-O1", "-pthread", "-o", "p", "p.c"])
            .current_dir(dir.path())
            .status()
            .expect("cc starts");
        assert!(compiled.success(), "the program does not compile");
        Self { dir, vdir: PathBuf::new() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs it in its folder under the shim, inside an action.
    pub fn run(&self, args: &[&str]) -> Run {
        self.run_with(args, |_| ())
    }

    /// Runs it inside an action that is inside another one, whose trace comes second.
    pub fn run_inside_two(&self) -> (Run, Trace) {
        let outer = ArenaFile::create(8 << 20).expect("creates an arena");
        let path = outer.path();
        let run = self.run_with(&[], |command| {
            let value = command.get_envs().find(|(name, _)| *name == env::CONTEXT).and_then(|(_, value)| value);
            let value = value.expect("a context").as_bytes().to_vec();
            let context = Context::parse(&value).expect("parses").with(Field::Outer, path.as_bytes()).encode();
            command.env(env::CONTEXT, std::ffi::OsStr::from_bytes(&context));
        });
        (run, read_trace(outer.map()).expect("a sound trace"))
    }

    /// The same as [`Program::run`], after `prepare` has had its say.
    pub fn run_with(&self, args: &[&str], prepare: impl FnOnce(&mut Command)) -> Run {
        let arena = ArenaFile::create(8 << 20).expect("creates an arena");
        let arena_path = arena.path();
        let context = Context::empty()
            .with(Field::Shim, shim().as_os_str().as_bytes())
            .with(Field::Exec, b"/nowhere/vrift-exec")
            .with(Field::Arena, arena_path.as_bytes())
            .with(Field::VDir, self.vdir.as_os_str().as_bytes())
            .encode();
        let mut command = Command::new(self.path("p"));
        command.args(args).current_dir(self.dir.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        command.env("LD_PRELOAD", shim()).env(env::CONTEXT, std::ffi::OsStr::from_bytes(&context));
        prepare(&mut command);
        let Output { status, stdout, .. } = ended(command);
        let trace = read_trace(arena.map()).expect("a sound trace");
        Run { status, stdout: String::from_utf8_lossy(&stdout).into_owned(), trace }
    }
}

/// Waits, but not for ever.
fn ended(mut command: Command) -> Output {
    let mut child = command.spawn().expect("starts");
    let start = Instant::now();
    while child.try_wait().expect("waits").is_none() {
        if start.elapsed() > LONGEST {
            child.kill().expect("kills");
            panic!("the program hangs");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().expect("its output")
}

impl Run {
    /// The error that an event of this kind about a path with this end has; nothing where there is no such event.
    pub fn event(&self, kind: EventKind, end: &str) -> Option<u16> {
        self.trace.events.iter().find(|e| e.kind == kind && e.path.ends_with(end.as_bytes())).map(|e| e.errno)
    }

    pub fn untraced(&self) -> bool {
        self.trace.events.iter().any(|e| e.kind == EventKind::Untraced)
    }

    pub fn count(&self, kind: EventKind) -> usize {
        self.trace.events.iter().filter(|e| e.kind == kind).count()
    }
}
