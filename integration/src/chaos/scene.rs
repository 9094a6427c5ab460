//! What a fault finds when it happens: the folders, and the builds that are running.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vrift_core::identity::ProjectId;
use vrift_core::paths::AbsPath;

use super::processes::{self, Process, Role};
use crate::Result;

/// A checkout that is built in this round.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its folder.
    pub dir: PathBuf,
    /// The files that people write in it.
    pub files: Vec<&'static str>,
    /// Whether it is built as it was built last: Cargo has nothing to do but to see that.
    pub same: bool,
}

impl Site {
    /// The project's id.
    ///
    /// # Errors
    /// The folder has no canonical name.
    pub fn id(&self) -> Result<ProjectId> {
        Ok(ProjectId::new(&AbsPath::try_from(self.dir.canonicalize()?.as_path())?, None))
    }
}

/// See the module.
pub struct Scene {
    /// The environment's folder.
    pub env: PathBuf,
    /// vrift's state folder in force.
    pub home: PathBuf,
    /// A small disk, where one could be mounted.
    pub disk: Option<PathBuf>,
    /// Whether `/dev/shm` is this run's own.
    pub own_shm: bool,
    /// What is built.
    pub sites: Vec<Site>,
    /// Process groups of builds that may fail: one of their processes was killed.
    pub interrupted: BTreeSet<i32>,
    /// Folders whose target folder Cargo must not be asked about again: its times were changed.
    pub stale: BTreeSet<PathBuf>,
    /// Files that take away room, to be removed after the round.
    pub fillers: Vec<PathBuf>,
    stopped: Vec<(Instant, Pid)>,
}

impl Scene {
    /// Nothing has happened yet.
    pub fn new(env: &Path, home: PathBuf, disk: Option<PathBuf>, own_shm: bool, sites: Vec<Site>) -> Self {
        Self {
            env: env.to_owned(),
            home,
            disk,
            own_shm,
            sites,
            interrupted: BTreeSet::new(),
            stale: BTreeSet::new(),
            fillers: Vec::new(),
            stopped: Vec::new(),
        }
    }

    /// The store.
    pub fn store(&self) -> PathBuf {
        self.home.join("the_source")
    }

    /// The processes with this role; daemons of this round's state folder alone.
    pub fn with_role(&self, role: Role) -> Vec<Process> {
        let home = self.home.to_string_lossy();
        let ours =
            |process: &Process| !matches!(role, Role::Coordinator | Role::Worker) || process.args.iter().any(|arg| *arg == home);
        let all = processes::targets(&self.env);
        all.into_iter().filter(|process| process.role == role && ours(process)).collect()
    }

    /// Notes that a process of this build was killed.
    pub fn interrupt(&mut self, process: &Process) {
        self.interrupted.insert(process.group.as_raw());
    }

    /// Stops a process, to be continued after `time`.
    pub fn stop(&mut self, process: &Process, time: Duration) -> bool {
        let stopped = process.signal(Signal::SIGSTOP);
        if stopped {
            self.stopped.push((Instant::now() + time, process.pid));
        }
        stopped
    }

    /// Continues those whose time has come, or all.
    pub fn go_on(&mut self, all: bool) {
        let now = Instant::now();
        self.stopped.retain(|(until, pid)| {
            let due = all || *until <= now;
            if due {
                let _ = kill(*pid, Signal::SIGCONT);
            }
            !due
        });
    }

    /// Gives the room back.
    ///
    /// # Errors
    /// A file cannot be removed.
    pub fn make_room(&mut self) -> Result {
        for filler in self.fillers.drain(..) {
            std::fs::remove_file(&filler)?;
        }
        Ok(())
    }
}
