//! What a worker weighs that has nothing to do: many small projects, each built once, and a large one.
#![forbid(unsafe_code)]

use std::time::Duration;

use anyhow::{Context, ensure};
use integration::Result;
use integration::bench::{Options, Report, bytes, settle};
use integration::daemons::{Daemon, Memory};
use integration::env::TestEnv;
use integration::small;

/// Workers look around this often, and let go of what they need only while they are asked.
const LOOKED_AROUND: Duration = Duration::from_secs(31);

/// What is asked for.
const AIM: u64 = 8 << 20;

fn main() -> Result {
    let options = Options::from_args()?;
    let project = options.project("ripgrep")?;
    let projects = options.runs.unwrap_or(32).max(1);
    let env = TestEnv::new()?;
    for n in 0..projects {
        let checkout = env.checkout(&format!("small/{n}"))?;
        small::app(&checkout, &format!("fn main() {{ println!(\"{n}\"); }}\n"), "")?;
        // Projects that differ in more than their sources: what is asked for in one is no candidate in the others.
        checkout.edit("Cargo.toml", "\"app\"", &format!("\"app-{n}\""))?.remove("Cargo.lock")?;
        checkout.vrift("build").ok()?;
    }
    let large = env.checkout_of(&project.sources, "large")?;
    large.vrift("build").ok()?;
    settle(&env);
    std::thread::sleep(LOOKED_AROUND);

    let daemons = env.daemons();
    let workers: Vec<&Daemon> = daemons.iter().filter(|daemon| daemon.name == "vdir_d").collect();
    ensure!(workers.len() == projects + 1, "{} workers of {projects} projects", workers.len());
    let is_large = |daemon: &&Daemon| daemon.command.contains(&*large.dir().to_string_lossy());
    let of = |daemon: &Daemon| daemon.memory().with_context(|| format!("no memory of `{}`", daemon.command));
    let mut idle: Vec<Memory> =
        workers.iter().filter(|daemon| !is_large(daemon)).map(|daemon| of(daemon)).collect::<Result<_>>()?;
    idle.sort_by_key(|memory| memory.resident);
    let (median, worst) = (idle[idle.len() / 2], idle[idle.len() - 1]);
    let large = of(workers.iter().find(|daemon| is_large(daemon)).context("no worker of the large project")?)?;
    let vriftd = of(daemons.iter().find(|daemon| daemon.name == "vriftd").context("no coordinator")?)?;

    let mut report = Report::new("bench-idle-memory", format!("Idle daemons of {projects} small projects and {}", project.name));
    let own = |memory: &Memory| format!("{} of it its own", bytes(memory.own));
    report
        .row("resident, a worker, median", bytes(median.resident), own(&median))
        .row("resident, a worker, worst", bytes(worst.resident), own(&worst))
        .row("the aim", bytes(AIM), if worst.resident <= AIM { "reached" } else { "missed" })
        .row(format!("resident, the worker of {}", project.name), bytes(large.resident), own(&large))
        .row("resident, the coordinator", bytes(vriftd.resident), own(&vriftd));
    let numbers = |of: fn(&Memory) -> u64| idle.iter().map(of).collect::<Vec<_>>();
    report.data("resident", numbers(|memory| memory.resident)).data("own", numbers(|memory| memory.own));
    report.data("large_resident", large.resident).data("large_own", large.own);
    report.data("vriftd_resident", vriftd.resident).data("vriftd_own", vriftd.own);
    report.finish(options.save)
}
