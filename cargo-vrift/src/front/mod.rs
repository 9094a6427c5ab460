//! Running a command under vrift.
//!
//! # Performance
//! What happens before the command starts is a few `stat` calls and two small files ([`setup`]); the daemons are started
//! and greeted by a thread while the command is starting up ([`opening`]). Where Cargo is to build into an empty folder, it waits
//! for them: the worker may know all of the build ([`whole`]).
//!
//! # Failure
//! Every failure of [`setup`] ends in the command running by itself, with one line that says why. Failures after that leave
//! the command running: the hooked programs find no worker and run for real.

mod child;
pub use child::{Passing, end_like, run as run_child};
mod folder;
mod opening;
mod report;
mod session;
mod setup;
pub use session::{Actions, Session};
pub use setup::load;
mod summary;
mod whole;
mod wrapper;
pub use wrapper::tool as wrapped;

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use vrift_core::env;

use crate::cargo::{Class, LowArgs};
use crate::error::Error;
use crate::{npm, program, say};

/// A command to run.
#[derive(Debug)]
pub struct Job {
    /// The program's file.
    pub program: PathBuf,
    /// Its arguments.
    pub words: Vec<OsString>,
    /// What of them matters here; empty for programs other than Cargo.
    pub low: LowArgs,
    /// What the command is to vrift.
    pub class: Class,
    /// Whether the program is Cargo.
    pub cargo: bool,
    /// The name that the program is to be called by, where that is not its path.
    pub name: Option<OsString>,
}

impl Job {
    /// What the program is called by.
    pub fn called(&self) -> &OsStr {
        self.name.as_deref().unwrap_or(self.program.as_os_str())
    }
}

/// Runs Cargo with `words`: `cargo vrift …` and `vrift cargo …`.
///
/// # Errors
/// Where Cargo cannot be found or started.
pub fn cargo(words: Vec<OsString>) -> Result<ExitCode, Error> {
    let low = LowArgs::scan(&words);
    let program = find_cargo(&low)?;
    run(&Job { program, class: low.class(), words, low, cargo: true, name: None })
}

/// Runs any command: `vrift run -- …`.
///
/// # Errors
/// Where there is no such program.
pub fn command(mut words: Vec<OsString>) -> Result<ExitCode, Error> {
    if words.is_empty() {
        return Err(Error::Usage("nothing to run: `vrift run -- <command>`".into()));
    }
    let name = words.remove(0);
    let path = std::env::var_os("PATH");
    let program = program::find(&name, path.as_deref())
        .ok_or_else(|| Error::NoProgram { program: name.to_string_lossy().into_owned(), origin: " in PATH" })?;
    if program.file_name() == Some(OsStr::new("cargo")) {
        let low = LowArgs::scan(&words);
        return run(&Job { program, class: low.class(), words, low, cargo: true, name: None });
    }
    let job = Job { program, words, low: LowArgs::default(), class: Class::Other, cargo: false, name: Some(name) };
    match wrapped(&job.program) {
        Some(tool) => Err(wrapper::run(&job, tool)),
        None => run(&job),
    }
}

/// Runs a program that stands where a command of vrift's own would: `vrift make -j8`.
///
/// # Errors
/// Where there is no such program.
pub fn program(words: Vec<OsString>) -> Result<ExitCode, Error> {
    command(words).map_err(|error| match error {
        Error::NoProgram { program, .. } => {
            Error::Usage(format!("`{program}` is neither a command of vrift nor a program in PATH"))
        }
        other => other,
    })
}

/// Runs what this program stands in for, where it is called by a compiler's name: `vrift shims` makes such links. `None` where it is
/// called by its own.
pub fn stand_in(mut words: impl Iterator<Item = OsString>) -> Option<Result<ExitCode, Error>> {
    let called = words.next()?;
    let name = Path::new(&called).file_name()?.to_owned();
    let tool = wrapped(Path::new(&name))?;
    let found =
        std::env::current_exe().ok().and_then(|own| program::find_other(&name, std::env::var_os("PATH").as_deref(), &own));
    let Some(program) = found else {
        return Some(Err(Error::NoProgram {
            program: name.to_string_lossy().into_owned(),
            origin: " in PATH behind vrift's link",
        }));
    };
    // By its whole path: gcc finds its parts from there, and would find our link by its name alone.
    let job = Job { program, words: words.collect(), low: LowArgs::default(), class: Class::Other, cargo: false, name: None };
    Some(Err(wrapper::run(&job, tool)))
}

/// The Cargo that runs us, else the one in `PATH`. A toolchain in the arguments is for rustup's `cargo`, which is in `PATH`.
fn find_cargo(low: &LowArgs) -> Result<PathBuf, Error> {
    match std::env::var_os("CARGO").filter(|cargo| !cargo.is_empty() && !low.toolchain) {
        Some(cargo) => {
            let found = program::find(&cargo, std::env::var_os("PATH").as_deref()).filter(|file| file.exists());
            found.ok_or_else(|| Error::NoProgram { program: cargo.to_string_lossy().into_owned(), origin: " (CARGO names it)" })
        }
        None => program::find(OsStr::new("cargo"), std::env::var_os("PATH").as_deref())
            .ok_or_else(|| Error::NoProgram { program: "cargo".into(), origin: " in PATH" }),
    }
}

/// Runs what `vrift run …` names: a script of the nearest `package.json`, or else a command.
///
/// # Errors
/// As for [`command`] and [`npm::run`].
pub fn script_or_command(words: Vec<OsString>) -> Result<ExitCode, Error> {
    let options = npm::Options::parse(words)?;
    let cwd = std::env::current_dir().map_err(|source| Error::File { action: "find", path: ".".into(), source })?;
    if npm::is_script(&options, &cwd) {
        return npm::run(&options, &cwd);
    }
    let name = options.name().to_string_lossy().into_owned();
    if options.report.is_some() {
        // Who asks for a report is a program, and means no other program that is called like the script.
        return Err(Error::Usage(format!("`{name}` is no script of the nearest package.json; `--report` is for scripts")));
    }
    let is_command = options.command;
    command(options.words).map_err(|error| match error {
        Error::NoProgram { program, .. } if program == name && !is_command => {
            Error::Usage(format!("`{name}` is neither a script of the nearest package.json nor a program in PATH"))
        }
        other => other,
    })
}

fn run(job: &Job) -> Result<ExitCode, Error> {
    if job.class == Class::Plain || is_disabled() {
        return Err(replace(job));
    }
    let setup = match setup::Setup::new(job) {
        Ok(setup) => setup,
        Err(e) => {
            say::line(format_args!("off: {e}; {} runs without vrift", name_of(&job.program)));
            return Err(replace(job));
        }
    };
    let mut opening = opening::Opening::start(&setup);
    let followed = if job.cargo { whole::begin(job, &setup, &mut opening) } else { None };
    let status = child::run(setup.command(job)).map_err(|source| Error::Start { path: job.program.clone(), source })?;
    if let Some(followed) = followed.filter(|_| status.success()) {
        followed.keep();
    }
    summary::print(job, &setup, &summary::ask(&setup, opening), status);
    Ok(child::end_like(status))
}

/// Whether nothing is to be done beside running the command: vrift is switched off, or at work around this process already.
pub fn is_off() -> bool {
    is_disabled() || wrapper::is_followed()
}

/// Whether vrift is switched off.
fn is_disabled() -> bool {
    std::env::var_os(env::DISABLE).is_some_and(|value| !value.is_empty() && value != "0")
}

/// Becomes the program.
pub fn replace(job: &Job) -> Error {
    let mut command = Command::new(&job.program);
    if let Some(name) = &job.name {
        command.arg0(name);
    }
    let source = command.args(&job.words).exec();
    Error::Start { path: job.program.clone(), source }
}

fn name_of(program: &Path) -> String {
    program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
}
