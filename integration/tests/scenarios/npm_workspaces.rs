//! Packages of a workspace at once: their order, their output, how they end; and those of other package managers.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use integration::Result;
use integration::checkout::Checkout;
use integration::env::TestEnv;
use integration::npm::{self, is_hit, is_miss};
use integration::npm_registry;
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

/// A package: its name, what it needs, its scripts.
type Package<'a> = (&'a str, &'a [&'a str], Value);

fn workspace<'e>(env: &'e TestEnv, name: &str, packages: &[Package<'_>]) -> Result<Checkout<'e>> {
    let checkout = env.checkout(name)?;
    checkout.write("package.json", json!({ "name": "root", "workspaces": ["packages/*"] }).to_string())?;
    for (package, needs, scripts) in packages {
        let needs: Value = needs.iter().map(|need| ((*need).to_owned(), json!("*"))).collect::<serde_json::Map<_, _>>().into();
        let manifest = json!({ "name": package, "dependencies": needs, "scripts": scripts });
        checkout.write(&format!("packages/{package}/package.json"), manifest.to_string())?;
    }
    Ok(checkout)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Each waits until the other has begun.
#[test]
fn as_many_at_once_as_there_are_processors() -> Result {
    if processors() < 2 {
        return Ok(());
    }
    let env = TestEnv::new()?;
    let script = |own: &str, other: &str| {
        let wait = format!("for i in 1 2 3 4 5 6 7 8 9; do sleep 0.05; echo {own} $i; done");
        json!({ "go": format!("echo {own} 0; touch ../../{own}; until test -e ../../{other}; do sleep 0.01; done; {wait}; echo last {own} >&2") })
    };
    let ours = workspace(
        &env,
        "a",
        &[("a", &[], script("a", "b")), ("b", &[], script("b", "a")), ("c", &["a", "b"], json!({ "go": "echo c" }))],
    )?;
    let done = npm::vrift(&ours, "-r go").ok()?;
    let said: Vec<&str> = done.stdout.lines().filter(|line| line.len() == 3).collect();
    let of = |name: &str| (0..10).map(|i| format!("{name} {i}")).collect::<Vec<_>>();
    ensure!(said == [of("a"), of("b")].concat() || said == [of("b"), of("a")].concat(), "not in one piece: {}", done.stdout);
    ensure!(done.stdout.ends_with("\nc\n") && done.stderr.contains("last a") && done.stderr.contains("last b"), "{}", done.all());
    Ok(())
}

/// More than is kept in memory while another one has its turn.
#[test]
fn much_output_stays_whole() -> Result {
    let env = TestEnv::new()?;
    let script = |own: &str| json!({ "say": format!("node -e \"for (let i = 0; i < 300000; i++) console.log('{own} ' + i)\"") });
    let ours = workspace(&env, "a", &[("a", &[], script("a")), ("b", &[], script("b")), ("c", &[], script("c"))])?;
    for _ in 0..2 {
        let done = npm::vrift(&ours, "--silent -r say").ok()?;
        let mut names: Vec<&str> = Vec::new();
        let mut next = 0;
        for line in done.stdout.lines() {
            let (name, number) = line.split_once(' ').unwrap_or_default();
            if names.last() != Some(&name) {
                names.push(name);
                next = 0;
            }
            ensure!(number == next.to_string(), "`{line}` instead of {next}");
            next += 1;
        }
        names.sort_unstable();
        ensure!(names == ["a", "b", "c"] && done.stdout.lines().count() == 900_000, "{names:?}");
    }
    Ok(())
}

#[test]
fn what_fails_has_its_dependents_left_out() -> Result {
    let env = TestEnv::new()?;
    let packages: [Package<'_>; 5] = [
        ("bad", &[], json!({ "go": "touch ran; sleep 0.3; exit 3" })),
        ("plain", &["bad"], json!({ "other": "true" })),
        ("above", &["plain"], json!({ "go": "touch ran" })),
        ("aside", &[], json!({ "go": "touch ran" })),
        ("behind", &["aside"], json!({ "go": "sleep 0.5; touch ran; exit 4" })),
    ];
    let ours = workspace(&env, "a", &packages)?;
    let done = npm::vrift(&ours, "-r go").run()?;
    ensure!(done.status.code() == Some(3), "{}", done.all());
    let ran = |name: &str| ours.path(format!("packages/{name}/ran")).exists();
    ensure!(ran("bad") && ran("aside") && ran("behind") && !ran("above"), "{}", done.all());
    Ok(())
}

/// Whether the terminal tells all of them, or somebody tells vrift alone.
#[test]
fn what_is_interrupted_ends_at_once() -> Result {
    let env = TestEnv::new()?;
    let hangs = || json!({ "hang": "touch ready; exec sleep 60" });
    let behind = json!({ "hang": "touch ran" });
    let ours = workspace(&env, "a", &[("a", &[], hangs()), ("b", &[], hangs()), ("c", &["a", "b"], behind)])?;
    let running = if processors() > 1 { "packages/a/ready && test -e packages/b/ready" } else { "packages/a/ready" };
    let is_over = |took: Duration| -> Result {
        ensure!(took < Duration::from_secs(20) && !ours.path("packages/c/ran").exists(), "{took:?}");
        let left =
            ours.sh("rm -f packages/*/ready; pgrep -f '^sleep 60$' | while read p; do readlink /proc/$p/cwd; done").run()?;
        ensure!(!left.stdout.contains(&*ours.dir().to_string_lossy()), "left behind: {}", left.all());
        Ok(())
    };
    let keys = format!(
        "(until test -e {running}; do sleep 0.05; done; printf '\\003'; sleep 2) | script -qec 'vrift run -r hang' /dev/null"
    );
    is_over(ours.sh(&keys).run()?.wall)?;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let vrift = npm::vrift(&ours, "-r hang").start()?;
        ours.sh(&format!("until test -e {running}; do sleep 0.05; done")).ok()?;
        kill(vrift.pid(), signal)?;
        let done = vrift.wait()?;
        ensure!(done.status.signal() == Some(signal as i32), "{signal}: {}", done.status);
        is_over(done.wall)?;
    }
    Ok(())
}

/// A terminal stays one, and so a package by itself and among others has one result.
#[test]
fn terminals_stay_terminals() -> Result {
    let env = TestEnv::new()?;
    let tells = || json!({ "tells": "node -p '[process.stdout.isTTY, process.stderr.isTTY, process.stdout.columns].join()'" });
    let ours = workspace(&env, "a", &[("a", &[], tells()), ("b", &[], tells())])?;
    let piped = npm::vrift(&ours, "-r tells").ok()?;
    ensure!(piped.stdout.lines().filter(|line| *line == ",,").count() == 2, "{}", piped.all());
    let at_terminal = |words: &str| ours.sh(&format!("script -qec 'stty cols 77; vrift run {words} < /dev/null' /dev/null")).ok();
    let several = at_terminal("-r tells")?;
    ensure!(several.stdout.matches("true,true,77").count() == 2 && several.stdout.contains("2 misses"), "{}", several.all());
    let one = at_terminal("-w a tells")?;
    ensure!(one.stdout.contains("true,true,77") && one.stdout.contains("1 hit"), "{}", one.all());
    is_hit(&npm::vrift(&ours, "-w b tells").ok()?)
}

/// A folder with the program `name` in it, for `PATH`.
fn manager(env: &TestEnv, name: &str) -> Result<PathBuf> {
    let (package, version, digest, file) = match name {
        "pnpm" => ("pnpm", "9.15.9", "cf86a7ad764406395d4286a6d09d730711720acc6d93e9dce9ac7ac4dc4a28a7", "bin/pnpm.cjs"),
        "yarn" => ("yarn", "1.22.22", "c17d3797fb9a9115bf375e31bfd30058cac6bc9c3b8807a3d8cb2094794b51ca", "bin/yarn.js"),
        _ => ("@oven/bun-linux-x64", "1.4.5", "0c72edca57b0cbf0a07a242daf0ea8ea96711827f042b80a1c383ce1cc51c771", "bin/bun"),
    };
    let program = npm_registry::package(package, version, digest)?.join(file);
    let tools = env.checkout(&format!("tools-{name}"))?;
    tools.sh(&format!("chmod +x '{0}'; ln -s '{0}' {name}", program.display())).ok()?;
    Ok(tools.dir().to_owned())
}

/// The lock file, and what names the packages of a workspace, are the manager's own.
fn of_manager(name: &str, lock: &str) -> Result {
    let env = TestEnv::new()?;
    let path = manager(&env, name)?;
    let make = |place: &str| -> Result<Checkout<'_>> {
        let app = json!({ "build": "cat in ../core/out > out; echo built app" });
        let core = json!({ "build": "cp in out; echo built core" });
        let checkout = workspace(&env, place, &[("app", &["core"], app), ("core", &[], core)])?;
        checkout.write(lock, "")?.write("packages/core/in", "core\n")?.write("packages/app/in", "app\n")?;
        if name == "pnpm" {
            checkout
                .write("pnpm-workspace.yaml", "packages:\n  - 'packages/*' # all\n")?
                .write("package.json", "{\"name\": \"root\"}")?;
        }
        Ok(checkout)
    };
    let vrift = |checkout: &Checkout<'_>, words: &str| npm::vrift(checkout, words).path_first(&path).ok();
    let ours = make("ours")?;
    // What such a program makes at home shows in its first run.
    vrift(&make("warm")?, "-r build")?;
    vrift(&ours, "-r build")?;
    ensure!(ours.read("packages/app/out")? == "app\ncore\n");
    let other = make("other/place")?;
    let done = vrift(&other, "-r build")?;
    is_hit(&done)?;
    ensure!(done.stdout.contains("built app") && done.stdout.contains("built core"), "{}", done.all());
    ensure!(other.read("packages/app/out")? == "app\ncore\n");
    other.write("packages/core/in", "new\n")?;
    is_miss(&vrift(&other, "-r build")?)?;
    ensure!(other.read("packages/app/out")? == "app\nnew\n");
    let off = make("disabled")?;
    npm::vrift(&off, "-r build").path_first(&path).env("VRIFT_DISABLE", "1").ok()?;
    ensure!(off.read("packages/app/out")? == "app\ncore\n");
    Ok(())
}

#[test]
fn of_pnpm() -> Result {
    of_manager("pnpm", "pnpm-lock.yaml")
}

#[test]
fn of_yarn() -> Result {
    of_manager("yarn", "yarn.lock")
}

#[test]
fn of_bun() -> Result {
    of_manager("bun", "bun.lock")
}
