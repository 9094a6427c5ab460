//! `vrift ps`: the projects that have a worker. Starts nothing.

use std::fmt::Write;
use std::process::ExitCode;

use vrift_core::wire::{CoordinatorStatus, WorkerStatus, method};

use super::HiArgs;
use crate::args::Output;
use crate::error::Error;
use crate::{daemon, say};

/// Prints them.
///
/// # Errors
/// Where the coordinator runs and does not answer.
pub fn run(hi: &HiArgs, output: Output) -> Result<ExitCode, Error> {
    let workers = match daemon::running(&hi.home)? {
        Some(mut connection) => connection.call::<_, CoordinatorStatus>(method::STATUS, &serde_json::json!({}))?.workers,
        None => Vec::new(),
    };
    if output.json {
        say::json(&workers)?;
    } else if workers.is_empty() {
        say::line("no project has a worker; the next build starts one");
    } else {
        say::out(&table(&workers));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(workers: &[WorkerStatus]) -> String {
    let width = workers.iter().map(|w| w.slug.chars().count()).max().unwrap_or(0).max("PROJECT".len());
    let mut out = format!("{:width$}  {:>8}  {:>12}  ROOT\n", "PROJECT", "PID", "UP");
    for worker in workers {
        let branch = worker.branch.as_ref().map_or_else(String::new, |branch| format!(" ({branch})"));
        let up = say::age(worker.uptime_s);
        let _ = writeln!(out, "{:width$}  {:>8}  {up:>12}  {}{branch}", worker.slug, worker.pid, worker.root);
    }
    out
}
