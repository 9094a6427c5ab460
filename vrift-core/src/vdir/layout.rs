//! The VDir's bytes. All numbers are in the machine's byte order: the file never leaves it.

/// `VRFT`: what a VDir starts with.
pub const MAGIC: u32 = 0x5652_4654;

/// Changes with every change of the layout.
pub const VERSION: u32 = 2;

/// A page: the header's size and that of the ring behind it.
pub const PAGE: usize = 4096;

/// Where the ring lies.
pub const RING: usize = PAGE;

/// Where the regions begin.
pub const REGIONS: usize = 2 * PAGE;

// The header's immutable part.
/// Magic in the lower, version in the upper half.
pub const ID: usize = 0;
/// [`super::hash::words`] over [`FILE_LEN`] to [`IMMUTABLE_END`].
pub const CHECKSUM: usize = 8;
/// Bytes of the whole file.
pub const FILE_LEN: usize = 16;
/// First 8 bytes of the project's id.
pub const PROJECT: usize = 24;
/// A number that no other VDir of this project had.
pub const GENERATION: usize = 32;
/// Inode of the writer's mount namespace.
pub const MOUNTS: usize = 40;
/// Inode of the writer's user namespace.
pub const USERS: usize = 48;
/// Effective user in the lower half, bytes of the root's path in the upper.
pub const OWNER: usize = 56;
/// Offset of the entries.
pub const ENTRIES: usize = 64;
/// How many there is room for.
pub const ENTRIES_CAP: usize = 72;
/// Offset of the index.
pub const INDEX: usize = 80;
/// Lines of the index.
pub const INDEX_LINES: usize = 88;
/// Offset of the names.
pub const NAMES: usize = 96;
/// Bytes that there is room for.
pub const NAMES_LEN: usize = 104;
/// Offset of the shapes.
pub const SHAPES: usize = 112;
/// How many there is room for.
pub const SHAPES_CAP: usize = 120;
/// Offset of the digests.
pub const DIGESTS: usize = 128;
/// How many there is room for.
pub const DIGESTS_CAP: usize = 136;
/// Two words that nobody can guess: the key of [`super::hash::path`].
pub const KEY: usize = 144;
/// Offset in the file of the ring's flags in the lower, of its completion head in the upper half.
pub const RING_FLAGS: usize = 160;
/// Offset in the file of the ring's completion tail.
pub const RING_TAIL: usize = 168;
/// End of the immutable part.
pub const IMMUTABLE_END: usize = 176;

// The header's changing part, in a cache line of its own.
/// Odd while the writer works; never the same again.
pub const GEN: usize = 192;
/// Changes when a folder was moved or removed: paths of folders that were known before must be asked for again.
pub const TURN: usize = 200;
/// Seconds since 1970 until which the map may be used.
pub const VALID_UNTIL: usize = 208;
/// See [`state`].
pub const STATE: usize = 216;
/// Entries that were ever used.
pub const ENTRIES_USED: usize = 224;
/// Entries in use.
pub const ENTRIES_LIVE: usize = 232;
/// The doubts ([`super::asked::doubts`]) that have been dealt with.
pub const DOUBTS_SEEN: usize = 240;

/// Values of [`STATE`].
pub mod state {
    /// Not filled yet.
    pub const FILLING: u64 = 0;
    /// To be used.
    pub const SERVING: u64 = 1;
    /// Another file has taken its place: readers map that one.
    pub const MOVED: u64 = 2;
    /// No longer kept.
    pub const ENDED: u64 = 3;
}

/// Words of an entry.
pub const ENTRY_WORDS: usize = 12;
/// Bytes of an entry.
pub const ENTRY_LEN: usize = ENTRY_WORDS * 8;

/// Words of an entry, by number.
pub mod entry {
    /// From the lowest: flags, shape, links, bytes of the name; 16 bits each.
    pub const HEAD: usize = 0;
    /// First half of the path's hash.
    pub const HASH: usize = 1;
    /// Offset of the name in units of 8 bytes, and the name's check; 32 bits each.
    pub const NAME: usize = 2;
    /// The next entry of the folder, and what [`flag`] says; 32 bits each.
    pub const LINKS: usize = 3;
    /// Inode.
    pub const INO: usize = 4;
    /// Bytes.
    pub const SIZE: usize = 5;
    /// Nanoseconds since 1970, signed.
    pub const ATIME: usize = 6;
    /// See [`ATIME`].
    pub const MTIME: usize = 7;
    /// See [`ATIME`].
    pub const CTIME: usize = 8;
    /// See [`ATIME`].
    pub const BTIME: usize = 9;
    /// Blocks of 512 bytes, and the check of what [`LINKS`] leads to; 32 bits each.
    pub const BLOCKS: usize = 10;
    /// [`super::super::hash::words`] over the words before, with the entry's number.
    pub const CHECKSUM: usize = 11;
}

/// Flags of an entry.
pub mod flag {
    /// Two bits of kind.
    pub const KIND: u16 = 3;
    /// A regular file; its link word leads to its digest, if [`DIGEST`] is set.
    pub const FILE: u16 = 0;
    /// A folder; its link word leads to its first entry, and the check is their number.
    pub const DIR: u16 = 1;
    /// A symbolic link; its link word leads to its target, as a name's.
    pub const LINK: u16 = 2;
    /// Something that is not answered for.
    pub const OTHER: u16 = 3;
    /// All that `stat` tells is exact.
    pub const STAT: u16 = 1 << 2;
    /// Names that have no entry in this folder do not exist.
    pub const LISTED: u16 = 1 << 3;
    /// The folder's entries are linked in the kernel's order.
    pub const ORDERED: u16 = 1 << 4;
    /// There is a digest.
    pub const DIGEST: u16 = 1 << 5;
    /// In use.
    pub const USED: u16 = 1 << 15;
}

/// No entry.
pub const NONE: u32 = u32::MAX;

/// Words of a line of the index: seven slots and their check.
pub const LINE_WORDS: usize = 8;
/// Slots of a line. A slot is 0 where it is free, else the entry's number plus 1 in the lower, and the upper half of the
/// path's second hash in the upper half; with a lower half of 0 it was used, and searches go on behind its line.
pub const SLOTS: usize = LINE_WORDS - 1;
/// Lines that a search looks at, from [`super::hash::line`] on; behind the last one comes the first.
pub const PROBES: usize = 64;

/// Words of a shape: what many files have in common.
pub const SHAPE_WORDS: usize = 8;

/// Words of a shape, by number.
pub mod shape {
    /// Device.
    pub const DEV: usize = 0;
    /// Mode and user, 32 bits each.
    pub const MODE: usize = 1;
    /// Group and preferred block size, 32 bits each.
    pub const GROUP: usize = 2;
    /// `stx_attributes` of statx(2).
    pub const ATTRIBUTES: usize = 3;
    /// `stx_attributes_mask`.
    pub const ATTRIBUTES_MASK: usize = 4;
    /// `stx_mnt_id`.
    pub const MOUNT: usize = 5;
    /// `stx_mask`.
    pub const MASK: usize = 6;
    /// [`super::super::hash::words`] over the words before, with the shape's number.
    pub const CHECKSUM: usize = 7;
}

/// Bytes of a digest.
pub const DIGEST_LEN: usize = 32;

/// The largest file: a default, see the setting `vdir.max_size`.
pub const MAX_LEN: u64 = 1 << 30;
/// The most entries: a default, see the setting `vdir.max_files`.
pub const MAX_ENTRIES: u64 = 10_000_000;

const _: () = {
    assert!(ENTRY_LEN == 96);
    assert!(IMMUTABLE_END <= GEN && GEN.is_multiple_of(64));
    assert!(DOUBTS_SEEN + 8 <= PAGE);
    assert!(SLOTS == 7 && entry::CHECKSUM + 1 == ENTRY_WORDS && shape::CHECKSUM + 1 == SHAPE_WORDS);
    assert!(RING + PAGE == REGIONS);
};
