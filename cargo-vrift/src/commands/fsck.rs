//! `vrift fsck`: verify the store, the manifests, and repair them.

use std::fmt::Write;
use std::process::ExitCode;

use serde::Serialize;
use vrift_store::fsck::Report;

use super::HiArgs;
use crate::args::Fsck;
use crate::error::Error;
use crate::say;

/// What `--json` prints.
#[derive(Serialize)]
struct Shown {
    blobs: u64,
    bytes: u64,
    actions: u64,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    path: String,
    problem: String,
    action: String,
}

/// Verifies and prints what was found. Status 1 where something was found and not repaired.
///
/// # Errors
/// Where the store cannot be read, or `vriftd`, who alone writes the manifest, cannot be stopped for a repair.
pub fn run(hi: &HiArgs, args: &Fsck) -> Result<ExitCode, Error> {
    if args.repair {
        // It alone may write the manifest, and a repair writes; the next build starts it again.
        super::stop::stop_all(&hi.home)?;
    }
    let deltas = [hi.project.root.as_path().join(".vrift"), hi.home.project_fallback(hi.project.id())];
    let deltas: Vec<_> = deltas.into_iter().filter(|dir| dir.is_dir()).collect();
    let report = vrift_store::fsck::fsck(&hi.home, &deltas, args.repair).map_err(|e| Error::Other(e.to_string()))?;
    let found = !report.findings.is_empty();
    if args.output.json {
        say::json(&shown(report))?;
    } else {
        say::out(&text(&report, args.repair));
    }
    Ok(ExitCode::from(u8::from(found && !args.repair)))
}

fn shown(report: Report) -> Shown {
    let finding =
        |f: vrift_store::fsck::Finding| Finding { path: f.path.display().to_string(), problem: f.problem, action: f.action };
    let Report { blobs, bytes, actions, findings, .. } = report;
    Shown { blobs, bytes, actions, findings: findings.into_iter().map(finding).collect() }
}

fn text(report: &Report, repair: bool) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        let _ = writeln!(out, "{}: {}; {}", finding.path.display(), finding.problem, finding.action);
    }
    let found = match report.findings.len() {
        0 => "all is well".to_owned(),
        n if repair => format!("{} dealt with", say::count(n as u64, "problem")),
        n => format!("{}; `vrift fsck --repair` deals with them", say::count(n as u64, "problem")),
    };
    let (blobs, actions) = (say::count(report.blobs, "blob"), say::count(report.actions, "action"));
    let _ = writeln!(out, "{blobs} ({}) and {actions} checked: {found}", say::size(report.bytes));
    out
}
