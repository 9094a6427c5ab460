//! Traces of whole npm scripts are complete: whatever `strace` sees a script's processes look at is in them, or on a list with a reason.

use anyhow::ensure;
use integration::access::{self, Action, Ignores};
use integration::command::{Cmd, Done};
use integration::env::TestEnv;
use integration::npm;
use integration::{Result, host, traces};
use vrift_core::event::EventKind;

type Watch = fn(&Cmd) -> Result<(Done, Vec<Action>)>;

/// Runs it twice, since the second run finds what the first one left: output, and caches of tools.
fn complete(fixture: &str, script: &str, watch: Watch) -> Result {
    let env = TestEnv::new()?;
    let checkout = npm::checkout(&env, fixture, "a")?;
    env.start_daemon()?;
    // An npm inside a script finds its own folder at home.
    checkout.cmd("npm").arg("run").ok()?;
    let places = [
        ("vrift", env.vrift_home()),
        ("tmp", env.path().join("tmp")),
        ("target", checkout.path("target")),
        ("sysroot", host::sysroot()?.to_owned()),
    ];
    let ignores = Ignores::load(&places.each_ref().map(|(name, path)| (*name, path.as_path())))?;
    for round in ["first", "second"] {
        let dir = env.path().join(round);
        std::fs::create_dir_all(&dir)?;
        // An npm inside the script asks the registry for a later one, once in a while.
        let run = npm::vrift(&checkout, &format!("--force {script}")).env("npm_config_update_notifier", "false");
        let (done, actions) = watch(&run.env("VRIFT_TRACE_DIR", &dir))?;
        npm::is_miss(&done)?;
        let traces = traces::read_all(&dir)?;
        ensure!(actions.len() == 1 && traces.len() == 1, "{} actions, {} traces", actions.len(), traces.len());
        let untraced: Vec<_> = traces[0].events.iter().filter(|event| event.kind == EventKind::Untraced).collect();
        ensure!(untraced.is_empty(), "{untraced:?}");
        ensure!(actions[0].looks.len() > 50, "{round}: `strace` saw {} looks", actions[0].looks.len());
        let missing = access::missing(&actions, &traces, &ignores)?;
        let shown: Vec<_> = missing.iter().take(60).map(String::as_str).collect();
        ensure!(missing.is_empty(), "{round}: {} looks are in no trace:\n{}", missing.len(), shown.join("\n"));
    }
    Ok(())
}

#[test]
fn of_tsc_and_rollup_below_npm() -> Result {
    complete("library", "build", access::watch)
}

#[test]
fn of_a_linter() -> Result {
    complete("library", "lint", access::watch)
}

#[test]
fn of_webpack() -> Result {
    complete("bundle", "build", access::watch)
}

#[test]
fn of_a_workspace() -> Result {
    complete("workspace", "build", access::watch)
}

/// The kernel reports on these: a static program of Go, and a bundler that calls it past libc.
#[test]
fn of_vite_and_a_static_compiler() -> Result {
    complete("vite", "build", access::watch_slowly)
}

#[test]
fn of_tests_of_vitest() -> Result {
    complete("tested", "test", access::watch)
}

#[test]
fn of_tsup_and_its_threads() -> Result {
    complete("packed", "build", access::watch_slowly)
}

#[test]
fn of_a_static_bundler_below_node() -> Result {
    complete("packed", "bundle", access::watch_slowly)
}
