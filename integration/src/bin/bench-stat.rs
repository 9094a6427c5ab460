//! What it costs to look at a file: through the VDir, under the shim, and by the kernel; and what the VDir itself costs.
#![forbid(unsafe_code)]

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use integration::bench::map::Map;
use integration::bench::{Options, Report, median, millis, ratio};
use integration::differential::{base_place, wait_for_map, wait_for_vdir};
use integration::env::TestEnv;
use integration::{Result, host};

/// A path as deep as those of a package manager's folders.
const DEEP: &str = "packages/app/node_modules/library/dist/esm/internal/operators/index.js";

fn main() -> Result {
    let options = Options::from_args()?;
    let runs = options.runs.unwrap_or(201).max(3);
    let mut report = Report::new("bench-stat", "Looking at a file");
    through_the_shim(&mut report, runs)?;
    many_entries(&mut report, runs)?;
    scans(&mut report)?;
    report.finish(options.save)
}

fn ns(ns: f64) -> String {
    format!("{ns:.0} ns")
}

fn micros(ns: f64) -> String {
    format!("{:.1} µs", ns / 1e3)
}

/// Kernel and shim, in one process and in turn.
fn through_the_shim(report: &mut Report, runs: usize) -> Result {
    let env = TestEnv::new()?;
    let tools = env.checkout("tools")?;
    let source = host::data("bench-stat.c").display().to_string();
    tools.sh(&format!("cc -w -O2 -pthread -o bench '{source}'")).ok()?;
    let project = env.checkout("project")?;
    project.write("Cargo.toml", "[workspace]\n")?.write(DEEP, "x")?;
    for n in 0..1000 {
        project.write(&format!("many/module-{n:03}.js"), "x")?;
    }
    wait_for_vdir(&env, project.dir())?;
    wait_for_map(&base_place(&env))?;
    let missing = DEEP.replace("index.js", "none.js");
    let absolute = |path: &str| project.path(path).into_os_string();
    let mut args = vec![tools.path("bench").into_os_string(), runs.to_string().into()];
    for (name, path) in [
        ("existing-absolute", absolute(DEEP)),
        ("existing-relative", DEEP.into()),
        ("missing-absolute", absolute(&missing)),
        ("missing-relative", missing.clone().into()),
        ("existing-shared", "/usr/include/stdio.h".into()),
        ("missing-shared", "/usr/include/none.h".into()),
        ("folder-absolute", absolute("many/")),
    ] {
        args.extend([name.into(), path]);
    }
    let done = project.cmd("vrift").args(["run", "--"]).args(args).ok()?;
    for line in done.stdout.lines() {
        let [name, kernel, shim, silent] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        let (kernel, shim, silent): (f64, f64, i64) = (kernel.parse()?, shim.parse()?, silent.parse()?);
        if name == "folder-absolute" {
            report
                .row("names of a folder with 1,000 files: kernel", micros(kernel), "openat, getdents64, close")
                .row("names of a folder with 1,000 files: shim", micros(shim), "opendir, readdir, closedir")
                .row("names of a folder with 1,000 files: faster", format!("{:.1} ×", kernel / shim), "at least 5 × is the aim")
                .data("folder_kernel_ns", kernel)
                .data("folder_shim_ns", shim);
            continue;
        }
        ensure!(!(0..=900).contains(&silent), "{name}: only {silent} of 1000 answers came from the map");
        let aim = if name.starts_with("existing") { 6 } else { 5 };
        let title = format!("{} path, {}", name.split('-').next().unwrap_or(name), name.split('-').nth(1).unwrap_or(name));
        report
            .row(format!("{title}: kernel"), ns(kernel), format!("median of {runs} rounds of 2,000"))
            .row(format!("{title}: shim"), ns(shim), format!("{silent} of 1,000 answers without a system call"))
            .row(format!("{title}: faster"), format!("{:.1} ×", kernel / shim), format!("at least {aim} × is the aim"))
            .data(&format!("{name}_kernel_ns"), kernel)
            .data(&format!("{name}_shim_ns"), shim);
    }
    Ok(())
}

/// The map alone: how its size and a writer tell on readers.
fn many_entries(report: &mut Report, runs: usize) -> Result {
    let (mut small, large) = (Map::of(1000)?, Map::of(1_000_000)?);
    let same = small.paths(1000, false);
    let any = large.paths(100_000, true);
    let few = runs.div_ceil(20);
    // In turn, and each anew, so that a machine that slows down slows all.
    let mut times = [const { Vec::new() }; 3];
    for _ in 0..10 {
        times[0].push(small.look(&same, runs)?.0);
        times[1].push(large.look(&same, runs)?.0);
        times[2].push(large.look(&any, few)?.0);
    }
    let [small_time, same_time, any_time] = times.map(median);
    let whole = |time: Duration| ns(time.as_secs_f64() * 1e9);
    report
        .row("map of 1,000 entries, each of them", whole(small_time), "reading the map alone, without shim and keeper")
        .row("map of 1,000,000 entries, the same 1,000 paths", whole(same_time), "")
        .row("of that", ratio(same_time, small_time), "at most 2 × is the aim")
        .row("map of 1,000,000 entries, 100,000 paths at random", whole(any_time), "each from memory, by no cache")
        .row("of that", ratio(any_time, small_time), "");
    let (mut quiet, mut written, mut unanswered) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..10 {
        quiet.push(small.look(&same, runs * 5)?.0);
        let (time, unknown) = small.look_while_written(&same, runs * 5, 10_000)?;
        written.push(time);
        unanswered.push(unknown * 100.0);
    }
    let (quiet, written) = (median(quiet), median(written));
    unanswered.sort_by(f64::total_cmp);
    report
        .row("while 10,000 entries a second are written", whole(written), "in 500 phases, as the keeper would")
        .row("of the time without", ratio(written, quiet), "at most 1.2 × is the aim")
        .row("left to the kernel meanwhile", format!("{:.2} %", unanswered[unanswered.len() / 2]), "")
        .row("bytes an entry beside its name", format!("{:.1}", large.bytes_per_entry()), "of 1,000,000; at most 120 is the aim");
    report
        .data("small_ns", small_time.as_secs_f64() * 1e9)
        .data("large_same_ns", same_time.as_secs_f64() * 1e9)
        .data("large_any_ns", any_time.as_secs_f64() * 1e9)
        .data("quiet_ns", quiet.as_secs_f64() * 1e9)
        .data("written_ns", written.as_secs_f64() * 1e9)
        .data("bytes_per_entry", large.bytes_per_entry());
    Ok(())
}

/// The first scan of a tree of 20,000 files, and making the map again behind a worker that was killed.
fn scans(report: &mut Report) -> Result {
    let mut env = TestEnv::new()?;
    env.set("VRIFT_LOG", "info");
    let project = env.checkout("project")?;
    project.write("Cargo.toml", "[workspace]\n")?;
    for folder in 0..1000 {
        let dir = project.path(format!("packages/library-{:02}/part-{:02}", folder / 25, folder % 25));
        std::fs::create_dir_all(&dir)?;
        for file in 0..20 {
            std::fs::write(dir.join(format!("module-{file:02}.js")), "x")?;
        }
    }
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for run in 0..6 {
        if run == 0 {
            // The kernel's own caches of the tree are warm, as behind a checkout.
            project.sh("find . > /dev/null").ok()?;
        }
        let place = wait_for_vdir(&env, project.dir())?;
        let time = scan_time(&env.vrift_home(), run)?;
        if run == 0 {
            first.push(time)
        } else {
            again.push(time)
        }
        env.kill_daemons()?;
        // What is left does not answer any more; it is not to be taken for the next one.
        std::fs::remove_file(place)?;
    }
    let fastest = again.iter().min().copied().unwrap_or_default();
    let (first, again) = (median(first), median(again));
    report
        .row("first scan of 20,000 files", millis(first), "as the worker's log tells; at most 150 ms is the aim")
        .row(
            "again, behind a worker that was killed",
            millis(again),
            format!("median of 5, the fastest {}; at most 100 ms is the aim", millis(fastest)),
        )
        .data("scan_ms", first.as_secs_f64() * 1e3)
        .data("again_ms", again.as_secs_f64() * 1e3);
    Ok(())
}

/// How long the scan with this number took, by the worker's log.
fn scan_time(home: &Path, run: usize) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let mut text = String::new();
        for log in std::fs::read_dir(home.join("log"))? {
            text += &std::fs::read_to_string(log?.path())?;
        }
        let times: Vec<&str> = text.lines().filter_map(|line| line.split("VDir of ").nth(1)?.split(" after ").nth(1)).collect();
        if let Some(time) = times.get(run) {
            let millis = time.trim().strip_suffix("ms").map(str::parse::<f64>);
            let seconds = time.trim().strip_suffix('s').map(str::parse::<f64>);
            let seconds = millis.map(|ms| ms.map(|ms| ms / 1e3)).or(seconds).context("an odd log")??;
            return Ok(Duration::from_secs_f64(seconds));
        }
        ensure!(began.elapsed() < Duration::from_secs(20), "the worker's log tells of no scan: {text}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
