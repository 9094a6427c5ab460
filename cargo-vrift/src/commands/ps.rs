//! `vrift ps`: this project's worker, or all of them. Starts nothing.

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use serde::Serialize;
use vrift_core::wire::{CoordinatorStatus, ProjectStatus, WorkerStatus, method};
use vrift_daemon::client::Connection;

use super::HiArgs;
use crate::args::Ps;
use crate::error::Error;
use crate::{daemon, say};

/// How long one worker may take to say how it is; the others are listed all the same.
const PATIENCE: Duration = Duration::from_secs(2);

/// One worker.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    worker: WorkerStatus,
    /// What the worker says of itself; nothing where it does not answer.
    clients: Option<u64>,
    hits: Option<u64>,
    misses: Option<u64>,
    uncached: Option<u64>,
    /// Hits among all its look-ups, 0 to 1.
    hit_rate: Option<f64>,
    /// Size of the project's VDir, where it has one.
    vdir_bytes: Option<u64>,
}

/// Prints them.
///
/// # Errors
/// Where the coordinator runs and does not answer.
pub fn run(hi: &HiArgs, args: &Ps) -> Result<ExitCode, Error> {
    let mut workers = match daemon::running(&hi.home)? {
        Some(mut connection) => connection.call::<_, CoordinatorStatus>(method::STATUS, &serde_json::json!({}))?.workers,
        None => Vec::new(),
    };
    if !args.all {
        // A project has a worker for each branch.
        workers.retain(|worker| worker.root == hi.project.root);
    }
    let rows: Vec<Row> = workers.into_iter().map(row).collect();
    if args.output.json {
        say::json(&rows)?;
    } else if !rows.is_empty() {
        say::out(&table(&rows));
    } else if args.all {
        say::line("no project has a worker; the next build starts one");
    } else {
        say::line("this project has no worker; the next build starts one (`vrift ps --all` lists those of other projects)");
    }
    Ok(ExitCode::SUCCESS)
}

fn row(worker: WorkerStatus) -> Row {
    let status = ask(worker.socket.as_path());
    let total = status.as_ref().map(|status| &status.total);
    let hit_rate = total.and_then(|sum| {
        let all = sum.hits + sum.misses + sum.uncached;
        (all > 0).then(|| sum.hits as f64 / all as f64)
    });
    let vdir = vrift_core::vdir::place(worker.id, nix::unistd::geteuid().as_raw());
    Row {
        clients: status.as_ref().map(|status| status.clients.saturating_sub(1)),
        hits: total.map(|sum| sum.hits),
        misses: total.map(|sum| sum.misses),
        uncached: total.map(|sum| sum.uncached),
        hit_rate,
        vdir_bytes: std::fs::symlink_metadata(vdir).ok().map(|meta| meta.len()),
        worker,
    }
}

/// What the worker says; this question's own connection is one of its clients.
fn ask(socket: &Path) -> Option<ProjectStatus> {
    Connection::connect(socket, PATIENCE).ok()?.call(method::STATUS, &serde_json::json!({})).ok()
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.worker.slug.chars().count()).max().unwrap_or(0).max("PROJECT".len());
    let mut out =
        format!("{:width$}  {:>8}  {:>7}  {:>9}  {:>8}  {:>5}  ROOT\n", "PROJECT", "PID", "CLIENTS", "VDIR", "UP", "HITS");
    for Row { worker, clients, hit_rate, vdir_bytes, .. } in rows {
        let branch = worker.branch.as_ref().map_or_else(String::new, |branch| format!(" ({branch})"));
        let up = say::age(worker.uptime_s);
        let clients = clients.map_or_else(|| "silent".to_owned(), |n| n.to_string());
        let vdir = vdir_bytes.map_or_else(|| "-".to_owned(), |bytes| ByteSize(bytes).to_string());
        let hits = hit_rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.0}%", rate * 100.0));
        let (slug, pid, root) = (&worker.slug, worker.pid, &worker.root);
        let _ = writeln!(out, "{slug:width$}  {pid:>8}  {clients:>7}  {vdir:>9}  {up:>8}  {hits:>5}  {root}{branch}");
    }
    out
}

#[cfg(test)]
mod tests {
    use vrift_core::identity::ProjectId;
    use vrift_core::paths::AbsPath;

    use super::*;

    #[test]
    fn a_worker_that_does_not_answer_is_listed() {
        let root = AbsPath::new(b"/w/a").expect("absolute");
        let id = ProjectId::new(&root, None);
        let socket = "/none/x.sock".into();
        let row = row(WorkerStatus { id, slug: id.slug("a"), root, branch: Some("dev".into()), pid: 7, socket, uptime_s: 61 });
        assert!(row.clients.is_none() && row.hit_rate.is_none());
        let text = table(&[row]);
        assert!(text.contains("silent") && text.trim_end().ends_with("/w/a (dev)"), "{text}");
    }
}
