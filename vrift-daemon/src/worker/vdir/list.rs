//! Listing folders: one, or a whole tree by several threads.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Condvar, Mutex, PoisonError};

use nix::sys::inotify::WatchDescriptor;
use rustix::fs::{
    Access, AtFlags, FileType, Mode, OFlags, RawDir, Statx, StatxAttributes, StatxFlags, accessat, getxattr, ioctl_getflags,
    makedev, open, readlinkat, statx,
};
use rustix::io::Errno;
use vrift_core::vdir::Stat;
use vrift_core::vdir::layout::flag;

use super::super::sight::as_path;
use super::settled::{look, stat};
use super::watch::{Watcher, through};
use crate::sync::lock;

/// Folders whose content changes all the time and is rarely asked for: the kernel answers for what is in them.
const LEFT_OUT: [&[u8]; 5] = [b".git", b".vrift", b".hg", b".svn", b".jj"];

/// What Cargo and others put into folders of output; <https://bford.info/cachedir/>.
const OUTPUT_MARK: &str = "CACHEDIR.TAG";

/// `FS_CASEFOLD_FL`, linux/fs.h: the folder's names mean the same in capitals.
const CASEFOLD: u32 = 0x4000_0000;

/// Threads of the first scan.
const THREADS: usize = 4;

/// What is needed to list a folder.
pub struct Lister<'a> {
    /// Watches each folder before it is listed.
    pub watcher: &'a Watcher,
    /// The device that the tree is on.
    pub dev: u64,
    /// Who may look.
    pub uid: u32,
    /// The root's absolute path, empty where that is the root of all.
    pub root: &'a [u8],
    /// Where the tree begins, below the root: its name says nothing about what is in it.
    pub start: &'a [u8],
}

/// A folder's names, in the kernel's order.
pub struct Listed {
    /// Its path below the root.
    pub path: Vec<u8>,
    /// Its watch.
    pub watch: WatchDescriptor,
    /// Its inode.
    pub ino: u64,
    /// It, open.
    pub fd: Option<OwnedFd>,
    /// What is in it.
    pub items: Vec<Item>,
}

/// A name in a folder.
pub struct Item {
    /// The name.
    pub name: Box<[u8]>,
    /// Its kind, as [`flag::KIND`] has it.
    pub kind: u16,
    /// Its inode.
    pub ino: u64,
    /// For symbolic links.
    pub link: Option<(Box<[u8]>, Stat)>,
}

impl Lister<'_> {
    /// The absolute path of what is at `path` below the root.
    pub fn absolute(&self, path: &[u8]) -> Vec<u8> {
        absolute(self.root, path)
    }

    /// Lists a folder, which is watched from before that on; `None` where the kernel is to answer for what is in it.
    pub fn list(&self, path: &[u8]) -> Option<Listed> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = open(as_path(&self.absolute(path)), flags, Mode::empty()).ok()?;
        let seen = look(&fd).ok()?;
        let foreign = makedev(seen.stx_dev_major, seen.stx_dev_minor) != self.dev
            || path != self.start && seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
        let name = path.rsplit(|c| *c == b'/').next().unwrap_or(path);
        if foreign || !is_open(&fd, &seen, self.uid, 0o5) || path != self.start && LEFT_OUT.contains(&name) {
            return None;
        }
        if path != self.start && accessat(&fd, OUTPUT_MARK, Access::EXISTS, AtFlags::empty()).is_ok() {
            return None;
        }
        if ioctl_getflags(&fd).is_ok_and(|flags| flags.bits() & CASEFOLD != 0) {
            return None;
        }
        let watch = self.watcher.add_folder(fd.as_fd()).ok()?;
        let mut items = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut entries = RawDir::new(&fd, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.ok()?;
            let name = entry.file_name().to_bytes();
            if !matches!(name, b"." | b"..") {
                items.push(self.item(&fd, name, entry.file_type(), entry.ino()));
            }
        }
        Some(Listed { path: path.to_vec(), watch, ino: seen.stx_ino, fd: Some(fd), items })
    }

    /// The item of a name, as the kernel tells now; `None` where there is none.
    pub fn look(&self, folder: &[u8], name: &[u8]) -> Option<Item> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = open(as_path(&self.absolute(folder)), flags, Mode::empty()).ok()?;
        let seen = statx(&fd, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS).ok()?;
        let kind = FileType::from_raw_mode(u32::from(seen.stx_mode));
        Some(self.item(&fd, name, kind, seen.stx_ino))
    }

    fn item(&self, folder: &OwnedFd, name: &[u8], kind: FileType, ino: u64) -> Item {
        let mut item = Item { name: name.into(), kind: flag::OTHER, ino, link: None };
        match kind {
            FileType::RegularFile => item.kind = flag::FILE,
            FileType::Directory => item.kind = flag::DIR,
            FileType::Symlink => {
                item.link = link(folder, name);
                item.kind = if item.link.is_some() { flag::LINK } else { flag::OTHER };
            }
            // Some file systems do not tell; the others are not answered for.
            _ => {}
        }
        item
    }

    /// Lists the whole tree.
    pub fn list_all(&self, most: u64) -> Vec<Listed> {
        let queue = Queue::default();
        lock(&queue.state).waiting.push(Vec::new());
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
            for _ in 1..threads {
                scope.spawn(|| queue.work(self, most));
            }
            queue.work(self, most);
        });
        queue.state.into_inner().unwrap_or_else(PoisonError::into_inner).done
    }
}

fn link(folder: &OwnedFd, name: &[u8]) -> Option<(Box<[u8]>, Stat)> {
    let target = readlinkat(folder, name, Vec::new()).ok()?;
    let seen = statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS | StatxFlags::BTIME).ok()?;
    let (_, stat) = stat(&seen)?;
    (stat.size == target.as_bytes().len() as u64).then(|| (target.into_bytes().into(), stat))
}

/// Whether every process of user `uid` may do with a folder what `bits` say (4 list it, 1 go through it): who may not gets another
/// answer than who may. Its owner's bits judge a folder without knowing groups; somebody else's must be open to all.
pub fn is_open(folder: impl AsFd, seen: &Statx, uid: u32, bits: u16) -> bool {
    let has = |shift: u16| seen.stx_mode >> shift & bits == bits;
    let has_list = || {
        let list = getxattr(through(folder.as_fd()), c"system.posix_acl_access", &mut [0_u8; 0][..]);
        !matches!(list, Err(Errno::NODATA | Errno::OPNOTSUPP))
    };
    uid == 0 || if seen.stx_uid == uid { has(6) } else { has(3) && has(0) && !has_list() }
}

/// Folders that are to be listed.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<Vec<u8>>,
    /// Folders that a thread is at work on.
    busy: usize,
    done: Vec<Listed>,
    items: u64,
}

impl Queue {
    fn work(&self, lister: &Lister<'_>, most: u64) {
        let mut state = lock(&self.state);
        loop {
            let Some(path) = state.waiting.pop() else {
                if state.busy == 0 {
                    self.more.notify_all();
                    return;
                }
                state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            if state.items > most {
                continue;
            }
            state.busy += 1;
            drop(state);
            let listed = lister.list(&path);
            state = lock(&self.state);
            state.busy -= 1;
            if let Some(mut listed) = listed {
                // A tree has more folders than a process may have descriptors.
                listed.fd = None;
                state.items += listed.items.len() as u64;
                state
                    .waiting
                    .extend(listed.items.iter().filter(|item| item.kind == flag::DIR).map(|item| join(&path, &item.name)));
                state.done.push(listed);
            }
            self.more.notify_all();
        }
    }
}

/// The absolute path of what is at `path` below `root`.
pub fn absolute(root: &[u8], path: &[u8]) -> Vec<u8> {
    let mut whole = root.to_vec();
    if !path.is_empty() || root.is_empty() {
        whole.push(b'/');
        whole.extend_from_slice(path);
    }
    whole
}

/// A name in a folder, as a path below the root.
pub fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, name].join(&b'/') }
}
