//! `vrift why`: which input made something run.

use std::fmt::Write;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vrift_core::wire::{WhyEntry, WhyParams, method};

use super::HiArgs;
use crate::args::Why;
use crate::error::Error;
use crate::{daemon, say};

/// Prints it. Status 1 where nothing matches.
///
/// # Errors
/// Where a daemon cannot be started or does not answer.
pub fn run(hi: &HiArgs, args: &Why) -> Result<ExitCode, Error> {
    let params = WhyParams { query: args.query.clone(), limit: usize::from(args.limit) };
    let entries: Vec<WhyEntry> = daemon::worker(&hi.home, &hi.project)?.call(method::WHY, &params)?;
    if args.output.json {
        say::json(&entries)?;
    } else if entries.is_empty() {
        say::line(format_args!("nothing like `{}` was looked up for {}", args.query, hi.project.slug()));
    } else {
        say::out(&text(&entries, now()));
    }
    Ok(ExitCode::from(u8::from(entries.is_empty())))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

fn text(entries: &[WhyEntry], now: u64) -> String {
    let mut out = String::new();
    for entry in entries {
        let ago = say::age(now.saturating_sub(entry.at));
        let _ = writeln!(out, "{}: {}, {ago} ago\n  {}", entry.label, entry.outcome, entry.reason);
        for change in &entry.changes {
            let _ = writeln!(out, "  {} {}: {} -> {}", change.kind, change.name, change.old, change.new);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrift_core::wire::Change;

    #[test]
    fn a_change_shows_old_and_new() {
        let change = Change { kind: "env".into(), name: "GREETING".into(), old: "hello".into(), new: "absent".into() };
        // As it comes over the wire: the type may grow.
        let entry = serde_json::json!({
            "label": "app 0.1.0 bin",
            "outcome": "miss",
            "reason": "GREETING changed",
            "at": 100,
            "lookup_us": 200,
            "changes": [change],
        });
        let entry: WhyEntry = serde_json::from_value(entry).expect("parses");
        assert_eq!(text(&[entry], 103), "app 0.1.0 bin: miss, 3 s ago\n  GREETING changed\n  env GREETING: hello -> absent\n");
    }
}
