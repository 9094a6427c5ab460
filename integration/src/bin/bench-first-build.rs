//! What a first build costs, with an empty store, over plain Cargo: wall and processor time, daemons included.
#![forbid(unsafe_code)]

use integration::Result;
use integration::bench::{Cost, Options, Report, Series, measure, ratio, seconds};
use integration::env::TestEnv;

fn main() -> Result {
    let options = Options::from_args()?;
    let project = options.project("ripgrep")?;
    let runs = options.runs.unwrap_or(3).max(1);
    let (mut plain, mut ours) = (Series::default(), Series::default());
    let mut summary = String::new();
    for run in 0..=runs {
        // One of each in turn, so that a machine that slows down slows both, and each as often first as second: what the
        // first leaves to the disk slows the other one. The first pair warms caches and is dropped.
        let vrift_first = run % 2 == 1;
        let mut pair = [Cost::default(); 2];
        for vrift in [vrift_first, !vrift_first] {
            let env = TestEnv::new()?;
            let checkout = env.checkout_of(&project.sources, if vrift { "vrift" } else { "plain" })?;
            let command = if vrift { checkout.vrift("build") } else { checkout.cargo("build") };
            let (done, cost) = measure(&env, &command)?;
            pair[usize::from(vrift)] = cost;
            if vrift {
                summary = done.summary().unwrap_or("no summary line").to_owned();
            }
        }
        let [plain_cost, cost] = pair;
        eprintln!("run {run}: plain {:.2?}, vrift {:.2?}", plain_cost.wall, cost.wall);
        if run > 0 {
            plain.push(plain_cost);
            ours.push(cost);
        }
    }
    let mut report = Report::new("bench-first-build", format!("First build of {}, empty store", project.name));
    report
        .row("plain `cargo build`, wall", seconds(plain.wall()), format!("median of {runs}"))
        .row("plain `cargo build`, user + system", seconds(plain.cpu()), "")
        .row("`cargo vrift build`, wall", seconds(ours.wall()), &summary)
        .row("`cargo vrift build`, user + system", seconds(ours.cpu()), "daemons included")
        .row("wall", ratio(ours.wall(), plain.wall()), "at most 1.05 × is the aim")
        .row("user + system", ratio(ours.cpu(), plain.cpu()), "at most 1.05 × is the aim");
    report
        .data("plain_wall_ms", plain.walls_ms())
        .data("plain_cpu_ms", plain.cpus_ms())
        .data("vrift_wall_ms", ours.walls_ms())
        .data("vrift_cpu_ms", ours.cpus_ms());
    report.finish(options.save)
}
