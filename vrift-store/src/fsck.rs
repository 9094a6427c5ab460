//! Verifying what is on disk, and repairing what can be repaired.
//!
//! Looked at: every blob (name against content, size, mode, time), what else lies in the store's folders, leftovers, SQLite's
//! own check of each manifest, every record, actions against blobs, the manifest's list of blobs against the store. A blob
//! that no action needs is nothing wrong: whoever is killed between storing outputs and recording their action leaves some.
//!
//! Repairing never touches a file of a checkout: a blob whose content is right but whose attributes were changed through
//! another name gets a fresh copy, a blob whose content is wrong moves to the quarantine. Repairs can run beside live
//! processes; what they insert meanwhile is left alone.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use vrift_core::home::Home;

use crate::cas::{Blob, BlobFault, Cas, CasError, Found, FoundBlob, What};
use crate::fsio;
use crate::gc::stale_files;
use crate::manifest::{Audit, BaseReader, BaseWriter, ManifestError, delta};

/// A file on its way in that is older than this has no process any more.
const STALE_TEMP: Duration = Duration::from_secs(60 * 60);

/// Threads that hash. The disk is the limit beyond this.
const MAX_THREADS: usize = 8;

/// Something that is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Where.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
    /// What was done about it, or would be.
    pub action: String,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// What is not as it should be; empty where all is well.
    pub findings: Vec<Finding>,
    /// Blobs looked at.
    pub blobs: u64,
    /// Bytes hashed.
    pub bytes: u64,
    /// Actions looked at.
    pub actions: u64,
}

/// Verifies the store and the base manifest of `home`, and the deltas in `state_dirs`. With `repair`, repairs what it can;
/// without, changes nothing.
///
/// # Errors
/// [`CasError`] where the store cannot be listed.
pub fn fsck(home: &Home, state_dirs: &[PathBuf], repair: bool) -> Result<Report, CasError> {
    let cas = Cas::open(home.the_source());
    let mut check = Check { report: Report::default(), repair };
    let sound = check.store(&cas)?;
    check.base(home, &sound);
    for dir in state_dirs {
        check.delta(dir);
    }
    Ok(check.report)
}

struct Check {
    report: Report,
    repair: bool,
}

impl Check {
    /// Notes a problem, and with `repair` does something about it. `done` says what, as in "it was …".
    fn found<E: Display>(&mut self, path: &Path, problem: impl Into<String>, done: &str, repair: impl FnOnce() -> Result<(), E>) {
        let action = match self.repair.then(repair) {
            None => format!("would be {done}"),
            Some(Ok(())) => done.to_owned(),
            Some(Err(e)) => format!("could not be {done}: {e}"),
        };
        self.report.findings.push(Finding { path: path.to_owned(), problem: problem.into(), action });
    }

    /// Looks at the store. Returns the blobs that can be used.
    fn store(&mut self, cas: &Cas) -> Result<BTreeSet<Blob>, CasError> {
        let mut blobs = Vec::new();
        for found in cas.blobs()? {
            match found? {
                Found::Blob(found) => blobs.push(*found),
                Found::Stray(path) => {
                    self.found(&path, "it does not belong into the store", "moved to the quarantine", || set_aside(cas, &path));
                }
            }
        }
        let mut sound = BTreeSet::new();
        for (found, fault) in verify_all(cas, blobs) {
            self.report.blobs += 1;
            self.report.bytes += found.blob.size;
            if self.blob(cas, &found, fault) {
                sound.insert(found.blob);
            }
        }
        for path in stale_files(&cas.tmp_dir(), STALE_TEMP) {
            self.found(&path, "a dead process left it", "removed", || fs::remove_file(&path));
        }
        Ok(sound)
    }

    /// Deals with one verified blob. Returns whether it can be used now.
    fn blob(&mut self, cas: &Cas, found: &FoundBlob, fault: Option<BlobFault>) -> bool {
        match fault {
            None => true,
            // It went meanwhile: garbage collection may run beside this.
            Some(BlobFault::Missing { .. }) => false,
            Some(BlobFault::Changed { what: what @ (What::Mode | What::Time), .. }) => {
                self.found(&found.path, what.to_string(), "replaced by a fresh copy", || cas.renew(&found.blob));
                // Without repair, what depends on it counts as it would after one.
                !self.repair || cas.check(&found.blob).is_ok()
            }
            Some(BlobFault::Changed { what, .. }) => {
                self.found(&found.path, what.to_string(), "moved to the quarantine", || cas.quarantine(&found.blob));
                false
            }
            Some(BlobFault::Unreadable { source, .. }) => {
                let problem = format!("it cannot be read: {source}");
                self.found(&found.path, problem, "moved to the quarantine", || cas.quarantine(&found.blob));
                false
            }
        }
    }

    /// Looks at the base manifest. What cannot even be opened for this is a finding, not an error.
    fn base(&mut self, home: &Home, sound: &BTreeSet<Blob>) {
        let path = home.manifest();
        let looked = match self.repair && fs::symlink_metadata(&path).is_ok() {
            true => BaseWriter::open(home).and_then(|mut base| self.repair_base(&mut base, sound)),
            false => BaseReader::open(home).and_then(|base| self.look_at_base(&path, &base.audit(), sound).map(drop)),
        };
        match looked {
            Ok(()) | Err(ManifestError::Missing { .. }) => {}
            Err(error) if error.is_corrupt() => {
                let problem = error.to_string();
                let done = "moved aside and replaced by a new one";
                self.found(&path, problem, done, || BaseWriter::rebuild(home, &error).map(drop));
            }
            Err(error) => {
                let left = Finding { path, problem: error.to_string(), action: "left alone".to_owned() };
                self.report.findings.push(left);
            }
        }
    }

    fn repair_base(&mut self, base: &mut BaseWriter, sound: &BTreeSet<Blob>) -> Result<(), ManifestError> {
        let path = base.path().to_owned();
        let bad = self.look_at_base(&path, &base.audit(), sound)?;
        base.touch(&[], &bad.actions)?;
        base.remove_blobs(&bad.blobs)?;
        base.insert_blobs(&bad.unknown)
    }

    /// Notes what is wrong in the base manifest. Returns what is to be done.
    fn look_at_base(&mut self, path: &Path, base: &Audit<'_>, sound: &BTreeSet<Blob>) -> Result<Bad, ManifestError> {
        let lines = base.integrity()?;
        if !lines.is_empty() {
            return Err(ManifestError::Corrupt { path: path.to_owned(), detail: lines.join("; ") });
        }
        let mut bad = Bad::default();
        // What is repaired is done in one go by the caller, whose failure is a finding of its own.
        let later = || Ok::<_, ManifestError>(());
        for (id, label) in base.bad_records()? {
            self.found(path, format!("the record of `{label}` cannot be read"), "forgotten", later);
            bad.actions.push(id);
        }
        for action in base.uses()? {
            self.report.actions += 1;
            let missing = action.blobs.iter().filter(|blob| !sound.contains(blob)).count();
            if missing > 0 && !bad.actions.contains(&action.id) {
                self.found(
                    path,
                    format!("`{}` needs blobs that are not in the store: {missing}", action.label),
                    "forgotten",
                    later,
                );
                bad.actions.push(action.id);
            }
        }
        let known = base.blobs()?;
        bad.blobs = known.difference(sound).copied().collect();
        if !bad.blobs.is_empty() {
            self.found(path, format!("it lists blobs that are not in the store: {}", bad.blobs.len()), "corrected", later);
        }
        // No fault: blobs come before their action, which may never come. Garbage collection takes them.
        bad.unknown = sound.difference(&known).copied().collect();
        Ok(bad)
    }

    fn delta(&mut self, state_dir: &Path) {
        let problem = match delta::integrity(state_dir) {
            Ok(lines) if lines.is_empty() => return,
            Ok(lines) => format!("it is damaged: {}", lines.join("; ")),
            Err(error) if error.is_corrupt() => error.to_string(),
            Err(error) => {
                let path = state_dir.to_owned();
                self.report.findings.push(Finding { path, problem: error.to_string(), action: "left alone".to_owned() });
                return;
            }
        };
        self.found(state_dir, problem, "moved aside", || delta::set_aside(state_dir).map(drop));
    }
}

/// What is to be repaired in the base manifest.
#[derive(Default)]
struct Bad {
    /// Actions to forget.
    actions: Vec<i64>,
    /// Blobs that it lists and the store lacks.
    blobs: Vec<Blob>,
    /// Blobs that the store has and it does not list.
    unknown: Vec<Blob>,
}

/// Checks attributes and content of all blobs, several at a time. An attribute fault is reported only where the content is
/// right; otherwise the content's is.
fn verify_all(cas: &Cas, blobs: Vec<FoundBlob>) -> Vec<(FoundBlob, Option<BlobFault>)> {
    let next = AtomicUsize::new(0);
    let verdicts: Vec<OnceLock<Option<BlobFault>>> = blobs.iter().map(|_| OnceLock::new()).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(found), Some(verdict)) = (blobs.get(index), verdicts.get(index)) else { break };
                    verdict.get_or_init(|| verify_one(cas, found));
                }
            });
        }
    });
    blobs.into_iter().zip(verdicts).filter_map(|(found, verdict)| Some((found, verdict.into_inner()?))).collect()
}

fn verify_one(cas: &Cas, found: &FoundBlob) -> Option<BlobFault> {
    match cas.quick_check_at(&found.path, &found.blob) {
        Ok(_) => cas.verify_at(&found.path, &found.blob).err(),
        Err(quick @ BlobFault::Changed { what: What::Mode | What::Time, .. }) => {
            Some(cas.verify_at(&found.path, &found.blob).err().unwrap_or(quick))
        }
        Err(other) => Some(other),
    }
}

/// Moves something that is no blob out of the store's folders.
fn set_aside(cas: &Cas, path: &Path) -> std::io::Result<()> {
    let dir = cas.quarantine_dir();
    fsio::create_private_dir(&dir)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let taken = |to: &PathBuf| fs::symlink_metadata(to).is_ok();
    let free = (0..10_000).map(|n| dir.join(format!("stray-{name}.{n}"))).find(|to| !taken(to));
    match free {
        Some(to) => fs::rename(path, to),
        None => Err(std::io::Error::other("the quarantine is full of things of that name")),
    }
}

#[cfg(test)]
mod tests;
