//! What a look-up costs: actions with many inputs, in a checkout that built them and in a fresh one.
//!
//! `cargo run --release -p vrift-daemon --example lookup-cost` prints medians and worst cases in microseconds, as the worker
//! measures them and as a client sees them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use vrift_core::PROTOCOL_VERSION;
use vrift_core::action::{Access, Output, OutputState, Place, Tool};
use vrift_core::bytes::ByteText;
use vrift_core::digest::Digest;
use vrift_core::home::Home;
use vrift_core::paths::{AbsPath, Root, Roots};
use vrift_core::root::{Project, RootKind};
use vrift_core::wire::{
    InputClaim, LookupParams, LookupResult, OutputStamp, RecordParams, RecordResult, WhyEntry, WhyParams, method,
};
use vrift_daemon::client::{Connection, ensure_coordinator, open_project};
use vrift_store::cas::file_stamp;
use vrift_store::{Cas, Ingest};

const ACTIONS: usize = 60;
const SOURCES: usize = 25;
const LIBRARIES: usize = 30;
const ABSENT: usize = 60;

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    let dir = tempfile::tempdir()?;
    let bin = dir.path().join("bin");
    fs::create_dir(&bin)?;
    let own = std::env::current_exe()?;
    let daemons = own.parent().and_then(Path::parent).ok_or("no target folder")?.join("vrift-daemons");
    for name in ["vriftd", "vdir_d"] {
        fs::copy(&daemons, bin.join(name)).map_err(|e| format!("{}: {e}; build it first", daemons.display()))?;
    }
    fs::write(bin.join("rustc"), "compiler")?;
    let home = Home::at(dir.path().join("home"));
    let began = Instant::now();
    let mut coordinator = ensure_coordinator(&home, &bin.join("vriftd"), Duration::from_secs(5))?;
    println!("coordinator up after {:?}", began.elapsed());
    let shared = dir.path().join("registry/src/index");
    for action in 0..ACTIONS {
        let package = shared.join(format!("package-{action}/src"));
        fs::create_dir_all(&package)?;
        for i in 0..SOURCES {
            fs::write(package.join(format!("file{i}.rs")), format!("// {action} {i}\n").repeat(400))?;
        }
    }
    std::thread::sleep(Duration::from_millis(20));
    for (n, name) in ["first", "second"].into_iter().enumerate() {
        let root = dir.path().join(name);
        fs::create_dir_all(root.join("target/deps"))?;
        let began = Instant::now();
        let project = Project::at(&root, RootKind::Explicit, None)?;
        let opened = open_project(&mut coordinator, &project)?;
        let mut up = Connection::connect(opened.socket.as_path(), Duration::from_secs(5))?;
        up.hello("bench")?;
        println!("{name}: worker answers after {:?}", began.elapsed());
        let client = Client { root, shared: shared.clone(), bin: bin.clone(), source: home.the_source().to_owned() };
        if n == 0 {
            for action in 0..ACTIONS {
                client.build(opened.socket.as_path(), action)?;
            }
            client.report(opened.socket.as_path(), "  rebuild")?;
            std::thread::sleep(Duration::from_millis(1500));
        } else {
            client.report(opened.socket.as_path(), "  fresh checkout")?;
            client.report(opened.socket.as_path(), "  again")?;
        }
    }
    coordinator.shutdown(false)?;
    std::thread::sleep(Duration::from_millis(200));
    Ok(())
}

struct Client {
    root: PathBuf,
    shared: PathBuf,
    bin: PathBuf,
    source: PathBuf,
}

impl Client {
    fn params(&self, action: usize) -> Result<LookupParams, Error> {
        let abs = |path: &Path| AbsPath::try_from(path);
        let env = (0..80).map(|i| ByteText::from(format!("VARIABLE_{i}=some value or other {}", self.root.display()).as_str()));
        let source = self.shared.join(format!("package-{action}/src/file0.rs"));
        let out = self.root.join("target/deps");
        let mut argv: Vec<ByteText> =
            ["rustc", "--crate-name", "x", "--emit=dep-info,metadata,link"].map(ByteText::from).to_vec();
        argv.extend([source.into(), "--out-dir".into(), out.clone().into()]);
        for library in 0..action.min(LIBRARIES) {
            argv.push(format!("--extern=l{library}={}", out.join(format!("lib{library}.rmeta")).display()).as_str().into());
        }
        Ok(LookupParams {
            protocol: PROTOCOL_VERSION,
            session: "bench".to_owned(),
            tool: Tool::Rustc,
            program: abs(&self.bin.join("rustc"))?,
            argv,
            cwd: abs(&self.root)?,
            env: env.collect(),
            umask: 0o22,
            roots: Roots::new([(Root::Project, abs(&self.root)?)]),
            recache: false,
            stdin: None,
            surroundings: Vec::new(),
            script: ByteText::default(),
            plain_text: false,
            nested: false,
        })
    }

    fn build(&self, socket: &Path, action: usize) -> Result<(), Error> {
        let mut connection = Connection::connect(socket, Duration::from_secs(5))?;
        let params = self.params(action)?;
        let LookupResult::Miss(plan) = connection.call(method::ACTION_LOOKUP, &params)? else { return Err("a hit".into()) };
        std::thread::sleep(Duration::from_millis(10));
        let mut inputs = Vec::new();
        let mut claim = |path: PathBuf, access| -> Result<(), Error> {
            inputs.push(InputClaim { path: AbsPath::try_from(path.as_path())?, access });
            Ok(())
        };
        for i in 0..SOURCES {
            claim(self.shared.join(format!("package-{action}/src/file{i}.rs")), Access::Content)?;
        }
        for i in 0..action.min(LIBRARIES) {
            claim(self.root.join(format!("target/deps/lib{i}.rmeta")), Access::Content)?;
        }
        for i in 0..ABSENT {
            claim(self.shared.join(format!("package-{action}/src/absent{i}.rs")), Access::Absent)?;
        }
        let path = self.root.join(format!("target/deps/lib{action}.rmeta"));
        fs::write(&path, format!("library {action}").repeat(1000))?;
        let (stamp, content) = (file_stamp(&fs::metadata(&path)?), fs::read(&path)?);
        let blob = Cas::open(&self.source).ingest_file(&path, Ingest::Link, Digest::of(&content), &stamp)?;
        let state = OutputState::File { blob: blob.digest, size: blob.size, mode: 0o644, place: Place::Link };
        let at = AbsPath::try_from(path.as_path())?;
        let record = RecordParams {
            session: params.session,
            plan: *plan,
            started_ns: u64::MAX >> 2,
            inputs,
            env: Vec::new(),
            env_closed: false,
            outputs: vec![Output { path: params.roots.template_path(&at), state, optional: false }],
            stamps: vec![OutputStamp { path: at, stamp, digest: blob.digest }],
            stdio: Vec::new(),
            bound: Vec::new(),
            wall_us: 1,
            cpu_us: 1,
            script: ByteText::default(),
            roots: params.roots,
        };
        let result: RecordResult = connection.call(method::ACTION_RECORD, &record)?;
        if result.stored { Ok(()) } else { Err(format!("{result:?}").into()) }
    }

    fn report(&self, socket: &Path, what: &str) -> Result<(), Error> {
        let cas = Cas::open(&self.source);
        let mut seen = Vec::new();
        let all = Instant::now();
        for action in 0..ACTIONS {
            let params = self.params(action)?;
            let began = Instant::now();
            let mut connection = Connection::connect(socket, Duration::from_secs(5))?;
            let answer: LookupResult = connection.call(method::ACTION_LOOKUP, &params)?;
            seen.push(began.elapsed().as_micros() as u64);
            match answer {
                LookupResult::Hit(plan) => cas.restore_all(&plan.restore, &params.roots).map_err(|e| e.error)?,
                other => return Err(format!("{other:?}").into()),
            }
        }
        let all = all.elapsed();
        let mut connection = Connection::connect(socket, Duration::from_secs(5))?;
        let query = WhyParams { query: String::new(), limit: ACTIONS };
        let entries: Vec<WhyEntry> = connection.call(method::WHY, &query)?;
        let worker: Vec<u64> = entries.iter().map(|entry| entry.lookup_us).collect();
        println!("{what}: {ACTIONS} hits in {all:?}; worker {}; client {}", numbers(worker), numbers(seen));
        Ok(())
    }
}

fn numbers(mut us: Vec<u64>) -> String {
    us.sort_unstable();
    format!("median {} worst {}", us[us.len() / 2], us[us.len() - 1])
}
