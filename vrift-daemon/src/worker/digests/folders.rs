//! Folders that are held open, and what is known not to be in them.
//!
//! Many inputs of an action lie in few folders: a toolchain's libraries, the places where a linker looks for a file that it
//! finds elsewhere. One look at such a folder says whether it is still the one that is held open; its files are then looked
//! at from there, which spares the kernel the long way from the root. And while its stamp is the same, nothing was added, so
//! a name that was not there is still not there, without a look.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags, open};
use vrift_core::action::FileKind;
use vrift_core::wire::Stamp;

use super::super::sight::{Sight, as_path, is_absent, look, look_within};
use super::grain::Grain;
use crate::clock::now_ns;
use crate::sync::lock;

/// Folders held open; then all are let go.
const MAX_OPEN: usize = 128;

/// Names that are known to be absent from one folder.
const MAX_ABSENT: usize = 10_000;

/// Folders by their paths.
#[derive(Default)]
pub struct Folders {
    open: Mutex<HashMap<Box<[u8]>, Arc<Folder>>>,
}

/// A folder that is held open.
pub struct Folder {
    fd: OwnedFd,
    id: (u64, u64),
    absent: Mutex<Absent>,
}

#[derive(Default)]
struct Absent {
    /// The folder's stamp from before the first of these names was looked for.
    stamp: Stamp,
    names: HashSet<Box<[u8]>>,
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
        /// Its stamp now.
        stamp: Stamp,
        /// A later change is sure to show.
        sure: bool,
    },
    /// Its files are to be looked at by their whole paths.
    Unknown,
}

impl Folders {
    /// Finds the folder at `path` as it is now.
    pub fn find(&self, path: &[u8], grain: &Grain) -> Place {
        let began = now_ns();
        let sight = match look(path) {
            Ok(sight) if sight.kind == FileKind::Dir => sight,
            Ok(_) => return Place::Gone,
            Err(e) if is_absent(&e) => return Place::Gone,
            Err(_) => return Place::Unknown,
        };
        let id = (sight.stamp.dev, sight.stamp.ino);
        let known = lock(&self.open).get(path).filter(|folder| folder.id == id).cloned();
        let Some(folder) = known.or_else(|| self.open(path, id)) else { return Place::Unknown };
        let sure = grain.will_show_change(as_path(path), &sight.stamp, began);
        folder.now_has(&sight.stamp);
        Place::Open { folder, stamp: sight.stamp, sure }
    }

    /// Lets all folders go: an open one keeps its file system from being unmounted.
    pub fn let_go(&self) {
        lock(&self.open).clear();
    }

    fn open(&self, path: &[u8], id: (u64, u64)) -> Option<Arc<Folder>> {
        let fd = open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let sight = look_within(fd.as_fd(), b".", false).ok()?;
        // Another one took its place between the two looks.
        if (sight.stamp.dev, sight.stamp.ino) != id {
            return None;
        }
        let folder = Arc::new(Folder { fd, id, absent: Mutex::default() });
        let mut open = lock(&self.open);
        if open.len() >= MAX_OPEN {
            open.clear();
        }
        open.insert(path.into(), Arc::clone(&folder));
        Some(folder)
    }
}

impl Folder {
    /// Looks at a file in it.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn look(&self, name: &[u8], follow: bool) -> io::Result<Sight> {
        look_within(self.fd(), name, follow)
    }

    /// Whether nothing of that name is in the folder, which has `stamp` now; `sure` as in [`Place::Open`]. The error says
    /// what is there, or why that is not known.
    pub fn lacks(&self, name: &[u8], stamp: &Stamp, sure: bool) -> Result<(), io::Result<Sight>> {
        if self.knows_absent(name, stamp) {
            return Ok(());
        }
        match self.look(name, true) {
            Err(e) if is_absent(&e) => {}
            other => return Err(other),
        }
        // A link that leads nowhere may come to lead somewhere without the folder changing.
        if sure && self.look(name, false).is_err_and(|e| is_absent(&e)) {
            self.note_absent(name, stamp);
        }
        Ok(())
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    fn now_has(&self, stamp: &Stamp) {
        let mut absent = lock(&self.absent);
        if absent.stamp != *stamp {
            *absent = Absent { stamp: *stamp, names: HashSet::new() };
        }
    }

    fn knows_absent(&self, name: &[u8], stamp: &Stamp) -> bool {
        let absent = lock(&self.absent);
        absent.stamp == *stamp && absent.names.contains(name)
    }

    fn note_absent(&self, name: &[u8], stamp: &Stamp) {
        let mut absent = lock(&self.absent);
        if absent.stamp == *stamp && absent.names.len() < MAX_ABSENT {
            absent.names.insert(name.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn lacks(folders: &Folders, grain: &Grain, folder: &Path, name: &str) -> bool {
        match folders.find(folder.as_os_str().as_encoded_bytes(), grain) {
            Place::Gone => true,
            Place::Open { folder, stamp, sure } => folder.lacks(name.as_bytes(), &stamp, sure).is_ok(),
            Place::Unknown => panic!("it can be opened"),
        }
    }

    #[test]
    fn what_comes_is_seen_however_soon() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (folders, grain) = (Folders::default(), Grain::new());
        let path = dir.path().join("d");
        assert!(lacks(&folders, &grain, &path, "x"));
        fs::create_dir(&path).expect("creates");
        for i in 0..200 {
            assert!(lacks(&folders, &grain, &path, "x"), "{i}");
            assert!(lacks(&folders, &grain, &path, "x"), "{i}");
            fs::write(path.join("x"), "").expect("writes");
            assert!(!lacks(&folders, &grain, &path, "x"), "{i}");
            fs::remove_file(path.join("x")).expect("removes");
        }
    }

    #[test]
    fn another_folder_in_its_place_is_another_folder() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (folders, grain) = (Folders::default(), Grain::new());
        let path = dir.path().join("d");
        fs::create_dir(&path).expect("creates");
        assert!(lacks(&folders, &grain, &path, "x"));
        fs::create_dir(dir.path().join("e")).expect("creates");
        fs::write(dir.path().join("e/x"), "").expect("writes");
        fs::rename(&path, dir.path().join("old")).expect("renames");
        fs::rename(dir.path().join("e"), &path).expect("renames");
        assert!(!lacks(&folders, &grain, &path, "x"));
        fs::remove_dir_all(&path).expect("removes");
        fs::write(&path, "").expect("writes");
        assert!(lacks(&folders, &grain, &path, "x"), "nothing is below a file");
    }

    #[test]
    fn a_link_that_leads_nowhere_is_looked_at_again() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (folders, grain) = (Folders::default(), Grain::new());
        fs::create_dir(dir.path().join("d")).expect("creates");
        std::os::unix::fs::symlink("../target", dir.path().join("d/x")).expect("links");
        assert!(lacks(&folders, &grain, &dir.path().join("d"), "x"));
        fs::write(dir.path().join("target"), "").expect("writes");
        assert!(!lacks(&folders, &grain, &dir.path().join("d"), "x"));
    }
}
