//! The commands of `vrift`, one file each.

mod config;
pub mod daemon;
mod delete;
mod doctor;
mod fsck;
mod gc;
mod ps;
mod shims;
mod stats;
mod status;
mod stop;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use vrift_core::home::Home;
use vrift_core::root::Project;
use vrift_core::settings::Settings;

use crate::args::{Command, LowArgs};
use crate::error::Error;
use crate::front;

/// What the arguments and the surroundings come to.
#[derive(Debug)]
pub struct HiArgs {
    /// The working folder.
    pub cwd: PathBuf,
    /// The state folder, its store where the settings put it.
    pub home: Home,
    /// The settings in force.
    pub settings: Settings,
    /// The project of the working folder.
    pub project: Project,
}

impl HiArgs {
    /// Finds everything from the working folder.
    ///
    /// # Errors
    /// Where there is no working folder, no home, or a settings file is wrong.
    pub fn find() -> Result<Self, Error> {
        let cwd = std::env::current_dir().map_err(|source| Error::File { action: "find", path: ".".into(), source })?;
        let project = Project::find(&cwd)?;
        let (home, settings) = front::load(&cwd, Some(&project))?;
        Ok(Self { cwd, home, settings, project })
    }
}

/// Parses the command line and does what it says.
///
/// # Errors
/// Why it could not be done.
pub fn run() -> Result<ExitCode, Error> {
    let low = match LowArgs::try_parse() {
        Ok(low) => low,
        Err(e) => {
            let _ = e.print();
            let asked = matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return Ok(ExitCode::from(if asked { 0 } else { 2 }));
        }
    };
    match low.command {
        Command::Cargo(args) => front::cargo(args.words),
        Command::Run(args) => front::command(args.words),
        Command::Status(output) => status::run(&HiArgs::find()?, output),
        Command::Stats(output) => stats::run(&HiArgs::find()?, output),
        Command::Ps(args) => ps::run(&HiArgs::find()?, &args),
        Command::Why(args) => why::run(&HiArgs::find()?, &args),
        Command::Doctor(output) => doctor::run(output),
        Command::Gc(args) => gc::run(&HiArgs::find()?, &args),
        Command::Fsck(args) => fsck::run(&HiArgs::find()?, &args),
        Command::Config(args) => config::run(&args),
        Command::Daemon(args) => daemon::run(&args),
        Command::Stop(args) => stop::run(&HiArgs::find()?, &args),
        Command::Shims(args) => shims::run(&args),
        Command::Delete => delete::run(&HiArgs::find()?),
        Command::Program(words) => front::program(words),
    }
}
