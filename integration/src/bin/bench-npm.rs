//! Scripts of a Vite + React + TypeScript app: the first run beside npm's, and warm runs beside Turborepo's. Then the first run of a library
//! whose tools are dynamic programs, and what it takes to look up a script that depends on 60,000 files.
#![forbid(unsafe_code)]

use std::time::Duration;

use integration::bench::{Options, Report, median, millis, ratio};
use integration::checkout::Checkout;
use integration::command::Cmd;
use integration::env::TestEnv;
use integration::{Result, npm, npm_package, npm_registry, user};

/// The native program of the package: of another one the daemons would be others, and make room for each other.
const NATIVE: &str = "node_modules/.bin/vrift-native";

/// What a run makes, removed.
const CLEAN: &str = "rm -rf dist node_modules/.tmp";

/// Reads what is below `node_modules`: 800 packages of 75 files.
const SUM: &str = "const fs = require('fs'), path = require('path'); let n = 0; const walk = folder => { \
                   for (const entry of fs.readdirSync(folder, { withFileTypes: true })) { const at = path.join(folder, entry.name); \
                   if (entry.isDirectory()) walk(at); else n += fs.readFileSync(at).length } }; walk('node_modules'); \
                   fs.mkdirSync('dist', { recursive: true }); fs.writeFileSync('dist/n', `${n}`)";

/// Look-ups until the map knows all of these files, at most.
const SETTLING: usize = 60;

fn main() -> Result {
    let options = Options::from_args()?;
    let runs = options.runs.unwrap_or(9).max(3);
    let env = TestEnv::new()?;
    let app = npm::checkout(&env, "vite", "app")?;
    npm_package::add(&app)?;
    add_turbo(&app)?;
    // The same environment for all: a variable that differs is another build.
    let quiet = |cmd: Cmd| cmd.env("TURBO_TELEMETRY_DISABLED", "1").env("CI", "1");
    let at_path = |program: &str| quiet(app.cmd(program));
    let warm: [(&str, Cmd); 5] = [
        ("`vrift run build`, the native program", at_path(NATIVE).args(["run", "build"])),
        ("`node_modules/.bin/vrift run build`", at_path("node_modules/.bin/vrift").args(["run", "build"])),
        ("`node_modules/.bin/turbo run build`", at_path("node_modules/.bin/turbo").args(["run", "build"])),
        ("`npx vrift run build`", at_path("npx").args(["--no-install", "vrift", "run", "build"])),
        ("`npx turbo run build`", at_path("npx").args(["--no-install", "turbo", "run", "build"])),
    ];
    // Both caches are filled, and both know the project.
    for _ in 0..2 {
        for (_, cmd) in &warm {
            app.sh(CLEAN).ok()?;
            cmd.ok()?;
        }
    }
    let mut first = [const { Vec::new() }; 2];
    let mut again: [Vec<Duration>; 5] = Default::default();
    // In turn, so that a machine that slows down slows all.
    for _ in 0..runs {
        for (cmd, times) in
            [quiet(npm::npm(&app, "build")), at_path(NATIVE).args(["run", "--force", "build"])].iter().zip(&mut first)
        {
            app.sh(CLEAN).ok()?;
            times.push(cmd.ok()?.wall);
        }
        for ((name, cmd), times) in warm.iter().zip(&mut again) {
            app.sh(CLEAN).ok()?;
            let done = cmd.ok()?;
            let is_hit = if name.contains("turbo") { "FULL TURBO" } else { "1 hit, 0 misses" };
            anyhow::ensure!(done.all().contains(is_hit), "no hit: `{cmd}`\n{}", done.all());
            times.push(done.wall);
        }
    }
    let [plain, traced] = first.map(median);
    let again = again.map(median);
    let mut report = Report::new("bench-npm", "A Vite + React + TypeScript 7 app: `tsc -b && vite build`");
    report
        .row("`npm run build`", millis(plain), format!("median of {runs}"))
        .row("`vrift run --force build`", millis(traced), "run and stored; traced through the kernel")
        .row("of npm's time", ratio(traced, plain), "at most 1.10 × is the aim");
    for ((name, _), time) in warm.iter().zip(&again) {
        report.row(format!("{name}, warm"), millis(*time), "what was built had been removed");
    }
    let [native, bin, turbo_bin, npx, turbo_npx] = again;
    report
        .row("native program", millis(native), "at most 30 ms is the aim")
        .row("from `node_modules/.bin`, of turbo's time", ratio(bin, turbo_bin), "at most 0.5 × is the aim")
        .row("through npx, of turbo's time", ratio(npx, turbo_npx), "at most 1 × is the aim");
    for (name, time) in [
        ("plain_ms", plain),
        ("first_ms", traced),
        ("native_ms", native),
        ("bin_ms", bin),
        ("turbo_bin_ms", turbo_bin),
        ("npx_ms", npx),
        ("turbo_npx_ms", turbo_npx),
    ] {
        report.data(name, time.as_secs_f64() * 1e3);
    }
    let (plain, traced) = library(&env, runs)?;
    report
        .row("library, tsc and rollup: `npm run build`", millis(plain), "programs that a preload reaches")
        .row("`vrift run --force build`", millis(traced), "run and stored")
        .row("of npm's time", ratio(traced, plain), "at most 1.05 × is the aim");
    report.data("library_plain_ms", plain.as_secs_f64() * 1e3);
    report.data("library_first_ms", traced.as_secs_f64() * 1e3);
    let (first, settled) = many_files(&env, runs)?;
    report.row("a script that read 60,000 files: its first look-up as a hit", millis(first), "inside the worker").row(
        "once the map knows all of these",
        millis(settled),
        format!("median of {runs}"),
    );
    report.data("many_first_ms", first.as_secs_f64() * 1e3);
    report.data("many_settled_ms", settled.as_secs_f64() * 1e3);
    report.finish(options.save)
}

/// What a library's build takes with npm, and run by vrift for the first time.
fn library(env: &TestEnv, runs: usize) -> Result<(Duration, Duration)> {
    let library = npm::checkout(env, "library", "library")?;
    let [mut plain, mut traced] = [const { Vec::new() }; 2];
    npm::vrift(&library, "--force build").ok()?;
    for _ in 0..runs {
        plain.push(npm::npm(&library, "build").ok()?.wall);
        traced.push(npm::vrift(&library, "--force build").ok()?.wall);
    }
    Ok((median(plain), median(traced)))
}

/// What the worker takes to look up a script with very many inputs: when it is a hit for the first time, and later.
fn many_files(env: &TestEnv, runs: usize) -> Result<(Duration, Duration)> {
    let project = env.checkout("many")?;
    for (package, folder) in (0..800).flat_map(|n| ["lib", "lib/sub", "types"].map(|folder| (n, folder))) {
        for file in 0..25 {
            project.write(&format!("node_modules/p{package}/{folder}/f{file}.js"), format!("{package} {file}\n"))?;
        }
    }
    project.write("package.json", r#"{"name":"p","version":"1.0.0","scripts":{"sum":"node sum.js"}}"#)?.write("sum.js", SUM)?;
    npm::vrift(&project, "sum").ok()?;
    let mut times = Vec::new();
    for _ in 0..SETTLING {
        let done = npm::vrift(&project, "sum").ok()?;
        anyhow::ensure!(done.all().contains("1 hit, 0 misses"), "no hit: {}", done.all());
        let rows: Vec<serde_json::Value> =
            serde_json::from_str(&project.cmd("vrift").args(["why", "--json", "sum"]).ok()?.stdout)?;
        let took = rows.first().and_then(|row| row["lookup_us"].as_u64()).unwrap_or_default();
        times.push(Duration::from_micros(took));
        std::thread::sleep(Duration::from_millis(500));
    }
    let first = times.first().copied().unwrap_or_default();
    Ok((first, median(times.split_off(times.len().saturating_sub(runs)))))
}

/// Installs Turborepo and declares to it what the build leaves.
fn add_turbo(app: &Checkout<'_>) -> Result {
    let packages = [
        ("turbo", "2.11.11", "4972baf79e2cf490fb969f1f0bd6b2ac7dc4026617e1ac442748d0cfa7018888"),
        ("@turbo/linux-64", "2.11.11", "212cc3102cc921f2626e30650ad6f05e33d56943e65f8c0199a51e4f17eddfc5"),
    ];
    for (name, version, digest) in packages {
        user::copy_tree(&npm_registry::package(name, version, digest)?, &app.path(format!("node_modules/{name}")))?;
    }
    app.sh("chmod +x node_modules/turbo/bin/turbo node_modules/@turbo/linux-64/bin/turbo && mkdir -p node_modules/.bin && \
            ln -s ../turbo/bin/turbo node_modules/.bin/turbo")
        .ok()?;
    app.write("turbo.json", r#"{ "tasks": { "build": { "outputs": ["dist/**"] } } }"#)?;
    app.write(".gitignore", "node_modules\ndist\n.turbo\n")?;
    let manifest = app.read("package.json")?;
    app.write("package.json", manifest.replacen('{', "{\n  \"packageManager\": \"npm@11.0.0\",", 1))?;
    app.sh("echo '{}' > package-lock.json; git init -q . && git add -A && git -c user.name=a -c user.email=a@b commit -qm a")
        .ok()?;
    Ok(())
}
