//! Writing a VDir. There is one writer; it works in phases, see [`super`].

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{Ordering, fence};

use super::hash;
use super::layout::{
    self, DIGEST_LEN, ENTRY_LEN, ENTRY_WORDS, LINE_WORDS, NONE, PROBES, REGIONS, SHAPE_WORDS, SLOTS, entry, flag, shape, state,
};
use super::mem::Mem;
use super::ring::Offsets;

/// What there is room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacity {
    /// Files and folders.
    pub entries: u32,
    /// Bytes of names and targets, each rounded up to 8.
    pub names: u64,
    /// Files whose digest is kept.
    pub digests: u32,
}

impl Capacity {
    /// Room for as many entries with names of usual length.
    pub fn of(entries: u32) -> Self {
        Self { entries, names: u64::from(entries) * 24, digests: entries / 4 }
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> u64 {
        Regions::of(self).end
    }
}

/// Different shapes that files may have.
const SHAPES: u64 = 1024;

struct Regions {
    entries: u64,
    index: u64,
    lines: u64,
    names: u64,
    shapes: u64,
    digests: u64,
    end: u64,
}

impl Regions {
    fn of(capacity: &Capacity) -> Self {
        let page = |at: u64| at.next_multiple_of(layout::PAGE as u64);
        // At most five of seven slots are in use.
        let lines = u64::from(capacity.entries).div_ceil(5).next_power_of_two();
        let entries = REGIONS as u64;
        let index = page(entries + u64::from(capacity.entries) * ENTRY_LEN as u64);
        let names = page(index + lines * LINE_WORDS as u64 * 8);
        let shapes = page(names + capacity.names.next_multiple_of(8));
        let digests = page(shapes + SHAPES * SHAPE_WORDS as u64 * 8);
        let end = page(digests + u64::from(capacity.digests) * DIGEST_LEN as u64);
        Self { entries, index, lines, names, shapes, digests, end }
    }
}

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

    /// Whether readers may use it.
    pub fn is_serving(&self) -> bool {
        self.get(layout::STATE) == state::SERVING
    }

    /// Readers may use it until then, seconds since 1970.
    pub fn set_valid_until(&self, seconds: u64) {
        self.set(layout::VALID_UNTIL, seconds);
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

    /// Makes the index anew, so that searches end where they should.
    fn sort_index(&mut self) {
        let mut slots = Vec::with_capacity(self.live as usize);
        for line in 0..self.regions.lines {
            slots.extend(self.line(line)[..SLOTS].iter().filter(|word| **word as u32 != 0));
            (0..SLOTS).for_each(|slot| self.set(self.line_at(line) + 8 * slot, 0));
        }
        self.clear_index();
        self.passed = 0;
        for word in slots {
            let number = word as u32 - 1;
            let hash = [self.get(self.entry_at(number) + 8 * entry::HASH), word];
            // There was a place for each, and there are fewer now.
            let _ = self.add_slot(hash, number);
        }
    }

    /// Links a folder's entries, all of them, in the kernel's order.
    pub fn set_order(&mut self, folder: u32, entries: &[u32]) {
        for (n, number) in entries.iter().enumerate() {
            let next = entries.get(n + 1).copied().unwrap_or(NONE);
            let offset = self.entry_at(*number) + 8 * entry::LINKS;
            self.set(offset, self.get(offset) >> 32 << 32 | u64::from(next));
            self.check(*number);
        }
        self.set_link(folder, entries.first().copied().unwrap_or(NONE), entries.len() as u32);
        self.set_flags(folder, self.flags(folder) | flag::ORDERED);
    }

    /// Sets a symbolic link's target; the entry's `stat` tells its length.
    ///
    /// # Errors
    /// There is no room.
    pub fn set_target(&mut self, link: u32, target: &[u8]) -> Result<(), Full> {
        let at = self.put_text(target)?;
        self.set_link(link, at, hash::name(target));
        Ok(())
    }

    /// Sets a file's digest.
    ///
    /// # Errors
    /// There is no room.
    pub fn set_digest(&mut self, file: u32, digest: &[u8; DIGEST_LEN]) -> Result<(), Full> {
        let links = self.get(self.entry_at(file) + 8 * entry::LINKS);
        let slot = match (self.flags(file) & flag::DIGEST != 0, self.free_digests.pop()) {
            (true, free) => {
                self.free_digests.extend(free);
                (links >> 32) as u32
            }
            (false, Some(free)) => free,
            (false, None) if self.digests_used < self.capacity.digests => {
                self.digests_used += 1;
                self.digests_used - 1
            }
            (false, None) => return Err(Full),
        };
        let offset = self.regions.digests as usize + slot as usize * DIGEST_LEN;
        for (n, word) in digest.chunks_exact(8).enumerate() {
            self.set(offset + 8 * n, u64::from_le_bytes(word.try_into().unwrap_or_default()));
        }
        self.set_link(file, slot, hash::name(digest));
        self.set_flags(file, self.flags(file) | flag::DIGEST);
        Ok(())
    }

    fn set_link(&mut self, number: u32, link: u32, check: u32) {
        let offset = self.entry_at(number);
        let links = offset + 8 * entry::LINKS;
        self.set(links, self.get(links) as u32 as u64 | u64::from(link) << 32);
        let blocks = offset + 8 * entry::BLOCKS;
        self.set(blocks, self.get(blocks) as u32 as u64 | u64::from(check) << 32);
        self.check(number);
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

    fn put_text(&mut self, text: &[u8]) -> Result<u32, Full> {
        let units = text.len().div_ceil(8) as u64;
        let at = match self.free_names.get_mut(&units).and_then(Vec::pop) {
            Some(at) => at,
            None if self.names_used + units * 8 <= self.capacity.names => {
                self.names_used += units * 8;
                u32::try_from((self.names_used - units * 8) / 8).map_err(|_| Full)?
            }
            None => return Err(Full),
        };
        for (n, part) in text.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.set(self.regions.names as usize + (at as usize + n) * 8, u64::from_le_bytes(word));
        }
        Ok(at)
    }

    fn free_text(&mut self, at: u32, len: u64) {
        self.free_names.entry(len.div_ceil(8)).or_default().push(at);
    }

    fn shape(&mut self, words: [u64; SHAPE_WORDS - 1]) -> Result<u16, Full> {
        if let Some(known) = self.shapes.get(&words) {
            return Ok(*known);
        }
        let number = self.shapes.len();
        if number as u64 >= SHAPES {
            return Err(Full);
        }
        let offset = self.regions.shapes as usize + number * SHAPE_WORDS * 8;
        for (n, word) in words.iter().enumerate() {
            self.set(offset + 8 * n, *word);
        }
        self.set(offset + 8 * shape::CHECKSUM, hash::words(words, number as u64));
        self.shapes.insert(words, number as u16);
        Ok(number as u16)
    }

    fn check(&self, number: u32) {
        let offset = self.entry_at(number);
        let words = (0..entry::CHECKSUM).map(|n| self.get(offset + 8 * n));
        self.set(offset + 8 * entry::CHECKSUM, hash::words(words, number.into()));
    }

    fn clear_index(&mut self) {
        for line in 0..self.regions.lines {
            self.set(self.line_at(line) + 8 * SLOTS, hash::words([0; SLOTS], line));
        }
    }

    fn add_slot(&mut self, hash: [u64; 2], number: u32) -> Result<(), Full> {
        for probe in 0..PROBES as u64 {
            let line = hash[0].wrapping_add(probe) & (self.regions.lines - 1);
            if let Some(slot) = self.line(line)[..SLOTS].iter().position(|word| *word as u32 == 0) {
                self.passed -= u64::from(self.line(line)[slot] != 0);
                self.set_slot(line, slot, hash[1] >> 32 << 32 | (u64::from(number) + 1));
                return Ok(());
            }
        }
        Err(Full)
    }

    /// Line, slot and entry of a hash.
    fn slot_of(&self, hash: [u64; 2]) -> Option<(u64, usize, u32)> {
        for probe in 0..PROBES as u64 {
            let number = hash[0].wrapping_add(probe) & (self.regions.lines - 1);
            let line = self.line(number);
            for (slot, word) in line[..SLOTS].iter().enumerate().filter(|(_, word)| **word as u32 != 0) {
                let found = (*word as u32) - 1;
                if word >> 32 == hash[1] >> 32 && self.get(self.entry_at(found) + 8 * entry::HASH) == hash[0] {
                    return Some((number, slot, found));
                }
            }
            if line[..SLOTS].contains(&0) {
                return None;
            }
        }
        None
    }

    fn set_slot(&self, line: u64, slot: usize, value: u64) {
        let at = self.line_at(line);
        self.set(at + 8 * slot, value);
        let words = self.line(line);
        self.set(at + 8 * SLOTS, hash::words(words[..SLOTS].iter().copied(), line));
    }

    fn line(&self, line: u64) -> [u64; LINE_WORDS] {
        let at = self.line_at(line);
        std::array::from_fn(|n| self.get(at + 8 * n))
    }

    fn line_at(&self, line: u64) -> usize {
        (self.regions.index + line * LINE_WORDS as u64 * 8) as usize
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
