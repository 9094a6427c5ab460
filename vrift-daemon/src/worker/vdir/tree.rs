//! The tree that the map shows: which entry is which file, what is watched, and what a notice changes.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::inotify::{AddWatchFlags, WatchDescriptor};
use rustix::fs::{Mode, OFlags, open};
use vrift_core::vdir::layout::flag;
use vrift_core::vdir::{Capacity, EntryData, Full, Identity, ROOT_ROOM, Writer};
use vrift_core::wire::Stamp;

use super::super::sight::as_path;
use super::Limits;
use super::list::{Item, Listed, Lister, join};
use super::place::Draft;
use super::settled::{FileSystem, Unsettled, look};
use super::shared::Fact;
use super::watch::{ITSELF, NAMES, Notice, Watcher};
use crate::clock::now_ns;

/// Files that may be watched themselves. The kernel keeps about a kilobyte for each.
const MAX_WATCHED_FILES: usize = 65_536;

/// After so many changes a file's `stat` is left to the kernel.
const MAX_CHANGES: u8 = 100;

/// The map, and what it takes to keep it.
pub struct Tree {
    /// The map.
    pub writer: Writer,
    /// It is too small: a larger one is to be made.
    pub outgrown: bool,
    watcher: Watcher,
    root: Vec<u8>,
    uid: u32,
    fs: FileSystem,
    folders: HashMap<u32, Folder>,
    files: HashMap<u32, WatchDescriptor>,
    watched: HashMap<WatchDescriptor, Vec<u32>>,
    /// Watches of the folders above the root.
    ways: HashSet<WatchDescriptor>,
    /// By entry: the folder that it is in, and its name.
    items: Vec<Option<(u32, Box<[u8]>)>>,
    /// Times that a file changed while it was watched.
    changes: HashMap<u32, u8>,
    /// Until when the `stat` of an entry holds, nanoseconds since 1970.
    holds: HashMap<u32, i64>,
    later: Vec<(Instant, u32)>,
    /// Entries that may be asked for again.
    open_questions: Vec<u32>,
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
        let mut listed = Lister { watcher: &watcher, dev: fs.dev, uid, root: &root }.list_all(limits.files);
        if listed.iter().all(|folder| !folder.path.is_empty()) {
            return Err(Ended::Unnoticed);
        }
        // A folder comes before what is in it.
        listed.sort_by(|a, b| a.path.cmp(&b.path));
        let writer = Writer::create(&draft.file, capacity(&listed, limits), identity)?;
        let mut tree = Self {
            writer,
            outgrown: false,
            watcher,
            root,
            uid,
            fs,
            folders: HashMap::new(),
            files: HashMap::new(),
            watched: HashMap::new(),
            ways,
            items: vec![Some((0, Box::default()))],
            changes: HashMap::new(),
            holds: HashMap::new(),
            later: Vec::new(),
            open_questions: Vec::new(),
        };
        for folder in listed {
            if let Some(number) = tree.writer.find(&folder.path) {
                tree.fill(number, folder, &mut Vec::new());
            }
        }
        Ok(tree)
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
            if self.ways.contains(&watch) {
                self.check_way()?;
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
        self.check_way()?;
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

    /// Entries that may be asked for again since the last time.
    pub fn open_questions(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.open_questions)
    }

    /// Puts what `stat` tells of an entry into the map, if it is settled; or asks to be reminded of it. Whoever asks again
    /// before anything changes gets the same.
    pub fn tell(&mut self, number: u32) {
        if self.items.get(number as usize).is_none_or(Option::is_none) || self.changes.get(&number) == Some(&MAX_CHANGES) {
            return;
        }
        match self.try_tell(number) {
            Ok(()) | Err(Unsettled::Never) => {}
            Err(Unsettled::For(ns)) => {
                let at = Instant::now() + Duration::from_nanos(u64::try_from(ns).unwrap_or_default());
                self.later.push((at, number));
            }
        }
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

    /// Entries that are to be tried again now.
    pub fn due(&mut self) -> Vec<u32> {
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.later).into_iter().partition(|(at, _)| *at <= now);
        self.later = later;
        let due: Vec<(Instant, u32)> = due;
        due.into_iter().map(|(_, number)| number).collect()
    }

    /// When [`Self::due`] will have something.
    pub fn next_due(&self) -> Option<Instant> {
        self.later.iter().map(|(at, _)| *at).min()
    }

    /// Takes back what will not hold for `ahead` from now on.
    pub fn expire(&mut self, ahead: Duration) {
        let until = now_ns().saturating_add(i64::try_from(ahead.as_nanos()).unwrap_or(i64::MAX));
        for number in self.holds.iter().filter(|(_, holds)| **holds <= until).map(|(number, _)| *number).collect::<Vec<_>>() {
            self.forget_stat(number);
        }
    }

    fn try_tell(&mut self, number: u32) -> Result<(), Unsettled> {
        let path = self.path(number);
        let is_folder = self.folders.contains_key(&number);
        let fd = if is_folder { self.list(number) } else { self.watch_file(number, &path) };
        let fd = fd.ok_or(Unsettled::Never)?;
        let settled = self.fs.settled(&fd);
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
    fn watch_file(&mut self, number: u32, path: &[u8]) -> Option<OwnedFd> {
        let kind = self.writer.flags(number) & flag::KIND;
        if !matches!(kind, flag::FILE | flag::LINK) || self.files.len() >= MAX_WATCHED_FILES {
            return None;
        }
        let path = self.lister().absolute(path);
        let fd = open(as_path(&path), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let seen = look(&fd).ok()?;
        let kind_now = if super::settled::kind(&seen) == 0o100_000 { flag::FILE } else { flag::LINK };
        // A watched folder that has just taken the file's place would lose its own watch to this one.
        if seen.stx_ino != self.writer.ino(number) || kind_now != kind || super::settled::kind(&seen) == 0o040_000 {
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
    fn changed(&mut self, number: u32) {
        let changes = self.changes.entry(number).or_default();
        *changes = changes.saturating_add(1).min(MAX_CHANGES);
        self.forget_stat(number);
    }

    fn forget_stat(&mut self, number: u32) {
        self.open_questions.push(number);
        self.writer.set_flags(number, self.writer.flags(number) & !(flag::STAT | flag::DIGEST));
        self.holds.remove(&number);
        if let Some(watch) = self.files.remove(&number) {
            self.release(watch, number);
        }
    }

    /// `number` needs a watch no longer.
    fn release(&mut self, watch: WatchDescriptor, number: u32) {
        if let Some(names) = self.watched.get_mut(&watch) {
            names.retain(|name| *name != number);
            if names.is_empty() {
                self.watched.remove(&watch);
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
            self.check_way()?;
        }
        self.forget_stat(number);
        // It may be closed to us now, or open.
        if what.contains(AddWatchFlags::IN_ATTRIB) && self.folders.contains_key(&number) {
            self.list(number);
        }
        Ok(())
    }

    /// A name came, went, or means something else now.
    fn name_changed(&mut self, folder: u32, name: &[u8]) {
        if !self.folders.contains_key(&folder) {
            return;
        }
        let flags = self.writer.flags(folder);
        self.writer.set_flags(folder, flags & !flag::ORDERED);
        self.forget_stat(folder);
        let path = self.path(folder);
        let known = self.writer.find(&join(&path, name));
        let item = self.lister().look(&path, name);
        match (known, item) {
            (Some(known), Some(item)) if self.is_same(known, &item) => {}
            (known, item) => {
                if let Some(known) = known {
                    self.remove(known);
                }
                let mut more = Vec::new();
                if item.is_some_and(|item| self.add(folder, &path, item, &mut more).is_err()) {
                    self.close(folder);
                }
                self.list_below(more);
            }
        }
    }

    fn is_same(&self, known: u32, item: &Item) -> bool {
        let same = self.writer.flags(known) & flag::KIND == item.kind && self.writer.ino(known) == item.ino;
        // An inode's number is given again; what a link leads to is in the map.
        same && item.kind != flag::LINK && (item.kind != flag::DIR || self.folders.contains_key(&known))
    }

    /// Lists a folder anew; it, open. `None` where the kernel answers for what is in it.
    fn list(&mut self, number: u32) -> Option<OwnedFd> {
        let path = self.path(number);
        let Some(mut listed) = self.lister().list(&path).filter(|listed| listed.ino == self.writer.ino(number) || number == 0)
        else {
            self.close(number);
            return None;
        };
        let fd = listed.fd.take();
        let mut more = Vec::new();
        self.fill(number, listed, &mut more);
        self.list_below(more);
        fd
    }

    fn list_below(&mut self, mut folders: Vec<u32>) {
        while let Some(number) = folders.pop() {
            let path = self.path(number);
            if let Some(listed) = self.lister().list(&path).filter(|listed| listed.ino == self.writer.ino(number)) {
                self.fill(number, listed, &mut folders);
            }
        }
    }

    /// Makes a folder's entries what was listed. Folders that have to be listed themselves are added to `more`.
    fn fill(&mut self, number: u32, listed: Listed, more: &mut Vec<u32>) {
        let old = self.folders.remove(&number);
        let mut gone = old.as_ref().map(|folder| folder.entries.clone()).unwrap_or_default();
        if let Some(old) = old.filter(|old| old.watch != listed.watch) {
            self.release(old.watch, number);
        }
        let names = self.watched.entry(listed.watch).or_default();
        if !names.contains(&number) {
            names.push(number);
        }
        self.folders.insert(number, Folder { watch: listed.watch, entries: gone.clone() });
        let mut order = Vec::with_capacity(listed.items.len());
        for item in listed.items {
            let known = self.writer.find(&join(&listed.path, &item.name));
            match known {
                Some(known) if self.is_same(known, &item) => {
                    gone.remove(&known);
                    order.push(known);
                    continue;
                }
                Some(known) => {
                    gone.remove(&known);
                    self.remove(known);
                }
                None => {}
            }
            match self.add(number, &listed.path, item, more) {
                Ok(added) => order.push(added),
                Err(Full) => {
                    self.close(number);
                    return;
                }
            }
        }
        gone.into_iter().for_each(|number| self.remove(number));
        if number == 0 {
            let root = EntryData { flags: self.writer.flags(0), ino: listed.ino, stat: None };
            let _ = self.writer.set_entry(b"", &root);
        }
        self.writer.set_order(number, &order);
        self.writer.set_flags(number, self.writer.flags(number) & !flag::STAT | flag::LISTED);
    }

    fn add(&mut self, folder: u32, path: &[u8], item: Item, more: &mut Vec<u32>) -> Result<u32, Full> {
        let path = join(path, &item.name);
        let stat = item.link.as_ref().map(|(_, stat)| *stat);
        let data = EntryData { flags: item.kind, ino: item.ino, stat };
        let added = self.writer.set_entry(&path, &data).and_then(|number| match &item.link {
            Some((target, _)) => self.writer.set_target(number, target).map(|()| number),
            None => Ok(number),
        });
        let Ok(number) = added else {
            self.writer.remove(&path);
            self.outgrown = true;
            return Err(Full);
        };
        if self.items.len() <= number as usize {
            self.items.resize(number as usize + 1, None);
        }
        self.items[number as usize] = Some((folder, item.name));
        if let Some(folder) = self.folders.get_mut(&folder) {
            folder.entries.insert(number);
        }
        if item.kind == flag::DIR {
            more.push(number);
        }
        Ok(number)
    }

    /// Removes an entry and all that is below it.
    fn remove(&mut self, number: u32) {
        self.close(number);
        let path = self.path(number);
        let Some((parent, _)) = self.items.get_mut(number as usize).and_then(Option::take) else { return };
        if let Some(folder) = self.folders.get_mut(&parent) {
            folder.entries.remove(&number);
        }
        if let Some(watch) = self.files.remove(&number) {
            self.release(watch, number);
        }
        self.holds.remove(&number);
        self.changes.remove(&number);
        self.open_questions.push(number);
        self.writer.remove(&path);
    }

    /// From now on the kernel answers for what is in a folder.
    fn close(&mut self, number: u32) {
        let Some(folder) = self.folders.remove(&number) else { return };
        for entry in folder.entries {
            self.remove(entry);
        }
        self.release(folder.watch, number);
        let flags = self.writer.flags(number);
        self.writer.set_flags(number, flags & !(flag::LISTED | flag::ORDERED));
        self.forget_stat(number);
        // Whoever remembers its path has to ask again.
        self.writer.turn();
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

    fn lister(&self) -> Lister<'_> {
        Lister { watcher: &self.watcher, dev: self.fs.dev, uid: self.uid, root: &self.root }
    }

    /// Whether the root's path still leads to the root.
    fn check_way(&self) -> Result<(), Ended> {
        let there = super::super::sight::look_itself(&self.root);
        let same = there.is_ok_and(|sight| (sight.stamp.dev, sight.stamp.ino) == (self.fs.dev, self.writer.ino(0)));
        if same { Ok(()) } else { Err(Ended::Moved) }
    }
}

fn watch_ways(watcher: &Watcher, root: &[u8]) -> io::Result<HashSet<WatchDescriptor>> {
    let above = Path::new(OsStr::from_bytes(root)).ancestors().skip(1);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    above.map(|folder| watcher.add_way(open(folder, flags, Mode::empty())?.as_fd())).collect()
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
