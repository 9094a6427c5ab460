//! Garbage collection: a cap on what the store takes.
//!
//! # What goes
//! First what nothing needs: blobs that no action refers to. Then, while the store takes more than the cap, the least
//! recently used actions, each with the blobs that no other action needs.
//!
//! # What stays
//! A blob that has another name is in use by a checkout: removing it would free nothing, and a later build would store the
//! same bytes a second time. Such blobs are never removed, do not count towards the cap, and an action is not evicted when
//! that would free none of its blobs. Once the checkout is deleted they count, and age like any other.
//!
//! A blob that came in lately and has no action stays too: its action may be about to be recorded. A blob that an action
//! recorded meanwhile refers to may go in spite of all that; the action is then a miss and is forgotten.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use vrift_core::digest::Digest;
use vrift_core::wire::GcResult;

use crate::cas::{Blob, Cas, CasError, Found, disk_bytes};
use crate::fsio;
use crate::manifest::{ActionUse, BaseWriter, ManifestError};

/// The cap without a setting, bytes: 20 GiB; see [`default_cap`].
pub const DEFAULT_CAP: u64 = 20 << 30;

/// At most so many actions are kept, whatever their blobs take: beyond that, the least recently used ones go.
pub const MAX_ACTIONS: usize = 250_000;

/// A blob without an action stays for this long after it came in.
pub const GRACE: Duration = Duration::from_secs(10 * 60);

/// A file that a dead process left on its way in is removed after this long.
const STALE_TEMP: Duration = Duration::from_secs(60 * 60);

/// One whose process is not there goes sooner. Not at once: where containers share a store, it may be there for others.
pub const DEAD_TEMP: Duration = Duration::from_secs(10);

/// Blobs in quarantine are kept for this long, for whoever wants to know what happened to them.
const QUARANTINE_TIME: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What to collect.
#[derive(Clone, Debug)]
pub struct GcOptions {
    /// What the blobs that no checkout links may take on the disk, bytes.
    pub max_bytes: u64,
    /// See [`MAX_ACTIONS`].
    pub max_actions: usize,
    /// Say what would go, remove nothing.
    pub dry_run: bool,
    /// See [`GRACE`].
    pub grace: Duration,
    /// Contents that something besides actions needs.
    pub keep: HashSet<Digest>,
}

impl GcOptions {
    /// The usual options with this cap.
    pub fn with_cap(max_bytes: u64) -> Self {
        Self { max_bytes, max_actions: MAX_ACTIONS, dry_run: false, grace: GRACE, keep: HashSet::new() }
    }
}

/// Why garbage could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum GcError {
    /// The store fails.
    #[error(transparent)]
    Cas(#[from] CasError),
    /// The manifest fails.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Collects garbage. The numbers in the result are bytes on the disk, of all blobs, those in use included.
///
/// # Errors
/// [`GcError`]. What was removed until then is gone, and nothing refers to it.
pub fn gc(base: &mut BaseWriter, cas: &Cas, options: &GcOptions) -> Result<GcResult, GcError> {
    let stock = scan(cas, options)?;
    let plan = Plan::new(&stock, &base.audit().uses()?, options);
    if !options.dry_run {
        // Actions first: should this end here, blobs without an action remain, not actions without their blobs.
        base.touch(&[], &plan.actions)?;
        let unused: Vec<Blob> = plan.blobs.iter().copied().filter(|blob| still_unused(cas, blob)).collect();
        unused.iter().try_for_each(|blob| cas.remove(blob))?;
        base.remove_blobs(&unused)?;
        base.shrink()?;
        sweep(&cas.tmp_dir(), STALE_TEMP);
        sweep(&cas.quarantine_dir(), QUARANTINE_TIME);
    }
    Ok(plan.result)
}

/// [`DEFAULT_CAP`], or a tenth of the disk that holds the store where that is less.
pub fn default_cap(cas: &Cas) -> u64 {
    let there = cas.dir().ancestors().find_map(|dir| rustix::fs::statvfs(dir).ok());
    let disk = there.map_or(u64::MAX, |fs| fs.f_blocks.saturating_mul(fs.f_frsize));
    DEFAULT_CAP.min(disk / 10)
}

/// What is known of a blob in the store.
struct Held {
    /// What it takes on the disk, bytes.
    disk: u64,
    /// It has another name, or must be kept.
    in_use: bool,
    /// It came in lately.
    recent: bool,
}

fn scan(cas: &Cas, options: &GcOptions) -> Result<HashMap<Blob, Held>, CasError> {
    let now = SystemTime::now();
    let mut stock = HashMap::new();
    for found in cas.blobs()? {
        let Found::Blob(found) = found? else { continue };
        // Links come and go and move the change time, so the birth of the file counts where the file system knows it.
        let came = found.meta.created().unwrap_or_else(|_| changed(&found.meta));
        let recent = now.duration_since(came).map_or(true, |age| age < options.grace);
        let in_use = found.meta.nlink() > 1 || options.keep.contains(&found.blob.digest);
        stock.insert(found.blob, Held { disk: disk_bytes(&found.meta), in_use, recent });
    }
    Ok(stock)
}

fn changed(meta: &fs::Metadata) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(meta.ctime()).unwrap_or_default())
}

/// What is to go.
struct Plan {
    actions: Vec<i64>,
    blobs: Vec<Blob>,
    result: GcResult,
}

impl Plan {
    fn new(stock: &HashMap<Blob, Held>, uses: &[ActionUse], options: &GcOptions) -> Self {
        let mut needed: HashMap<Blob, u64> = HashMap::new();
        for blob in uses.iter().flat_map(|action| &action.blobs) {
            *needed.entry(*blob).or_default() += 1;
        }
        let before = stock.values().map(|held| held.disk).sum();
        let mut plan = Self {
            actions: Vec::new(),
            blobs: Vec::new(),
            result: GcResult { bytes_before: before, bytes_after: before, ..GcResult::default() },
        };
        let mut counted: u64 = stock.values().filter(|held| !held.in_use).map(|held| held.disk).sum();
        for (blob, held) in stock {
            if !held.in_use && !held.recent && !needed.contains_key(blob) {
                counted -= held.disk;
                plan.remove(*blob, held);
            }
        }
        let mut surplus = uses.len().saturating_sub(options.max_actions);
        for action in uses {
            let frees = action.blobs.iter().any(|blob| stock.get(blob).is_some_and(|held| !held.in_use));
            if surplus == 0 && (counted <= options.max_bytes || !frees) {
                continue;
            }
            surplus = surplus.saturating_sub(1);
            plan.actions.push(action.id);
            for blob in &action.blobs {
                let Some(count) = needed.get_mut(blob) else { continue };
                *count -= 1;
                if *count == 0
                    && let Some(held) = stock.get(blob)
                    && !held.in_use
                {
                    counted -= held.disk;
                    plan.remove(*blob, held);
                }
            }
        }
        plan.result.actions_removed = plan.actions.len() as u64;
        plan.result.blobs_removed = plan.blobs.len() as u64;
        if plan.result.bytes_after > options.max_bytes {
            plan.result.blobs_in_use = stock.values().filter(|held| held.in_use).count() as u64;
        }
        plan
    }

    fn remove(&mut self, blob: Blob, held: &Held) {
        self.result.bytes_after -= held.disk;
        self.blobs.push(blob);
    }
}

/// A checkout may have linked the blob since the scan.
fn still_unused(cas: &Cas, blob: &Blob) -> bool {
    fs::symlink_metadata(cas.path(blob)).is_ok_and(|meta| meta.nlink() == 1)
}

/// Removes files that have not changed for `age`. Best effort: what stays is looked at next time.
fn sweep(dir: &Path, age: Duration) {
    for path in stale_files(dir, age) {
        let _ = fs::remove_file(path);
    }
}

/// Removes what killed processes left on its way into the store, once it has not changed for `age` (see [`DEAD_TEMP`]). Best
/// effort, and cheap: to be called every now and then.
pub fn sweep_dead(cas: &Cas, age: Duration) {
    for path in stale_files(&cas.tmp_dir(), age) {
        if fsio::temp_owner(&path).is_some_and(|owner| !is_running(owner)) {
            let _ = fs::remove_file(path);
        }
    }
}

fn is_running(process: i32) -> bool {
    let Some(process) = rustix::process::Pid::from_raw(process) else { return true };
    // Where the kernel says anything else, somebody is there.
    rustix::process::test_kill_process(process) != Err(rustix::io::Errno::SRCH)
}

/// Files right in `dir` that have not changed for `age`.
pub(crate) fn stale_files(dir: &Path, age: Duration) -> Vec<std::path::PathBuf> {
    let Ok(list) = fs::read_dir(dir) else { return Vec::new() };
    let now = SystemTime::now();
    let stale = |entry: &fs::DirEntry| {
        entry.metadata().is_ok_and(|meta| !meta.is_dir() && now.duration_since(changed(&meta)).is_ok_and(|past| past > age))
    };
    list.flatten().filter(stale).map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests;
