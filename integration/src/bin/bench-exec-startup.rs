//! What it costs to start the runner of an action, beside an empty static program and an empty dynamic one.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use integration::Result;
use integration::bench::{Options, Report, median, ratio};
use integration::env::TestEnv;
use integration::small;

fn main() -> Result {
    let options = Options::from_args()?;
    let runs = options.runs.unwrap_or(1000).max(10);
    let env = TestEnv::new()?;
    let place = env.checkout("programs")?;
    let fixed = small::c_program(&place, "static", "int main(void) { return 0; }\n", "-O2 -static")?;
    let dynamic = small::c_program(&place, "dynamic", "int main(void) { return 0; }\n", "-O2")?;
    env.start_daemon()?;
    let runner = runner(&env.vrift_home())?;

    let programs = [PathBuf::from(fixed), PathBuf::from(dynamic), runner];
    let mut times = [const { Vec::new() }; 3];
    for run in 0..runs + 20 {
        for (program, times) in programs.iter().zip(&mut times) {
            let time = start(program)?;
            if run >= 20 {
                times.push(time);
            }
        }
    }
    let [fixed, dynamic, runner] = times.map(median);
    let micros = |time: Duration| format!("{:.0} µs", time.as_secs_f64() * 1e6);
    let mut report = Report::new("bench-exec-startup", "Starting the runner of an action");
    report
        .row("an empty static program", micros(fixed), format!("median of {runs}, from spawn to exit"))
        .row("an empty dynamic program", micros(dynamic), "")
        .row("`vrift-exec`, told nothing to do", micros(runner), "")
        .row("`vrift-exec` of the static one", ratio(runner, fixed), "");
    report
        .data("static_us", fixed.as_secs_f64() * 1e6)
        .data("dynamic_us", dynamic.as_secs_f64() * 1e6)
        .data("runner_us", runner.as_secs_f64() * 1e6);
    report.finish(options.save)
}

/// The runner that was unpacked on first use.
fn runner(home: &Path) -> Result<PathBuf> {
    let found = walkdir::WalkDir::new(home.join("lib")).into_iter().flatten().find(|e| e.file_name() == "vrift-exec");
    Ok(found.with_context(|| format!("no vrift-exec below `{}`", home.display()))?.into_path())
}

fn start(program: &Path) -> Result<Duration> {
    let mut command = Command::new(program);
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    command.status().with_context(|| format!("cannot run `{}`", program.display()))?;
    Ok(began.elapsed())
}
