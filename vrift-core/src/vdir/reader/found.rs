//! What an entry says.

use crate::vdir::layout::{ENTRY_WORDS, entry, flag};

/// What an entry says of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Found {
    /// The entry's number.
    pub number: u32,
    /// Bits of [`flag`].
    pub flags: u16,
    /// Links.
    pub nlink: u16,
    /// Inode.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Nanoseconds since 1970: access, modification, change, birth.
    pub times: [i64; 4],
    /// Of 512 bytes.
    pub blocks: u32,
    /// Device.
    pub dev: u64,
    /// Kind and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Preferred size of reads.
    pub blksize: u32,
    /// `stx_attributes` and their mask, `stx_mnt_id`, `stx_mask`, of statx(2).
    pub statx: [u64; 4],
    pub(super) link: u32,
    pub(super) link_check: u32,
}

impl Found {
    /// The kind, as [`flag::KIND`] has it.
    pub fn kind(&self) -> u16 {
        self.flags & flag::KIND
    }
}

/// An entry as it lies in the map, its check passed.
#[derive(Clone, Copy)]
pub(super) struct Raw(pub(super) [u64; ENTRY_WORDS]);

impl Raw {
    pub(super) fn flags(&self) -> u16 {
        self.0[entry::HEAD] as u16
    }
    pub(super) fn name_len(&self) -> usize {
        (self.0[entry::HEAD] >> 48) as usize
    }
    pub(super) fn kind(&self) -> u16 {
        self.flags() & flag::KIND
    }
    pub(super) fn next(&self) -> u32 {
        self.0[entry::LINKS] as u32
    }
    pub(super) fn link(&self) -> u32 {
        (self.0[entry::LINKS] >> 32) as u32
    }
    pub(super) fn link_check(&self) -> u32 {
        (self.0[entry::BLOCKS] >> 32) as u32
    }
}
