//! One folder that is held open.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex};

use nix::sys::inotify::AddWatchFlags;
use vrift_core::action::FileKind;
use vrift_core::wire::Stamp;

use super::super::super::sight::{Sight, is_absent, look_within};
use super::watches::Watches;
use crate::sync::lock;

/// Names that are remembered of one folder, present and absent ones each.
const MAX_NAMES: usize = 10_000;

/// From so many looks at a file on it is watched itself.
const WATCHED_FROM: u32 = 8;

/// A folder that is held open.
pub struct Folder {
    fd: OwnedFd,
    /// Its device and inode.
    pub id: (u64, u64),
    /// Its path without symbolic links, where it is watched.
    pub real: Box<[u8]>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// What notices each change in it.
    watches: Option<Arc<Watches>>,
    /// Notices so far: what was seen before one of them is not to be remembered after it.
    notices: u64,
    /// Where it is not watched: its stamp from before the first absent name was looked for.
    stamp: Stamp,
    absent: HashSet<Box<[u8]>, foldhash::fast::RandomState>,
    /// Where it is watched: what names in it are, symbolic links not followed.
    present: HashMap<Box<[u8]>, Present, foldhash::fast::RandomState>,
    /// Names in it that lead to watched folders.
    on_the_way: HashSet<Box<[u8]>>,
}

#[derive(Clone, Copy)]
struct Present {
    sight: Sight,
    /// How often it was looked at.
    looks: u32,
    /// It is watched itself: all of `sight` holds, and not only its kind.
    whole: bool,
}

impl Folder {
    /// A folder that `fd` is open on.
    pub fn new(fd: OwnedFd, id: (u64, u64), real: &[u8], watches: Option<Arc<Watches>>) -> Self {
        Self { fd, id, real: real.into(), memory: Mutex::new(Memory { watches, ..Memory::default() }) }
    }

    /// The descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether it is watched.
    pub fn is_watched(&self) -> bool {
        lock(&self.memory).watches.is_some()
    }

    /// Looks at a file in it.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn look(self: &Arc<Self>, name: &[u8], follow: bool) -> io::Result<Sight> {
        match self.remembered(name) {
            Some(present) if present.whole => Ok(present.sight),
            Some(present) if present.sight.is_file() && present.looks >= WATCHED_FROM => self.look_and_watch(name, follow),
            Some(_) => look_within(self.fd(), name, follow),
            None => self.look_and_remember(name, follow),
        }
    }

    /// The kind of a file in it.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn kind(&self, name: &[u8], follow: bool) -> io::Result<FileKind> {
        match self.remembered(name) {
            Some(present) if !(follow && present.sight.kind == FileKind::Symlink) => Ok(present.sight.kind),
            Some(_) => look_within(self.fd(), name, follow).map(|sight| sight.kind),
            None => self.look_and_remember(name, follow).map(|sight| sight.kind),
        }
    }

    /// Whether nothing of that name is in the folder. Where it is not watched, it has `stamp` now, and `sure` says that a
    /// later change will give it another one. The error says what is there, or why that is not known.
    pub fn lacks(self: &Arc<Self>, name: &[u8], stamp: &Stamp, sure: bool) -> Result<(), io::Result<Sight>> {
        let notices = {
            let memory = lock(&self.memory);
            if memory.knows_absent(name, stamp) {
                return Ok(());
            }
            memory.notices
        };
        match self.look(name, true) {
            Err(e) if is_absent(&e) => {}
            other => return Err(other),
        }
        // A link that leads nowhere may come to lead somewhere without the folder changing.
        if look_within(self.fd(), name, false).is_err_and(|e| is_absent(&e)) {
            let mut memory = lock(&self.memory);
            let holds = if memory.watches.is_some() { memory.notices == notices } else { sure && memory.stamp == *stamp };
            if holds && memory.absent.len() < MAX_NAMES {
                memory.absent.insert(name.into());
            }
        }
        Ok(())
    }

    /// Whether it is remembered that nothing of that name is in the folder, which is watched.
    pub fn remembers_absent(&self, name: &[u8]) -> bool {
        let memory = lock(&self.memory);
        memory.watches.is_some() && memory.absent.contains(name)
    }

    /// It has this stamp now.
    pub fn now_has(&self, stamp: &Stamp) {
        let mut memory = lock(&self.memory);
        if memory.watches.is_none() && memory.stamp != *stamp {
            memory.stamp = *stamp;
            memory.absent.clear();
        }
    }

    /// The path to a watched folder goes through this name.
    pub fn is_on_the_way(&self, name: &[u8]) {
        lock(&self.memory).on_the_way.insert(name.into());
    }

    /// Takes a notice; gives whether paths may lead elsewhere now.
    pub fn notice(&self, what: AddWatchFlags, name: Option<&OsStr>) -> bool {
        let mut memory = lock(&self.memory);
        memory.notices += 1;
        let Some(name) = name.map(OsStr::as_bytes) else {
            // The folder itself: it was moved or removed, or its permissions changed.
            memory.absent.clear();
            memory.present.clear();
            return true;
        };
        memory.present.remove(name);
        memory.absent.remove(name);
        let content_only = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE;
        !what.intersects(content_only) && memory.on_the_way.contains(name)
    }

    /// Nobody watches it any more.
    pub fn forget(&self) {
        *lock(&self.memory) = Memory::default();
    }

    fn remembered(&self, name: &[u8]) -> Option<Present> {
        let mut memory = lock(&self.memory);
        let present = memory.present.get_mut(name)?;
        present.looks = present.looks.saturating_add(1);
        Some(*present)
    }

    fn look_and_remember(&self, name: &[u8], follow: bool) -> io::Result<Sight> {
        let (watches, notices) = self.watches();
        if watches.is_none() {
            return look_within(self.fd(), name, follow);
        }
        let sight = look_within(self.fd(), name, false)?;
        self.remember(name, sight, false, notices);
        if follow && sight.kind == FileKind::Symlink { look_within(self.fd(), name, true) } else { Ok(sight) }
    }

    /// Watches the file first, so that whatever happens to what is seen then makes a notice.
    fn look_and_watch(self: &Arc<Self>, name: &[u8], follow: bool) -> io::Result<Sight> {
        let (watches, notices) = self.watches();
        let is_watched = watches.is_some_and(|watches| watches.add_file(self, name));
        let sight = look_within(self.fd(), name, false)?;
        self.remember(name, sight, is_watched && sight.is_file(), notices);
        if follow && sight.kind == FileKind::Symlink { look_within(self.fd(), name, true) } else { Ok(sight) }
    }

    /// What notices changes, and how many it did so far.
    fn watches(&self) -> (Option<Arc<Watches>>, u64) {
        let memory = lock(&self.memory);
        (memory.watches.clone(), memory.notices)
    }

    /// Remembers what was seen, unless something was noticed since.
    fn remember(&self, name: &[u8], sight: Sight, whole: bool, notices: u64) {
        let mut memory = lock(&self.memory);
        if memory.watches.is_some() && memory.notices == notices && memory.present.len() < MAX_NAMES {
            memory.present.insert(name.into(), Present { sight, looks: 1, whole });
        }
    }
}

impl Memory {
    fn knows_absent(&self, name: &[u8], stamp: &Stamp) -> bool {
        (self.watches.is_some() || self.stamp == *stamp) && self.absent.contains(name)
    }
}
