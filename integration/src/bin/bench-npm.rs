//! Scripts of a Vite + React + TypeScript app: the first run beside npm's, and warm runs beside Turborepo's.
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
    report.finish(options.save)
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
