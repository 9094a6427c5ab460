//! The chaos suite: real builds of two projects in two checkouts each, while seeded faults happen to everything that vrift is
//! made of.
//!
//! After each round of builds: the exit status and every byte are those of an undisturbed build; where a process of the build
//! itself was killed, those of the next build. What the store holds is sound, after a repair where something was damaged. No
//! process, no temporary file and no shared memory is left.
//!
//! | module | subject |
//! |---|---|
//! | [`fault`] | the table of faults |
//! | `attack`, `damage`, `files`, `room` | what they do: to processes, to what is stored, to other files, to room |
//! | [`round`] | what a round holds, as the seed decides |
//! | [`scene`] | what a fault finds |
//! | [`stage`], [`subject`] | the checkouts, the projects |
//! | [`play`], [`verdict`] | playing a round, and judging it |
//! | [`processes`] | the processes of one environment |

mod attack;
mod damage;
pub mod fault;
mod files;
pub mod play;
pub mod processes;
mod room;
pub mod round;
pub mod scene;
pub mod stage;
pub mod subject;
pub mod verdict;

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use fastrand::Rng;
use lexopt::prelude::*;

use crate::bench::{Report, seconds};
use crate::env::TestEnv;
use crate::{Result, host};
use play::{Play, Tally};
use round::Round;
use verdict::Judge;

/// A variable that says: the mounts of this process are its own, `/dev/shm` among them.
const OWN_MOUNTS: &str = "VRIFT_TEST_OWN_MOUNTS";

/// Variants of each project's sources.
const VARIANTS: u32 = 5;

/// In a run with fewer faults than this: fewer variants, which take long to make.
const SHORT: usize = 100;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Faults in all.
    pub faults: usize,
    /// Decides everything that can be decided.
    pub seed: u64,
    /// Ends after the round in which so much time is over, with the faults that there were.
    pub minutes: Option<u64>,
    /// Whether to keep the result.
    pub save: bool,
    own_mounts: bool,
}

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    /// It has something else on it.
    pub fn from_args() -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut options = Self {
            faults: 500,
            seed: now.as_secs(),
            minutes: None,
            save: false,
            own_mounts: std::env::var_os(OWN_MOUNTS).is_some(),
        };
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("faults") => options.faults = parser.value()?.parse()?,
                Long("seed") => options.seed = parser.value()?.parse()?,
                Long("minutes") => options.minutes = Some(parser.value()?.parse()?),
                Long("save") => options.save = true,
                Long("help") | Short('h') => {
                    println!("options: --faults N (500), --seed S, --minutes M, --save");
                    std::process::exit(0);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(options)
    }
}

/// Starts this program again, as root, with mounts of its own and a `/dev/shm` that can be filled. Returns where that is
/// done, or not possible.
pub fn own_mounts(options: &Options) {
    if options.own_mounts || !host::is_root() {
        return;
    }
    let mount = "mount -t tmpfs -o size=64m none /dev/shm";
    let possible = Command::new("unshare").args(["-m", "sh", "-ec", mount]).status();
    let (Ok(own), true) = (std::env::current_exe(), possible.is_ok_and(|status| status.success())) else { return };
    let mut again = Command::new("unshare");
    again.args(["-m", "sh", "-ec", &format!("{mount}\nexec \"$@\""), "sh"]).arg(own).args(std::env::args_os().skip(1));
    // Returns only where it fails; then this process goes on without.
    let _ = again.env(OWN_MOUNTS, "1").exec();
}

/// Runs the suite.
///
/// # Errors
/// Something was not as it must be. The environment's folder is kept then.
pub fn run(options: &Options) -> Result {
    println!("chaos: {} faults, seed {}", options.faults, options.seed);
    if !options.own_mounts {
        println!("chaos: no mounts of its own here: neither /dev/shm nor a disk is filled");
    }
    let mut env = TestEnv::new()?;
    let outcome = play_all(options, &env);
    if outcome.is_err() {
        let _ = env.kill_daemons();
        println!("chaos: FAILED with seed {}; everything is kept in `{}`", options.seed, env.keep().display());
    }
    let (tally, time) = outcome?;
    report(options, &tally, time).finish(options.save)
}

fn play_all(options: &Options, env: &TestEnv) -> Result<(Tally, Duration)> {
    let judge = Judge::new()?;
    let variants = if options.faults < SHORT { 2 } else { VARIANTS };
    let places = stage::places(env, variants, options.seed, &judge)?;
    let disk = stage::small_disk(env, options.own_mounts)?;
    let has_disk = disk.is_some();
    let mut play = Play::new(env, places, disk, options.own_mounts, judge);
    let mut rng = Rng::with_seed(options.seed);
    let began = Instant::now();
    let limit = options.minutes.map(|minutes| Duration::from_secs(60 * minutes));
    while play.tally.count() < options.faults && limit.is_none_or(|limit| began.elapsed() < limit) {
        let round = Round::plan(&mut rng, play.places.len(), variants, has_disk);
        let played = play.round(&round);
        let (number, count) = (play.tally.rounds, play.tally.count());
        played.with_context(|| {
            let story = play.story.join("\n  ");
            format!("round {number}, {count} faults so far, seed {}:\n  {story}\n", options.seed)
        })?;
        println!("round {number}, {count} faults, {:.0?}: {}", began.elapsed(), play.story.join("; "));
        if number > options.faults * 10 + 100 {
            bail!("only {count} faults in {number} rounds");
        }
    }
    play.finish().context("at the end")?;
    Ok((play.tally.clone(), began.elapsed()))
}

fn report(options: &Options, tally: &Tally, time: Duration) -> Report {
    let mut report = Report::new("chaos", format!("{} faults, seed {}", tally.count(), options.seed));
    report
        .row("faults", tally.count().to_string(), format!("{} kinds", tally.faults.len()))
        .row("wrong results, failed builds, orphans", "0", "the run ends at the first")
        .row("builds", tally.builds.to_string(), format!("{} of them interrupted, and done again", tally.interrupted))
        .row(
            "builds with prefix maps of which a part ran without vrift",
            tally.mixed.to_string(),
            "the next one from scratch is compared",
        )
        .row("longest build", seconds(tally.longest), "")
        .row("`vrift fsck`", tally.checks.to_string(), format!("after {} repairs", tally.repairs))
        .row("time", seconds(time), format!("{} rounds", tally.rounds));
    if std::env::var_os(crate::product::BIN_DIR).is_some() {
        report.row("vrift's programs", "built before", "not by this command");
    }
    for (name, count) in &tally.faults {
        report.row(*name, count.to_string(), "");
    }
    report.data("seed", options.seed).data("faults", serde_json::json!(tally.faults)).data("builds", tally.builds);
    report
}
