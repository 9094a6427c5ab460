//! Running commands: with a known environment, a time limit, and everything they say kept.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::Result;

/// A command that hangs is killed after this.
pub const LIMIT: Duration = Duration::from_secs(600);

/// A command to be run.
#[derive(Clone, Debug)]
pub struct Cmd {
    program: OsString,
    args: Vec<OsString>,
    dir: PathBuf,
    vars: BTreeMap<OsString, OsString>,
    limit: Duration,
    /// A folder for what the command prints.
    scratch: PathBuf,
}

impl Cmd {
    /// A command with exactly the variables `vars`, in `dir`. What it prints goes through files in `scratch`, not pipes: a
    /// daemon that keeps a pipe open must not keep the test waiting.
    pub fn new(program: impl Into<OsString>, dir: &Path, vars: BTreeMap<OsString, OsString>, scratch: &Path) -> Self {
        let args = Vec::new();
        Self { program: program.into(), args, dir: dir.to_owned(), vars, limit: LIMIT, scratch: scratch.to_owned() }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.vars.insert(name.into(), value.into());
        self
    }

    /// Unsets a variable.
    #[must_use]
    pub fn no_env(mut self, name: impl AsRef<OsStr>) -> Self {
        self.vars.remove(name.as_ref());
        self
    }

    /// Puts a folder in front of `PATH`.
    #[must_use]
    pub fn path_first(self, dir: &Path) -> Self {
        let mut path = dir.as_os_str().to_owned();
        if let Some(old) = self.vars.get(OsStr::new("PATH")) {
            path.push(":");
            path.push(old);
        }
        self.env("PATH", path)
    }

    /// Runs elsewhere.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }

    /// Another time limit.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs `program args… -- this command`, without a separator: for `strace`, `setpriv`, `env -i` and the like.
    #[must_use]
    pub fn under<A: Into<OsString>>(mut self, program: impl Into<OsString>, args: impl IntoIterator<Item = A>) -> Self {
        let mut all: Vec<OsString> = args.into_iter().map(Into::into).collect();
        all.push(std::mem::replace(&mut self.program, program.into()));
        all.append(&mut self.args);
        self.args = all;
        self
    }

    /// Where it runs.
    pub fn working_dir(&self) -> &Path {
        &self.dir
    }

    /// The folder for what it prints.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// The standard library's form of it, streams not set.
    pub fn to_std(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.args).current_dir(&self.dir).env_clear().envs(&self.vars);
        command
    }

    /// Runs it to its end, whatever that is.
    ///
    /// # Errors
    /// It cannot be started, or runs into its time limit.
    pub fn run(&self) -> Result<Done> {
        self.start()?.wait()
    }

    /// Runs it, and takes anything but success for an error.
    ///
    /// # Errors
    /// As for [`Cmd::run`], or it fails.
    pub fn ok(&self) -> Result<Done> {
        let done = self.run()?;
        ensure!(done.status.success(), "`{self}` in `{}`: {}\n{}", self.dir.display(), done.status, done.all());
        Ok(done)
    }

    /// Runs it, and takes success for an error.
    ///
    /// # Errors
    /// As for [`Cmd::run`], or it succeeds.
    pub fn fails(&self) -> Result<Done> {
        let done = self.run()?;
        ensure!(!done.status.success(), "`{self}` in `{}` should have failed\n{}", self.dir.display(), done.all());
        Ok(done)
    }

    /// Starts it, as the leader of a process group of its own.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(&self) -> Result<Running> {
        let open = || tempfile::NamedTempFile::new_in(&self.scratch).context("cannot make a file for output");
        let (out, err) = (open()?, open()?);
        let mut command = self.to_std();
        command.stdin(Stdio::null()).process_group(0);
        command.stdout(dup(out.as_file())?).stderr(dup(err.as_file())?);
        let began = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot run `{self}` in `{}`", self.dir.display()))?;
        Ok(Running { child, out, err, began, limit: self.limit, name: self.to_string() })
    }
}

impl fmt::Display for Cmd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program.to_string_lossy())?;
        self.args.iter().try_for_each(|arg| write!(f, " {}", arg.to_string_lossy()))
    }
}

fn dup(file: &File) -> Result<File> {
    file.try_clone().context("cannot share a file for output")
}

/// A command that runs.
pub struct Running {
    child: Child,
    out: tempfile::NamedTempFile,
    err: tempfile::NamedTempFile,
    began: Instant,
    limit: Duration,
    name: String,
}

impl Running {
    /// Its process, which is its process group too.
    pub fn pid(&self) -> Pid {
        // A pid fits the kernel's own type.
        Pid::from_raw(i32::try_from(self.child.id()).unwrap_or(0))
    }

    /// Sends a signal to its whole process group, as a terminal does.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result {
        killpg(self.pid(), signal).with_context(|| format!("cannot send {signal} to `{}`", self.name))
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// What it has written to standard output and standard error so far.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn so_far(&self) -> Result<String> {
        Ok(read(self.out.path())? + &read(self.err.path())?)
    }

    /// Waits until `ready` says so of what it has written.
    ///
    /// # Errors
    /// It ends before, or `limit` passes.
    pub fn wait_for(&mut self, limit: Duration, mut ready: impl FnMut(&str) -> bool) -> Result {
        let began = Instant::now();
        while !ready(&self.so_far()?) {
            ensure!(self.is_running()?, "`{}` ended too early\n{}", self.name, self.so_far()?);
            ensure!(began.elapsed() < limit, "`{}` does not get ready\n{}", self.name, self.so_far()?);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It runs into its time limit, and is killed then.
    pub fn wait(mut self) -> Result<Done> {
        let (ended, watch) = mpsc::channel::<()>();
        let (group, limit) = (self.pid(), self.limit.saturating_sub(self.began.elapsed()));
        let watchdog = std::thread::spawn(move || {
            let late = watch.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
            if late {
                let _ = killpg(group, Signal::SIGKILL);
            }
            late
        });
        let status = self.child.wait().with_context(|| format!("cannot wait for `{}`", self.name))?;
        let wall = self.began.elapsed();
        drop(ended);
        let late = watchdog.join().unwrap_or(false);
        let (stdout, stderr) = (read(self.out.path())?, read(self.err.path())?);
        if late {
            bail!("`{}` was killed after {:.0?}\n{stdout}{stderr}", self.name, self.limit);
        }
        Ok(Done { status, stdout, stderr, wall })
    }
}

fn read(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A command that ended.
#[derive(Clone, Debug)]
pub struct Done {
    /// How.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// How long it took.
    pub wall: Duration,
}

impl Done {
    /// Everything that it said.
    pub fn all(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// The exit status as a shell shows it: 128 and the signal for a process that was killed.
    pub fn shell_status(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or(0))
    }

    /// The packages that Cargo says it compiles, sorted. Cargo says so of restored work too: what really ran is the
    /// business of [`crate::judge`].
    pub fn compiling(&self) -> Vec<String> {
        let verbs = ["Compiling ", "Checking ", "Documenting "];
        let package = |line: &str| {
            let rest = verbs.iter().find_map(|verb| line.trim_start().strip_prefix(verb))?;
            rest.split_whitespace().next().map(str::to_owned)
        };
        let mut all: Vec<_> = self.stderr.lines().filter_map(package).collect();
        all.sort();
        all
    }

    /// The summary line of vrift, if there is one.
    pub fn summary(&self) -> Option<&str> {
        self.stderr.lines().find(|line| line.starts_with("vrift: "))
    }

    /// Standard error without what differs from run to run: progress with times, waits for locks, vrift's own lines.
    pub fn messages(&self) -> String {
        const VARYING: [&str; 6] = ["Finished ", "Blocking ", "Compiling ", "Running ", "Fresh ", "Dirty "];
        let keep = |line: &&str| !line.starts_with("vrift: ") && !VARYING.iter().any(|v| line.trim_start().starts_with(v));
        self.stderr.lines().filter(keep).map(|line| format!("{line}\n")).collect()
    }
}

/// Waits until it holds.
///
/// # Errors
/// It does not within `limit`, or cannot be found out.
pub fn within(limit: Duration, mut holds: impl FnMut() -> Result<bool>) -> Result {
    let began = Instant::now();
    while !holds()? {
        ensure!(began.elapsed() < limit, "not within {limit:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
