//! What there is room for in a VDir, and where it lies.

use crate::vdir::layout::{self, DIGEST_LEN, ENTRY_LEN, LINE_WORDS, REGIONS, SHAPE_WORDS};

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
pub(super) const SHAPES: u64 = 1024;

pub(super) struct Regions {
    pub(super) entries: u64,
    pub(super) index: u64,
    pub(super) lines: u64,
    pub(super) names: u64,
    pub(super) shapes: u64,
    pub(super) digests: u64,
    pub(super) end: u64,
}

impl Regions {
    pub(super) fn of(capacity: &Capacity) -> Self {
        let page = |at: u64| at.next_multiple_of(layout::PAGE as u64);
        // Of seven slots four and a half are in use at most, so that few lines are full. No power of two: every byte counts.
        let lines = (u64::from(capacity.entries) * 2).div_ceil(9).max(1);
        let entries = REGIONS as u64;
        let index = page(entries + u64::from(capacity.entries) * ENTRY_LEN as u64);
        let names = page(index + lines * LINE_WORDS as u64 * 8);
        let shapes = page(names + capacity.names.next_multiple_of(8));
        let digests = page(shapes + SHAPES * SHAPE_WORDS as u64 * 8);
        let end = page(digests + u64::from(capacity.digests) * DIGEST_LEN as u64);
        Self { entries, index, lines, names, shapes, digests, end }
    }
}
