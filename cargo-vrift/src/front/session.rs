//! One run of a front end whose actions it starts itself, and not through a build tool.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::{Command, ExitStatus};

use vrift_core::home::Home;
use vrift_core::tool::Tool;

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
    quiet: bool,
}

/// What running actions needs.
#[derive(Clone, Copy, Debug)]
pub struct Actions<'a> {
    setup: &'a Setup,
}

impl Actions<'_> {
    /// The state folder.
    pub fn home(&self) -> &Home {
        &self.setup.home
    }

    /// See [`Setup::action`].
    pub fn action(&self, tool: Tool, program: &Path, name: &OsStr, words: &[OsString]) -> Command {
        self.setup.action(tool, program, name, words)
    }
}

impl Session {
    /// Starts the daemons for what is in `folder`. `modes` are further letters of [`vrift_core::context::mode`].
    ///
    /// # Errors
    /// Whatever makes it impossible to run under vrift.
    pub fn open(job: &Job, folder: &Path, modes: &[u8], quiet: bool) -> Result<Self, Error> {
        let folders = Folders { project: folder.to_owned(), build: folder.to_owned() };
        let setup = Setup::of(job, Some(folders))?.with_modes(modes);
        let opening = Opening::start(&setup);
        Ok(Self { setup, opening, quiet })
    }

    /// The state folder.
    pub fn home(&self) -> &Home {
        &self.setup.home
    }

    /// What running actions needs, for several threads at once.
    pub fn actions(&self) -> Actions<'_> {
        Actions { setup: &self.setup }
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
