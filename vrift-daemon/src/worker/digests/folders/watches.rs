//! Which folders and files are watched, and who is told of a notice.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, Weak};

use nix::sys::inotify::{AddWatchFlags, WatchDescriptor};

use super::folder::Folder;
use super::watch::{Notice, Notices, Watcher};
use crate::sync::lock;

/// Folders that are watched.
const MAX_FOLDERS: usize = 192;

/// Files that are watched themselves.
const MAX_FILES: usize = 2048;

/// A name in a watched folder.
type Name = (Weak<Folder>, Box<[u8]>);

/// What is watched, and where notices go.
pub struct Watches {
    watcher: Watcher,
    folders: Mutex<HashMap<WatchDescriptor, Arc<Folder>>>,
    files: Mutex<HashMap<WatchDescriptor, Vec<Name>>>,
}

/// What notices came to.
pub enum Settled {
    /// What is remembered holds, as far as it is still remembered.
    AsBefore,
    /// A path to a watched folder may lead elsewhere.
    WaysChanged,
    /// Nothing that is remembered can be believed.
    Lost,
}

impl Watches {
    /// Nothing is watched yet; `None` where this user gets no watches.
    pub fn new() -> Option<Self> {
        Some(Self { watcher: Watcher::new()?, folders: Mutex::default(), files: Mutex::default() })
    }

    /// Watches the folder that `fd` is open on, at the path `real`; and whether it was known by another path, which leads to it
    /// no longer.
    pub fn add_folder(self: &Arc<Self>, fd: OwnedFd, id: (u64, u64), real: &[u8]) -> Option<(Arc<Folder>, bool)> {
        let watch = self.watcher.add_folder(fd.as_fd())?;
        let mut folders = lock(&self.folders);
        if let Some(folder) = folders.get(&watch).filter(|folder| folder.id == id && *folder.real == *real) {
            return Some((Arc::clone(folder), false));
        }
        if folders.len() >= MAX_FOLDERS {
            return None;
        }
        let folder = Arc::new(Folder::new(fd, id, real, Some(Arc::clone(self))));
        let earlier = folders.insert(watch, Arc::clone(&folder));
        if let Some(earlier) = &earlier {
            earlier.forget();
        }
        Some((folder, earlier.is_some()))
    }

    /// Watches a file of a folder; whether that is possible.
    pub fn add_file(&self, folder: &Arc<Folder>, name: &[u8]) -> bool {
        let mut files = lock(&self.files);
        if files.len() >= MAX_FILES {
            return false;
        }
        let Some(watch) = self.watcher.add_file(folder.fd(), name) else { return false };
        let names = files.entry(watch).or_default();
        if !names.iter().any(|(at, known)| at.as_ptr() == Arc::as_ptr(folder) && **known == *name) {
            names.push((Arc::downgrade(folder), name.into()));
        }
        true
    }

    /// Hands out the notices that came until now.
    pub fn settle(&self) -> Settled {
        let notices = match self.watcher.notices() {
            Notices::All(notices) if notices.is_empty() => return Settled::AsBefore,
            Notices::All(notices) => notices,
            Notices::Lost => return Settled::Lost,
        };
        let (folders, mut files) = (lock(&self.folders), lock(&self.files));
        let mut ways_changed = false;
        for Notice { watch, what, name } in notices {
            if let Some(folder) = folders.get(&watch) {
                ways_changed |= folder.notice(what, name.as_deref());
            }
            for (folder, name) in files.get(&watch).into_iter().flatten() {
                if let Some(folder) = folder.upgrade() {
                    folder.notice(what, Some(OsStr::from_bytes(name)));
                }
            }
            if what.contains(AddWatchFlags::IN_IGNORED) {
                files.remove(&watch);
            }
        }
        if ways_changed { Settled::WaysChanged } else { Settled::AsBefore }
    }

    /// What its folders remember is not to be believed any more.
    pub fn forget(&self) {
        // Folders and watches hold each other.
        for (_, folder) in lock(&self.folders).drain() {
            folder.forget();
        }
    }
}
