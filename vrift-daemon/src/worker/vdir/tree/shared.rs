//! The trees that all projects share: where they begin, and listing them folder by folder, as they are asked for.
//!
//! The map's root is that of all. On the way to each tree it has the folders above, and says of these that they are there, and
//! nothing of what else is in them.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags, StatxAttributes, open};
use vrift_core::vdir::layout::flag;
use vrift_core::vdir::{Capacity, EntryData, Writer};

use super::super::list::{absolute, is_open};
use super::super::place::Draft;
use super::super::settled::{FileSystem, look};
use super::super::watch::Watcher;
use super::{Ended, Ground, Top, Tree, is_below};
use crate::worker::sight::as_path;

/// Trees in one map.
const MAX_TOPS: usize = 32;

/// Entries of a map that nobody has asked yet.
const FIRST_ENTRIES: u32 = 8192;

/// Watches that such a map takes at most; and no more than an eighth of what the user may have, which is for all his programs.
const MOST_WATCHES: usize = 65_536;

/// What was in a map that another one follows.
#[derive(Default)]
pub struct Before {
    /// Folders that were listed, and what was told of, below the root.
    asked: Vec<Vec<u8>>,
    /// Entries that there is to be room for.
    entries: u32,
}

impl Tree {
    /// A map of the trees at `tops`, absolute paths, with what the map `before` it had. Its first phase is still under way.
    ///
    /// # Errors
    /// See [`Ended`]; among others, none of the trees can be kept.
    pub fn on_demand(ground: &Ground, draft: &Draft, tops: &[Vec<u8>], before: Before) -> Result<Self, Ended> {
        let Ground { identity, limits } = ground;
        let most = u32::try_from(limits.files).unwrap_or(u32::MAX - 1);
        let mut capacity = room(before.entries.max(FIRST_ENTRIES).min(most));
        while capacity.file_len() > limits.size && capacity.entries > 64 {
            capacity = room(capacity.entries / 8 * 7);
        }
        let watcher = Watcher::new()?;
        let mut tree = Self::new(Writer::create(&draft.file, capacity, identity)?, watcher, identity);
        (tree.on_demand, tree.most_watches) = (true, most_watches());
        let next = capacity.entries.saturating_mul(2);
        tree.may_grow = next <= most && room(next).file_len() <= limits.size;
        let root = look(open("/", WAY, Mode::empty()).map_err(std::io::Error::from)?)?;
        let data = EntryData { flags: flag::DIR, ino: root.stx_ino, stat: None };
        let _ = tree.writer.set_entry(b"", &data);
        tops.iter().for_each(|top| tree.admit(top));
        if tree.tops.is_empty() {
            return Err(Ended::Unnoticed);
        }
        for path in before.asked {
            if let Some(number) = tree.writer.find(&path) {
                tree.tell(number);
            }
        }
        Ok(tree)
    }

    /// What the next map is to have as well.
    pub fn asked(&self) -> Before {
        let numbers = self.folders.keys().chain(self.files.keys());
        let mut asked: Vec<Vec<u8>> = numbers.map(|number| self.path(*number)).collect();
        // A folder comes before what is in it.
        asked.sort();
        let entries = self.writer.capacity().entries;
        Before { asked, entries: if self.outgrown { entries.saturating_mul(2) } else { entries } }
    }

    /// Takes the tree at `path`, absolute, into the map, if it can be kept. What is in it comes once it is asked for.
    pub fn admit(&mut self, path: &[u8]) {
        let Some(below) = path.strip_prefix(b"/").filter(|below| !below.is_empty()) else { return };
        let nested = |top: &Top| is_below(below, &top.path) || is_below(&top.path, below);
        if self.tops.len() >= MAX_TOPS || self.tops.iter().any(nested) || self.try_admit(below).is_some() {
            return;
        }
        tracing::debug!("no map of {}", as_path(path).display());
    }

    fn try_admit(&mut self, below: &[u8]) -> Option<()> {
        let whole = absolute(b"", below);
        // Watched first, then looked at.
        let mut way = Vec::new();
        let mut next = None;
        for folder in as_path(&whole).ancestors() {
            let fd = open(folder, WAY, Mode::empty()).ok()?;
            let watch = self.watcher.add_way(fd.as_fd()).ok()?;
            let seen = look(&fd).ok().filter(|seen| is_open(&fd, seen, self.uid, 0o1))?;
            way.push((folder.strip_prefix("/").ok()?.as_os_str().as_bytes().to_vec(), watch, next, seen));
            next = folder.file_name().map(OsStr::to_owned);
        }
        let top = open(as_path(&whole), WAY, Mode::empty()).ok()?;
        let seen = look(&top).ok()?;
        // By another spelling nobody would ask for it; and of a mount's root, `..` is in no map.
        if fs::canonicalize(as_path(&whole)).ok()? != as_path(&whole)
            || seen.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)
            || way.first()?.3.stx_ino != seen.stx_ino
        {
            return None;
        }
        let top = Top { path: below.to_vec(), ino: seen.stx_ino, fs: FileSystem::of(&top)? };
        let mut made = Vec::new();
        for (path, watch, next, seen) in way.into_iter().rev() {
            let names = self.ways.entry(watch).or_default();
            names.extend(next.filter(|next| !names.contains(next)));
            if self.writer.find(&path).is_some() {
                continue;
            }
            let data = EntryData { flags: flag::DIR, ino: seen.stx_ino, stat: None };
            let Ok(number) = self.writer.set_entry(&path, &data) else {
                made.iter().for_each(|path: &Vec<u8>| _ = self.writer.remove(path));
                self.outgrown = true;
                return None;
            };
            let (folder, name) = match path.iter().rposition(|c| *c == b'/') {
                Some(slash) => (self.writer.find(&path[..slash])?, &path[slash + 1..]),
                None => (0, &path[..]),
            };
            self.set_item(number, folder, name.into());
            made.push(path);
        }
        self.tops.push(top);
        Some(())
    }

    /// Whether everybody may go all the way to each shared tree. Of a project's root its worker's own eyes tell.
    pub(super) fn ways_are_open(&self) -> bool {
        let is_open = |folder: &Path| {
            let Ok(fd) = open(folder, WAY, Mode::empty()) else { return false };
            look(&fd).is_ok_and(|seen| {
                let below = folder.as_os_str().as_bytes().strip_prefix(b"/").unwrap_or_default();
                let known = self.writer.find(below).map(|number| self.writer.ino(number));
                is_open(&fd, &seen, self.uid, 0o1) && known == Some(seen.stx_ino)
            })
        };
        !self.on_demand || self.tops.iter().all(|top| as_path(&absolute(b"", &top.path)).ancestors().all(is_open))
    }
}

const WAY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Names in shared trees are long: they carry versions.
fn room(entries: u32) -> Capacity {
    Capacity { entries, names: u64::from(entries) * 40, digests: entries / 2 }
}

fn most_watches() -> usize {
    let text = fs::read_to_string("/proc/sys/fs/inotify/max_user_watches").unwrap_or_default();
    text.trim().parse().map_or(1024, |most: usize| most / 8).min(MOST_WATCHES)
}
