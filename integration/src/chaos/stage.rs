//! Where it all happens: the checkouts, what their builds must come to, and the small disk.
//!
//! One of the projects is built without prefix maps: then every byte is that of a plain `cargo build`, whoever ran the
//! compiler. The other one has them, as is usual, and its checkouts share everything. A command that a fault keeps from vrift
//! runs without, and what it makes names the checkout: bytes are then neither those of an undisturbed build under vrift nor of
//! one without, so they are judged by what the program says, and by those of the next build from scratch.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::subject::{ALPHA, BETA, Subject};
use super::verdict::Judge;
use crate::Result;
use crate::checkout::Checkout;
use crate::command::Cmd;
use crate::env::TestEnv;
use crate::snapshot::Snapshot;

/// A build that takes longer hangs: from scratch it takes some seconds.
pub const LIMIT: Duration = Duration::from_secs(300);

/// A checkout of one of the projects.
pub struct Place<'e> {
    /// Which project.
    pub subject: Subject,
    /// Where.
    pub checkout: Checkout<'e>,
    /// The variant that was built last; `None` where the target folder may be anything.
    pub built: Option<u32>,
    /// A process of a build was killed since the target folder was made.
    pub interrupted: bool,
    /// It is built with prefix maps.
    pub portable: bool,
    references: BTreeMap<u32, Snapshot>,
}

impl<'e> Place<'e> {
    fn new(env: &'e TestEnv, subject: Subject, portable: bool, name: &str) -> Result<Self> {
        let checkout = env.checkout_of(&subject.sources()?, name)?;
        Ok(Self { subject, checkout, built: None, interrupted: false, portable, references: BTreeMap::new() })
    }

    /// `cargo vrift` here, with the state folder at `home`.
    pub fn vrift(&self, args: &str, home: &Path) -> Cmd {
        let cmd = at_home(self.checkout.vrift(args).limit(LIMIT), home);
        if self.portable { cmd } else { cmd.env("VRIFT_PREFIX_MAP", "off") }
    }

    /// What an undisturbed build of that variant makes.
    ///
    /// # Errors
    /// There is no such variant.
    pub fn reference(&self, variant: u32) -> Result<&Snapshot> {
        self.references.get(&variant).with_context(|| format!("no variant {variant}"))
    }

    /// Makes the checkout that variant, its target folder gone where `clean` says so.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn prepare(&mut self, variant: u32, clean: bool) -> Result {
        if clean || self.built.is_none() {
            self.clear()?;
        }
        self.subject.write_variant(self.checkout.dir(), variant)
    }

    fn clear(&mut self) -> Result {
        let target = self.checkout.path("target");
        if target.exists() {
            std::fs::remove_dir_all(&target).with_context(|| format!("cannot remove `{}`", target.display()))?;
        }
        self.interrupted = false;
        Ok(())
    }

    /// Builds all variants undisturbed: without vrift, or with a state folder that no fault reaches, the first for real. The
    /// two must agree, in every byte or at least in what files there are.
    fn make_references(&mut self, variants: u32, judge: &Judge) -> Result {
        let home = reference_home(self.checkout.env());
        for variant in 0..variants {
            self.prepare(variant, true)?;
            let build = match (self.portable, variant) {
                (false, _) => self.checkout.cargo("build"),
                (true, 0) => self.vrift("build", &home).env("VRIFT_RECACHE", "1"),
                (true, _) => self.vrift("build", &home),
            };
            build.ok()?;
            self.says(variant)?;
            self.references.insert(variant, Snapshot::of(&self.checkout.path("target"))?);
        }
        self.prepare(0, true)?;
        if self.portable {
            self.checkout.cargo("build").ok()?;
            judge.paths(self.reference(0)?, &Snapshot::of(&self.checkout.path("target"))?)?;
        } else {
            self.vrift("build", &home).ok()?;
            judge.bytes(&self.checkout, self.reference(0)?, false).context("an undisturbed build under vrift")?;
        }
        self.says(0)?;
        self.clear()?;
        let _ = std::fs::remove_dir_all(self.checkout.path(".vrift"));
        Ok(())
    }

    /// The program prints what its sources say.
    ///
    /// # Errors
    /// It prints something else.
    pub fn says(&self, variant: u32) -> Result {
        let (says, expected) = (self.checkout.output_of(self.subject.name)?, (self.subject.says)(variant));
        ensure!(says == expected, "`{}`: the program says {says:?}, not {expected:?}", self.checkout.dir().display());
        Ok(())
    }
}

/// The state folder of the builds from which it is known what others must come to.
pub fn reference_home(env: &TestEnv) -> PathBuf {
    env.path().join("reference")
}

/// Two projects in two checkouts each. The seed decides which of the projects has prefix maps.
///
/// # Errors
/// They cannot be built.
pub fn places<'e>(env: &'e TestEnv, variants: u32, seed: u64, judge: &Judge) -> Result<Vec<Place<'e>>> {
    let mut places = Vec::new();
    for (subject, portable) in [(ALPHA, seed.is_multiple_of(2)), (BETA, !seed.is_multiple_of(2))] {
        for name in ["one", "another/two"] {
            let mut place = Place::new(env, subject, portable, &format!("{}/{name}", subject.name))?;
            place.make_references(variants, judge)?;
            places.push(place);
        }
    }
    crate::daemons::kill_all(&reference_home(env))?;
    Ok(places)
}

/// A small disk, mounted for this process and its children alone; `None` where that is not possible.
///
/// # Errors
/// Its folder cannot be made.
pub fn small_disk(env: &TestEnv, own_mounts: bool) -> Result<Option<PathBuf>> {
    if !own_mounts {
        return Ok(None);
    }
    let dir = env.path().join("disk");
    std::fs::create_dir(&dir)?;
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=512m", "none"]).arg(&dir).status();
    Ok(mounted.is_ok_and(|status| status.success()).then_some(dir))
}

/// A command with its state folder at `home`.
pub fn at_home(cmd: Cmd, home: &Path) -> Cmd {
    cmd.env("VRIFT_HOME", home)
}
