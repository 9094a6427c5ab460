//! vrift's main job: a real project from crates.io is built in one checkout, and then in others at other paths, where no
//! compiler runs. Prints times, hits and disk.
#![forbid(unsafe_code)]

use anyhow::ensure;
use integration::bench::{Options, Report, Series, bytes, measure, millis, ratio, seconds};
use integration::env::TestEnv;
use integration::{Result, disk};

fn main() -> Result {
    let options = Options::from_args()?;
    let project = options.project("ripgrep")?;
    let runs = options.runs.unwrap_or(5).max(1);
    let env = TestEnv::new()?;

    eprintln!("plain cargo build of {} …", project.name);
    let plain = env.checkout_of(&project.sources, "plain")?;
    let (_, plain_cost) = measure(&env, &plain.cargo("build"))?;
    eprintln!("cargo vrift build in a first checkout, empty store …");
    let first = env.checkout_of(&project.sources, "first")?;
    let (first_done, first_cost) = measure(&env, &first.vrift("build"))?;

    eprintln!("cargo vrift build in {runs} other checkouts …");
    let (mut warm, mut noop, mut vrift_noop) = (Series::default(), Series::default(), Series::default());
    let mut summary = String::new();
    let mut last = first.path("target");
    for run in 0..runs {
        let checkout = env.checkout_of(&project.sources, &format!("another/place/{run}"))?;
        let (done, cost) = measure(&env, &checkout.vrift("build"))?;
        warm.push(cost);
        summary = done.summary().unwrap_or("no summary line").to_owned();
        let (done, cost) = measure(&env, &checkout.cargo("build"))?;
        ensure!(done.compiling().is_empty(), "plain cargo compiles again: {}", done.stderr);
        noop.push(cost);
        vrift_noop.push(measure(&env, &checkout.vrift("build"))?.1);
        last = checkout.path("target");
    }
    let judged = env.checkout_of(&project.sources, "judged")?;
    let work = judged.vrift("build").judged()?.work().len();

    let one = disk::usage([first.path("target"), env.vrift_home()], disk::is_final_program);
    let two = disk::usage([first.path("target"), last, env.vrift_home()], disk::is_final_program);
    let alone = disk::usage([plain.path("target")], disk::is_final_program);

    let mut report = Report::new("bench-second-checkout", format!("A second checkout of {}", project.name));
    report
        .row("plain `cargo build`", seconds(plain_cost.wall), format!("{} of processor time", seconds(plain_cost.cpu)))
        .row("`cargo vrift build`, first checkout", seconds(first_cost.wall), first_done.summary().unwrap_or_default())
        .row("`cargo vrift build`, other checkouts", millis(warm.wall()), format!("median of {runs}; {summary}"))
        .row("`cargo build` there, nothing to do", millis(noop.wall()), format!("median of {runs}"))
        .row("`cargo vrift build` there, nothing to do", millis(vrift_noop.wall()), format!("median of {runs}"))
        .row("second checkout, of nothing to do", ratio(warm.wall(), noop.wall()), "at most 4 × is the aim")
        .row("second checkout, of a plain build", ratio(warm.wall(), plain_cost.wall), "")
        .row("compilers, linkers and scripts run there", work.to_string(), "counted by strace")
        .row("disk, plain target folder", bytes(alone), "final programs left out")
        .row("disk, one checkout and the store", bytes(one), "")
        .row("disk, two checkouts and the store", bytes(two), "hard links counted once");
    report
        .data("plain_wall_ms", plain_cost.wall.as_secs_f64() * 1e3)
        .data("plain_cpu_ms", plain_cost.cpu.as_secs_f64() * 1e3)
        .data("first_wall_ms", first_cost.wall.as_secs_f64() * 1e3)
        .data("first_cpu_ms", first_cost.cpu.as_secs_f64() * 1e3)
        .data("second_wall_ms", warm.walls_ms())
        .data("second_cpu_ms", warm.cpus_ms())
        .data("noop_wall_ms", noop.walls_ms())
        .data("vrift_noop_wall_ms", vrift_noop.walls_ms())
        .data("programs_run", work)
        .data("disk_plain", alone)
        .data("disk_one", one)
        .data("disk_two", two);
    report.finish(options.save)
}
