//! Telling a file's `stat`: once it was asked for and has settled, until its first change.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, open};
use vrift_core::vdir::EntryData;
use vrift_core::vdir::layout::flag;
use vrift_core::wire::Stamp;

use super::super::settled::{Unsettled, kind, look};
use super::super::shared::Fact;
use super::Tree;
use crate::clock::now_ns;
use crate::worker::sight::as_path;

/// Files that may be watched themselves. The kernel keeps about a kilobyte for each.
const MAX_WATCHED_FILES: usize = 65_536;

/// After so many changes a file's `stat` is left to the kernel.
const MAX_CHANGES: u16 = 100;

/// Before the second look at what had not settled at the first. Each further one takes twice as long: reads of a file system that is
/// read-only settle nothing, say.
const FIRST_TRY: Duration = Duration::from_millis(20);

/// So often at most is it doubled: to three minutes.
const MOST_TRIES: u32 = 13;

/// After so many names that came or went a folder of a shared tree is left to the kernel: it is none that is only read.
const MAX_NAMES: u16 = 10_000;

impl Tree {
    /// Puts what `stat` tells of an entry into the map, if it is settled; or asks to be reminded of it. Whether it was put there now.
    pub fn tell(&mut self, number: u32) -> bool {
        // Questions stay where they are until something changes, and all come again with each new one.
        let gone = self.items.get(number as usize).is_none_or(Option::is_none);
        if gone || self.is_told(number) || self.later.contains_key(&number) {
            return false;
        }
        let most = if self.writer.flags(number) & flag::KIND == flag::DIR { MAX_NAMES } else { MAX_CHANGES };
        if self.changes.get(&number).is_some_and(|changes| *changes >= most) {
            return false;
        }
        let told = self.try_tell(number);
        match told {
            Ok(()) | Err(Unsettled::Never) => _ = self.tries.remove(&number),
            Err(Unsettled::For(ns)) => {
                let tries = self.tries.entry(number).or_default();
                let wait = Duration::from_nanos(u64::try_from(ns).unwrap_or_default()).max(FIRST_TRY * (1 << *tries));
                *tries = (*tries + 1).min(MOST_TRIES);
                self.later.insert(number, Instant::now() + wait);
            }
        }
        told.is_ok()
    }

    fn is_told(&self, number: u32) -> bool {
        let flags = self.writer.flags(number);
        let listed = flags & flag::KIND != flag::DIR || !self.on_demand || self.folders.contains_key(&number);
        flags & flag::STAT != 0 && listed
    }

    /// Puts a file's digest into the map, if its `stat` is there and is the one that it was read with. From then on both go
    /// with its first change.
    pub fn learn(&mut self, fact: &Fact) {
        let Some(number) = self.writer.find(&fact.path).filter(|number| self.files.contains_key(number)) else { return };
        let Stamp { ino, size, mtime_ns, ctime_ns, .. } = fact.stamp;
        if self.writer.flags(number) & flag::STAT != 0 && self.writer.stamp(number) == (ino, size, mtime_ns, ctime_ns) {
            // Without room the worker's own table has it.
            let _ = self.writer.set_digest(number, fact.digest.as_bytes());
        }
    }

    /// The absolute path of an entry, if it is a file's whose `stat` is told and whose digest is not.
    pub fn lacks_digest(&self, number: u32) -> Option<Vec<u8>> {
        self.items.get(number as usize)?.as_ref()?;
        let flags = self.writer.flags(number);
        let told = flags & flag::KIND == flag::FILE && flags & (flag::STAT | flag::DIGEST) == flag::STAT;
        told.then(|| {
            let path = self.path(number);
            self.lister(&path).absolute(&path)
        })
    }

    /// Entries that are to be tried again now.
    pub fn due(&mut self) -> Vec<u32> {
        let now = Instant::now();
        self.later.extract_if(|_, at| *at <= now).map(|(number, _)| number).collect()
    }

    /// When [`Self::due`] will have something.
    pub fn next_due(&self) -> Option<Instant> {
        self.later.values().min().copied()
    }

    /// Takes back all that was told.
    pub fn forget_all(&mut self) {
        self.note_all();
        for number in self.holds.keys().copied().collect::<Vec<_>>() {
            self.forget_stat(number);
        }
    }

    /// Takes back what will not hold for `ahead` from now on.
    pub fn expire(&mut self, ahead: Duration) {
        let until = now_ns().saturating_add(i64::try_from(ahead.as_nanos()).unwrap_or(i64::MAX));
        for number in self.holds.iter().filter(|(_, holds)| **holds <= until).map(|(number, _)| *number).collect::<Vec<_>>() {
            self.forget_stat(number);
        }
    }

    pub(super) fn try_tell(&mut self, number: u32) -> Result<(), Unsettled> {
        let path = self.path(number);
        let fs = self.top(&path).map(|top| top.fs).ok_or(Unsettled::Never)?;
        let is_asked = self.on_demand && self.writer.flags(number) & flag::KIND == flag::DIR;
        let is_folder = is_asked || self.folders.contains_key(&number);
        let fd = if is_folder { self.list(number) } else { self.watch_file(number, &path) };
        let fd = fd.ok_or(Unsettled::Never)?;
        let settled = fs.settled(&fd);
        let (ino, stat, holds) = match settled {
            Ok(settled) => settled,
            Err(unsettled) => {
                self.forget_stat(number);
                return Err(unsettled);
            }
        };
        if ino != self.writer.ino(number) {
            // It was replaced; the notice of that is on its way.
            self.forget_stat(number);
            return Err(Unsettled::Never);
        }
        let data = EntryData { flags: self.writer.flags(number) | flag::STAT, ino, stat: Some(stat) };
        if self.writer.set_entry(&path, &data).is_ok() {
            self.holds.insert(number, holds);
        }
        Ok(())
    }

    /// Watches a file or a link itself; it, open by its path alone.
    pub(super) fn watch_file(&mut self, number: u32, path: &[u8]) -> Option<OwnedFd> {
        let told = self.writer.flags(number) & flag::KIND;
        if !matches!(told, flag::FILE | flag::LINK)
            || self.files.len() >= MAX_WATCHED_FILES
            || self.files.len() + self.folders.len() >= self.most_watches
        {
            return None;
        }
        let path = self.lister(path).absolute(path);
        let fd = open(as_path(&path), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let seen = look(&fd).ok()?;
        let now = if kind(&seen) == 0o100_000 { flag::FILE } else { flag::LINK };
        // A watched folder that has just taken the file's place would lose its own watch to this one.
        if seen.stx_ino != self.writer.ino(number) || now != told || kind(&seen) == 0o040_000 {
            return None;
        }
        let watch = self.watcher.add_file(fd.as_fd()).ok()?;
        let names = self.watched.entry(watch).or_default();
        if !names.contains(&number) {
            names.push(number);
        }
        self.files.insert(number, watch);
        Some(fd)
    }

    /// A watched file changed: it is watched no longer, until somebody asks for it again.
    pub(super) fn changed(&mut self, number: u32) {
        let changes = self.changes.entry(number).or_default();
        *changes = changes.saturating_add(1).min(MAX_CHANGES);
        self.tries.remove(&number);
        self.forget_stat(number);
    }

    /// A name came or went; whether that was once too often.
    pub(super) fn is_restless(&mut self, folder: u32) -> bool {
        let changes = self.changes.entry(folder).or_default();
        *changes = changes.saturating_add(1);
        *changes >= MAX_NAMES
    }

    /// From now on a folder is left to the kernel.
    pub(super) fn leave(&mut self, folder: u32) {
        self.changes.insert(folder, MAX_NAMES);
    }

    pub(super) fn forget_stat(&mut self, number: u32) {
        self.note(|| self.path(number), false);
        self.open_questions.push(number);
        self.writer.set_flags(number, self.writer.flags(number) & !(flag::STAT | flag::DIGEST));
        self.holds.remove(&number);
        self.later.remove(&number);
        if let Some(watch) = self.files.remove(&number) {
            self.release(watch, number);
        }
    }
}
