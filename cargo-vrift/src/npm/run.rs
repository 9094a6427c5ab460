//! Running a script.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use vrift_core::tool::Tool;

use super::group::To;
use super::manager::Manager;
use super::options::Options;
use super::package::Package;
use super::parallel;
use super::plan::{Plan, Question, Step};
use super::workspace::Workspace;
use crate::cargo::{Class, LowArgs};
use crate::error::Error;
use crate::front::{self, Actions, Job, Session};
use crate::{program, say};

/// Whether these words name a script of the nearest package, or of packages of a workspace.
pub fn is_script(options: &Options, cwd: &Path) -> bool {
    let named = |package: Package| options.name().to_str().is_some_and(|name| package.has_script(name));
    !options.command && (options.is_for_workspaces() || options.if_present || Package::nearest(cwd).is_some_and(named))
}

/// Runs the script that `options` name, in the package of `cwd` or in packages of its workspace.
///
/// # Errors
/// Where the package manager cannot be found or started.
pub fn run(options: &Options, cwd: &Path) -> Result<ExitCode, Error> {
    if options.words.is_empty() {
        return Err(Error::Usage("which script? `npm run` lists them".into()));
    }
    let package = Package::nearest(cwd).ok_or_else(|| Error::Other("there is no package.json here".into()))?;
    let name = options.name().to_string_lossy();
    if options.is_for_workspaces() {
        return in_workspace(options, cwd, &package);
    }
    if options.if_present && !package.has_script(&name) {
        return Ok(ExitCode::SUCCESS);
    }
    let manager = Manager::of(&package.dir);
    let whole = whole(manager, options, cwd)?;
    let Some(session) = open(&whole, &package.dir, options) else { return Err(front::replace(&whole.job())) };
    let plan =
        (manager == Manager::Npm).then(|| Question { cwd, package: None, words: &options.manager_words() }.ask(session.home()));
    let status = match plan {
        Some(Ok(plan)) => steps(&session.actions(), &mut To::Own, &plan, &name, options.dry)?,
        // Whatever it is that npm does not tell, it will do.
        Some(Err(_)) | None => session.actions().run(&mut To::Own, &whole.program, whole.name(), &whole.words, |_| ())?,
    };
    session.finish(&whole.job(), status, options.report.as_deref());
    Ok(front::end_like(status))
}

/// Several packages at once, each behind those that it needs; one by itself as if it were alone.
fn in_workspace(options: &Options, cwd: &Path, package: &Package) -> Result<ExitCode, Error> {
    let manager = Manager::of(&package.dir);
    let workspace = Workspace::find(cwd, manager)?;
    let name = options.name().to_string_lossy();
    let chosen = workspace.choose(&options.workspaces, options.all, cwd)?;
    let has_script = |at: &usize| workspace.packages[*at].has_script(&name);
    let (with, without): (Vec<usize>, Vec<usize>) = chosen.into_iter().partition(has_script);
    if let Some(lacking) = without.first().filter(|_| !options.if_present && (!options.all || with.is_empty())) {
        let dir = workspace.packages[*lacking].dir.display();
        return Err(Error::Usage(format!("`{name}` is no script of the package in `{dir}`")));
    }
    let whole = whole(manager, options, cwd)?;
    let Some(session) = open(&whole, &workspace.root, options) else { return off_in_workspace(manager, options, cwd, &whole) };
    let actions = session.actions();
    let work = |at: usize, to: &mut To<'_, '_>| {
        let dir = &workspace.packages[with[at]].dir;
        if manager != Manager::Npm {
            return actions.run(to, &whole.program, whole.name(), &alone(options), |command| {
                command.current_dir(dir);
            });
        }
        let words: Vec<OsString> =
            ["--workspace".into(), dir.clone().into_os_string()].into_iter().chain(options.manager_words()).collect();
        let plan = Question { cwd: &workspace.root, package: Some(dir), words: &words }.ask(actions.home())?;
        steps(&actions, to, &plan, &name, options.dry)
    };
    let status = match with.len() {
        0 => ExitStatus::default(),
        1 => work(0, &mut To::Own)?,
        _ => parallel::run(&workspace.needs_among(&with), work)?,
    };
    session.finish(&whole.job(), status, options.report.as_deref());
    Ok(front::end_like(status))
}

/// What a manager that knows nothing of other packages is given, in the package's folder.
fn alone(options: &Options) -> Vec<OsString> {
    std::iter::once(OsString::from("run")).chain(options.manager_words()).collect()
}

/// Without vrift, what npm does; the other managers' options are their own.
fn off_in_workspace(manager: Manager, options: &Options, cwd: &Path, whole: &Whole) -> Result<ExitCode, Error> {
    if manager == Manager::Npm {
        return Err(front::replace(&whole.job()));
    }
    let workspace = Workspace::find(cwd, manager)?;
    let name = options.name().to_string_lossy();
    for at in workspace.choose(&options.workspaces, options.all, cwd)? {
        let package = &workspace.packages[at];
        if package.has_script(&name) {
            let mut command = Command::new(&whole.program);
            command.arg0(whole.name()).args(alone(options)).current_dir(&package.dir);
            let fail = |source| Error::Start { path: whole.program.clone(), source };
            let status = front::run_child(command).map_err(fail)?;
            if !status.success() {
                return Ok(front::end_like(status));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// `None` where the package manager is to run by itself.
fn open(whole: &Whole, folder: &Path, options: &Options) -> Option<Session> {
    if front::is_off() {
        return None;
    }
    match Session::open(&whole.job(), folder, &options.modes(), options.silent || options.dry) {
        Ok(session) => Some(session),
        Err(e) => {
            say::line(format_args!("off: {e}; {} runs without vrift", whole.name().to_string_lossy()));
            None
        }
    }
}

/// The package manager's own command.
struct Whole {
    program: PathBuf,
    words: Vec<OsString>,
}

impl Whole {
    fn name(&self) -> &OsStr {
        self.program.file_name().unwrap_or(self.program.as_os_str())
    }

    fn job(&self) -> Job {
        let (program, words) = (self.program.clone(), self.words.clone());
        Job { name: Some(self.name().to_owned()), program, words, low: LowArgs::default(), class: Class::Other, cargo: false }
    }
}

fn whole(manager: Manager, options: &Options, cwd: &Path) -> Result<Whole, Error> {
    let path = std::env::var_os("PATH");
    let program = program::find(OsStr::new(manager.program()), path.as_deref()).ok_or_else(|| Error::NoProgram {
        program: manager.program().into(),
        origin: " in PATH; this project's scripts are its",
    })?;
    let workspaces = options.workspaces.iter().flat_map(|name| [OsString::from("--workspace"), OsString::from(name)]);
    let all = options.all.then(|| OsString::from("--workspaces"));
    let words = std::iter::once(OsString::from("run")).chain(workspaces).chain(all).chain(options.manager_words()).collect();
    Ok(Whole { program: cwd.join(program), words })
}

/// One step after the other, as long as they succeed. They are one action where that is possible: `prebuild` often removes what
/// `build` then makes, and neither would find what it found the last time.
fn steps(actions: &Actions<'_>, to: &mut To<'_, '_>, plan: &Plan, main: &str, dry: bool) -> Result<ExitStatus, Error> {
    let mut status = ExitStatus::default();
    let joined = join(&plan.steps, main);
    for step in joined.as_ref().map_or(&plan.steps[..], std::slice::from_ref) {
        if !dry {
            to.say(&step.banner);
        }
        let shell = find_shell(step)?;
        let words = [OsString::from("-c"), OsString::from(&step.script)];
        status = actions.run(to, &shell, OsStr::new(&step.shell), &words, |command| given(step, command))?;
        if !status.success() {
            break;
        }
    }
    Ok(status)
}

/// All steps as one that has the environment of the step `main`; `None` where it is one already, or they differ in more than npm
/// makes them differ.
fn join(steps: &[Step], main: &str) -> Option<Step> {
    const OWN: [&str; 2] = ["npm_lifecycle_event", "npm_lifecycle_script"];
    let whole = steps.iter().find(|step| step.event == main).filter(|_| steps.len() > 1)?;
    let rest = |step: &Step| {
        step.set.iter().filter(|(name, _)| !OWN.contains(&name.as_str())).map(|(n, v)| (n.clone(), v.clone())).collect::<Vec<_>>()
    };
    let alike = |step: &Step| {
        (&step.shell, &step.cwd, &step.unset) == (&whole.shell, &whole.cwd, &whole.unset) && rest(step) == rest(whole)
    };
    if !steps.iter().all(alike) {
        return None;
    }
    let mut script = String::new();
    for (at, step) in steps.iter().enumerate() {
        let (shell, text) = (quoted(&step.shell), quoted(&step.script));
        for name in OWN {
            script += &format!("export {name}={}; ", quoted(step.set.get(name)?));
        }
        if at > 0 && !step.banner.is_empty() {
            script += &format!("printf %s {}; ", quoted(&step.banner));
        }
        script +=
            &if at + 1 < steps.len() { format!("{shell} -c {text} || exit $?; ") } else { format!("exec {shell} -c {text}") };
    }
    // A person's own shell need not understand this; it gets the scripts alone.
    Some(Step { shell: "sh".to_owned(), script, banner: steps.first()?.banner.clone(), ..whole.clone() })
}

/// As one word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// As npm's `spawn` does, in the step's own `PATH`.
fn find_shell(step: &Step) -> Result<PathBuf, Error> {
    let path = step.set.get("PATH").map(OsString::from).or_else(|| std::env::var_os("PATH"));
    let found = program::find(OsStr::new(&step.shell), path.as_deref());
    let missing = || Error::NoProgram { program: step.shell.clone(), origin: ", the shell of npm's scripts" };
    found.map(|shell| step.cwd.join(shell)).ok_or_else(missing)
}

fn given(step: &Step, command: &mut Command) {
    command.current_dir(&step.cwd).envs(&step.set);
    for name in &step.unset {
        command.env_remove(name);
    }
}

impl Actions<'_> {
    /// Runs a program as one action.
    fn run(
        &self,
        to: &mut To<'_, '_>,
        program: &Path,
        name: &OsStr,
        words: &[OsString],
        more: impl FnOnce(&mut Command),
    ) -> Result<ExitStatus, Error> {
        let mut command = self.action(Tool::Script, program, name, words);
        more(&mut command);
        to.run(command).map_err(|source| Error::Start { path: program.to_owned(), source })
    }
}
