//! The differential test of the VDir through the shim: processes with the shim and without it change a small tree, and those
//! with it compare what libc answers with what the kernel answers. The programs are in `data/differential`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use nix::unistd::geteuid;
use tempfile::TempDir;
use vrift_core::context::{Context, Field};
use vrift_core::identity::ProjectId;
use vrift_core::paths::AbsPath;
use vrift_core::vdir;

use crate::command::{Cmd, Done};
use crate::env::TestEnv;
use crate::{Result, host};

/// Which run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// It ends after so many comparisons.
    pub comparisons: u64,
    /// What the changes and comparisons are rolled from. (Which of the processes comes first is the scheduler's choice.)
    pub seed: u64,
    /// Another shim than vrift's own.
    pub shim: Option<PathBuf>,
    /// A folder on the file system to try, instead of the temporary one's.
    pub base: Option<PathBuf>,
    /// What changes is a tree that all projects share, and one of the processes under the shim is of another project.
    pub shared: bool,
}

/// What a run told.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Comparisons made.
    pub comparisons: u64,
    /// Changes behind which they were made.
    pub changes: u64,
    /// Comparisons in which libc and the kernel differed.
    pub different: u64,
    /// Comparisons for which the kernel was asked again.
    pub again: u64,
    /// By kind of call: comparisons that were watched for system calls, and those among them whose answer came without any, and
    /// therefore from the map. Empty where this kernel does not tell.
    pub watched: Vec<(String, u64, u64)>,
    /// The first differences, in words.
    pub text: String,
}

impl Outcome {
    /// How many of a hundred answers came from the map; `None` where that cannot be told.
    pub fn share(&self) -> Option<f64> {
        let (watched, silent) = self.watched.iter().fold((0, 0), |sum, kind| (sum.0 + kind.1, sum.1 + kind.2));
        (watched > 0).then(|| silent as f64 * 100.0 / watched as f64)
    }

    /// What the programs printed.
    ///
    /// # Errors
    /// They did not come to their end.
    pub fn of(done: &Done, plan: &Plan) -> Result<Self> {
        let (stdout, text) = (&done.stdout, done.stderr.clone());
        let number = |name: &str| {
            let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
            stdout.lines().find_map(value).unwrap_or(0)
        };
        let kind = |line: &str| {
            let (silent, rest) = line.strip_prefix("silent ")?.split_once(" of ")?;
            let (watched, name) = rest.split_once(' ')?;
            Some((name.to_owned(), watched.parse().ok()?, silent.parse().ok()?))
        };
        let watched = if number("unwatched") == 0 { stdout.lines().filter_map(kind).collect() } else { Vec::new() };
        let numbers = [number("comparisons"), number("changes"), number("different"), number("again")];
        let [comparisons, changes, different, again] = numbers;
        let complete = comparisons >= plan.comparisons && !text.contains("a process ended with");
        ensure!(complete, "it did not come to its end: {}\n{}", done.status, done.all());
        Ok(Self { comparisons, changes, different, again, watched, text })
    }
}

/// What is ready to be run.
pub struct Prepared {
    /// What changes: the project's root, or a shared tree.
    pub root: PathBuf,
    /// The project's root, and that of the other project where there is one.
    pub projects: Vec<PathBuf>,
    /// The program that starts all others, and its arguments.
    pub args: Vec<OsString>,
    _base: Option<TempDir>,
}

impl Prepared {
    /// Compiles the programs, and makes a fresh project of `env`.
    ///
    /// # Errors
    /// They do not compile, or a file cannot be written.
    pub fn new(env: &TestEnv, plan: &Plan) -> Result<Self> {
        let tools = env.checkout("tools")?;
        let source = host::data("differential/main.c").display().to_string();
        for (name, flags) in [("dynamic", ""), ("static", "-static")] {
            tools.sh(&format!("cc -w -O1 -pthread {flags} -o {name} '{source}'")).ok()?;
        }
        let base = plan.base.as_deref().map(tempfile::tempdir_in).transpose()?;
        let dir = base.as_ref().map_or_else(|| env.path().join("w"), |base| base.path().to_owned()).canonicalize()?;
        let (root, outside) = (dir.join(if plan.shared { "cargo/registry" } else { "project" }), dir.join("outside"));
        std::fs::create_dir_all(&root)?;
        std::fs::create_dir_all(&outside)?;
        let projects = if plan.shared { vec![dir.join("one"), dir.join("two")] } else { vec![root.clone()] };
        for project in &projects {
            std::fs::create_dir_all(project)?;
            std::fs::write(project.join("Cargo.toml"), "[workspace]\n")?;
        }
        let mut args: Vec<OsString> = ["dynamic", "shared"].map(|name| tools.path(name).into()).into();
        args.extend([root.clone().into(), outside.into(), tools.path("static").into()]);
        args.extend([plan.comparisons, plan.seed].map(|number| number.to_string().into()));
        Ok(Self { args, root, projects, _base: base })
    }

    /// A command that knows of the projects and of the shared tree.
    pub fn with_places(&self, cmd: Cmd) -> Cmd {
        let [project, second] = &self.projects[..] else { return cmd };
        let cmd = cmd.env("VRIFT_PROJECT_ROOT", project).env("SECOND_PROJECT", second);
        match self.root.parent() {
            Some(cargo) => cmd.env("CARGO_HOME", cargo),
            None => cmd,
        }
    }
}

/// Runs it in a fresh project of `env`.
///
/// # Errors
/// It cannot be run, or a process of it ends early. Differences are no error: see [`Outcome::different`].
pub fn run(env: &TestEnv, plan: &Plan) -> Result<Outcome> {
    let prepared = Prepared::new(env, plan)?;
    if plan.shared {
        prepared.with_places(env.cmd_in("vrift", &prepared.root)).args(["run", "--", "true"]).ok()?;
        wait_for_map(&base_place(env))?;
    }
    let place = wait_for_vdir(env, &prepared.projects[0])?;
    let cmd = match &plan.shim {
        None => env.cmd_in("vrift", &prepared.root).args(["run", "--"]),
        Some(shim) => under(env, shim, &place, &prepared.root),
    };
    let done = prepared.with_places(cmd).args(prepared.args).limit(Duration::from_secs(4 * 3600)).run()?;
    Outcome::of(&done, plan)
}

/// Starts the worker of the project at `root`, and waits for its VDir.
///
/// # Errors
/// None comes.
pub fn wait_for_vdir(env: &TestEnv, root: &Path) -> Result<PathBuf> {
    env.cmd_in("vrift", root).args(["run", "--", "true"]).ok()?;
    let place = project_place(root)?;
    wait_for_map(&place)?;
    Ok(place)
}

/// Where the VDir of the project at `root` is.
///
/// # Errors
/// The path is not absolute.
pub fn project_place(root: &Path) -> Result<PathBuf> {
    Ok(vdir::place(ProjectId::new(&AbsPath::try_from(root)?, None), geteuid().as_raw()))
}

/// Waits for the map at `place`.
///
/// # Errors
/// None comes.
pub fn wait_for_map(place: &Path) -> Result {
    let began = Instant::now();
    while vdir::open(place, geteuid().as_raw()).is_err() {
        ensure!(began.elapsed() < Duration::from_secs(60), "no VDir at `{}`", place.display());
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Where the map of shared trees of this environment is.
pub fn base_place(env: &TestEnv) -> PathBuf {
    vdir::base_place(&env.vrift_home(), geteuid().as_raw())
}

/// A command under another shim than vrift's own: `vrift run` would put its own one in place.
fn under(env: &TestEnv, shim: &Path, place: &Path, root: &Path) -> Cmd {
    let base = base_place(env);
    let exec = Path::new("/nowhere/vrift-exec");
    let fields = [(Field::Shim, shim), (Field::Exec, exec), (Field::VDir, place), (Field::Base, &base)];
    let mut context = Context::empty();
    for (field, value) in &fields {
        context = context.with(*field, value.as_os_str().as_bytes());
    }
    let context = OsStr::from_bytes(&context.encode()).to_owned();
    env.cmd_in("env", root).env("LD_PRELOAD", shim).env(vrift_core::env::CONTEXT, context)
}

/// A shim that leaves out the rule on which the VDir's coherence rests: that a notice that waits silences the map.
///
/// # Errors
/// It does not build.
pub fn incoherent_shim() -> Result<PathBuf> {
    let target = host::cache()?.join("incoherent");
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--locked", "--package", "vrift-preload", "--features", "bare,incoherent"]);
    cargo.args(["--profile", "embedded", "--target-dir"]).arg(&target).current_dir(host::repository());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text == "LD_LIBRARY_PATH" {
            cargo.env_remove(&name);
        }
    }
    let output = cargo.output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the shim does not build:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(target.join("embedded/libvrift_preload.so"))
}
