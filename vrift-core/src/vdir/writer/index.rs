//! The index: from a path's hash to its entry.

use super::{Full, Writer};
use crate::vdir::hash;
use crate::vdir::layout::{LINE_WORDS, PROBES, SLOTS, entry};

impl Writer {
    /// Makes the index anew, so that searches end where they should.
    pub(super) fn sort_index(&mut self) {
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

    pub(super) fn clear_index(&mut self) {
        for line in 0..self.regions.lines {
            self.set(self.line_at(line) + 8 * SLOTS, hash::words([0; SLOTS], line));
        }
    }

    pub(super) fn add_slot(&mut self, hash: [u64; 2], number: u32) -> Result<(), Full> {
        for probe in 0..PROBES as u64 {
            let line = hash::line(hash[0], probe, self.regions.lines);
            if let Some(slot) = self.line(line)[..SLOTS].iter().position(|word| *word as u32 == 0) {
                self.passed -= u64::from(self.line(line)[slot] != 0);
                self.set_slot(line, slot, hash[1] >> 32 << 32 | (u64::from(number) + 1));
                return Ok(());
            }
        }
        Err(Full)
    }

    /// Line, slot and entry of a hash.
    pub(super) fn slot_of(&self, hash: [u64; 2]) -> Option<(u64, usize, u32)> {
        for probe in 0..PROBES as u64 {
            let number = hash::line(hash[0], probe, self.regions.lines);
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

    pub(super) fn set_slot(&self, line: u64, slot: usize, value: u64) {
        let at = self.line_at(line);
        self.set(at + 8 * slot, value);
        let words = self.line(line);
        self.set(at + 8 * SLOTS, hash::words(words[..SLOTS].iter().copied(), line));
    }

    pub(super) fn line(&self, line: u64) -> [u64; LINE_WORDS] {
        let at = self.line_at(line);
        std::array::from_fn(|n| self.get(at + 8 * n))
    }

    pub(super) fn line_at(&self, line: u64) -> usize {
        (self.regions.index + line * LINE_WORDS as u64 * 8) as usize
    }
}
