//! Playing rounds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};
use fastrand::Rng;

use super::files;
use super::round::{Build, Planned, Round};
use super::scene::{Scene, Site};
use super::stage::{self, LIMIT, Place};
use super::verdict::{self, Judge};
use crate::Result;
use crate::command::{Cmd, Done, Running};
use crate::env::TestEnv;

/// How often what happens to running builds is looked after.
const TICK: Duration = Duration::from_millis(2);

/// How often a build from scratch may meet daemons that are not back yet.
const WHOLE_AGAIN: usize = 3;

/// Longer than it takes anybody to notice that a socket is gone.
const RECOVERED: Duration = Duration::from_secs(11);

/// One in so many rounds goes without a repair, though something may be damaged.
const LATER: usize = 3;

/// What has happened so far.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Faults by their names.
    pub faults: BTreeMap<&'static str, usize>,
    /// Rounds.
    pub rounds: usize,
    /// Builds, those that were done again after an interruption included.
    pub builds: usize,
    /// Builds that failed, as they would have with plain Cargo: one of their processes was killed.
    pub interrupted: usize,
    /// Builds with prefix maps of which a part ran without vrift.
    pub mixed: usize,
    /// Checks of the store.
    pub checks: usize,
    /// Repairs of the store.
    pub repairs: usize,
    /// The longest that a build took, from scratch or not.
    pub longest: Duration,
}

impl Tally {
    /// Faults in all.
    pub fn count(&self) -> usize {
        self.faults.values().sum()
    }
}

/// A run in progress.
pub struct Play<'e> {
    /// Where.
    pub env: &'e TestEnv,
    /// The checkouts.
    pub places: Vec<Place<'e>>,
    /// The small disk, where there is one.
    pub disk: Option<std::path::PathBuf>,
    /// Whether `/dev/shm` is this run's own.
    pub own_shm: bool,
    /// Says what is right.
    pub judge: Judge,
    /// What has happened.
    pub tally: Tally,
    /// What happened in the round that is being played, for messages.
    pub story: Vec<String>,
    /// Something may be damaged.
    damaged: bool,
}

impl<'e> Play<'e> {
    /// Nothing has happened yet.
    pub fn new(env: &'e TestEnv, places: Vec<Place<'e>>, disk: Option<std::path::PathBuf>, own_shm: bool, judge: Judge) -> Self {
        Self { env, places, disk, own_shm, judge, tally: Tally::default(), story: Vec::new(), damaged: false }
    }

    fn home(&self, round: &Round) -> std::path::PathBuf {
        match &self.disk {
            Some(disk) if round.on_disk => disk.join("home"),
            _ => self.env.vrift_home(),
        }
    }

    /// Plays one round.
    ///
    /// # Errors
    /// Something is not as it must be.
    pub fn round(&mut self, round: &Round) -> Result {
        self.story.clear();
        self.tally.rounds += 1;
        // Cargo compares times, and file systems may be coarse.
        std::thread::sleep(Duration::from_millis(20));
        let mut sites = Vec::new();
        for build in &round.builds {
            let place = &mut self.places[build.place];
            let same = !build.clean && place.built == Some(build.variant);
            place.prepare(build.variant, build.clean)?;
            sites.push(Site { dir: place.checkout.dir().to_owned(), files: place.subject.files(), same });
        }
        let mut scene = Scene::new(self.env.path(), self.home(round), self.disk.clone(), self.own_shm, sites);
        let (before, mut during): (Vec<Planned>, Vec<Planned>) = round.faults.iter().partition(|fault| fault.delay.is_none());
        for fault in &before {
            self.happen(fault, &mut scene)?;
        }
        let mut running = Vec::new();
        for build in &round.builds {
            let cmd = self.command(build, &scene);
            self.story.push(format!("{}: {build:?}", self.places[build.place].checkout.dir().display()));
            running.push(cmd.start()?);
        }
        let began = Instant::now();
        during.reverse();
        while any_runs(&mut running)? {
            if let Some(fault) = during.last()
                && fault.delay.is_some_and(|delay| began.elapsed() >= delay)
                && self.happen(fault, &mut scene)?
            {
                during.pop();
            }
            scene.go_on(false);
            std::thread::sleep(TICK);
        }
        scene.go_on(true);
        let mut ended = Vec::new();
        for running in running {
            let group = running.pid().as_raw();
            ended.push((running.wait()?, scene.interrupted.contains(&group)));
        }
        verdict::builds_have_ended(self.env.path())?;
        scene.make_room()?;
        for (build, (done, interrupted)) in round.builds.iter().zip(ended) {
            self.judge_build(build, &done, interrupted, &scene)?;
        }
        self.judge_bystander(round)?;
        self.judge_rest(round, &scene)
    }

    /// Lets a fault happen; whether it did.
    fn happen(&mut self, fault: &Planned, scene: &mut Scene) -> Result<bool> {
        let happened = fault.kind.happen(scene, &mut Rng::with_seed(fault.seed)).with_context(|| fault.kind.name)?;
        let Some(what) = happened else { return Ok(false) };
        *self.tally.faults.entry(fault.kind.name).or_default() += 1;
        self.damaged |= fault.kind.damages;
        self.story.push(format!("{} at {:?}: {what}", fault.kind.name, fault.delay));
        Ok(true)
    }

    fn command(&self, build: &Build, scene: &Scene) -> Cmd {
        let args = if build.serial { "build -j1" } else { "build" };
        let mut cmd = self.places[build.place].vrift(args, &scene.home);
        if build.recache {
            cmd = cmd.env("VRIFT_RECACHE", "1");
        }
        if build.singly {
            cmd = cmd.env("VRIFT_WHOLE_BUILDS", "off");
        }
        cmd
    }

    /// The build's status and its bytes are those of an undisturbed build; of one that was interrupted, those of the next one.
    fn judge_build(&mut self, build: &Build, done: &Done, interrupted: bool, scene: &Scene) -> Result {
        self.tally.builds += 1;
        self.tally.longest = self.tally.longest.max(done.wall);
        let place = &mut self.places[build.place];
        let undisturbed = place.vrift("build", &scene.home);
        place.built = None;
        self.story.push(format!("{}: {} after {:.1?}", place.checkout.dir().display(), done.status, done.wall));
        if interrupted {
            place.interrupted = true;
            self.tally.interrupted += usize::from(!done.status.success());
            self.tally.builds += 1;
            undisturbed.ok().context("the build after an interrupted one")?;
        } else {
            ensure!(done.status.success(), "the build fails with {}:\n{}", done.status, done.all());
        }
        place.says(build.variant)?;
        let judged = self.judge.bytes(&place.checkout, place.reference(build.variant)?, place.interrupted);
        if judged.is_err() && place.portable {
            // Some of its commands ran without vrift.
            self.tally.mixed += 1;
            self.story.push(format!("{}: mixed", place.checkout.dir().display()));
            self.tally.builds += whole_again(place, build.variant, &self.judge, &undisturbed)?;
        } else {
            judged?;
        }
        let stale = scene.stale.contains(place.checkout.dir());
        place.built = (!stale).then_some(build.variant);
        Ok(())
    }

    /// A checkout that had no part in it is as it was, though it shares files with the store.
    fn judge_bystander(&self, round: &Round) -> Result {
        let built = |at: usize| self.places[at].built.map(|variant| (&self.places[at], variant));
        let mut others = (0..self.places.len()).filter(|at| round.builds.iter().all(|build| build.place != *at));
        let Some((place, variant)) = others.find_map(built) else { return Ok(()) };
        let judged = self.judge.bytes(&place.checkout, place.reference(variant)?, place.interrupted);
        judged.context("a checkout that was not even built")
    }

    /// The store is sound, and nothing is left behind.
    fn judge_rest(&mut self, round: &Round, scene: &Scene) -> Result {
        // A front end finds the daemons again, or starts others, whatever happened to them.
        let Some(first) = round.builds.first() else { return Ok(()) };
        let here = &self.places[first.place].checkout;
        let vrift = |args: &[&str]| stage::at_home(here.cmd("vrift").args(args.iter().copied()).limit(LIMIT), &scene.home);
        vrift(&["run", "--", "true"]).ok()?;
        verdict::no_extra_daemons(scene)?;
        verdict::no_orphan_files(scene)?;
        // What a checkout holds is checked with whichever state folder is in force.
        if self.damaged && (round.on_disk || !self.tally.rounds.is_multiple_of(LATER)) {
            for place in &self.places {
                let repair = place.checkout.cmd("vrift").args(["fsck", "--repair"]).limit(LIMIT);
                stage::at_home(repair, &scene.home).ok()?;
            }
            self.tally.repairs += 1;
            // The other state folder may be what is damaged.
            self.damaged = round.on_disk;
        }
        if !self.damaged || round.on_disk {
            self.tally.checks += 1;
            vrift(&["fsck"]).ok().context("the store is not sound")?;
        }
        Ok(())
    }

    /// Ends everything in order: every checkout is built once more, plain Cargo has nothing to do, and nothing is left.
    ///
    /// # Errors
    /// Something is not as it must be.
    pub fn finish(&mut self) -> Result {
        self.story.clear();
        let mut sites = Vec::new();
        for place in &mut self.places {
            // What is dated in the future is never fresh.
            files::date_sources(place.checkout.dir(), &place.subject.files(), SystemTime::now())?;
            let build = place.vrift("build", &self.env.vrift_home());
            self.tally.builds += whole_again(place, 0, &self.judge, &build)?;
            place.checkout.cargo("build").judged()?.nothing_ran()?;
            sites.push(Site { dir: place.checkout.dir().to_owned(), files: Vec::new(), same: true });
        }
        let reference = stage::reference_home(self.env);
        let homes = [Some(self.env.vrift_home()), Some(reference), self.disk.as_ref().map(|disk| disk.join("home"))];
        for home in homes.into_iter().flatten() {
            stage::at_home(self.env.vrift().args(["stop", "--all"]), &home).ok()?;
        }
        verdict::nothing_runs(self.env.path())?;
        let scene = Scene::new(self.env.path(), self.env.vrift_home(), None, self.own_shm, sites);
        verdict::no_orphan_files(&scene)?;
        let states = scene.sites.iter().map(|site| site.dir.join(".vrift"));
        states.chain([self.env.vrift_home()]).try_for_each(|dir| verdict::no_half_written_files(&dir))?;
        verdict::no_shared_memory(&scene)
    }
}

/// Builds from scratch until the bytes are right; returns how many builds that took. The first of them may still meet daemons that
/// recover, and be mixed too. A wrong result that was stored would come back each time.
fn whole_again(place: &mut Place<'_>, variant: u32, judge: &Judge, undisturbed: &Cmd) -> Result<usize> {
    let most = if place.portable { WHOLE_AGAIN } else { 1 };
    for tries in 1.. {
        place.prepare(variant, true)?;
        undisturbed.ok().context("a build from scratch that nothing happens to")?;
        place.says(variant)?;
        match judge.bytes(&place.checkout, place.reference(variant)?, false) {
            Err(differs) if tries == most => return Err(differs),
            Err(_) => std::thread::sleep(RECOVERED),
            Ok(()) => return Ok(tries),
        }
    }
    unreachable!("the last try returns")
}

fn any_runs(running: &mut [Running]) -> Result<bool> {
    for running in running {
        if running.is_running()? {
            return Ok(true);
        }
    }
    Ok(false)
}
