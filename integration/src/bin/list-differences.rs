//! Builds real projects twice with plain Cargo at one place, and prints the paths in the target folder that differ: what
//! `data/varies.toml` has to list.
#![forbid(unsafe_code)]

use integration::Result;
use integration::bench::Options;
use integration::env::TestEnv;
use integration::projects::{self, Project};
use integration::snapshot::{Exceptions, Snapshot};

fn main() -> Result {
    let exceptions = Exceptions::load()?;
    let options = Options::from_args()?;
    match options.project {
        Some(_) => twice(&options.project("")?, &exceptions),
        None => {
            let all = [projects::regex_workspace()?, projects::ripgrep()?, projects::bat()?];
            all.iter().try_for_each(|project| twice(project, &exceptions))
        }
    }
}

fn twice(project: &Project, exceptions: &Exceptions) -> Result {
    let env = TestEnv::plain()?;
    let checkout = env.checkout_of(&project.sources, "x")?;
    let mut snapshots = Vec::new();
    for _ in 0..2 {
        let done = checkout.cargo("build").ok()?;
        println!("{}: {:.1?}, {} packages", project.name, done.wall, done.compiling().len());
        snapshots.push(Snapshot::of(&checkout.path("target"))?);
        std::fs::remove_dir_all(checkout.path("target"))?;
    }
    println!("{} paths", snapshots[0].0.len());
    for difference in snapshots[0].differences(&snapshots[1]) {
        let listed = if exceptions.allow(&difference) { "listed" } else { "NOT LISTED" };
        println!("{listed} {difference}");
    }
    Ok(())
}
