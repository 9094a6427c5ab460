//! The tree that the map shows: which entry is which file, what is watched, and what a notice changes.

mod names;
mod own;
mod shared;
mod tell;

pub use shared::Before;

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use nix::sys::inotify::{AddWatchFlags, WatchDescriptor};
use rustix::fs::{Mode, OFlags, open};
use vrift_core::vdir::{Capacity, Identity, ROOT_ROOM, Writer};

use super::Limits;
use super::changes::Changes;
use super::list::{Item, Listed, Lister, absolute};
use super::place::Draft;
use super::settled::FileSystem;
use super::watch::{ITSELF, NAMES, Notice, Watcher};
use crate::worker::sight::as_path;

/// The map, and what it takes to keep it.
pub struct Tree {
    /// The map.
    pub writer: Writer,
    /// It is too small: a larger one is to be made.
    outgrown: bool,
    watcher: Watcher,
    root: Vec<u8>,
    uid: u32,
    /// Where the map's trees begin: the project's root, or each of the shared trees.
    tops: Vec<Top>,
    /// Folders are listed one by one, when they are asked for.
    on_demand: bool,
    /// There is room for a larger map.
    may_grow: bool,
    /// Watches that it may have.
    most_watches: usize,
    folders: HashMap<u32, Folder>,
    files: HashMap<u32, WatchDescriptor>,
    watched: HashMap<WatchDescriptor, Vec<u32>>,
    /// Watches of the folders above the tops, and the names in each that lead to one.
    ways: HashMap<WatchDescriptor, Vec<OsString>>,
    /// By entry: the folder that it is in, and its name.
    items: Vec<Option<(u32, Box<[u8]>)>>,
    /// Times that a file changed while it was watched.
    changes: HashMap<u32, u16>,
    /// Until when the `stat` of an entry holds, nanoseconds since 1970.
    holds: HashMap<u32, i64>,
    /// Entries that are to be tried again, and when.
    later: HashMap<u32, Instant>,
    /// How often an entry had not settled when it was looked at.
    tries: HashMap<u32, u32>,
    /// Entries that may be asked for again.
    open_questions: Vec<u32>,
    /// Where it is noted what does not hold any more.
    log: Option<Arc<Changes>>,
    /// The map's own files, and their watches.
    own: Vec<(File, WatchDescriptor)>,
}

/// A folder from which on the map says what there is.
struct Top {
    /// Below the root.
    path: Vec<u8>,
    ino: u64,
    fs: FileSystem,
}

struct Folder {
    watch: WatchDescriptor,
    entries: HashSet<u32, foldhash::fast::RandomState>,
}

/// There can be no VDir any more, or none for now.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    /// The project is not where it was.
    #[error("the project was moved or removed")]
    Moved,
    /// Its file system does not tell of all changes.
    #[error("changes of this file system are not all noticed by this kernel")]
    Unnoticed,
    /// It is the root of all, or too deep.
    #[error("the project's path is no place for one")]
    Unfit,
    /// What readers look for, or write to, is not ours any more.
    #[error("somebody changed or removed a file of it")]
    Meddled,
    /// The kernel has no io_uring of the kind that is needed, or does not give it to us.
    #[error("io_uring, as of Linux 6.5: {0}")]
    NoRing(io::Error),
    /// The kernel does not give what is needed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Where a tree is, and how it is told apart.
pub struct Ground {
    /// What the map's header says.
    pub identity: Identity,
    /// How large the map may get.
    pub limits: Limits,
}

impl Tree {
    /// Scans the tree and writes a map of it into `draft`. Its first phase is still under way.
    ///
    /// # Errors
    /// See [`Ended`]; among others, there is no room in `/dev/shm`.
    pub fn scan(ground: &Ground, draft: &Draft) -> Result<Self, Ended> {
        let Ground { identity, limits } = ground;
        let (root, uid) = (identity.root.clone(), identity.uid);
        if root.len() > ROOT_ROOM || root == b"/" {
            return Err(Ended::Unfit);
        }
        let watcher = Watcher::new()?;
        let ways = watch_ways(&watcher, &root)?;
        let fd = open(as_path(&root), OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        let fs = FileSystem::of(fd.map_err(io::Error::from)?).ok_or(Ended::Unnoticed)?;
        let mut listed = Lister { watcher: &watcher, dev: fs.dev, uid, root: &root, start: b"" }.list_all(limits.files);
        if listed.iter().all(|folder| !folder.path.is_empty()) {
            return Err(Ended::Unnoticed);
        }
        // A folder comes before what is in it.
        listed.sort_by(|a, b| a.path.cmp(&b.path));
        let writer = Writer::create(&draft.file, capacity(&listed, limits), identity)?;
        let mut tree = Self::new(writer, watcher, identity);
        tree.ways = ways;
        tree.tops.push(Top { path: Vec::new(), ino: 0, fs });
        for folder in listed {
            if let Some(number) = tree.writer.find(&folder.path) {
                tree.fill(number, folder, &mut Vec::new());
            }
        }
        tree.tops[0].ino = tree.writer.ino(0);
        Ok(tree)
    }

    fn new(writer: Writer, watcher: Watcher, identity: &Identity) -> Self {
        Self {
            writer,
            outgrown: false,
            watcher,
            root: identity.root.clone(),
            uid: identity.uid,
            tops: Vec::new(),
            on_demand: false,
            may_grow: true,
            most_watches: usize::MAX,
            folders: HashMap::new(),
            files: HashMap::new(),
            watched: HashMap::new(),
            ways: HashMap::new(),
            items: vec![Some((0, Box::default()))],
            changes: HashMap::new(),
            holds: HashMap::new(),
            later: HashMap::new(),
            tries: HashMap::new(),
            open_questions: Vec::new(),
            log: None,
            own: Vec::new(),
        }
    }

    /// Whether a larger map is to be made.
    pub fn is_to_grow(&self) -> bool {
        self.outgrown && self.may_grow
    }

    /// The descriptor that notices come from.
    pub fn notices(&self) -> impl AsFd + '_ {
        self.watcher.fd()
    }

    /// Numbers of entries are below this one.
    pub fn used(&self) -> u32 {
        self.items.len() as u32
    }

    /// Takes all notices that wait, and brings the map up to date.
    ///
    /// # Errors
    /// The root is not there any more.
    pub fn settle(&mut self) -> Result<(), Ended> {
        let Ok(notices) = self.watcher.notices() else { return self.renew() };
        let mut names: HashSet<(u32, Box<[u8]>)> = HashSet::new();
        for Notice { watch, what, name } in notices {
            if self.own.iter().any(|(_, own)| *own == watch) {
                return Err(Ended::Meddled);
            }
            if let Some(next) = self.ways.get(&watch) {
                // Not by its number: another folder that takes the name may get the number, too.
                if what.intersects(GONE) || name.as_ref().is_some_and(|name| next.contains(name)) {
                    return Err(Ended::Moved);
                }
                // Other names that come and go are on no way.
                if name.is_none() {
                    self.check_way()?;
                }
            }
            for number in self.watched.get(&watch).cloned().unwrap_or_default() {
                match &name {
                    _ if self.files.contains_key(&number) => self.changed(number),
                    Some(name) if what.intersects(NAMES) => {
                        names.insert((number, name.as_bytes().into()));
                    }
                    None if what.intersects(ITSELF) => self.folder_changed(number, what)?,
                    _ => {}
                }
            }
            if what.contains(AddWatchFlags::IN_IGNORED) {
                self.watch_ended(watch);
            }
        }
        for (folder, name) in names {
            self.name_changed(folder, &name);
        }
        Ok(())
    }

    /// Anything may have changed: everything is looked at again.
    ///
    /// # Errors
    /// The root is not there any more.
    pub fn renew(&mut self) -> Result<(), Ended> {
        self.note_all();
        self.check_way()?;
        self.check_own()?;
        for number in self.files.keys().copied().collect::<Vec<_>>() {
            self.forget_stat(number);
        }
        let mut folders: Vec<(Vec<u8>, u32)> = self.folders.keys().map(|number| (self.path(*number), *number)).collect();
        folders.sort();
        for (_, number) in folders {
            // One that is gone by now went with its parent.
            if self.folders.contains_key(&number) {
                self.list(number);
            }
        }
        self.writer.turn();
        Ok(())
    }

    /// From here on whatever does not hold any more is noted.
    pub fn note_changes(&mut self, log: &Arc<Changes>) {
        self.log = Some(Arc::clone(log));
    }

    fn note(&self, path: impl FnOnce() -> Vec<u8>, whole: bool) {
        if let Some(log) = self.log.as_ref().filter(|log| log.is_wanted()) {
            log.note(&path(), whole);
        }
    }

    fn note_all(&self) {
        if let Some(log) = self.log.as_ref().filter(|log| log.is_wanted()) {
            log.note_all();
        }
    }

    /// Entries that may be asked for again since the last time.
    pub fn open_questions(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.open_questions)
    }

    /// `number` needs a watch no longer.
    fn release(&mut self, watch: WatchDescriptor, number: u32) {
        if let Some(names) = self.watched.get_mut(&watch) {
            names.retain(|name| *name != number);
            if names.is_empty() {
                self.watched.remove(&watch);
                if self.ways.contains_key(&watch) {
                    return;
                }
                self.watcher.remove(watch);
            }
        }
    }

    /// The kernel ended a watch: what was watched is gone. Another file may have its name and its inode's number by now.
    fn watch_ended(&mut self, watch: WatchDescriptor) {
        for number in self.watched.remove(&watch).unwrap_or_default() {
            self.close(number);
            self.forget_stat(number);
        }
    }

    fn folder_changed(&mut self, number: u32, what: AddWatchFlags) -> Result<(), Ended> {
        if number == 0 {
            if what.intersects(GONE) {
                return Err(Ended::Moved);
            }
            self.check_way()?;
        }
        self.forget_stat(number);
        // It may be closed to us now, or open.
        if what.contains(AddWatchFlags::IN_ATTRIB) && self.folders.contains_key(&number) {
            self.list(number);
        }
        Ok(())
    }

    /// The path of an entry below the root.
    fn path(&self, number: u32) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = number;
        while at != 0 {
            let Some((parent, name)) = self.items.get(at as usize).and_then(Option::as_ref) else { break };
            names.push(&**name);
            at = *parent;
        }
        names.reverse();
        names.join(&b'/')
    }

    /// For what is at `path`, which must be in one of the trees.
    fn lister(&self, path: &[u8]) -> Lister<'_> {
        let top = self.top(path);
        Lister {
            watcher: &self.watcher,
            // No device has this number: nothing is listed that is in no tree.
            dev: top.map_or(u64::MAX, |top| top.fs.dev),
            uid: self.uid,
            root: &self.root,
            start: top.map_or(b"", |top| &top.path),
        }
    }

    /// Where the tree begins that `path` is in.
    fn top(&self, path: &[u8]) -> Option<&Top> {
        self.tops.iter().find(|top| is_below(path, &top.path))
    }

    /// Whether the paths of all tops still lead there, for whoever asks.
    fn check_way(&self) -> Result<(), Ended> {
        let is_same = |top: &Top| {
            let there = crate::worker::sight::look_itself(&absolute(&self.root, &top.path));
            there.is_ok_and(|sight| (sight.stamp.dev, sight.stamp.ino) == (top.fs.dev, top.ino))
        };
        if self.tops.iter().all(is_same) && self.ways_are_open() { Ok(()) } else { Err(Ended::Moved) }
    }
}

/// What says that a watched folder is not where it was.
const GONE: AddWatchFlags = AddWatchFlags::IN_DELETE_SELF
    .union(AddWatchFlags::IN_MOVE_SELF)
    .union(AddWatchFlags::IN_IGNORED)
    .union(AddWatchFlags::IN_UNMOUNT);

/// Whether `path` is `top` or below it.
fn is_below(path: &[u8], top: &[u8]) -> bool {
    path.strip_prefix(top).is_some_and(|rest| top.is_empty() || rest.first().is_none_or(|c| *c == b'/'))
}

/// Watches the folders above the root; gives the name of the next one for each.
fn watch_ways(watcher: &Watcher, root: &[u8]) -> io::Result<HashMap<WatchDescriptor, Vec<OsString>>> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut ways = HashMap::new();
    let mut below = Path::new(OsStr::from_bytes(root));
    while let Some(folder) = below.parent() {
        let watch = watcher.add_way(open(folder, flags, Mode::empty())?.as_fd())?;
        ways.insert(watch, vec![below.file_name().unwrap_or_default().to_owned()]);
        below = folder;
    }
    Ok(ways)
}

/// Room for what there is, and for half as much again.
fn capacity(listed: &[Listed], limits: &Limits) -> Capacity {
    let names = listed.iter().flat_map(|folder| &folder.items);
    let bytes = |item: &Item| item.name.len().next_multiple_of(8) + item.link.as_ref().map_or(0, |(to, _)| to.len() + 8);
    let (count, bytes) = names.fold((0_u64, 0_u64), |(count, sum), item| (count + 1, sum + bytes(item) as u64));
    let entries = |count: u64| u32::try_from(count.min(limits.files)).unwrap_or(u32::MAX - 1);
    let mut capacity = Capacity { entries: entries(count + count / 2 + 2048), names: bytes + bytes / 2 + (64 << 10), digests: 0 };
    capacity.digests = capacity.entries / 4;
    while capacity.file_len() > limits.size && capacity.entries > 64 {
        capacity =
            Capacity { entries: capacity.entries / 8 * 7, names: capacity.names / 8 * 7, digests: capacity.digests / 8 * 7 };
    }
    capacity
}
