//! Whether what vrift made is what a build from scratch makes, at the same place.
//!
//! Two builds are the measure: one through vrift that runs everything for real, which must give the same bytes; and one
//! with plain Cargo, which must give the same files, and programs that print the same. (Its bytes differ where vrift keeps
//! the checkout's path out of debug information.)

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::Result;
use crate::checkout::Checkout;
use crate::command::Cmd;
use crate::snapshot::{Compare, Exceptions, Snapshot};

/// How a checkout was built, and what to look at.
pub struct Built<'c, 'e> {
    checkout: &'c Checkout<'e>,
    args: String,
    programs: Vec<String>,
    target: PathBuf,
    vars: Vec<(String, String)>,
}

impl<'c, 'e> Built<'c, 'e> {
    /// Built in `target` by `cargo vrift <args>`; `programs` (below `target/debug`) print what is to be compared.
    pub fn new(checkout: &'c Checkout<'e>, args: &str, programs: &[&str]) -> Self {
        let programs = programs.iter().map(|&name| name.to_owned()).collect();
        let target = checkout.path("target");
        Self { checkout, args: args.to_owned(), programs, target, vars: Vec::new() }
    }

    /// Built in another target folder.
    #[must_use]
    pub fn target(mut self, dir: &str) -> Self {
        self.target = self.checkout.path(dir);
        self
    }

    /// Built with a variable set.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.vars.push((name.to_owned(), value.to_owned()));
        self
    }

    fn with_vars(&self, cmd: Cmd) -> Cmd {
        self.vars.iter().fold(cmd, |cmd, (name, value)| cmd.env(name, value))
    }

    /// Compares with the two builds from scratch, and puts everything back in place.
    ///
    /// # Errors
    /// Says what differs.
    pub fn check(&self) -> Result {
        let (snapshot, printed) = self.look()?;
        let held = self.checkout.env().path().join("out/held-target");
        std::fs::rename(&self.target, &held).with_context(|| format!("cannot move `{}`", self.target.display()))?;
        let verdict = self.compare(&snapshot, &printed);
        if self.target.exists() {
            std::fs::remove_dir_all(&self.target)?;
        }
        std::fs::rename(&held, &self.target)?;
        verdict
    }

    fn compare(&self, snapshot: &Snapshot, printed: &[String]) -> Result {
        let exceptions = Exceptions::load()?;
        let recached = self.with_vars(self.checkout.vrift(&self.args)).env("VRIFT_RECACHE", "1");
        recached.ok().context("the uncached build failed")?;
        let (uncached, uncached_printed) = self.look()?;
        std::fs::remove_dir_all(&self.target)?;
        snapshot.same_as(&uncached, &exceptions).context("against an uncached build")?;
        ensure!(printed == uncached_printed, "programs print {printed:?}; of an uncached build {uncached_printed:?}");
        self.with_vars(self.checkout.cargo(&self.args)).ok().context("the plain build failed")?;
        let (plain, plain_printed) = self.look()?;
        ensure!(printed == plain_printed, "programs print {printed:?}; of a plain build {plain_printed:?}");
        let (ours, theirs) = (paths(snapshot, &exceptions), paths(&plain, &exceptions));
        let differ: Vec<_> = ours.symmetric_difference(&theirs).collect();
        ensure!(differ.is_empty(), "not the same files as in a plain build: {differ:?}");
        Ok(())
    }

    fn look(&self) -> Result<(Snapshot, Vec<String>)> {
        let print = |name: &String| {
            let program = self.target.join("debug").join(name);
            let cmd = self.checkout.cmd(program.to_str().with_context(|| format!("`{}` is no text", program.display()))?);
            Ok(cmd.ok()?.stdout)
        };
        let printed = self.programs.iter().map(print).collect::<Result<Vec<_>>>()?;
        Ok((Snapshot::of(&self.target)?, printed))
    }
}

fn paths<'s>(snapshot: &'s Snapshot, exceptions: &Exceptions) -> BTreeSet<&'s Path> {
    let compared = |path: &&PathBuf| exceptions.compare(path) != Some(Compare::Never);
    snapshot.0.keys().filter(compared).map(PathBuf::as_path).collect()
}
