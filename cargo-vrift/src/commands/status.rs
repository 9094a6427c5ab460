//! `vrift status`: the project, its worker, the coordinator, and what is off. Starts nothing.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::ExitCode;

use serde::Serialize;
use vrift_core::wire::{CoordinatorStatus, ProjectStatus, method};

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
}

/// Prints it.
///
/// # Errors
/// Where a daemon runs and does not answer.
pub fn run(hi: &HiArgs, output: Output) -> Result<ExitCode, Error> {
    let coordinator = match daemon::running(&hi.home)? {
        Some(mut connection) => Some(connection.call(method::STATUS, &serde_json::json!({}))?),
        None => None,
    };
    let worker = match daemon::running_worker(&hi.home.worker_socket(hi.project.id())) {
        Some(mut connection) => Some(connection.call(method::STATUS, &serde_json::json!({}))?),
        None => None,
    };
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        home: hi.home.dir().display().to_string(),
        the_source: hi.home.the_source().display().to_string(),
        project: hi.project.slug(),
        root: hi.project.root.to_string(),
        kind: format!("{:?}", hi.project.kind).to_lowercase(),
        coordinator,
        worker,
    };
    if output.json {
        say::json(&status)?;
    } else {
        say::out(&text(&status));
    }
    Ok(ExitCode::SUCCESS)
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
        None => writeln!(out, "vriftd   not running; the next build starts it"),
    };
    let _ = match &status.worker {
        Some(w) => writeln!(out, "vdir_d   running: pid {}, {} known", w.pid, say::count(w.known_files, "file")),
        None => writeln!(out, "vdir_d   not running; the next build starts it"),
    };
    let notices = status.coordinator.iter().flat_map(|c| &c.notices).chain(status.worker.iter().flat_map(|w| &w.notices));
    // Both daemons may know of the same fault.
    for notice in notices.collect::<BTreeSet<_>>() {
        let _ = writeln!(out, "off      {notice}");
    }
    out
}
