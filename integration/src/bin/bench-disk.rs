//! What ten checkouts of one project cost on disk, built, with their store.
#![forbid(unsafe_code)]

use integration::bench::{Options, Report, bytes};
use integration::env::TestEnv;
use integration::{Result, disk};

fn main() -> Result {
    let options = Options::from_args()?;
    let project = options.project("ripgrep")?;
    let checkouts = options.runs.unwrap_or(10).max(1);
    let env = TestEnv::new()?;
    let plain = env.checkout_of(&project.sources, "plain")?;
    plain.cargo("build").ok()?;
    let mut targets = vec![env.vrift_home()];
    let mut steps = Vec::new();
    for n in 0..checkouts {
        let checkout = env.checkout_of(&project.sources, &format!("n/{n}"))?;
        checkout.vrift("build").ok()?;
        targets.push(checkout.path("target"));
        steps.push((disk::usage(&targets, disk::is_final_program), disk::usage(&targets, |_| false)));
    }
    let alone = (disk::usage([plain.path("target")], disk::is_final_program), disk::usage([plain.path("target")], |_| false));
    let store = disk::usage([env.vrift_home()], |_| false);
    let (one, all) = (steps[0], steps[checkouts - 1]);
    let factor = |a: u64, b: u64| format!("{:.3} ×", a as f64 / b as f64);
    let mut report = Report::new("bench-disk", format!("{checkouts} checkouts of {} on disk", project.name));
    report
        .row("plain target folder", bytes(alone.0), format!("{} with the final programs", bytes(alone.1)))
        .row("one checkout and the store", bytes(one.0), format!("{} with the final programs", bytes(one.1)))
        .row(format!("{checkouts} checkouts and the store"), bytes(all.0), format!("{} with the final programs", bytes(all.1)))
        .row("the store alone", bytes(store), "mostly the same inodes as in the checkouts")
        .row(format!("{checkouts} of one"), factor(all.0, one.0), "at most 1.5 × is the aim")
        .row(format!("{checkouts} of a plain one"), factor(all.0, alone.0), "");
    report.data("plain", alone.0).data("steps", steps.iter().map(|step| step.0).collect::<Vec<_>>()).data("store", store);
    report.finish(options.save)
}
