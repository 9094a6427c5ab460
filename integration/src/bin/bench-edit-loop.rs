//! What vrift costs where there is nothing to restore: one line is edited again and again, and built, in two checkouts, by
//! plain Cargo in the one and through vrift in the other. The one under vrift was restored from the store first.
#![forbid(unsafe_code)]

use integration::Result;
use integration::bench::{Options, Report, Series, measure, millis, ratio};
use integration::checkout::Checkout;
use integration::env::TestEnv;

fn main() -> Result {
    let options = Options::from_args()?;
    let project = options.project("ripgrep")?;
    let runs = options.runs.unwrap_or(9).max(1);
    let env = TestEnv::new()?;
    let plain = env.checkout_of(&project.sources, "plain")?;
    plain.cargo("build").ok()?;
    env.checkout_of(&project.sources, "first")?.vrift("build").ok()?;
    let ours = env.checkout_of(&project.sources, "ours")?;
    ours.vrift("build").ok()?;

    let (mut plain_series, mut our_series) = (Series::default(), Series::default());
    for run in 0..=runs {
        for (checkout, vrift, series) in [(&plain, false, &mut plain_series), (&ours, true, &mut our_series)] {
            edit(checkout, project.main, run)?;
            let cmd = if vrift { checkout.vrift("build") } else { checkout.cargo("build") };
            let (_, cost) = measure(&env, &cmd)?;
            // The first one of each warms caches.
            if run > 0 {
                series.push(cost);
            }
        }
    }
    let mut report = Report::new("bench-edit-loop", format!("One edited line in {}", project.name));
    report
        .row("`cargo build`, wall", millis(plain_series.wall()), format!("median of {runs}"))
        .row("`cargo build`, user + system", millis(plain_series.cpu()), "")
        .row("`cargo vrift build`, wall", millis(our_series.wall()), format!("median of {runs}"))
        .row("`cargo vrift build`, user + system", millis(our_series.cpu()), "daemons included")
        .row("wall", ratio(our_series.wall(), plain_series.wall()), "at most 1.05 × is the aim")
        .row("user + system", ratio(our_series.cpu(), plain_series.cpu()), "");
    report
        .data("plain_wall_ms", plain_series.walls_ms())
        .data("plain_cpu_ms", plain_series.cpus_ms())
        .data("vrift_wall_ms", our_series.walls_ms())
        .data("vrift_cpu_ms", our_series.cpus_ms());
    report.finish(options.save)
}

/// Puts another line at the end of the file.
fn edit(checkout: &Checkout<'_>, file: &str, run: usize) -> Result {
    let text = checkout.read(file)?;
    let kept: String = text.lines().filter(|line| !line.starts_with("const EDITED:")).map(|line| format!("{line}\n")).collect();
    // Another text each time: nothing of it is in the store.
    checkout
        .write(file, format!("{kept}const EDITED: [u8; {}] = [0; {}];\nconst _: usize = EDITED.len();\n", run + 1, run + 1))?;
    Ok(())
}
