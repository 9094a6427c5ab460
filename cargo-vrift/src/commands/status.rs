//! `vrift status`: the project, its worker, the coordinator, and what is off. Starts nothing.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::unistd::geteuid;
use serde::Serialize;
use serde::de::DeserializeOwned;
use vrift_core::home::Home;
use vrift_core::vdir;
use vrift_core::wire::{CoordinatorStatus, ProjectStatus, SILENCE, method};
use vrift_daemon::client::{ClientError, Connection};

use super::HiArgs;
use crate::args::Output;
use crate::error::Error;
use crate::{daemon, say};

/// What `--json` prints.
#[derive(Serialize)]
struct Status {
    version: &'static str,
    home: String,
    the_source: String,
    project: String,
    root: String,
    kind: String,
    coordinator: Option<CoordinatorStatus>,
    worker: Option<ProjectStatus>,
    /// The map of the trees that all projects share, where there is one.
    shared: Option<SharedMap>,
    /// Daemons that are there and say nothing.
    silent: Vec<&'static str>,
}

/// What there is to say of that map.
#[derive(Serialize)]
pub(super) struct SharedMap {
    place: String,
    /// Files and folders that it knows.
    pub(super) entries: u64,
    /// Of the file.
    pub(super) bytes: u64,
}

impl SharedMap {
    /// The one that goes with `home`; `None` where there is none that anybody would believe.
    pub(super) fn of(home: &Home) -> Option<Self> {
        let uid = geteuid().as_raw();
        let place = vdir::base_place(home.dir(), uid);
        let (reader, meta) = (vdir::open(&place, uid).ok()?, std::fs::symlink_metadata(&place).ok()?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        // While it is written nobody may believe it, for a moment.
        let serves = (0..50).any(|n| {
            std::thread::sleep(Duration::from_millis(u64::from(n > 0)));
            reader.mark(now).is_some()
        });
        serves.then(|| Self { place: place.display().to_string(), entries: reader.entries(), bytes: meta.len() })
    }
}

/// Prints it.
///
/// # Errors
/// Where a daemon answers with an error.
pub fn run(hi: &HiArgs, output: Output) -> Result<ExitCode, Error> {
    let mut silent = Vec::new();
    let coordinator = match daemon::is_asleep(&hi.home) {
        true => None,
        false => ask(&hi.home.coordinator_socket(), "vriftd", &mut silent)?,
    };
    let worker = ask(&hi.home.worker_socket(hi.project.id()), "vdir_d", &mut silent)?;
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        home: hi.home.dir().display().to_string(),
        the_source: hi.home.the_source().display().to_string(),
        project: hi.project.slug(),
        root: hi.project.root.to_string(),
        kind: format!("{:?}", hi.project.kind).to_lowercase(),
        coordinator,
        worker,
        shared: SharedMap::of(&hi.home),
        silent,
    };
    if output.json {
        say::json(&status)?;
    } else {
        say::out(&text(&status));
    }
    Ok(ExitCode::SUCCESS)
}

/// What the daemon at `socket` says of itself, if there is one; one that says nothing is noted in `silent`.
fn ask<S: DeserializeOwned>(socket: &Path, name: &'static str, silent: &mut Vec<&'static str>) -> Result<Option<S>, Error> {
    match Connection::connect(socket, SILENCE).and_then(|mut daemon| daemon.call(method::STATUS, &serde_json::json!({}))) {
        Ok(status) => Ok(Some(status)),
        Err(e) if e.is_silence() => {
            silent.push(name);
            Ok(None)
        }
        Err(ClientError::Unreachable { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn text(status: &Status) -> String {
    let mut out = String::new();
    let Status { project, kind, root, home, the_source, .. } = status;
    let _ = writeln!(out, "project  {project} ({kind}) at {root}\nhome     {home}\nstore    {the_source}");
    let _ = match &status.coordinator {
        Some(c) => {
            let up = say::age(c.uptime_s);
            writeln!(out, "vriftd   running: pid {}, up {up}, {}", c.pid, say::count(c.workers.len() as u64, "worker"))
        }
        None if status.silent.contains(&"vriftd") => writeln!(out, "vriftd   does not answer; `vrift stop --all` kills it"),
        None => writeln!(out, "vriftd   not running; the next build starts it"),
    };
    let _ = match &status.worker {
        Some(w) => writeln!(out, "vdir_d   running: pid {}, {} known", w.pid, say::count(w.known_files, "file")),
        None if status.silent.contains(&"vdir_d") => writeln!(out, "vdir_d   does not answer; `vrift stop` kills it"),
        None => writeln!(out, "vdir_d   not running; the next build starts it"),
    };
    if let Some(SharedMap { entries, bytes, .. }) = &status.shared {
        let known = say::count(*entries, "file");
        let _ = writeln!(out, "shared   {known} of toolchains, the registry and /usr known, in a map of {}", say::size(*bytes));
    }
    let notices = status.coordinator.iter().flat_map(|c| &c.notices).chain(status.worker.iter().flat_map(|w| &w.notices));
    // Both daemons may know of the same fault.
    for notice in notices.collect::<BTreeSet<_>>() {
        let _ = writeln!(out, "off      {notice}");
    }
    out
}
