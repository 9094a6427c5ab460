//! What must hold after every round.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use globset::{Glob, GlobSet, GlobSetBuilder};

use super::processes::{self, Process, Role};
use super::scene::Scene;
use crate::Result;
use crate::checkout::Checkout;
use crate::daemons::is_alive;
use crate::snapshot::{Exceptions, Snapshot};

/// What processes that were killed leave in a target folder, with plain Cargo too: names that nothing ever asks for.
const LEFTOVERS: [&str; 9] = [
    "**/.vrift-*.tmp",
    "**/rmeta*",
    "**/rmeta*/**",
    "**/rustc*",
    "**/rustc*/**",
    "**/*.rcgu.o",
    "**/cc*.{o,s,res,c,ld,le}",
    "**/*.tmp*",
    // Of the crate `cc`, in a build script that was killed.
    "**/*detect_compiler_family.c",
];

/// How long what was begun may take to end by itself: whoever lost a socket looks around every ten seconds.
const SETTLE: Duration = Duration::from_secs(40);

/// Checks results and what is left behind.
pub struct Judge {
    exceptions: Exceptions,
    leftovers: GlobSet,
}

impl Judge {
    /// With the list of what two plain builds differ in.
    ///
    /// # Errors
    /// The list cannot be read.
    pub fn new() -> Result<Self> {
        let mut leftovers = GlobSetBuilder::new();
        for pattern in LEFTOVERS {
            leftovers.add(Glob::new(pattern)?);
        }
        Ok(Self { exceptions: Exceptions::load()?, leftovers: leftovers.build()? })
    }

    /// The target folder is, byte for byte, what an undisturbed build makes. Where a process of a build was killed since the
    /// folder was made, there may be more in it.
    ///
    /// # Errors
    /// Says what differs.
    pub fn bytes(&self, checkout: &Checkout<'_>, reference: &Snapshot, interrupted: bool) -> Result {
        let mut there = Snapshot::of(&checkout.path("target"))?;
        if interrupted {
            there.0.retain(|path, _| reference.0.contains_key(path) || !self.leftovers.is_match(path));
        }
        there.same_as(reference, &self.exceptions).with_context(|| format!("`{}`", checkout.path("target").display()))
    }

    /// The same paths as in a plain build.
    ///
    /// # Errors
    /// Says which not.
    pub fn paths(&self, ours: &Snapshot, plain: &Snapshot) -> Result {
        let compared = |path: &&PathBuf| self.exceptions.compare(path) != Some(crate::snapshot::Compare::Never);
        let paths = |snapshot: &Snapshot| snapshot.0.keys().filter(compared).cloned().collect::<std::collections::BTreeSet<_>>();
        let (ours, plain) = (paths(ours), paths(plain));
        let differ: Vec<_> = ours.symmetric_difference(&plain).collect();
        ensure!(differ.is_empty(), "not the same files as in a plain build: {differ:?}");
        Ok(())
    }
}

/// Waits until `found` finds nothing any more.
fn settles(what: &str, mut found: impl FnMut() -> Vec<String>) -> Result {
    let began = Instant::now();
    loop {
        let left = found();
        if left.is_empty() {
            return Ok(());
        }
        ensure!(began.elapsed() < SETTLE, "{what}:\n{}", left.join("\n"));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for the end of everything that builds have begun; what does not end is an orphan.
///
/// # Errors
/// Something does not end.
pub fn builds_have_ended(env: &Path) -> Result {
    settles("processes that do not end", || {
        let all = processes::of(env).into_iter();
        let rest = all.filter(|process| !matches!(process.role, Role::Coordinator | Role::Worker));
        rest.map(|process| process.shown()).collect()
    })
}

/// One coordinator and one worker for each project are enough.
///
/// # Errors
/// There are more.
pub fn no_extra_daemons(scene: &Scene) -> Result {
    settles("daemons that nobody needs", || {
        let mut seen = std::collections::BTreeSet::new();
        let mut extra = Vec::new();
        for role in [Role::Coordinator, Role::Worker] {
            for daemon in scene.with_role(role) {
                if !seen.insert((role == Role::Worker, root_of(&daemon))) {
                    extra.push(daemon.shown());
                }
            }
        }
        extra
    })
}

fn root_of(daemon: &Process) -> Option<String> {
    let at = daemon.args.iter().position(|arg| arg == "--root")?;
    daemon.args.get(at + 1).cloned()
}

/// Nothing runs any more in the environment.
///
/// # Errors
/// Something does.
pub fn nothing_runs(env: &Path) -> Result {
    settles("processes that are left", || processes::of(env).iter().map(Process::shown).collect())
}

/// No file of a dead process in the store's folder for them, and none in the staging folders of projects that nobody builds.
///
/// # Errors
/// There are some.
pub fn no_orphan_files(scene: &Scene) -> Result {
    settles("files of processes that are gone", || {
        let mut left = files_of_the_dead(&scene.store().join("tmp"));
        for site in &scene.sites {
            left.extend(walkdir::WalkDir::new(site.dir.join(".vrift/staging")).min_depth(1).into_iter().flatten().map(shown));
        }
        left
    })
}

fn shown(entry: walkdir::DirEntry) -> String {
    entry.path().display().to_string()
}

/// No file that a dead process was to put in another's place is left in the folder. It goes when the file is next written.
///
/// # Errors
/// There are some.
pub fn no_half_written_files(dir: &Path) -> Result {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot list `{}`", dir.display()))?;
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let left: Vec<_> = names.filter(|name| name.starts_with('.') && name.ends_with(".tmp")).collect();
    ensure!(left.is_empty(), "left in `{}`: {left:?}", dir.display());
    Ok(())
}

/// Files named `.vrift-<pid>-…` of processes that do not live.
fn files_of_the_dead(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let dead = |name: &str| {
        let pid = name.strip_prefix(".vrift-").and_then(|rest| rest.split('-').next()?.parse().ok());
        pid.is_none_or(|pid| !is_alive(nix::unistd::Pid::from_raw(pid)))
    };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| dead(name)).map(|name| format!("{}/{name}", dir.display())).collect()
}

/// Shared memory files of these projects, and where the whole folder is this run's own, any of vrift's.
///
/// # Errors
/// There are some.
pub fn no_shared_memory(scene: &Scene) -> Result {
    let ids: Vec<String> = scene.sites.iter().map(|site| site.id().map(|id| id.vdir_name())).collect::<Result<_>>()?;
    settles("shared memory of projects that nobody serves", || {
        let Ok(entries) = std::fs::read_dir("/dev/shm") else { return Vec::new() };
        let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
        let ours = |name: &String| {
            let digits = |id: &String| id.trim_start_matches("vrift_vdir_").to_owned();
            scene.own_shm && name.starts_with("vrift") || ids.iter().any(|id| name.contains(&digits(id)))
        };
        names.filter(ours).collect()
    })
}
