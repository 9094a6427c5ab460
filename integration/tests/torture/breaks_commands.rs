//! Never break: every way to use Cargo. A second checkout does no work again, and says the same.

use anyhow::ensure;
use integration::Result;
use integration::checkout::Checkout;
use integration::env::TestEnv;
use integration::snapshot::{Exceptions, Snapshot};
use integration::{host, small};

/// Runs `cargo vrift <args>` in two checkouts and plain Cargo in a third; the second one must do no work, and all must say
/// the same on standard output, times and places left out.
fn same(prepare: impl Fn(&Checkout<'_>) -> Result, args: &str) -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    prepare(&first)?;
    let plain = first.copy("plain")?;
    first.vrift(args).ok()?;
    let second = first.copy("some/where/second")?;
    let ours = second.vrift(args).judged()?;
    ours.nothing_ran()?;
    let theirs = plain.cargo(args).ok()?;
    let (here, there) = (steady(&ours.done.stdout, &second), steady(&theirs.stdout, &plain));
    ensure!(here == there, "{here}\nplain:\n{there}");
    let (here, there) = (steady(&ours.done.messages(), &second), steady(&theirs.messages(), &plain));
    ensure!(here == there, "{here}\nplain:\n{there}");
    second.cargo(args).judged()?.nothing_ran()
}

/// Text without the checkout's place, without times, and without what Cargo says of units that it finds done.
fn steady(text: &str, checkout: &Checkout<'_>) -> String {
    let text = text.replace(&checkout.dir().display().to_string(), "<here>");
    let skipped = ["Finished", "Running", "Nextest run", " Checking "];
    let keep = |line: &&str| !skipped.iter().any(|word| line.contains(word));
    let untimed = |line: &str| match (line.find("; finished in "), line.find("] ")) {
        (Some(at), _) => line[..at].to_owned(),
        // nextest: `PASS [   0.003s] app …`
        (None, Some(at)) if line.contains("s] ") && line.contains('[') => line[at..].to_owned(),
        _ => line.to_owned(),
    };
    let mut lines: Vec<_> = text.lines().filter(keep).map(untimed).collect();
    if lines.iter().any(|line| line.contains("Summary") || line.starts_with("] ")) {
        lines.sort();
    }
    lines.join("\n")
}

fn as_it_is(_: &Checkout<'_>) -> Result {
    Ok(())
}

#[test]
fn run() -> Result {
    same(as_it_is, "run -q")
}

#[test]
fn tests() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.edit("mid/src/lib.rs", "pub fn say()", "/// ```\n/// assert!(mid::say().contains(\"mid\"));\n/// ```\npub fn say()")?;
    first.vrift("test").ok()?;
    let second = first.copy("second")?;
    let judged = second.vrift("test").judged()?;
    ensure!(judged.crates().is_empty(), "compiled again: {:?}", judged.crates());
    let said = |done: &integration::command::Done| done.stdout.matches("test result: ok. 1 passed").count();
    ensure!(said(&judged.done) >= 2, "{}", judged.done.stdout);
    second.cargo("test --no-run").judged()?.nothing_ran()
}

#[test]
fn doc() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app(&first, "//! Docs.\n\n/// Says.\npub fn say() {}\n\nfn main() {}\n", "")?;
    first.vrift("doc").ok()?;
    let second = first.copy("second")?;
    second.vrift("doc").judged()?.nothing_ran()?;
    same_pages(&second, "doc")?;
    second.cargo("doc").judged()?.nothing_ran()
}

#[test]
fn doc_of_a_workspace() -> Result {
    // Several runs of rustdoc write to the same index files, in any order: they may run again, but nothing may be lost.
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    for name in ["one", "two", "three"] {
        let checkout = first.copy(name)?;
        checkout.vrift("doc --no-deps").ok()?;
        same_pages(&checkout, "doc --no-deps")?;
    }
    first.vrift("doc --no-deps").ok()?;
    first.edit("base/src/lib.rs", "pub fn say()", "pub fn more() {}\n\npub fn say()")?;
    first.vrift("doc --no-deps").ok()?;
    ensure!(first.path("target/doc/base/fn.more.html").exists() && first.path("target/doc/mid/fn.say.html").exists());
    Ok(())
}

/// Fails unless plain Cargo makes the same pages at the same place, and the same list of crates.
fn same_pages(checkout: &Checkout<'_>, args: &str) -> Result {
    let look = || -> Result<(Snapshot, Vec<String>)> {
        let mut pages = Snapshot::of(&checkout.path("target/doc"))?;
        // Those of single crates: the ones for all of them, and the indexes, depend on who came last.
        pages.0.retain(|path, _| path.components().count() > 1 && path.extension().is_some_and(|ext| ext == "html"));
        let list = checkout.read("target/doc/crates.js")?;
        let names = list.split('"').filter(|word| word.chars().all(char::is_alphanumeric)).map(str::to_owned);
        let names: std::collections::BTreeSet<_> = names.collect();
        Ok((pages, names.into_iter().collect()))
    };
    let (ours, our_crates) = look()?;
    std::fs::rename(checkout.path("target"), checkout.path("held"))?;
    checkout.cargo(args).ok()?;
    let (plain, crates) = look()?;
    std::fs::remove_dir_all(checkout.path("target"))?;
    std::fs::rename(checkout.path("held"), checkout.path("target"))?;
    ensure!(!plain.0.is_empty() && our_crates == crates, "{our_crates:?} instead of {crates:?}");
    ours.same_as(&plain, &Exceptions::none())
}

#[test]
fn clippy() -> Result {
    if !host::sysroot()?.join("bin/clippy-driver").exists() {
        return Ok(());
    }
    let lint = |checkout: &Checkout<'_>| {
        checkout.edit("mid/src/lib.rs", "base::say())", "base::say()).replace('x', \"x\").to_string()").map(|_| ())
    };
    same(lint, "clippy")
}

#[test]
fn nextest() -> Result {
    if !host::has_program("cargo-nextest") {
        return Ok(());
    }
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("nextest run").ok()?;
    let second = first.copy("second")?;
    let judged = second.vrift("nextest run").judged()?;
    ensure!(judged.crates().is_empty(), "compiled again: {:?}", judged.crates());
    ensure!(judged.done.stderr.contains("1 passed"), "{}", judged.done.stderr);
    Ok(())
}

#[test]
fn check() -> Result {
    same(as_it_is, "check --all-targets")
}

#[test]
fn other_target_folders() -> Result {
    same(as_it_is, "build --target-dir elsewhere")?;
    same(|checkout| checkout.write(".cargo/config.toml", "[build]\ntarget-dir = \"out/of\"\n").map(|_| ()), "build")?;
    same(|checkout| checkout.write(".cargo/config.toml", "[build]\nbuild-dir = \"build-dir\"\n").map(|_| ()), "build")
}

#[test]
fn target_folder_outside_the_project() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    let second = first.copy("second")?;
    let targets = [env.path().join("t/one"), env.path().join("t/two")];
    first.vrift("build").env("CARGO_TARGET_DIR", &targets[0]).ok()?;
    second.vrift("build").env("CARGO_TARGET_DIR", &targets[1]).judged()?.nothing_ran()?;
    let printed = second.cmd(&targets[1].join("debug/app").to_string_lossy()).ok()?.stdout;
    ensure!(printed == "base one, mid one, mac one, script one, app one\n", "{printed}");
    second.cargo("build").env("CARGO_TARGET_DIR", &targets[1]).judged()?.nothing_ran()
}

#[test]
fn one_member_from_its_folder() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    first.vrift("build").ok()?;
    // For a member alone Cargo compiles some dependencies in another way.
    first.vrift("build -p app").ok()?;
    let second = first.copy("second")?;
    second.vrift("build").judged()?.nothing_ran()?;
    second.vrift("build --manifest-path app/Cargo.toml").judged()?.nothing_ran()?;
    second.vrift("build").dir(second.path("mid/src")).judged()?.nothing_ran()?;
    let outside = second.env().cmd_in("cargo", second.env().path()).args(["vrift", "build", "--manifest-path"]);
    outside.arg(second.path("Cargo.toml")).judged()?.nothing_ran()?;
    second.cargo("build").judged()?.nothing_ran()
}

#[test]
fn git_dependencies() -> Result {
    let env = TestEnv::new()?;
    let dependency = env.checkout("dependency")?;
    dependency.write("Cargo.toml", small::manifest("dep", ""))?;
    dependency.write("src/lib.rs", "pub fn say() -> &'static str { \"from git\" }\n")?;
    dependency.sh("git init -q -b main . && git add -A && git commit -qm one").ok()?;
    let first = env.checkout("first")?;
    let more = format!("[dependencies]\ndep = {{ git = \"file://{}\" }}\n", dependency.dir().display());
    small::app(&first, "fn main() { println!(\"{}\", dep::say()); }\n", &more)?;
    first.remove("Cargo.lock")?;
    // Its own Cargo home: the dependency's checkout is no business of the real one. Cargo must be allowed to fetch.
    let home = env.path().join("cargo");
    std::fs::create_dir(&home)?;
    let build = |checkout: &Checkout<'_>| checkout.vrift("build").env("CARGO_HOME", &home).env("CARGO_NET_OFFLINE", "false");
    build(&first).ok()?;
    let second = first.copy("second")?;
    build(&second).judged()?.nothing_ran()?;
    ensure!(second.output_of("app")? == "from git\n");
    Ok(())
}

#[test]
fn incremental_compilation_stays() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    // rustc says what it takes over from its last session.
    let flags = |cmd: integration::command::Cmd| {
        cmd.env("CARGO_INCREMENTAL", "1").env("RUSTC_BOOTSTRAP", "1").env("RUSTFLAGS", "-Zincremental-info")
    };
    let build = |checkout: &Checkout<'_>, vrift: bool| -> Result<String> {
        let cmd = if vrift { checkout.vrift("build -v") } else { checkout.cargo("build -v") };
        Ok(flags(cmd).ok()?.stderr)
    };
    build(&first, true)?;
    let plain = first.copy("plain")?;
    build(&plain, false)?;
    let second = first.copy("second")?;
    flags(second.vrift("build")).judged()?.nothing_ran()?;
    for (at, checkout) in [&first, &plain, &second].into_iter().enumerate() {
        checkout.edit("mid/src/lib.rs", "mid one", "mid two")?;
        let said = build(checkout, at != 1)?;
        let reused = said.lines().filter(|line| line.contains("session directory") && !line.contains(" 0 files")).count();
        ensure!(reused > 0, "checkout {at} started from nothing: {said}");
        ensure!(checkout.output_of("app")? == "base one, mid two, mac one, script one, app one\n");
    }
    Ok(())
}

#[test]
fn switched_off() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::workspace(&first)?;
    let done = first.vrift("build").env("VRIFT_DISABLE", "1").ok()?;
    ensure!(done.summary().is_none() && !env.vrift_home().exists() && !first.path(".vrift").exists(), "{}", done.stderr);
    ensure!(env.daemons().is_empty());
    let status = first.vrift("run -q -- x").env("VRIFT_DISABLE", "1").ok()?.shell_status();
    ensure!(status == 0);
    Ok(())
}

#[test]
fn exit_status() -> Result {
    let env = TestEnv::new()?;
    let first = env.checkout("first")?;
    small::app(&first, "fn main() { std::process::exit(std::env::args().nth(1).unwrap().parse().unwrap()); }\n", "")?;
    for status in [0, 1, 42] {
        let done = first.vrift(&format!("run -q -- {status}")).run()?;
        ensure!(done.shell_status() == status, "{} instead of {status}", done.shell_status());
        let done = first.run(&format!("exit {status}")).run()?;
        ensure!(done.shell_status() == status, "{} instead of {status}", done.shell_status());
    }
    let plain = first.sh("kill -9 $$").run()?;
    let ours = first.run("kill -9 $$").run()?;
    ensure!(ours.shell_status() == plain.shell_status(), "{} for a killed command", ours.shell_status());
    Ok(())
}
