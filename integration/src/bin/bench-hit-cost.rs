//! What one restored action costs: from the moment that what stands in for the compiler is loaded to its end, over all actions of a project
//! with C code and many build scripts; and what of that the look-up takes inside the project's daemon. Actions are looked up one
//! by one, as in a build that Cargo has begun. Needs root: see [`integration::lives`].
#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::ensure;
use integration::Result;
use integration::bench::{Options, Report, median, millis};
use integration::command::Cmd;
use integration::env::TestEnv;
use integration::lives;

fn main() -> Result {
    let options = Options::from_args()?;
    let project = options.project("bat")?;
    let runs = options.runs.unwrap_or(3).max(1);
    let env = TestEnv::new()?;
    eprintln!("first build of {} …", project.name);
    env.checkout_of(&project.sources, "first")?.vrift("build").ok()?;
    let (mut alone, mut together, mut lookups) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..runs {
        let checkout = env.checkout_of(&project.sources, &format!("other/{run}"))?;
        // One at a time: what an action costs. Then all at once, as in any build: with waiting for a processor.
        alone.extend(lives(&one_by_one(checkout.vrift("build -j1")))?);
        std::fs::remove_dir_all(checkout.path("target"))?;
        together.extend(lives(&one_by_one(checkout.vrift("build")))?);
        let why = checkout.cmd("vrift").args(["why", "", "-n", "1000", "--json"]).ok()?.stdout;
        let why: Vec<serde_json::Value> = serde_json::from_str(&why)?;
        let times = why.iter().filter_map(|entry| entry.get("lookup_us")?.as_u64()).map(Duration::from_micros);
        lookups.extend(times);
        ensure!(!lookups.is_empty(), "no look-ups");
    }
    let slow = |times: &[Duration]| {
        let mut sorted = times.to_vec();
        sorted.sort();
        sorted.get(sorted.len() * 95 / 100).copied().unwrap_or_default()
    };
    let mut report = Report::new("bench-hit-cost", format!("One restored action of {}", project.name));
    report
        .row(
            "exec to exit, `-j1`, median",
            millis(median(alone.iter().copied())),
            format!("{} actions; at most 2 ms is the aim", alone.len()),
        )
        .row("exec to exit, `-j1`, 95 of 100", millis(slow(&alone)), "")
        .row("exec to exit, all at once, median", millis(median(together.iter().copied())), "with waiting for a processor")
        .row(
            "look-up inside the daemon, median",
            format!("{:.3} ms", median(lookups.iter().copied()).as_secs_f64() * 1e3),
            "at most 0.3 ms is the aim",
        );
    let ms = |times: &[Duration]| times.iter().map(|time| time.as_secs_f64() * 1e3).collect::<Vec<_>>();
    report.data("alone_ms", ms(&alone)).data("together_ms", ms(&together)).data("lookup_ms", ms(&lookups));
    report.finish(options.save)
}

fn one_by_one(cmd: Cmd) -> Cmd {
    cmd.env("VRIFT_WHOLE_BUILDS", "off")
}

/// How long each runner of an action lived.
fn lives(cmd: &Cmd) -> Result<Vec<Duration>> {
    let all = lives::watch(|| cmd.ok().map(drop))?;
    let lives: Vec<_> = all.into_iter().filter(|life| life.program.ends_with("vrift-exec")).map(|life| life.time).collect();
    ensure!(!lives.is_empty(), "no action was seen");
    Ok(lives)
}
