//! `vrift stats`: what the store holds and what it has saved.

use std::fmt::Write;
use std::process::ExitCode;

use serde::Serialize;
use vrift_core::wire::{CoordinatorStatus, ProjectStatus, SessionSummary, method};

use super::HiArgs;
use crate::args::Output;
use crate::error::Error;
use crate::{daemon, say};

/// What `--json` prints.
#[derive(Serialize)]
struct Stats {
    store: Store,
    project: Project,
    notices: Vec<String>,
}

/// The part that all projects share.
#[derive(Serialize)]
struct Store {
    path: String,
    actions: u64,
    blobs: u64,
    blob_bytes: u64,
    /// `null`: the default.
    max_bytes: Option<u64>,
}

/// The part of the project of the working folder.
#[derive(Serialize)]
struct Project {
    slug: String,
    root: String,
    #[serde(flatten)]
    total: SessionSummary,
    known_files: u64,
}

/// Prints it.
///
/// # Errors
/// Where a daemon cannot be started or does not answer.
pub fn run(hi: &HiArgs, output: Output) -> Result<ExitCode, Error> {
    let coordinator: CoordinatorStatus = daemon::coordinator(&hi.home)?.call(method::STATUS, &serde_json::json!({}))?;
    let worker: ProjectStatus = daemon::worker(&hi.home, &hi.project)?.call(method::STATUS, &serde_json::json!({}))?;
    let mut notices = coordinator.notices;
    notices.extend(worker.notices.into_iter().filter(|notice| !notices.contains(notice)).collect::<Vec<_>>());
    let stats = Stats {
        store: Store {
            path: hi.home.the_source().display().to_string(),
            actions: coordinator.actions,
            blobs: coordinator.blobs,
            blob_bytes: coordinator.blob_bytes,
            max_bytes: hi.settings.max_size,
        },
        project: Project {
            slug: hi.project.slug(),
            root: hi.project.root.to_string(),
            total: worker.total,
            known_files: worker.known_files,
        },
        notices,
    };
    if output.json {
        say::json(&stats)?;
    } else {
        say::out(&text(&stats));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(stats: &Stats) -> String {
    let mut out = String::new();
    let Store { path, actions, blobs, blob_bytes, max_bytes } = &stats.store;
    let cap = max_bytes.map_or_else(String::new, |max| format!(" of {}", say::size(max)));
    let _ = writeln!(out, "store {path}");
    let _ =
        writeln!(out, "  {}, {}, {}{cap}", say::count(*actions, "action"), say::count(*blobs, "blob"), say::size(*blob_bytes));
    let total = &stats.project.total;
    let ended = total.hits + total.misses + total.uncached;
    let _ = writeln!(out, "project {} at {}", stats.project.slug, stats.project.root);
    let _ = writeln!(
        out,
        "  {}, {}, {} uncached{}",
        say::count(total.hits, "hit"),
        say::count(total.misses, "miss"),
        total.uncached,
        (total.hits * 100).checked_div(ended).map_or_else(String::new, |rate| format!(" ({rate} % hits)")),
    );
    let _ = writeln!(out, "  saved {} of compile time", say::time(total.saved_cpu_us));
    if let Some(mean) = total.lookup_us.checked_div(total.lookups) {
        let _ = writeln!(out, "  {} a look-up", say::time(mean));
    }
    for (reason, n) in &total.uncached_reasons {
        let _ = writeln!(out, "  uncached: {reason} ({n})");
    }
    for notice in &stats.notices {
        let _ = writeln!(out, "off: {notice}");
    }
    out
}
