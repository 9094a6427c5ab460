//! The differential test of the VDir through the shim, at any length: `--comparisons N` (ten million), `--seed S` (the time),
//! `--base FOLDER` for another file system, `--shared` in a tree that all projects share, `--shim FILE` with another shim, `--control` with one that must fail.
#![forbid(unsafe_code)]

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use integration::Result;
use integration::differential::{Plan, incoherent_shim, run};
use integration::env::TestEnv;
use lexopt::prelude::*;

fn main() -> Result {
    let seed = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut plan = Plan { comparisons: 10_000_000, seed, shim: None, base: None, shared: false };
    let mut control = false;
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("comparisons") => plan.comparisons = parser.value()?.parse()?,
            Long("seed") => plan.seed = parser.value()?.parse()?,
            Long("base") => plan.base = Some(parser.value()?.into()),
            Long("shared") => plan.shared = true,
            Long("shim") => plan.shim = Some(parser.value()?.into()),
            Long("control") => {
                control = true;
                plan.shim = Some(incoherent_shim()?);
            }
            Long("help") | Short('h') => {
                println!("options: --comparisons N, --seed S, --base FOLDER, --shared, --shim FILE, --control");
                return Ok(());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    println!("seed {}", plan.seed);
    let env = TestEnv::new()?;
    let began = Instant::now();
    let outcome = run(&env, &plan)?;
    println!(
        "{} comparisons behind {} changes in {:.0?}: {} different; the kernel was asked again for {}",
        outcome.comparisons,
        outcome.changes,
        began.elapsed(),
        outcome.different,
        outcome.again
    );
    for (name, watched, silent) in &outcome.watched {
        println!("{name}: {silent} of {watched} without a system call");
    }
    if let Some(share) = outcome.share() {
        println!("{share:.1} of 100 answers came from the map");
    }
    if control {
        ensure!(outcome.different > 0, "without its rule, the shim should have answered wrongly");
    } else {
        ensure!(outcome.different == 0, "{}", outcome.text);
    }
    Ok(())
}
