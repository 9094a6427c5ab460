//! A state folder, projects, and a client that behaves like the one that builds use.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill as signal};
use nix::unistd::Pid;
use tempfile::TempDir;
use vrift_core::PROTOCOL_VERSION;
use vrift_core::action::{Access, EnvInput, Output, OutputState, Place, StdioChunk, Stream, Tool};
use vrift_core::bytes::ByteText;
use vrift_core::digest::Digest;
use vrift_core::home::Home;
use vrift_core::paths::{AbsPath, Root, Roots};
use vrift_core::root::{Project, RootKind};
use vrift_core::wire::{
    AbandonParams, HitPlan, InputClaim, LookupParams, LookupResult, MissPlan, OutputStamp, ProjectOpenResult, ProjectStatus,
    RecordParams, RecordResult, SessionParams, SessionSummary, WhyEntry, WhyParams, method,
};
use vrift_daemon::client::{Connection, ensure_coordinator, open_project};
use vrift_store::cas::file_stamp;
use vrift_store::{Cas, Ingest};

/// How long anything may take that should happen soon.
pub const SOON: Duration = Duration::from_secs(10);

/// A state folder with its daemons.
pub struct Bench {
    dir: TempDir,
    pub home: Home,
}

impl Bench {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).expect("creates");
        for name in ["vriftd", "vdir_d"] {
            fs::copy(env!("CARGO_BIN_EXE_vrift-daemons"), bin.join(name)).expect("copies");
        }
        fs::write(bin.join("tool"), "#!/bin/sh\n").expect("writes");
        let home = Home::at(dir.path().join("home"));
        Self { dir, home }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn coordinator(&self) -> Connection {
        ensure_coordinator(&self.home, &self.path("bin/vriftd"), SOON).expect("a coordinator")
    }

    /// A checkout with one source file.
    pub fn checkout(&self, name: &str) -> Checkout<'_> {
        let root = self.path(name);
        fs::create_dir_all(root.join("src")).expect("creates");
        fs::create_dir_all(root.join("out")).expect("creates");
        fs::write(root.join("src/in.c"), "int x;\n").expect("writes");
        Checkout { bench: self, root: root.canonicalize().expect("canonical") }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // One that was about to start when a test ended, or that a worker starts for one that was killed, comes after.
        let mut silent = 0;
        wait_until("they end", || {
            match Connection::connect(&self.home.coordinator_socket(), SOON) {
                Ok(mut coordinator) => {
                    let _ = coordinator.shutdown(false);
                    silent = 0;
                }
                Err(_) => silent += 1,
            }
            silent > 5
        });
    }
}

/// A project.
pub struct Checkout<'a> {
    pub bench: &'a Bench,
    pub root: PathBuf,
}

impl<'a> Checkout<'a> {
    pub fn open(&self) -> ProjectOpenResult {
        let project = Project::at(&self.root, RootKind::Explicit, None).expect("a project");
        open_project(&mut self.bench.coordinator(), &project).expect("a worker")
    }

    pub fn client(&self) -> Client {
        let opened = self.open();
        Client::new(opened.socket.as_path(), &self.root, &self.bench.path("bin/tool"), self.bench.home.the_source())
    }

    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.root.join(name), content).expect("writes");
    }

    /// Other content of the same length under the old modification time.
    pub fn write_unseen(&self, name: &str, content: &str) {
        let path = self.root.join(name);
        let meta = fs::metadata(&path).expect("exists");
        assert_eq!(meta.len(), content.len() as u64);
        fs::write(&path, content).expect("writes");
        let times = fs::FileTimes::new().set_modified(meta.modified().expect("mtime"));
        fs::File::options().write(true).open(&path).expect("opens").set_times(times).expect("utimes");
    }

    /// Puts a result in place.
    pub fn restore(&self, plan: &HitPlan) {
        let roots = roots(&self.root);
        Cas::open(self.bench.home.the_source()).restore_all(&plan.restore, &roots).expect("restores");
    }
}

pub fn abs(path: &Path) -> AbsPath {
    AbsPath::try_from(path).expect("absolute")
}

pub fn roots(root: &Path) -> Roots {
    Roots::new([(Root::Project, abs(root))])
}

/// One build's client.
pub struct Client {
    pub connection: Connection,
    pub root: PathBuf,
    pub source: PathBuf,
    pub params: LookupParams,
}

impl Client {
    fn new(socket: &Path, root: &Path, tool: &Path, source: &Path) -> Self {
        let params = LookupParams {
            protocol: PROTOCOL_VERSION,
            session: "0123456789abcdef".to_owned(),
            tool: Tool::Cc,
            program: abs(tool),
            argv: ["tool", "-c", "src/in.c", "-o", "out/x.o"].map(ByteText::from).to_vec(),
            cwd: abs(root),
            env: vec!["PATH=/bin".into(), "TERM=xterm".into(), "MODE=fast".into()],
            umask: 0o22,
            roots: roots(root),
            recache: false,
            stdin: None,
            surroundings: Vec::new(),
            script: ByteText::default(),
            plain_text: false,
            nested: false,
        };
        let connection = Connection::connect(socket, SOON).expect("connects");
        Self { connection, root: root.to_owned(), source: source.to_owned(), params }
    }

    pub fn lookup(&mut self) -> LookupResult {
        self.connection.call(method::ACTION_LOOKUP, &self.params).expect("an answer")
    }

    pub fn hit(&mut self) -> HitPlan {
        match self.lookup() {
            LookupResult::Hit(plan) => *plan,
            other => panic!("no hit: {other:?}"),
        }
    }

    pub fn miss(&mut self) -> MissPlan {
        match self.lookup() {
            LookupResult::Miss(plan) => *plan,
            other => panic!("no miss: {other:?}"),
        }
    }

    /// What a run of the tool makes and sees: it reads the source and `MODE`, finds no `src/in.h`, and writes the object.
    pub fn run(&mut self, plan: MissPlan) -> RecordParams {
        let started_ns = coarse_now();
        let content = fs::read(self.root.join("src/in.c")).expect("reads");
        let object = [b"object of ", &content[..]].concat();
        fs::write(self.root.join("out/x.o"), object).expect("writes");
        let mode = self.params.env.iter().find_map(|e| e.strip_prefix(b"MODE=")).map(Digest::of);
        let claim = |name: &str, access| InputClaim { path: abs(&self.root.join(name)), access };
        let mut params = RecordParams {
            session: self.params.session.clone(),
            plan,
            roots: self.params.roots.clone(),
            started_ns,
            inputs: vec![claim("src/in.c", Access::Content), claim("src/in.h", Access::Absent)],
            env: vec![EnvInput { name: "MODE".into(), value: mode, shown: None }],
            env_closed: false,
            outputs: Vec::new(),
            stamps: Vec::new(),
            stdio: vec![StdioChunk { stream: Stream::Err, text: self.params.roots.template_text(&self.said()) }],
            bound: Vec::new(),
            wall_us: 20,
            cpu_us: 10,
            script: ByteText::default(),
        };
        self.add_output(&mut params, "out/x.o");
        params
    }

    /// What the tool says, with this checkout's path in it.
    pub fn said(&self) -> Vec<u8> {
        format!("made {}/out/x.o\n", self.root.display()).into_bytes()
    }

    /// Adopts an output as a client does.
    pub fn add_output(&self, params: &mut RecordParams, name: &str) {
        let path = self.root.join(name);
        let meta = fs::metadata(&path).expect("exists");
        let (stamp, content) = (file_stamp(&meta), fs::read(&path).expect("reads"));
        let blob = Cas::open(&self.source).ingest_file(&path, Ingest::Link, Digest::of(&content), &stamp).expect("ingests");
        let state = OutputState::File { blob: blob.digest, size: blob.size, mode: meta.mode() & 0o7777, place: Place::Link };
        params.outputs.push(Output { path: params.roots.template_path(&abs(&path)), state, optional: false });
        params.stamps.push(OutputStamp { path: abs(&path), stamp, digest: blob.digest });
    }

    pub fn record(&mut self, params: &RecordParams) -> RecordResult {
        self.connection.call(method::ACTION_RECORD, params).expect("an answer")
    }

    /// Misses, runs, records.
    pub fn build(&mut self) {
        let plan = self.miss();
        let params = self.run(plan);
        let result = self.record(&params);
        assert!(result.stored, "{result:?}");
    }

    pub fn abandon(&mut self, key: Digest, failed_hit: Option<i64>) {
        let params = AbandonParams {
            session: self.params.session.clone(),
            key,
            label: String::new(),
            reason: "a test".to_owned(),
            failed_hit,
        };
        let done: bool = self.connection.call(method::ACTION_ABANDON, &params).expect("an answer");
        assert!(done);
    }

    pub fn summary(&mut self) -> SessionSummary {
        let params = SessionParams { session: self.params.session.clone() };
        self.connection.call(method::SESSION_SUMMARY, &params).expect("an answer")
    }

    pub fn status(&mut self) -> ProjectStatus {
        self.connection.call(method::STATUS, &serde_json::json!({})).expect("an answer")
    }

    pub fn why(&mut self, query: &str) -> Vec<WhyEntry> {
        let params = WhyParams { query: query.to_owned(), limit: 10 };
        self.connection.call(method::WHY, &params).expect("an answer")
    }
}

/// The clock that the kernel stamps files with.
pub fn coarse_now() -> u64 {
    let now = nix::time::clock_gettime(nix::time::ClockId::CLOCK_REALTIME_COARSE).expect("a clock");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

/// Waits until files get later stamps than any that there is.
pub fn next_tick() {
    let now = coarse_now();
    while coarse_now() == now {
        std::thread::sleep(Duration::from_millis(1));
    }
}

pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !done() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A process that is stopped, until this is dropped.
pub struct Stopped(Pid);

impl Stopped {
    /// Not yet.
    pub fn later(pid: u32) -> Self {
        Self(Pid::from_raw(pid as i32))
    }

    pub fn now(&self) {
        signal(self.0, Signal::SIGSTOP).expect("stops");
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may be gone.
        let _ = signal(self.0, Signal::SIGCONT);
    }
}

pub fn kill(pid: u32) {
    signal(Pid::from_raw(pid as i32), Signal::SIGKILL).expect("kills");
    wait_until("it dies", || {
        // A zombie of another process counts as dead.
        let mut stat = String::new();
        let read = fs::File::open(format!("/proc/{pid}/stat")).and_then(|mut f| f.read_to_string(&mut stat));
        // Its first thread may be one before the others, which hold its sockets, are gone.
        let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        read.is_err() || stat.contains(") Z") && threads <= 1
    });
}
