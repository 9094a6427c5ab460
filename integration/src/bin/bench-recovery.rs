//! How soon builds go on when a daemon is killed, and how soon it is back.
//!
//! The client that is answered by fallback is a command whose worker is stopped while it has the question, and then killed: the
//! time from the kill to the first instruction of the real program. What is killed is a new project's worker each time, since
//! one that is killed again and again is started with growing pauses.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use integration::Result;
use integration::bench::{Options, Report, median, millis};
use integration::chaos::processes::{self, Role};
use integration::checkout::Checkout;
use integration::daemons::{self, Daemon};
use integration::env::TestEnv;
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use vrift_core::identity::ProjectId;
use vrift_core::paths::AbsPath;

/// Workers that a new coordinator has to find again.
const WORKERS: usize = 8;

/// A compiler that does nothing but say when it began.
const COMPILER: &str = "#include <stdio.h>\n#include <time.h>\nint main(void) {\n    struct timespec now;\n    \
     clock_gettime(CLOCK_MONOTONIC, &now);\n    printf(\"%lld\\n\", now.tv_sec * 1000000000LL + now.tv_nsec);\n    return 0;\n}\n";

/// Nothing takes longer.
const LIMIT: Duration = Duration::from_secs(20);

fn main() -> Result {
    let options = Options::from_args()?;
    let runs = options.runs.unwrap_or(50).max(1);
    let env = TestEnv::new()?;
    let compiler = env.checkout("compiler")?;
    compiler.write("cc.c", COMPILER)?.sh("mkdir bin && cc -O2 -o bin/cc cc.c").ok()?;
    let (mut waiting, mut next, mut back, mut coordinator) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for run in 0..runs {
        waiting.push(killed_while_asked(&project(&env, &compiler, &format!("waiting/{run}"))?)?);
        next.push(killed_before_asked(&project(&env, &compiler, &format!("next/{run}"))?)?);
        back.push(worker_back(&project(&env, &compiler, &format!("back/{run}"))?)?);
        // Gone for certain: one that is about to end would serve the next project, for a moment.
        env.kill_daemons()?;
    }
    let projects: Vec<_> = (0..WORKERS).map(|n| project(&env, &compiler, &format!("many/{n}"))).collect::<Result<_>>()?;
    for _ in 0..runs {
        coordinator.push(coordinator_back(&env, projects.len())?);
    }
    let mut report = Report::new("bench-recovery", format!("Daemons killed, {runs} times each"));
    let mut row = |what: &str, times: &[Duration], aim: &str| {
        let worst = times.iter().max().copied().unwrap_or_default();
        report.row(format!("{what}, median"), millis(median(times.iter().copied())), aim);
        report.row(format!("{what}, worst"), millis(worst), "");
    };
    row("worker killed → the command that waits for its answer runs without", &waiting, "at most 5 ms is the aim");
    row("worker killed → a command that comes right then has started", &next, "answered by the next worker, or run without");
    row("worker killed → the next one answers", &back, "at most 100 ms is the aim");
    let with = format!("coordinator killed → the next one knows all {WORKERS} workers");
    row(&with, &coordinator, "at most 100 ms is the aim; started at once, as by a front end");
    let ms = |times: &[Duration]| times.iter().map(|time| time.as_secs_f64() * 1e3).collect::<Vec<_>>();
    report.data("waiting_ms", ms(&waiting)).data("next_ms", ms(&next)).data("back_ms", ms(&back));
    report.data("coordinator_ms", ms(&coordinator));
    report.finish(options.save)
}

/// A new project with the compiler in it, and its worker running.
fn project<'e>(env: &'e TestEnv, compiler: &Checkout<'_>, name: &str) -> Result<Checkout<'e>> {
    let checkout = env.checkout(name)?;
    checkout.write("x.c", "int x;\n")?.write("Makefile", "")?;
    std::fs::create_dir(checkout.path("bin"))?;
    std::fs::copy(compiler.path("bin/cc"), checkout.path("bin/cc"))?;
    checkout.cmd("vrift").args(["run", "--", "true"]).ok()?;
    worker(&checkout)?;
    Ok(checkout)
}

/// The project's worker, once it is there: on a busy machine, a command may be over before.
fn worker(checkout: &Checkout<'_>) -> Result<Daemon> {
    let root = format!("--root {} ", checkout.dir().display());
    let find = || checkout.env().daemons().into_iter().find(|daemon| daemon.command.contains(&root));
    until(Instant::now(), || find().is_some(), "the worker does not come")?;
    find().with_context(|| format!("`{}` has no worker", checkout.dir().display()))
}

fn now() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

/// From `killed` to what the compiler said.
fn since(killed: Duration, said: &str) -> Result<Duration> {
    let began = Duration::from_nanos(said.trim().parse().with_context(|| format!("the compiler said {said:?}"))?);
    began.checked_sub(killed).context("the compiler ran too early")
}

fn killed_while_asked(checkout: &Checkout<'_>) -> Result<Duration> {
    let worker = worker(checkout)?;
    kill(worker.pid, Signal::SIGSTOP)?;
    let command = checkout.run("bin/cc -c x.c").limit(LIMIT).start()?;
    let clients = || processes::of(checkout.env().path()).into_iter().filter(|process| process.role == Role::Client).count();
    let began = Instant::now();
    while clients() == 0 {
        ensure!(began.elapsed() < LIMIT, "no client came");
        std::thread::sleep(Duration::from_millis(2));
    }
    // By then it has asked, and waits: for less time than it would for a worker that hangs.
    std::thread::sleep(Duration::from_millis(50));
    let killed = now()?;
    kill(worker.pid, Signal::SIGKILL)?;
    since(killed, &command.wait()?.stdout)
}

fn killed_before_asked(checkout: &Checkout<'_>) -> Result<Duration> {
    let worker = worker(checkout)?;
    let command = checkout.run("while ! [ -e go ]; do :; done; bin/cc -c x.c");
    // A stored result would say when it began the first time.
    let command = command.env("VRIFT_RECACHE", "1").limit(LIMIT).start()?;
    std::thread::sleep(Duration::from_millis(100));
    let killed = now()?;
    kill(worker.pid, Signal::SIGKILL)?;
    checkout.write("go", "")?;
    since(killed, &command.wait()?.stdout)
}

fn worker_back(checkout: &Checkout<'_>) -> Result<Duration> {
    let worker = worker(checkout)?;
    let id = ProjectId::new(&AbsPath::try_from(checkout.dir())?, None);
    let socket = checkout.env().vrift_home().join(format!("run/{}.sock", &id.to_hex()[..16]));
    let began = Instant::now();
    kill(worker.pid, Signal::SIGKILL)?;
    let answers = || hello(&socket).ok().is_some_and(|pid| pid != i64::from(worker.pid.as_raw()));
    until(began, answers, "the worker does not come back")
}

fn hello(socket: &std::path::Path) -> Result<i64> {
    let answer = daemons::ask(socket, "hello", &json!({ "protocol": vrift_core::PROTOCOL_VERSION, "build": "bench" }))?;
    answer["pid"].as_i64().context("no process")
}

fn until(began: Instant, mut done: impl FnMut() -> bool, what: &str) -> Result<Duration> {
    while !done() {
        ensure!(began.elapsed() < LIMIT, "{what}");
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(began.elapsed())
}

fn coordinator_back(env: &TestEnv, workers: usize) -> Result<Duration> {
    let old = env.daemons().into_iter().find(|daemon| daemon.name == "vriftd").context("no coordinator")?;
    let socket: PathBuf = env.vrift_home().join("run/vriftd.sock");
    let listed = || -> Result<Vec<Value>> {
        let status = daemons::ask(&socket, "status", &json!({}))?;
        Ok(status["workers"].as_array().cloned().unwrap_or_default())
    };
    let before = listed()?;
    ensure!(before.len() == workers, "{} workers, not {workers}", before.len());
    // It takes note of them on disk beside everything else.
    let registry = env.vrift_home().join("instances.json");
    let noted = || std::fs::read_to_string(&registry).is_ok_and(|text| text.matches("\"pid\"").count() == workers);
    until(Instant::now(), noted, "the workers are not noted")?;
    let began = Instant::now();
    kill(old.pid, Signal::SIGKILL)?;
    let start = env.cmd_in("vriftd", env.path()).arg("--home").arg(env.vrift_home()).arg("--source").arg(env.the_source());
    start.ok()?;
    let pids = |rows: &[Value]| rows.iter().map(|row| row["pid"].as_i64()).collect::<std::collections::BTreeSet<_>>();
    let before = pids(&before);
    until(began, || listed().is_ok_and(|rows| pids(&rows) == before), "the workers are not found")
}
