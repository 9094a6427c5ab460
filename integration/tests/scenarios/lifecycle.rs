//! Workers as people see them: listed, stopped, deleted, killed in the middle of a build, hanging.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use integration::Result;
use integration::checkout::Checkout;
use integration::command::within;
use integration::env::{TestEnv, as_root_and_user};
use integration::small;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

fn listed(checkout: &Checkout<'_>, args: &[&str]) -> Result<Vec<Value>> {
    let done = checkout.cmd("vrift").arg("ps").args(args).arg("--json").ok()?;
    Ok(serde_json::from_str(&done.stdout)?)
}

#[test]
fn workers_are_listed_stopped_and_deleted() -> Result {
    as_root_and_user(|env| {
        let first = env.checkout("first")?;
        small::workspace(&first)?;
        first.vrift("build").ok()?;
        let second = first.copy("second")?;
        second.vrift("build").ok()?;

        let all = listed(&second, &["--all"])?;
        ensure!(all.len() == 2, "{all:?}");
        let own = listed(&second, &[])?;
        ensure!(own.len() == 1 && own[0]["root"] == second.dir().to_str().context("text")?, "{own:?}");
        let number = |row: &Value, name: &str| row[name].as_f64().with_context(|| format!("{name} in {row}"));
        ensure!(number(&own[0], "hit_rate")? > 0.9, "{own:?}");
        // The worker hears of a client's end a moment later.
        within(Duration::from_secs(5), || Ok(number(&listed(&second, &[])?[0], "clients")? == 0.0))?;

        second.cmd("vrift").arg("stop").ok()?;
        ensure!(listed(&second, &[])?.is_empty() && listed(&second, &["--all"])?.len() == 1);

        second.write(".vrift/config.toml", "[ui]\nsummary = true\n")?;
        second.cmd("vrift").arg("delete").ok()?;
        ensure!(second.path(".vrift/config.toml").exists() && !second.path(".vrift/manifest.db").exists());
        first.cmd("vrift").arg("delete").ok()?;
        ensure!(!first.path(".vrift").exists() && listed(&first, &["--all"])?.is_empty());
        // The store has it all the same.
        std::fs::remove_dir_all(second.path("target"))?;
        let done = second.vrift("build").ok()?;
        ensure!(done.stderr.contains("0 misses"), "{}", done.stderr);
        Ok(())
    })
}

/// Kills or stops the project's worker again and again while it is built.
#[test]
fn a_build_survives_its_worker() -> Result {
    let env = TestEnv::new()?;
    for (name, signal) in [("killed", Signal::SIGKILL), ("ended", Signal::SIGTERM)] {
        let checkout = env.checkout(name)?;
        small::workspace(&checkout)?;
        let plain = checkout.copy(&format!("{name}-plain"))?;
        let expected = plain.cargo("build").ok().and_then(|_| plain.output_of("app"))?;
        checkout.cmd("vrift").args(["run", "--", "true"]).ok()?;
        let done = std::sync::atomic::AtomicBool::new(false);
        let mut hits = 0;
        std::thread::scope(|scope| -> Result {
            let build = scope.spawn(|| {
                let built = checkout.vrift("build").env("VRIFT_WHOLE_BUILDS", "off").ok().map(drop);
                done.store(true, std::sync::atomic::Ordering::Relaxed);
                built
            });
            let deadline = Instant::now() + Duration::from_secs(60);
            while !done.load(std::sync::atomic::Ordering::Relaxed) && Instant::now() < deadline {
                for row in listed(&checkout, &[])? {
                    let pid = row["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).context("a process")?;
                    hits += i32::from(kill(Pid::from_raw(pid), signal).is_ok());
                }
                std::thread::sleep(Duration::from_millis(30));
            }
            build.join().map_err(|_| anyhow::anyhow!("the build panicked"))?
        })?;
        ensure!(hits > 0, "no worker was {name}");
        ensure!(checkout.output_of("app")? == expected);
        // And it is cached as ever afterwards.
        std::fs::remove_dir_all(checkout.path("target"))?;
        checkout.vrift("build").ok()?;
        std::fs::remove_dir_all(checkout.path("target"))?;
        let again = checkout.vrift("build").ok()?;
        ensure!(again.stderr.contains("0 misses") && checkout.output_of("app")? == expected, "{}", again.stderr);
    }
    Ok(())
}

/// A shell script that compiles, and says how many milliseconds that took.
const TIMED: &str = "a=$(date +%s%N); cc -c main.c -o main.o; b=$(date +%s%N); echo $(((b - a) / 1000000))";

#[test]
fn a_worker_that_hangs_holds_no_command_up() -> Result {
    let env = TestEnv::new()?;
    let checkout = env.checkout("c")?;
    small::make(&checkout)?;
    checkout.sh("cc -c main.c -o plain.o").ok()?;
    checkout.run(TIMED).ok()?;
    let worker = env.daemons().into_iter().find(|daemon| daemon.name == "vdir_d").context("a worker")?;
    kill(worker.pid, Signal::SIGSTOP)?;
    for _ in 0..2 {
        checkout.remove("main.o")?;
        let took: u64 = checkout.run(TIMED).ok()?.stdout.trim().parse()?;
        ensure!(took < 2600, "{took} ms");
        ensure!(std::fs::read(checkout.path("main.o"))? == std::fs::read(checkout.path("plain.o"))?);
    }
    let status = checkout.cmd("vrift").arg("status").ok()?.stdout;
    // The coordinator may have noticed by itself.
    let noticed = env.daemons().iter().all(|daemon| daemon.pid != worker.pid);
    ensure!(noticed || status.contains("vdir_d   does not answer"), "{status}");
    let stopped = checkout.cmd("vrift").arg("stop").ok()?;
    ensure!(noticed || stopped.stderr.contains("killed the worker"), "{}", stopped.stderr);
    ensure!(listed(&checkout, &[])?.is_empty(), "it is gone, and nobody starts another");
    Ok(())
}

#[test]
fn daemons_that_all_hang_are_stopped() -> Result {
    let env = TestEnv::new()?;
    for name in ["a", "b"] {
        env.checkout(name)?.run("true").ok()?;
    }
    for daemon in env.daemons() {
        kill(daemon.pid, Signal::SIGSTOP)?;
    }
    let stopped = env.vrift().args(["stop", "--all"]).ok()?;
    ensure!(stopped.stderr.contains("stopped 2 workers, and killed vriftd"), "{}", stopped.stderr);
    ensure!(env.daemons().is_empty());
    Ok(())
}

#[test]
fn what_takes_long_elsewhere_is_waited_for() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app(&first, "fn main() { println!(\"{}\", env!(\"SAID\")); }\n", "")?;
    let script = "fn main() {\n    println!(\"cargo::rerun-if-changed=build.rs\");\n    \
                  std::fs::write(std::env::var(\"OUT_DIR\").unwrap() + \"/begun\", \"\").unwrap();\n    \
                  std::thread::sleep(std::time::Duration::from_secs(5));\n    println!(\"cargo::rustc-env=SAID=hello\");\n}\n";
    first.write("build.rs", script)?;
    let second = first.copy("second")?;
    let running = first.vrift("build").start()?;
    let begun = || walkdir::WalkDir::new(first.path("target")).into_iter().flatten().any(|entry| entry.file_name() == "begun");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !begun() {
        ensure!(Instant::now() < deadline, "the script does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    let done = second.vrift("build").ok()?;
    running.wait()?;
    let outcomes = |checkout: &Checkout<'_>, label: &str| -> Result<Vec<Value>> {
        let rows: Vec<Value> = serde_json::from_str(&checkout.cmd("vrift").args(["why", "--json", label]).ok()?.stdout)?;
        Ok(rows.into_iter().map(|row| row["outcome"].clone()).collect())
    };
    ensure!(outcomes(&first, "build script run")? == ["miss"] && outcomes(&second, "build script run")? == ["hit"]);
    // Both may come to the crate behind the script at the same time: either computes it, and one alone.
    let mut both = [outcomes(&first, "app 0.1.0 bin")?, outcomes(&second, "app 0.1.0 bin")?].concat();
    both.sort_by_key(ToString::to_string);
    ensure!(both == ["hit", "miss"] && !done.stderr.contains("uncached"), "{both:?} {}", done.stderr);
    ensure!(second.output_of("app")? == "hello\n");
    Ok(())
}
