//! What an npm script must not notice of vrift.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::ensure;
use integration::Result;
use integration::checkout::Checkout;
use integration::env::TestEnv;
use integration::npm::{self, is_hit, is_miss};
use nix::sys::signal::{Signal, kill};

const MANIFEST: &str = r#"{
  "name": "@s/p", "version": "1.2.3", "config": { "port": 80, "list": ["a", "b"] }, "bin": "cli.js", "engines": { "node": ">=16" },
  "scripts": {
    "env": "env -0 > \"$OUT\"",
    "prestep": "echo pre",
    "step": "node -e 'console.log(JSON.stringify(process.argv.slice(1)))' --",
    "poststep": "echo post",
    "fail": "echo failing; exit 7",
    "postfail": "echo never",
    "die": "kill -TERM $$",
    "long": "trap 'echo told; exit 9' TERM; echo ready > ready; while :; do sleep 0.05; done",
    "call": "node -e \"require('http').get('http://127.0.0.1:1/').on('error', () => {})\"",
    "serve": "node -e \"require('http').createServer().listen(0, '127.0.0.1', function () { this.close(() => console.log('served')); })\"",
    "leave": "sleep 5 > /dev/null 2>&1 & echo left",
    "nested": "npm run step -- deep",
    "args": "true"
  }
}"#;

fn project<'e>(env: &'e TestEnv, name: &str) -> Result<Checkout<'e>> {
    let checkout = env.checkout(name)?;
    checkout.write("package.json", MANIFEST)?.write("sub/x", "")?.write(".npmrc", "fund=false\nloglevel=warn\nmy-own=thing\n")?;
    Ok(checkout)
}

/// Variable by variable.
#[test]
fn the_environment_is_npms() -> Result {
    let env = TestEnv::new()?;
    let checkout = project(&env, "a")?;
    let seen = |run: integration::command::Cmd| -> Result<BTreeMap<String, String>> {
        let out = checkout.path("out.env");
        run.env("OUT", &out)
            .env("FORCE_COLOR", "1")
            .env("npm_config_cache", checkout.path("cache"))
            .dir(checkout.path("sub"))
            .ok()?;
        let text = std::fs::read_to_string(&out)?;
        Ok(text.split('\0').filter_map(|entry| entry.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned())).collect())
    };
    for words in ["env", "--silent env", "env --my-flag=x"] {
        let mut npms = seen(npm::npm(&checkout, words))?;
        let mut ours = seen(npm::vrift(&checkout, words))?;
        ensure!(npms.contains_key("npm_package_config_list_1") && npms["INIT_CWD"].ends_with("/sub"));
        // The shell sets it to the program that started it.
        for both in [&mut npms, &mut ours] {
            both.remove("_");
        }
        let differ: Vec<_> = npms.keys().chain(ours.keys()).filter(|name| npms.get(*name) != ours.get(*name)).collect();
        ensure!(differ.is_empty(), "`{words}`: {:?}", differ.iter().map(|n| (n, npms.get(*n), ours.get(*n))).collect::<Vec<_>>());
    }
    Ok(())
}

/// Steps around a script, its arguments, what is printed before it, its status.
#[test]
fn steps_arguments_and_status_are_npms() -> Result {
    let env = TestEnv::new()?;
    let checkout = project(&env, "a")?;
    for words in [
        &["step"][..],
        &["step", "--", "a b", "it's", "$HOME", "", "*", "--flag"],
        &["step", "plain", "words"],
        &["--silent", "step", "x"],
        &["fail"],
        &["nested"],
    ] {
        let of = |program: &str| checkout.cmd(program).arg("run").args(words.iter().copied()).run();
        let (npms, ours, again) = (of("npm")?, of("vrift")?, of("vrift")?);
        ensure!(
            npms.stdout == ours.stdout && npms.stdout == again.stdout,
            "{words:?}: {:?} {:?} {:?}",
            npms.stdout,
            ours.stdout,
            again.stdout
        );
        ensure!(
            npms.status.code() == ours.status.code() && npms.status.code() == again.status.code(),
            "{words:?}: {}",
            ours.status
        );
    }
    is_hit(&npm::vrift(&checkout, "step").ok()?)?;
    let none = npm::vrift(&checkout, "no-such-script").fails()?;
    ensure!(none.stderr.contains("neither a script"), "{}", none.stderr);
    Ok(())
}

/// What ends by a signal, or is told to end, does so as it would without vrift, and leaves nobody behind.
#[test]
fn signals() -> Result {
    use std::os::unix::process::ExitStatusExt;
    let env = TestEnv::new()?;
    let checkout = project(&env, "a")?;
    let died = npm::vrift(&checkout, "die").fails()?;
    ensure!(died.status.signal() == Some(15) || died.status.code() == Some(143), "{}", died.status);
    for whole_group in [false, true] {
        let running = npm::vrift(&checkout, "long").start()?;
        let began = std::time::Instant::now();
        while !checkout.path("ready").exists() {
            ensure!(began.elapsed() < Duration::from_secs(30), "it does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        checkout.remove("ready")?;
        if whole_group {
            running.signal(Signal::SIGTERM)?
        } else {
            kill(running.pid(), Signal::SIGTERM)?
        }
        let done = running.wait()?;
        ensure!(done.status.code() == Some(9) && done.stdout.ends_with("told\n"), "{} {}", done.status, done.all());
    }
    Ok(())
}

/// Whoever talks to the network or leaves somebody behind is run each time, and `vrift why` says why.
#[test]
fn what_cannot_be_stored_runs() -> Result {
    let env = TestEnv::new()?;
    let checkout = project(&env, "a")?;
    for (script, reason) in [("call", "network"), ("serve", "network"), ("leave", "left a process running")] {
        for _ in 0..2 {
            npm::vrift(&checkout, script).ok()?;
            let why = checkout.cmd("vrift").args(["why", &format!("@s/p {script}"), "-n", "1"]).ok()?;
            ensure!(!why.stdout.contains(": hit") && why.stdout.contains(reason), "{script}: {}", why.stdout);
        }
    }
    Ok(())
}

/// What this machine is called is in a few files, and what it has is the machine's; whether the shim or the kernel reports.
#[test]
fn asking_for_this_machine_is_no_network() -> Result {
    let env = TestEnv::new()?;
    let checkout = env.checkout("a")?;
    checkout
        .write("package.json", r#"{"scripts": {"own": "node own.js localhost", "below": "busybox env node own.js LOCALHOST", "far": "node own.js vrift.invalid", "farther": "busybox env node own.js vrift.invalid"}}"#)?
        .write(
            "own.js",
            "require('os').networkInterfaces(); require('dns').lookup(process.argv[2], { all: true }, (_, found) => console.log(found?.length > 0));",
        )?;
    for script in ["own", "below"] {
        is_miss(&npm::vrift(&checkout, script).ok()?)?;
        let again = npm::vrift(&checkout, script).ok()?;
        is_hit(&again)?;
        ensure!(again.stdout.ends_with("true\n"), "{}", again.all());
    }
    for script in ["far", "farther"] {
        npm::vrift(&checkout, script).ok()?;
        let why = checkout.cmd("vrift").args(["why", script, "-n", "1"]).ok()?;
        ensure!(why.stdout.contains("network"), "{script}: {}", why.stdout);
    }
    Ok(())
}

/// `--dry` says what would be, `--force` runs again, `--no-store` keeps nothing.
#[test]
fn options_of_run() -> Result {
    let env = TestEnv::new()?;
    let checkout = env.checkout("a")?;
    checkout.write("package.json", r#"{"name":"p","scripts":{"b":"cp in out"}}"#)?.write("in", "x")?;
    let dry = || Ok::<_, anyhow::Error>(npm::vrift(&checkout, "--dry b").ok()?.stdout);
    ensure!(dry()?.starts_with("p b: miss") && !checkout.path("out").exists());
    npm::vrift(&checkout, "--no-store b").ok()?;
    checkout.remove("out")?;
    ensure!(dry()?.starts_with("p b: miss"), "{}", dry()?);
    npm::vrift(&checkout, "b").ok()?;
    checkout.remove("out")?;
    ensure!(dry()?.starts_with("p b: hit") && !checkout.path("out").exists(), "{}", dry()?);
    npm::is_miss(&npm::vrift(&checkout, "--force b").ok()?)?;
    ensure!(checkout.read("out")? == "x");
    let why = checkout.cmd("vrift").args(["why", "p b", "--json", "-n", "1"]).ok()?;
    let why: serde_json::Value = serde_json::from_str(&why.stdout)?;
    ensure!(why[0]["label"] == "p b" && why[0]["outcome"] == "miss", "{why}");
    Ok(())
}

/// Packages of a workspace: those that are named, each behind what it needs, with the environment that npm gives them.
#[test]
fn packages_of_a_workspace() -> Result {
    let env = TestEnv::new()?;
    let make = |name: &str| -> Result<Checkout<'_>> {
        let checkout = env.checkout(name)?;
        checkout
            .write("package.json", r#"{"name": "root", "workspaces": ["packages/*"]}"#)?
            .write("packages/a/package.json", r#"{"name": "a", "dependencies": {"b": "*"}, "scripts": {"build": "cp ../b/out out; env | grep npm_ | sort", "x": "true"}}"#)?
            .write("packages/b/package.json", r#"{"name": "b", "scripts": {"build": "cp in out"}}"#)?
            .write("packages/b/in", "one")?
            .write("packages/c/package.json", r#"{"name": "c"}"#)?;
        Ok(checkout)
    };
    let (ours, real) = (make("ours")?, make("real")?);
    for (checkout, other) in [(&ours, make("other/place")?), (&real, make("and/another")?)] {
        npm::vrift(checkout, "-r build").ok()?;
        ensure!(checkout.read("packages/a/out")? == "one", "b was not built before a");
        is_hit(&npm::vrift(&other, "-w packages/b build").ok()?)?;
    }
    real.sh("rm packages/*/out; npm run --workspace packages/b build").ok()?;
    let npms = npm::npm(&real, "--workspace packages/a build").ok()?;
    let vrifts = npm::vrift(&ours, "-w a build").ok()?;
    let here = |text: &str, dir: &Checkout<'_>| text.replace(&*dir.dir().to_string_lossy(), "{here}").replace("packages/a", "a");
    // npm passes on how the package was named.
    let lines = |text: String| {
        text.lines().filter(|line| !line.starts_with("npm_config_workspace=")).map(str::to_owned).collect::<Vec<_>>()
    };
    let (npms, vrifts) = (lines(here(&npms.stdout, &real)), lines(here(&vrifts.stdout, &ours)));
    ensure!(npms == vrifts, "{npms:#?}\n{vrifts:#?}");
    npm::same(&ours, &real)?;
    ensure!(npm::vrift(&ours, "-w c build").fails()?.stderr.contains("no script"));
    npm::vrift(&ours, "-w c --if-present build").ok()?;
    ours.write("packages/b/in", "two")?;
    npm::vrift(&ours, "-r build").ok()?;
    ensure!(ours.read("packages/a/out")? == "two");
    Ok(())
}
