//! Up to when everything is known to be on the disk.
//!
//! Blobs are not synced one by one. Now and then `vriftd` calls [`Cas::sync_mark`], which syncs the whole file system and
//! then writes down when it began. After a power cut, a blob whose file is older than the boot and was changed after that
//! time may be incomplete although its size is right: it is hashed before each use, until [`Cas::sync_mark`] has hashed all of
//! them and set a mark of this boot. Within one boot nothing is suspect, and a clean end (a mark at shutdown) leaves little to
//! suspect.
//!
//! Which file is older than the boot is told by its birth. The change time alone would not do: a user who runs `cargo clean`
//! after the power cut removes links, and that moves the change time of the blobs behind them.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{Blob, BlobFault, Cas, CasError, Found};
use crate::fsio;

/// The kernel's clock for file times runs behind the real one by up to a tick: the mark is set back by this much.
const SLACK_NS: i64 = 1_000_000_000;

/// Files born in the first minute after boot count as older than it: the clock may have been set meanwhile.
const BOOT_SLACK_NS: i64 = 60_000_000_000;

/// What the file `mark` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Everything that changed no later than this is on the disk, nanoseconds since 1970.
    pub time_ns: i64,
    /// The boot in which that was so.
    pub boot: String,
}

/// What [`Cas::recover`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recovery {
    /// Blobs that were hashed because they may not have reached the disk.
    pub hashed: u64,
    /// Blobs that had not, now in quarantine.
    pub quarantined: u64,
}

/// Which blobs are suspect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Suspicion {
    /// None: the mark is of this boot.
    None,
    /// Those changed after the one time and born before the other, nanoseconds since 1970.
    Those { changed_after: i64, born_before: i64 },
}

impl Cas {
    /// Makes everything that is in the store now durable, and writes down that it is.
    ///
    /// Meant for a background thread: it syncs a whole file system. After an unclean boot it first deals with the suspects
    /// of that boot ([`Cas::recover`]), for the new mark vouches for them.
    ///
    /// # Errors
    /// [`CasError::Io`]; the old mark then stays.
    pub fn sync_mark(&self) -> Result<Recovery, CasError> {
        fsio::create_private_dir(&self.dir).map_err(CasError::io("create", &self.dir))?;
        let recovery = self.recover()?;
        let started = now_ns();
        let dir = fs::File::open(&self.dir).map_err(CasError::io("open", &self.dir))?;
        crate::faults::point()
            .and_then(|()| Ok(rustix::fs::syncfs(&dir)?))
            .map_err(CasError::io("sync the file system of", &self.dir))?;
        let mark = Mark { time_ns: started - SLACK_NS, boot: boot_id().unwrap_or_default() };
        let text = format!("{} {}\n", mark.time_ns, mark.boot);
        let path = self.mark_path();
        fsio::write_atomically(&path, text.as_bytes(), 0o600).map_err(CasError::io("write", path))?;
        Ok(recovery)
    }

    /// Hashes every blob that may not have reached the disk before the last boot; the bad ones go into quarantine.
    ///
    /// # Errors
    /// [`CasError::Io`] where the store cannot be listed.
    pub fn recover(&self) -> Result<Recovery, CasError> {
        let mut done = Recovery::default();
        // Read afresh: another process may have moved the mark since this one looked.
        let suspicion = self.read_suspicion();
        if suspicion == Suspicion::None {
            return Ok(done);
        }
        for found in self.blobs()? {
            let Found::Blob(found) = found? else { continue };
            if !suspicion.covers(&found.meta) {
                continue;
            }
            done.hashed += 1;
            match self.verify_at(&found.path, &found.blob) {
                Ok(()) | Err(BlobFault::Missing { .. }) => {}
                Err(_) => {
                    self.quarantine(&found.blob)?;
                    done.quarantined += 1;
                }
            }
        }
        Ok(done)
    }

    /// The mark as it is; `None` where there is none, or where it cannot be read or understood.
    pub fn mark(&self) -> Option<Mark> {
        let text = fs::read_to_string(self.mark_path()).ok()?;
        let (time, boot) = text.trim_end().split_once(' ')?;
        Some(Mark { time_ns: time.parse().ok()?, boot: boot.to_owned() })
    }

    fn mark_path(&self) -> PathBuf {
        self.dir.join("mark")
    }

    /// Asked before each use of a blob, so the answer is kept. A mark that another process sets meanwhile can only end a
    /// suspicion: so what was suspect is asked for again.
    pub(super) fn is_suspect(&self, meta: &Metadata) -> bool {
        if self.all_durable.load(Ordering::Relaxed) || !self.suspicion.get_or_init(|| self.read_suspicion()).covers(meta) {
            return false;
        }
        let now = self.read_suspicion();
        self.all_durable.store(now == Suspicion::None, Ordering::Relaxed);
        now.covers(meta)
    }

    fn read_suspicion(&self) -> Suspicion {
        #[cfg(test)]
        if let Some(pretended) = tests::PRETENDED.get() {
            return pretended;
        }
        Suspicion::new(self.mark(), boot_id(), boot_time_ns())
    }

    /// The store for a process whose worker has checked the very blobs that it is about to use: nothing is suspect to it.
    #[must_use]
    pub fn vouched_for(self) -> Self {
        self.all_durable.store(true, Ordering::Relaxed);
        self
    }

    /// Whether `blob` would be hashed before its next use. For messages and tests.
    pub fn suspects(&self, blob: &Blob) -> bool {
        fs::symlink_metadata(self.path(blob)).is_ok_and(|meta| self.is_suspect(&meta))
    }
}

impl Suspicion {
    fn new(mark: Option<Mark>, boot: Option<String>, boot_time: i64) -> Self {
        let born_before = boot_time.saturating_add(BOOT_SLACK_NS);
        match mark {
            Some(mark) if boot.as_deref() == Some(&mark.boot) => Self::None,
            // A mark from the future is of a clock that was wrong: it vouches for nothing.
            Some(mark) if mark.time_ns < born_before => Self::Those { changed_after: mark.time_ns, born_before },
            _ => Self::Those { changed_after: i64::MIN, born_before },
        }
    }

    fn covers(&self, meta: &Metadata) -> bool {
        match *self {
            Self::None => false,
            Self::Those { changed_after, born_before } => {
                let changed = meta.ctime().saturating_mul(1_000_000_000).saturating_add(meta.ctime_nsec());
                // A file system that does not know births leaves all of them suspect.
                let born = meta.created().ok().map_or(i64::MIN, nanoseconds);
                changed > changed_after && born < born_before
            }
        }
    }
}

/// The id of this boot; `None` without `/proc`.
pub(super) fn boot_id() -> Option<String> {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
}

/// When the machine booted, by the clock of now, nanoseconds since 1970.
fn boot_time_ns() -> i64 {
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now_ns() - (up.tv_sec.saturating_mul(1_000_000_000)).saturating_add(up.tv_nsec)
}

fn now_ns() -> i64 {
    nanoseconds(SystemTime::now())
}

fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "mark_tests.rs"]
mod tests;
