//! Folders that are held open, and what is known of the names in them.
//!
//! Many inputs of an action lie in few folders: a toolchain's libraries, the places where a linker looks for a file that it
//! finds elsewhere. How much of a look such a folder spares depends on whose it is:
//!
//! | folder | a name in it costs |
//! |---|---|
//! | asked for again and again (toolchains, the system's and the project's libraries) | nothing: it is watched, and so is each folder on the way to it; what was seen holds until a [notice](watch) comes |
//! | any other with several inputs | a look from there, which spares the kernel the long way from the root; an absent name nothing, while the folder has the stamp that it had |

mod folder;
mod watch;
mod watches;

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs};
use rustix::fs::{Mode, OFlags, open, openat, readlinkat};
use vrift_core::action::FileKind;
use vrift_core::wire::Stamp;

use super::super::sight::{as_path, is_absent, look, look_within};
use super::grain::Grain;
use crate::clock::now_ns;
use crate::sync::lock;
pub use folder::Folder;
use watches::{Settled, Watches};

/// Paths of folders that are held open; then those that are not watched are let go.
const MAX_OPEN: usize = 320;

/// From so many questions about a folder on it is watched.
const WATCHED_FROM: u32 = 16;

/// Folders whose questions are counted; then the counting starts anew.
const MAX_COUNTED: usize = 20_000;

/// Symbolic links on the way to one folder.
const MAX_LINKS: u32 = 8;

/// The file systems whose changes all go through this kernel, and make notices. (Through an overlay they may not.)
const NOTICED: [FsType; 4] = [EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC];

/// Folders by their paths.
#[derive(Default)]
pub struct Folders {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: HashMap<Box<[u8]>, Known, foldhash::fast::RandomState>,
    /// Questions about folders, [`u32::MAX`] for those that cannot be watched.
    asked: HashMap<Box<[u8]>, u32, foldhash::fast::RandomState>,
    watches: Option<Arc<Watches>>,
    /// Times that the way to a watched folder has changed.
    turn: u64,
}

struct Known {
    folder: Arc<Folder>,
    /// The path leads to the folder as long as the turn is this one; `None` where that is not known without a look.
    sure_at: Option<u64>,
}

/// A folder as one look-up finds it.
#[derive(Clone)]
pub enum Place {
    /// There is no such folder, so nothing is in it.
    Gone,
    /// It is open.
    Open {
        /// The folder.
        folder: Arc<Folder>,
        /// Its stamp now, where it is not watched.
        stamp: Stamp,
        /// A later change is sure to show in the stamp.
        sure: bool,
    },
    /// Its files are to be looked at by their whole paths.
    Unknown,
}

/// What a folder is needed for.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Several names in it are asked for, so that it pays to open it.
    pub several: bool,
    /// It is likely to be asked for again.
    pub lasting: bool,
}

impl Folders {
    /// Takes what was noticed until now. What is found afterwards is as it is now or later.
    pub fn settle(&self) {
        let mut state = lock(&self.state);
        match state.watches.as_ref().map(|watches| watches.settle()) {
            None | Some(Settled::AsBefore) => {}
            Some(Settled::WaysChanged) => state.turn += 1,
            Some(Settled::Lost) => state.let_go(),
        }
    }

    /// Finds the folder at `path` as it is now.
    pub fn find(&self, path: &[u8], need: Need, grain: &Grain) -> Place {
        if need.lasting {
            let mut state = lock(&self.state);
            let place = state.recall(path).or_else(|| if state.asked_often(path) { state.watch(path) } else { None });
            if let Some(place) = place {
                return place;
            }
        }
        if need.several { self.find_anew(path, grain) } else { Place::Unknown }
    }

    /// Lets all folders go: an open one keeps its file system from being unmounted.
    pub fn let_go(&self) {
        lock(&self.state).let_go();
    }

    fn find_anew(&self, path: &[u8], grain: &Grain) -> Place {
        let began = now_ns();
        let sight = match look(path) {
            Ok(sight) if sight.kind == FileKind::Dir => sight,
            Ok(_) => return Place::Gone,
            Err(e) if is_absent(&e) => return Place::Gone,
            Err(_) => return Place::Unknown,
        };
        let id = (sight.stamp.dev, sight.stamp.ino);
        let known = lock(&self.state).open.get(path).filter(|known| known.folder.id == id).map(|known| known.folder.clone());
        let Some(folder) = known.or_else(|| self.open(path, id)) else { return Place::Unknown };
        let sure = grain.will_show_change(as_path(path), &sight.stamp, began);
        folder.now_has(&sight.stamp);
        Place::Open { folder, stamp: sight.stamp, sure }
    }

    fn open(&self, path: &[u8], id: (u64, u64)) -> Option<Arc<Folder>> {
        let fd = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let sight = look_within(fd.as_fd(), b".", false).ok()?;
        // Another one took its place between the two looks.
        if (sight.stamp.dev, sight.stamp.ino) != id {
            return None;
        }
        let folder = Arc::new(Folder::new(fd, id, path, None));
        let mut state = lock(&self.state);
        if state.open.len() >= MAX_OPEN {
            state.open.retain(|_, known| known.folder.is_watched());
        }
        state.open.insert(path.into(), Known { folder: Arc::clone(&folder), sure_at: None });
        Some(folder)
    }
}

impl State {
    fn let_go(&mut self) {
        if let Some(watches) = self.watches.take() {
            watches.forget();
        }
        self.open.clear();
        self.turn += 1;
    }

    /// The folder at `path`, where that is known without a look.
    fn recall(&self, path: &[u8]) -> Option<Place> {
        if let Some(known) = self.open.get(path) {
            let sure = known.sure_at == Some(self.turn);
            return sure.then(|| Place::Open { folder: Arc::clone(&known.folder), stamp: Stamp::default(), sure: false });
        }
        let (parent, name) = split(path)?;
        match self.recall(parent)? {
            Place::Gone => Some(Place::Gone),
            Place::Open { folder, .. } if folder.remembers_absent(name) => Some(Place::Gone),
            _ => None,
        }
    }

    /// Counts a question about a folder.
    fn asked_often(&mut self, path: &[u8]) -> bool {
        if let Some(times) = self.asked.get_mut(path) {
            *times = times.saturating_add(1);
            return (WATCHED_FROM..u32::MAX).contains(times);
        }
        if self.asked.len() >= MAX_COUNTED {
            self.asked.clear();
        }
        self.asked.insert(path.into(), 1);
        false
    }

    /// Watches the folder at `path`, or where it would be.
    fn watch(&mut self, path: &[u8]) -> Option<Place> {
        match self.way_to(path, MAX_LINKS) {
            Ok(folder) => Some(Place::Open { folder, stamp: Stamp::default(), sure: false }),
            Err(Obstacle::Absent) => Some(Place::Gone),
            Err(Obstacle::Unwatchable) => {
                self.asked.insert(path.into(), u32::MAX);
                None
            }
        }
    }

    /// Goes to `path`, a name after the other, with every folder on the way watched before it is asked for the next name.
    fn way_to(&mut self, path: &[u8], links: u32) -> Result<Arc<Folder>, Obstacle> {
        if let Some(known) = self.open.get(path).filter(|known| known.sure_at == Some(self.turn)) {
            return Ok(Arc::clone(&known.folder));
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (fd, real) = match split(path) {
            None if path == b"/" => (open("/", flags, Mode::empty()), path.to_vec()),
            None => return Err(Obstacle::Unwatchable),
            Some((parent, name)) => {
                let parent = self.way_to(parent, links)?;
                parent.is_on_the_way(name);
                let fd = openat(parent.fd(), name, flags, Mode::empty());
                let real = [&*parent.real, name].join(if parent.real.ends_with(b"/") { &b""[..] } else { &b"/"[..] });
                if fd.as_ref().is_err_and(|e| is_absent(&(*e).into())) {
                    return match parent.lacks(name, &Stamp::default(), false) {
                        Ok(()) => Err(Obstacle::Absent),
                        Err(_) => Err(Obstacle::Unwatchable),
                    };
                }
                (fd, real)
            }
        };
        let fd = fd.map_err(|_| Obstacle::Unwatchable)?;
        let sight = look_within(fd.as_fd(), b"", false).map_err(|_| Obstacle::Unwatchable)?;
        let folder = match sight.kind {
            FileKind::Symlink => {
                let target = readlinkat(&fd, "", Vec::new()).map_err(|_| Obstacle::Unwatchable)?;
                let target = target_of(&real, target.to_bytes()).ok_or(Obstacle::Unwatchable)?;
                self.way_to(&target, links.checked_sub(1).ok_or(Obstacle::Unwatchable)?)?
            }
            FileKind::Dir => self.watched(fd, (sight.stamp.dev, sight.stamp.ino), &real).ok_or(Obstacle::Unwatchable)?,
            _ => return Err(Obstacle::Unwatchable),
        };
        self.open.insert(path.into(), Known { folder: Arc::clone(&folder), sure_at: Some(self.turn) });
        Ok(folder)
    }

    fn watched(&mut self, fd: OwnedFd, id: (u64, u64), real: &[u8]) -> Option<Arc<Folder>> {
        if !fstatfs(&fd).is_ok_and(|fs| NOTICED.contains(&fs.filesystem_type())) {
            return None;
        }
        if self.watches.is_none() {
            self.watches = Some(Arc::new(Watches::new()?));
        }
        let (folder, moved) = self.watches.as_ref()?.add_folder(fd, id, real)?;
        if moved {
            self.turn += 1;
        }
        Some(folder)
    }
}

enum Obstacle {
    /// Something on the way is not there, which the folder before it remembers.
    Absent,
    /// It cannot be watched.
    Unwatchable,
}

/// The folder of a path, and the name in it; `None` for `/` and for what is not spelt plainly.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = path.iter().rposition(|c| *c == b'/')?;
    let name = &path[at + 1..];
    if matches!(name, b"" | b"." | b"..") {
        return None;
    }
    Some((if at == 0 { b"/" } else { &path[..at] }, name))
}

/// The plainly spelt path that a symbolic link at `link`, itself without links on the way, leads to.
fn target_of(link: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let mut path = if target.starts_with(b"/") { Vec::new() } else { split(link)?.0.to_vec() };
    if path == b"/" {
        path.clear();
    }
    let mut named = target.starts_with(b"/");
    for part in target.split(|c| *c == b'/') {
        match part {
            b"" | b"." => {}
            // Behind a name it leads to wherever that name leads, which may be a link.
            b".." if named => return None,
            b".." => path.truncate(path.iter().rposition(|c| *c == b'/').unwrap_or(0)),
            name => {
                path.push(b'/');
                path.extend_from_slice(name);
                named = true;
            }
        }
    }
    Some(if path.is_empty() { b"/".to_vec() } else { path })
}

#[cfg(test)]
mod tests;
