//! What entries lead to: their neighbours, names, targets, digests, and what they share.

use super::{Full, SHAPES, Writer};
use crate::vdir::hash;
use crate::vdir::layout::{DIGEST_LEN, NONE, SHAPE_WORDS, entry, flag, shape};

impl Writer {
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

    pub(super) fn set_link(&mut self, number: u32, link: u32, check: u32) {
        let offset = self.entry_at(number);
        let links = offset + 8 * entry::LINKS;
        self.set(links, self.get(links) as u32 as u64 | u64::from(link) << 32);
        let blocks = offset + 8 * entry::BLOCKS;
        self.set(blocks, self.get(blocks) as u32 as u64 | u64::from(check) << 32);
        self.check(number);
    }

    pub(super) fn put_text(&mut self, text: &[u8]) -> Result<u32, Full> {
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

    pub(super) fn free_text(&mut self, at: u32, len: u64) {
        self.free_names.entry(len.div_ceil(8)).or_default().push(at);
    }

    pub(super) fn shape(&mut self, words: [u64; SHAPE_WORDS - 1]) -> Result<u16, Full> {
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
}
