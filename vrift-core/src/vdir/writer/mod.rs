//! Writing a VDir. There is one writer; it works in phases, see [`super`].

mod index;
mod linked;
mod room;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{Ordering, fence};

use super::hash;
use super::layout::{self, ENTRY_LEN, ENTRY_WORDS, NONE, SHAPE_WORDS, SLOTS, entry, flag};
pub use room::Capacity;
use room::{Regions, SHAPES};

use super::mem::Mem;
use super::ring::Offsets;

/// Whose VDir it is, and where it holds.
#[derive(Clone, Debug)]
pub struct Identity {
    /// First 8 bytes of the project's id.
    pub project: u64,
    /// A number that no other VDir of this project had.
    pub generation: u64,
    /// Inodes of the mount and the user namespace.
    pub namespaces: [u64; 2],
    /// Effective user.
    pub uid: u32,
    /// Two numbers that nobody can guess.
    pub key: [u64; 2],
    /// The root's absolute path.
    pub root: Vec<u8>,
}

/// What an entry is to say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EntryData {
    /// Bits of [`flag`], without `USED`.
    pub flags: u16,
    /// Inode.
    pub ino: u64,
    /// What `stat` tells, if `flags` says that it is exact.
    pub stat: Option<Stat>,
}

/// What `stat` tells, but for the inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stat {
    /// Device.
    pub dev: u64,
    /// Kind and permissions.
    pub mode: u32,
    /// Links.
    pub nlink: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970: access, modification, change, birth.
    pub times: [i64; 4],
    /// Of 512 bytes.
    pub blocks: u32,
    /// Preferred size of reads.
    pub blksize: u32,
    /// `stx_attributes` and their mask, `stx_mnt_id`, `stx_mask`.
    pub statx: [u64; 4],
}

/// There is no room for it: the map has to be replaced by a larger one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the VDir is full")]
pub struct Full;

/// A VDir that is being written.
pub struct Writer {
    map: Mem,
    regions: Regions,
    capacity: Capacity,
    key: [u64; 2],
    used: u32,
    live: u64,
    /// Slots that are free, but that searches go on behind.
    passed: u64,
    free: Vec<u32>,
    names_used: u64,
    free_names: HashMap<u64, Vec<u32>>,
    shapes: HashMap<[u64; SHAPE_WORDS - 1], u16>,
    digests_used: u32,
    free_digests: Vec<u32>,
}

impl Writer {
    /// Makes `file`, which must be empty and nobody else's yet, a VDir; readers refuse it until [`Self::seal`]. Its space is
    /// allocated for real.
    ///
    /// # Errors
    /// There is not so much space, or what the kernel gives else.
    pub fn create(file: &File, capacity: Capacity, identity: &Identity) -> io::Result<Self> {
        let regions = Regions::of(&capacity);
        let len = usize::try_from(regions.end).map_err(|_| io::ErrorKind::InvalidInput)?;
        let length = i64::try_from(regions.end).map_err(|_| io::ErrorKind::InvalidInput)?;
        // SAFETY: numbers, and a descriptor that the caller holds.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
            0 => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
        let map = Mem::new(file.as_raw_fd(), len, true).ok_or_else(io::Error::last_os_error)?;
        let this = Self {
            map,
            regions,
            capacity,
            key: identity.key,
            used: 0,
            live: 0,
            passed: 0,
            free: Vec::new(),
            names_used: 0,
            free_names: HashMap::new(),
            shapes: HashMap::new(),
            digests_used: 0,
            free_digests: Vec::new(),
        };
        let regions = &this.regions;
        let fixed = [
            (layout::FILE_LEN, regions.end),
            (layout::PROJECT, identity.project),
            (layout::GENERATION, identity.generation),
            (layout::MOUNTS, identity.namespaces[0]),
            (layout::USERS, identity.namespaces[1]),
            (layout::OWNER, u64::from(identity.uid) | (identity.root.len() as u64) << 32),
            (layout::ENTRIES, regions.entries),
            (layout::ENTRIES_CAP, capacity.entries.into()),
            (layout::INDEX, regions.index),
            (layout::INDEX_LINES, regions.lines),
            (layout::NAMES, regions.names),
            (layout::NAMES_LEN, capacity.names.next_multiple_of(8)),
            (layout::SHAPES, regions.shapes),
            (layout::SHAPES_CAP, SHAPES),
            (layout::DIGESTS, regions.digests),
            (layout::DIGESTS_CAP, capacity.digests.into()),
            (layout::KEY, identity.key[0]),
            (layout::KEY + 8, identity.key[1]),
            // Odd: a phase is under way.
            (layout::GEN, 1),
        ];
        for (offset, value) in fixed {
            this.set(offset, value);
        }
        let mut this = this;
        this.clear_index();
        // Entries without a `stat` have this shape.
        this.shape([0; SHAPE_WORDS - 1]).map_err(|Full| io::ErrorKind::OutOfMemory)?;
        let root = EntryData { flags: flag::DIR, ..EntryData::default() };
        this.insert_named(b"", &identity.root, &root).map_err(|Full| io::Error::from(io::ErrorKind::OutOfMemory))?;
        Ok(this)
    }

    /// Tells readers where the ring is; from here on they take the file for a VDir.
    pub fn seal(&self, ring: Offsets) {
        self.set(layout::RING_FLAGS, u64::from(ring.flags) | u64::from(ring.head) << 32);
        self.set(layout::RING_TAIL, ring.tail.into());
        let fixed = (layout::FILE_LEN..layout::IMMUTABLE_END).step_by(8).map(|offset| self.get(offset));
        self.set(layout::CHECKSUM, hash::words(fixed, 0));
        self.set(layout::ID, u64::from(layout::MAGIC) | u64::from(layout::VERSION) << 32);
    }

    /// The memory, for the ring.
    pub fn map(&self) -> &Mem {
        &self.map
    }

    /// What there is room for.
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// Entries in use.
    pub fn live(&self) -> u64 {
        self.live
    }

    /// Begins a phase: readers ask the kernel.
    pub fn begin(&self) {
        let number = self.get(layout::GEN);
        if number.is_multiple_of(2) {
            self.set(layout::GEN, number + 1);
        }
        // What is written from here on must not be seen before that.
        fence(Ordering::SeqCst);
    }

    /// Ends a phase.
    pub fn end(&self) {
        self.set(layout::ENTRIES_USED, self.used.into());
        self.set(layout::ENTRIES_LIVE, self.live);
        let number = self.get(layout::GEN);
        if !number.is_multiple_of(2) {
            self.set(layout::GEN, number + 1);
        }
    }

    /// See [`state`].
    pub fn set_state(&self, state: u64) {
        self.set(layout::STATE, state);
    }

    /// Readers may use it until then, seconds since 1970.
    pub fn set_valid_until(&self, seconds: u64) {
        self.set(layout::VALID_UNTIL, seconds);
    }

    /// The doubts that have been dealt with.
    pub fn doubts_seen(&self) -> u64 {
        self.get(layout::DOUBTS_SEEN)
    }

    /// So many doubts are being dealt with; whether there are new ones among them.
    pub fn set_doubts_seen(&self, doubts: u64) -> bool {
        let before = self.get(layout::DOUBTS_SEEN);
        self.set(layout::DOUBTS_SEEN, doubts);
        before != doubts
    }

    /// A folder was moved or removed.
    pub fn turn(&self) {
        self.set(layout::TURN, self.get(layout::TURN) + 1);
    }

    /// The number of the entry at `path`, which is below the root.
    pub fn find(&self, path: &[u8]) -> Option<u32> {
        let hash = hash::path(self.key, path);
        self.slot_of(hash).map(|(_, _, number)| number)
    }

    /// Sets what the entry at `path` says, which is made if there is none; its number.
    ///
    /// # Errors
    /// There is no room: the entry is not there.
    pub fn set_entry(&mut self, path: &[u8], data: &EntryData) -> Result<u32, Full> {
        match self.find(path) {
            Some(number) => self.write(number, data).map(|()| number),
            None => self.insert_named(path, path.rsplit(|c| *c == b'/').next().unwrap_or(path), data),
        }
    }

    fn insert_named(&mut self, path: &[u8], name: &[u8], data: &EntryData) -> Result<u32, Full> {
        if name.len() > usize::from(u16::MAX) {
            return Err(Full);
        }
        let hash = hash::path(self.key, path);
        let number = match self.free.pop() {
            Some(number) => number,
            None if self.used < self.capacity.entries => {
                self.used += 1;
                self.used - 1
            }
            None => return Err(Full),
        };
        let Ok(at) = self.put_text(name) else {
            self.free.push(number);
            return Err(Full);
        };
        let offset = self.entry_at(number);
        self.set(offset + 8 * entry::HEAD, (name.len() as u64) << 48);
        self.set(offset + 8 * entry::HASH, hash[0]);
        self.set(offset + 8 * entry::NAME, u64::from(at) | u64::from(hash::name(name)) << 32);
        self.set(offset + 8 * entry::LINKS, u64::from(NONE) | u64::from(NONE) << 32);
        self.set(offset + 8 * entry::BLOCKS, 0);
        let done = self.write(number, data).and_then(|()| self.add_slot(hash, number));
        if done.is_err() {
            self.free_entry(number);
            return Err(Full);
        }
        self.live += 1;
        Ok(number)
    }

    /// Writes everything but hash, name, and what the links lead to.
    fn write(&mut self, number: u32, data: &EntryData) -> Result<(), Full> {
        let stat = data.stat.unwrap_or_default();
        let shape = match data.stat {
            None => 0,
            Some(stat) => self.shape([
                stat.dev,
                u64::from(stat.mode) | u64::from(stat.uid) << 32,
                u64::from(stat.gid) | u64::from(stat.blksize) << 32,
                stat.statx[0],
                stat.statx[1],
                stat.statx[2],
                stat.statx[3],
            ])?,
        };
        let offset = self.entry_at(number);
        let head = self.get(offset + 8 * entry::HEAD);
        let flags = data.flags | flag::USED;
        let head = (head >> 48) << 48 | u64::from(stat.nlink) << 32 | u64::from(shape) << 16 | u64::from(flags);
        self.set(offset + 8 * entry::HEAD, head);
        self.set(offset + 8 * entry::INO, data.ino);
        self.set(offset + 8 * entry::SIZE, stat.size);
        for (n, time) in stat.times.iter().enumerate() {
            self.set(offset + 8 * (entry::ATIME + n), *time as u64);
        }
        let check = self.get(offset + 8 * entry::BLOCKS) >> 32 << 32;
        self.set(offset + 8 * entry::BLOCKS, check | u64::from(stat.blocks));
        self.check(number);
        Ok(())
    }

    /// What an entry says, without its `stat`.
    pub fn flags(&self, number: u32) -> u16 {
        self.get(self.entry_at(number) + 8 * entry::HEAD) as u16 & !flag::USED
    }

    /// Changes an entry's flags alone.
    pub fn set_flags(&mut self, number: u32, flags: u16) {
        let offset = self.entry_at(number) + 8 * entry::HEAD;
        self.set(offset, self.get(offset) >> 16 << 16 | u64::from(flags | flag::USED));
        self.check(number);
    }

    /// The inode that an entry tells.
    pub fn ino(&self, number: u32) -> u64 {
        self.get(self.entry_at(number) + 8 * entry::INO)
    }

    /// Inode, size, and times of modification and of change that an entry tells.
    pub fn stamp(&self, number: u32) -> (u64, u64, i64, i64) {
        let word = |n: usize| self.get(self.entry_at(number) + 8 * n);
        (word(entry::INO), word(entry::SIZE), word(entry::MTIME) as i64, word(entry::CTIME) as i64)
    }

    /// Removes the entry at `path`, if there is one; its number. What is below it stays, and is to be removed as well.
    pub fn remove(&mut self, path: &[u8]) -> Option<u32> {
        let (line, slot, number) = self.slot_of(hash::path(self.key, path))?;
        let words = self.line(line);
        // Searches that went on behind a full line have to go on.
        let full = words[..SLOTS].iter().all(|word| *word != 0);
        self.set_slot(line, slot, if full { 1 << 63 } else { 0 });
        self.passed += u64::from(full);
        if self.passed > self.regions.lines / 4 {
            self.sort_index();
        }
        self.free_entry(number);
        self.live -= 1;
        Some(number)
    }

    fn free_entry(&mut self, number: u32) {
        let offset = self.entry_at(number);
        let word = |n: usize| self.get(offset + 8 * n);
        let (head, name, links, size) = (word(entry::HEAD), word(entry::NAME), word(entry::LINKS), word(entry::SIZE));
        self.free_text(name as u32, head >> 48);
        let linked = (links >> 32) as u32;
        match head as u16 & flag::KIND {
            flag::LINK if linked != NONE => self.free_text(linked, size),
            flag::FILE if head as u16 & flag::DIGEST != 0 => self.free_digests.push(linked),
            _ => {}
        }
        for n in 0..ENTRY_WORDS {
            self.set(offset + 8 * n, 0);
        }
        self.free.push(number);
    }

    fn check(&self, number: u32) {
        let offset = self.entry_at(number);
        let words = (0..entry::CHECKSUM).map(|n| self.get(offset + 8 * n));
        self.set(offset + 8 * entry::CHECKSUM, hash::words(words, number.into()));
    }

    fn entry_at(&self, number: u32) -> usize {
        self.regions.entries as usize + number as usize * ENTRY_LEN
    }

    fn get(&self, offset: usize) -> u64 {
        self.map.u64(offset).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    fn set(&self, offset: usize, value: u64) {
        if let Some(word) = self.map.u64(offset) {
            word.store(value, Ordering::Release);
        }
    }
}
