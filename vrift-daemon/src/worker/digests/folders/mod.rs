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

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, Weak};

use nix::sys::inotify::{AddWatchFlags, WatchDescriptor};
use nix::sys::statfs::{BTRFS_SUPER_MAGIC, EXT4_SUPER_MAGIC, FsType, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs};
use rustix::fs::{Mode, OFlags, open, openat, readlinkat};
use vrift_core::action::FileKind;
use vrift_core::wire::Stamp;

use super::super::sight::{as_path, is_absent, look, look_within};
use super::grain::Grain;
use crate::clock::now_ns;
use crate::sync::lock;
pub use folder::Folder;
use watch::{Notice, Notices, Watcher};

/// Folders that are watched.
const MAX_WATCHED: usize = 192;

/// Files that are watched themselves.
const MAX_FILES: usize = 2048;

/// Paths of folders that are held open beside these; then all that are not watched are let go.
const MAX_OPEN: usize = 128;

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

/// A name in a watched folder.
type Name = (Weak<Folder>, Box<[u8]>);

/// What is watched, and where notices go.
pub struct Watches {
    watcher: Watcher,
    folders: Mutex<HashMap<WatchDescriptor, Arc<Folder>>>,
    files: Mutex<HashMap<WatchDescriptor, Vec<Name>>>,
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
        if state.open.len() >= MAX_OPEN + MAX_WATCHED {
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
        let watches = self.watches.as_ref()?;
        let watch = watches.watcher.add_folder(fd.as_fd())?;
        let mut folders = lock(&watches.folders);
        if let Some(folder) = folders.get(&watch).filter(|folder| folder.id == id && *folder.real == *real) {
            return Some(Arc::clone(folder));
        }
        if folders.len() >= MAX_WATCHED {
            return None;
        }
        let folder = Arc::new(Folder::new(fd, id, real, Some(Arc::clone(watches))));
        if let Some(earlier) = folders.insert(watch, Arc::clone(&folder)) {
            // It was moved here: by its old path it is not to be believed.
            earlier.forget();
            self.turn += 1;
        }
        Some(folder)
    }
}

enum Settled {
    AsBefore,
    /// A path to a watched folder may lead elsewhere.
    WaysChanged,
    /// Nothing that is remembered can be believed.
    Lost,
}

impl Watches {
    fn new() -> Option<Self> {
        Some(Self { watcher: Watcher::new()?, folders: Mutex::default(), files: Mutex::default() })
    }

    /// Watches a file of a folder.
    fn add_file(&self, folder: &Arc<Folder>, name: &[u8]) -> bool {
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
    fn settle(&self) -> Settled {
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

    fn forget(&self) {
        // Folders and watches hold each other.
        for (_, folder) in lock(&self.folders).drain() {
            folder.forget();
        }
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
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    const ONCE: Need = Need { several: true, lasting: false };
    const OFTEN: Need = Need { several: true, lasting: true };

    fn find(folders: &Folders, grain: &Grain, folder: &Path, need: Need) -> Place {
        folders.settle();
        folders.find(folder.as_os_str().as_encoded_bytes(), need, grain)
    }

    fn lacks(folders: &Folders, grain: &Grain, folder: &Path, name: &str, need: Need) -> bool {
        match find(folders, grain, folder, need) {
            Place::Gone => true,
            Place::Open { folder, stamp, sure } => folder.lacks(name.as_bytes(), &stamp, sure).is_ok(),
            Place::Unknown => panic!("it can be opened"),
        }
    }

    #[test]
    fn what_comes_is_seen_however_soon() {
        [ONCE, OFTEN].into_iter().for_each(what_comes_is_seen);
    }

    fn what_comes_is_seen(need: Need) {
        let dir = tempfile::tempdir().expect("tempdir");
        let (folders, grain) = (Folders::default(), Grain::new());
        let path = dir.path().join("d");
        assert!(lacks(&folders, &grain, &path, "x", need));
        fs::create_dir(&path).expect("creates");
        for i in 0..200 {
            assert!(lacks(&folders, &grain, &path, "x", need), "{i}");
            assert!(lacks(&folders, &grain, &path, "x", need), "{i}");
            fs::write(path.join("x"), "").expect("writes");
            assert!(!lacks(&folders, &grain, &path, "x", need), "{i}");
            fs::remove_file(path.join("x")).expect("removes");
        }
    }

    #[test]
    fn another_folder_in_its_place_is_another_folder() {
        [ONCE, OFTEN].into_iter().for_each(another_folder_in_its_place);
    }

    fn another_folder_in_its_place(need: Need) {
        let dir = tempfile::tempdir().expect("tempdir");
        let (folders, grain) = (Folders::default(), Grain::new());
        let path = dir.path().join("d");
        fs::create_dir(&path).expect("creates");
        assert!(lacks(&folders, &grain, &path, "x", need));
        fs::create_dir(dir.path().join("e")).expect("creates");
        fs::write(dir.path().join("e/x"), "").expect("writes");
        fs::rename(&path, dir.path().join("old")).expect("renames");
        fs::rename(dir.path().join("e"), &path).expect("renames");
        assert!(!lacks(&folders, &grain, &path, "x", need));
        fs::remove_dir_all(&path).expect("removes");
        fs::write(&path, "").expect("writes");
        assert!(lacks(&folders, &grain, &path, "x", need), "nothing is below a file");
    }

    #[test]
    fn a_link_that_leads_nowhere_is_looked_at_again() {
        [ONCE, OFTEN].into_iter().for_each(a_link_that_leads_nowhere);
    }

    fn a_link_that_leads_nowhere(need: Need) {
        let dir = tempfile::tempdir().expect("tempdir");
        let (folders, grain) = (Folders::default(), Grain::new());
        fs::create_dir(dir.path().join("d")).expect("creates");
        std::os::unix::fs::symlink("../target", dir.path().join("d/x")).expect("links");
        assert!(lacks(&folders, &grain, &dir.path().join("d"), "x", need));
        fs::write(dir.path().join("target"), "").expect("writes");
        assert!(!lacks(&folders, &grain, &dir.path().join("d"), "x", need));
    }

    /// A watched folder two levels down, with a file that was looked at, and one that was not there.
    struct Tree {
        dir: tempfile::TempDir,
        folders: Folders,
        grain: Grain,
    }

    impl Tree {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("tempdir");
            let tree = Self { dir, folders: Folders::default(), grain: Grain::new() };
            fs::create_dir_all(tree.at("up/down")).expect("creates");
            fs::write(tree.at("up/down/file"), "old").expect("writes");
            for _ in 0..WATCHED_FROM {
                tree.size();
            }
            let Place::Open { folder, .. } = tree.find() else { panic!("it is there") };
            assert!(folder.is_watched(), "asked for often enough");
            tree
        }

        fn at(&self, path: &str) -> std::path::PathBuf {
            self.dir.path().join(path)
        }

        fn find(&self) -> Place {
            find(&self.folders, &self.grain, &self.at("up/down"), OFTEN)
        }

        /// The file's size, where it is there.
        fn size(&self) -> Option<u64> {
            match self.find() {
                Place::Open { folder, .. } => folder.look(b"file", true).ok().map(|sight| sight.stamp.size),
                Place::Gone => None,
                Place::Unknown => panic!("it can be opened"),
            }
        }

        /// The same, asked of the kernel.
        fn real_size(&self) -> Option<u64> {
            fs::metadata(self.at("up/down/file")).ok().map(|meta| meta.len())
        }
    }

    #[test]
    fn nothing_that_happens_on_the_way_goes_unseen() {
        use std::os::unix::fs::symlink;
        let tree = Tree::new();
        let at = |path: &str| tree.at(path);
        let rename = |from: &str, to: &str| fs::rename(tree.at(from), tree.at(to)).expect("renames");
        let steps: [(&str, &dyn Fn()); 19] = [
            ("written to", &|| fs::write(at("up/down/file"), "longer").expect("writes")),
            ("removed", &|| fs::remove_file(at("up/down/file")).expect("removes")),
            ("made again", &|| fs::write(at("up/down/file"), "x").expect("writes")),
            ("another in its place", &|| {
                fs::write(at("other"), "another").expect("writes");
                rename("other", "up/down/file");
            }),
            ("a second name", &|| fs::hard_link(at("up/down/file"), at("second")).expect("links")),
            ("through the second name", &|| fs::write(at("second"), "through the other name").expect("writes")),
            ("folder away", &|| rename("up/down", "down")),
            ("folder back, elsewhere changed", &|| {
                fs::write(at("down/file"), "1234567890").expect("writes");
                rename("down", "up/down");
            }),
            ("way away", &|| rename("up", "away")),
            ("a link in its place", &|| symlink("away", at("up")).expect("links")),
            ("behind the link", &|| fs::write(at("away/down/file"), "behind").expect("writes")),
            ("folder behind the link away", &|| rename("away/down", "away/gone")),
            ("folder behind the link back", &|| rename("away/gone", "away/down")),
            ("link elsewhere", &|| {
                fs::create_dir_all(at("third/down")).expect("creates");
                fs::write(at("third/down/file"), "third place").expect("writes");
                fs::remove_file(at("up")).expect("removes");
                symlink(at("third"), at("up")).expect("links");
            }),
            ("link away", &|| fs::remove_file(at("up")).expect("removes")),
            ("folder again", &|| fs::create_dir_all(at("up/down")).expect("creates")),
            ("file again", &|| fs::write(at("up/down/file"), "once more").expect("writes")),
            ("a file in the way", &|| {
                fs::remove_dir_all(at("up")).expect("removes");
                fs::write(at("up"), "").expect("writes");
            }),
            ("all again", &|| {
                fs::remove_file(at("up")).expect("removes");
                fs::create_dir_all(at("up/down")).expect("creates");
                fs::write(at("up/down/file"), "the end").expect("writes");
            }),
        ];
        for (name, step) in steps {
            step();
            for _ in 0..WATCHED_FROM + 1 {
                assert_eq!(tree.size(), tree.real_size(), "{name}");
            }
        }
    }

    #[test]
    fn kinds_and_links_are_seen_as_they_are() {
        let tree = Tree::new();
        let kind = |follow| match tree.find() {
            Place::Open { folder, .. } => folder.kind(b"file", follow).ok(),
            _ => None,
        };
        assert_eq!((kind(true), kind(false)), (Some(FileKind::File), Some(FileKind::File)));
        fs::rename(tree.at("up/down/file"), tree.at("up/down/real")).expect("renames");
        std::os::unix::fs::symlink("real", tree.at("up/down/file")).expect("links");
        assert_eq!((kind(false), kind(true)), (Some(FileKind::Symlink), Some(FileKind::File)));
        fs::remove_file(tree.at("up/down/real")).expect("removes");
        fs::create_dir(tree.at("up/down/real")).expect("creates");
        assert_eq!((kind(false), kind(true)), (Some(FileKind::Symlink), Some(FileKind::Dir)));
    }

    #[test]
    fn a_mount_is_seen() {
        let tree = Tree::new();
        let run = |args: &[&str]| {
            let at = tree.at("up");
            let done = std::process::Command::new(args[0]).args(&args[1..]).arg(at).output();
            done.is_ok_and(|done| done.status.success())
        };
        if !run(&["mount", "-t", "tmpfs", "none"]) {
            // An ordinary user cannot mount.
            return;
        }
        let below = tree.size();
        assert!(run(&["umount", "-l"]), "it was mounted");
        assert_eq!((below, tree.size()), (None, Some(3)));
    }

    #[test]
    fn writers_and_readers_at_once_never_disagree_for_long() {
        let tree = Tree::new();
        let done = std::sync::atomic::AtomicBool::new(false);
        let (tree, done) = (&tree, &done);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                // Readers that fill the memory while it is being emptied.
                scope.spawn(move || {
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        tree.size();
                    }
                });
            }
            for i in 0..2000_usize {
                fs::write(tree.at("up/down/file"), "x".repeat(i % 97)).expect("writes");
                assert_eq!(tree.size(), Some((i % 97) as u64), "{i}");
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn links_lead_to_plain_paths() {
        let of = |link: &str, target: &str| {
            target_of(link.as_bytes(), target.as_bytes()).map(|path| String::from_utf8_lossy(&path).into_owned())
        };
        assert_eq!(of("/lib", "usr/lib").as_deref(), Some("/usr/lib"));
        assert_eq!(of("/a/b/c", "../d/./e/").as_deref(), Some("/a/d/e"));
        assert_eq!(of("/a/b", "../../..").as_deref(), Some("/"));
        assert_eq!(of("/a/b", "/c").as_deref(), Some("/c"));
        assert_eq!(of("/a/b", "c/../d"), None);
    }
}
