//! `vrift gc`: bring the store down to its size.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use vrift_core::wire::{GcParams, GcResult, method};

use super::HiArgs;
use crate::args::Gc;
use crate::error::Error;
use crate::{daemon, parts, say};

/// Unpacked parts of other versions go when nobody has replaced anything in them for so long.
const STALE_PARTS: Duration = Duration::from_secs(30 * 24 * 3600);

/// Collects and prints what went.
///
/// # Errors
/// Where the coordinator cannot be started, or fails.
pub fn run(hi: &HiArgs, args: &Gc) -> Result<ExitCode, Error> {
    let max_bytes = args.max_size.map(u64::from).or(hi.settings.max_size);
    let params = GcParams { max_bytes, dry_run: args.dry_run };
    let result: GcResult = daemon::coordinator(&hi.home)?.call(method::GC, &params)?;
    if !args.dry_run {
        for folder in parts::stale(&hi.home, STALE_PARTS) {
            let _ = fs::remove_dir_all(folder);
        }
    }
    if args.output.json {
        say::json(&result)?;
    } else {
        say::out(&text(&result, args.dry_run));
    }
    Ok(ExitCode::SUCCESS)
}

fn text(result: &GcResult, dry_run: bool) -> String {
    let verb = if dry_run { "would remove" } else { "removed" };
    let (blobs, actions) = (say::count(result.blobs_removed, "blob"), say::count(result.actions_removed, "action"));
    let mut out =
        format!("{verb} {blobs} and {actions}: {} -> {}\n", say::size(result.bytes_before), say::size(result.bytes_after));
    if result.blobs_in_use > 0 {
        out += &format!("{} stay over the cap because checkouts use them\n", say::count(result.blobs_in_use, "blob"));
    }
    out
}
