//! One run of a front end whose actions it starts itself, and not through a build tool.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitStatus;

use vrift_core::context::{Context, Field};
use vrift_core::home::Home;

use super::folder::Folders;
use super::opening::Opening;
use super::setup::Setup;
use super::{Job, report, summary};
use crate::error::Error;

/// The run.
#[derive(Debug)]
pub struct Session {
    setup: Setup,
    opening: Opening,
    context: OsString,
    quiet: bool,
}

/// What running actions needs.
#[derive(Clone, Copy, Debug)]
pub struct Actions<'a> {
    /// The state folder.
    pub home: &'a Home,
    /// The program that runs them.
    pub runner: &'a Path,
    /// What tells a program of the run all that it must know, as the value of [`vrift_core::env::CONTEXT`].
    pub context: &'a OsStr,
}

impl Session {
    /// Starts the daemons for what is in `folder`. `modes` are further letters of [`vrift_core::context::mode`].
    ///
    /// # Errors
    /// Whatever makes it impossible to run under vrift.
    pub fn open(job: &Job, folder: &Path, modes: &[u8], quiet: bool) -> Result<Self, Error> {
        let folders = Folders { project: folder.to_owned(), build: folder.to_owned() };
        let setup = Setup::of(job, Some(folders))?;
        let context = with_modes(setup.context(), modes);
        let opening = Opening::start(&setup);
        Ok(Self { setup, opening, context, quiet })
    }

    /// The state folder.
    pub fn home(&self) -> &Home {
        &self.setup.home
    }

    /// What running actions needs, for several threads at once.
    pub fn actions(&self) -> Actions<'_> {
        Actions { home: &self.setup.home, runner: self.setup.runner(), context: &self.context }
    }

    /// Says what happened, and writes it to the file `to` where one is asked for.
    pub fn finish(self, job: &Job, status: ExitStatus, to: Option<&OsStr>) {
        if self.quiet && to.is_none() {
            return;
        }
        let told = summary::ask(&self.setup, self.opening);
        if !self.quiet {
            summary::print(job, &self.setup, &told, status);
        }
        if let Some(to) = to {
            report::write(Path::new(to), &told);
        }
    }
}

fn with_modes(context: &OsStr, modes: &[u8]) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let Some(parsed) = Context::parse(context.as_bytes()) else { return context.to_owned() };
    let letters = [parsed.get(Field::Mode), modes].concat();
    OsString::from_vec(parsed.with(Field::Mode, &letters).encode())
}
