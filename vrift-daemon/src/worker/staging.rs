//! What clients are putting in place: how much of it at a time, and what one that died left.
//!
//! A file appears under its name in one step, so until then it has another one beside it, `.vrift-<pid>-<n>.tmp`
//! (`vrift_store::restore`). A client that is killed in the middle leaves that. Its socket tells: whoever ends without another word
//! behind a result that he was given is looked after.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytesize::ByteSize;
use vrift_core::action::{OutputState, Place};
use vrift_core::wire::RestoreStep;

/// Where so many names are possible, folders are listed instead.
const MOST_NAMES: usize = 64;

/// How much is being put in place for all clients of the project.
pub struct Staging {
    limit: u64,
    used: Arc<AtomicU64>,
}

/// What one client is putting in place.
pub struct Staged {
    bytes: u64,
    limit: u64,
    used: Arc<AtomicU64>,
    /// Where copies are made.
    folders: BTreeSet<PathBuf>,
    /// How many.
    files: usize,
}

impl Staging {
    /// Nothing yet; `limit` bytes at most.
    pub fn new(limit: u64) -> Self {
        Self { limit, used: Arc::default() }
    }

    /// For one client.
    pub fn begin(&self) -> Staged {
        Staged { bytes: 0, limit: self.limit, used: Arc::clone(&self.used), folders: BTreeSet::new(), files: 0 }
    }
}

impl Staged {
    /// The client is about to take these steps as well.
    ///
    /// # Errors
    /// With what it and others are putting in place it is too much; one line says so.
    pub fn add(&mut self, steps: &[RestoreStep]) -> Result<(), String> {
        let files = steps.iter().filter_map(|step| match &step.state {
            OutputState::File { size, place, .. } => Some((step, if *place == Place::Link { 0 } else { *size })),
            _ => None,
        });
        let bytes = files.clone().fold(0_u64, |sum, (_, bytes)| sum.saturating_add(bytes));
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
        if self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).is_err() {
            let (bytes, limit) = (ByteSize(bytes), ByteSize(self.limit));
            return Err(format!(
                "its files, {bytes}, are more than may be put in place at a time: `staging.max_size` is {limit}"
            ));
        }
        self.bytes += bytes;
        for (step, _) in files {
            self.files += 1;
            self.folders.extend(step.path.as_path().parent().map(Path::to_owned));
        }
        Ok(())
    }

    /// The client, process `pid`, is gone: so is what it had not put in place. Nothing is to be done for one that had.
    pub fn roll_back(self, pid: i32) {
        let own = format!(".vrift-{pid}-");
        // One file is under way at a time, and numbers count from nought; a name that was taken costs another number.
        let names = self.files + 2;
        for folder in &self.folders {
            if names <= MOST_NAMES {
                for number in 0..names {
                    let _ = fs::remove_file(folder.join(format!("{own}{number}.tmp")));
                }
                continue;
            }
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if name.as_bytes().starts_with(own.as_bytes()) && name.as_bytes().ends_with(b".tmp") {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use vrift_core::digest::Digest;
    use vrift_core::paths::AbsPath;

    use super::*;

    fn step(dir: &Path, name: &str, size: u64, place: Place) -> RestoreStep {
        let path = AbsPath::try_from(dir.join(name).as_path()).expect("absolute");
        RestoreStep { path, state: OutputState::File { blob: Digest::of(b""), size, mode: 0o644, place }, optional: false }
    }

    #[test]
    fn what_does_not_fit_waits_for_nobody() {
        let dir = Path::new("/p/target");
        let staging = Staging::new(100);
        let (mut first, mut second) = (staging.begin(), staging.begin());
        first.add(&[step(dir, "a", 60, Place::Copy), step(dir, "b", 1000, Place::Link)]).expect("links take no room");
        let why = second.add(&[step(dir, "c", 41, Place::Render)]).expect_err("too much");
        assert!(why.contains("staging.max_size") && why.contains("100 B"), "{why}");
        second.add(&[step(dir, "d", 40, Place::Copy)]).expect("fits exactly");
        drop((first, second));
        staging.begin().add(&[step(dir, "e", 100, Place::Copy)]).expect("all of it is free again");
    }

    #[test]
    fn one_that_died_leaves_nothing_and_others_keep_theirs() {
        for files in [1, MOST_NAMES] {
            let dir = tempfile::tempdir().expect("a folder");
            let at = dir.path();
            for name in [".vrift-7-0.tmp", ".vrift-7-2.tmp", ".vrift-77-0.tmp", ".vrift-8-0.tmp", "done"] {
                fs::write(at.join(name), "half").expect("writes");
            }
            let steps: Vec<_> = (0..files).map(|n| step(at, &n.to_string(), 1, Place::Copy)).collect();
            let mut staged = Staging::new(1000).begin();
            staged.add(&steps).expect("fits");
            staged.roll_back(7);
            let mut left: Vec<_> = fs::read_dir(at).expect("lists").map(|entry| entry.expect("reads").file_name()).collect();
            left.sort();
            assert_eq!(left, [".vrift-77-0.tmp", ".vrift-8-0.tmp", "done"]);
        }
    }
}
