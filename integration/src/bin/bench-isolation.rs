//! What a fault in one project costs another: the build of B while A's worker crashes again and again, and while A holds every
//! lock that it can hold. Each disturbed build has an undisturbed one beside it, as often before it as after it.
//!
//! B's build is the one that needs daemons most: an empty target folder, filled from the store.
#![forbid(unsafe_code)]

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Context;
use integration::Result;
use integration::bench::{Options, Report, median, millis, ratio, settle};
use integration::chaos::processes;
use integration::checkout::Checkout;
use integration::command::Running;
use integration::daemons;
use integration::env::TestEnv;
use integration::small;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{F_WRLCK, SEEK_SET, flock};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use vrift_core::identity::ProjectId;
use vrift_core::paths::AbsPath;

/// How often builds of A ask for its worker, which crashes at once.
const CRASH_EVERY: Duration = Duration::from_millis(100);

fn main() -> Result {
    let options = Options::from_args()?;
    let project = options.project("ripgrep")?;
    let runs = options.runs.unwrap_or(21).max(1);
    let env = TestEnv::new()?;
    let a = env.checkout("a")?;
    small::workspace(&a)?;
    a.write("slow.c", "")?.write("cc.c", "#include <unistd.h>\nint main(void) { return sleep(60); }\n")?;
    a.sh("mkdir bin && cc -o bin/cc cc.c").ok()?;
    a.vrift("build").ok()?;
    eprintln!("first build of {} …", project.name);
    env.checkout_of(&project.sources, "first")?.vrift("build").ok()?;
    let b = env.checkout_of(&project.sources, "b")?;
    build(&b)?;

    let mut report = Report::new("bench-isolation", format!("{} built while another project is in trouble", project.name));
    let (crashes, restarts) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (alone, crashing) = pairs(&b, runs, || Crashes::start(&a, true, &crashes))?;
    rows(&mut report, "A's worker crashes ten times a second", &alone, &crashing, "as often as builds of A ask for it");
    report.data("crashes", crashes.load(Ordering::Relaxed));
    let (alone, restarting) = pairs(&b, runs, || Crashes::start(&a, false, &restarts))?;
    rows(&mut report, "A's worker crashes as often as it is started again", &alone, &restarting, "with growing pauses");
    report.data("restarts", restarts.load(Ordering::Relaxed));
    let (alone, locked) = pairs(&b, runs, || Locks::take(&a))?;
    rows(&mut report, "A holds its locks", &alone, &locked, "its database, Cargo's lock, a lease; its worker is stopped");
    report.finish(options.save)
}

fn rows(report: &mut Report, what: &str, alone: &[Duration], disturbed: &[Duration], note: &str) {
    let (alone_median, median) = (median(alone.iter().copied()), median(disturbed.iter().copied()));
    report.row("undisturbed", millis(alone_median), format!("median of {}", alone.len())).row(what, millis(median), note).row(
        "ratio",
        ratio(median, alone_median),
        "at most 1.05 × is the aim",
    );
    let ms = |times: &[Duration]| times.iter().map(|time| time.as_secs_f64() * 1e3).collect::<Vec<_>>();
    report.data(&format!("{what}: undisturbed, ms"), ms(alone)).data(&format!("{what}: ms"), ms(disturbed));
}

/// Builds B from scratch; returns how long that took.
fn build(b: &Checkout<'_>) -> Result<Duration> {
    let target = b.path("target");
    if target.exists() {
        std::fs::remove_dir_all(target)?;
    }
    Ok(b.vrift("build").ok()?.wall)
}

/// Times of B's build, undisturbed and disturbed. Whatever disturbs it ends when it is dropped.
fn pairs<D>(b: &Checkout<'_>, runs: usize, disturb: impl Fn() -> Result<D>) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let (mut alone, mut disturbed) = (Vec::new(), Vec::new());
    for run in 0..runs {
        for second in [false, true] {
            settle(b.env());
            if second == run.is_multiple_of(2) {
                let trouble = disturb()?;
                disturbed.push(build(b)?);
                drop(trouble);
            } else {
                alone.push(build(b)?);
            }
        }
    }
    Ok((alone, disturbed))
}

/// The process of A's worker, which is started where there is none.
fn open(a: &Checkout<'_>) -> Result<Pid> {
    let params = json!({ "protocol": vrift_core::PROTOCOL_VERSION, "root": a.dir(), "branch": null, "name": "a" });
    let opened = daemons::ask(&a.env().vrift_home().join("run/vriftd.sock"), "project.open", &params)?;
    pid_of(&opened)
}

fn pid_of(answer: &Value) -> Result<Pid> {
    let pid = answer["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).context("no process")?;
    Ok(Pid::from_raw(pid))
}

/// A worker that crashes again and again.
struct Crashes {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Crashes {
    /// With `asked`, builds ask for the worker every [`CRASH_EVERY`]; without, the coordinator alone starts it again.
    fn start(a: &Checkout<'_>, asked: bool, count: &Arc<AtomicU32>) -> Result<Self> {
        let id = ProjectId::new(&AbsPath::try_from(a.dir())?, None);
        let run = a.env().vrift_home().join("run");
        let (socket, coordinator) = (run.join(format!("{}.sock", &id.to_hex()[..16])), run.join("vriftd.sock"));
        let params = json!({ "protocol": vrift_core::PROTOCOL_VERSION, "root": a.dir(), "branch": null, "name": "a" });
        let hello = json!({ "protocol": vrift_core::PROTOCOL_VERSION, "build": "bench" });
        open(a)?;
        let (done, count) = (Arc::new(AtomicBool::new(false)), Arc::clone(count));
        let stop = Arc::clone(&done);
        let thread = thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let answer = match asked {
                    true => daemons::ask(&coordinator, "project.open", &params),
                    false => daemons::ask(&socket, "hello", &hello),
                };
                if answer.and_then(|answer| pid_of(&answer)).is_ok_and(|pid| kill(pid, Signal::SIGKILL).is_ok()) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                thread::sleep(if asked { CRASH_EVERY } else { CRASH_EVERY / 10 });
            }
        });
        thread::sleep(2 * CRASH_EVERY);
        Ok(Self { done, thread: Some(thread) })
    }
}

impl Drop for Crashes {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Everything that A can hold: its database, Cargo's lock, a lease for a command that runs, and a worker that does not answer.
struct Locks {
    /// Closed last: closing a file ends its locks.
    _files: Vec<File>,
    command: Option<Running>,
    worker: Pid,
}

impl Locks {
    fn take(a: &Checkout<'_>) -> Result<Self> {
        let worker = open(a)?;
        // A compiler that runs for as long as this lives holds a lease.
        let command = a.run("bin/cc -c slow.c").start()?;
        let compiler = || processes::of(a.env().path()).iter().any(|p| p.args.iter().any(|arg| arg == "slow.c"));
        while !compiler() {
            thread::sleep(Duration::from_millis(5));
        }
        thread::sleep(Duration::from_millis(100));
        let cargo = File::open(a.path("target/debug/.cargo-lock"))?;
        cargo.lock()?;
        // The bytes of SQLite's locks in its shared memory file (sqlite.org/walformat.html).
        let shm = File::options().read(true).write(true).open(a.path(".vrift/manifest.db-shm"))?;
        let all = flock { l_type: F_WRLCK as i16, l_whence: SEEK_SET as i16, l_start: 120, l_len: 8, l_pid: 0 };
        // The worker may be reading; then it holds one of them itself.
        let _ = fcntl(&shm, FcntlArg::F_SETLK(&all));
        kill(worker, Signal::SIGSTOP)?;
        Ok(Self { _files: vec![cargo, shm], command: Some(command), worker })
    }
}

impl Drop for Locks {
    fn drop(&mut self) {
        let _ = kill(self.worker, Signal::SIGCONT);
        if let Some(command) = self.command.take() {
            let _ = command.signal(Signal::SIGKILL);
            let _ = command.wait();
        }
    }
}
