//! The arena's bytes.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// `VRFTARNA`, little-endian.
pub const MAGIC: u64 = u64::from_le_bytes(*b"VRFTARNA");

/// Bytes before the first record.
pub const HEADER_LEN: usize = 64;

/// Size of an arena, header included. The file is sparse: untouched pages cost nothing.
pub const DEFAULT_CAPACITY: usize = 64 << 20;

/// The first [`HEADER_LEN`] bytes.
#[repr(C)]
pub struct Header {
    pub magic: u64,
    pub version: u32,
    /// 1 once an event was dropped for want of space.
    pub overflow: AtomicU32,
    /// Size of the file in bytes.
    pub capacity: u64,
    /// Offset of the first byte that no record claims.
    pub tail: AtomicU64,
    pub reserved: [u64; 4],
}

/// What precedes each record's path.
#[repr(C)]
pub struct RecordHeader {
    /// [`PENDING`] and the record's whole length in bytes, a multiple of 8; 0 where no record was claimed.
    pub state: AtomicU32,
    pub pid: u32,
    pub kind: u8,
    pub flags: u8,
    /// `errno` of the call, 0 for success.
    pub errno: u16,
    /// Bytes of the path that follow this header.
    pub path_len: u32,
    pub aux: u64,
}

/// The record is claimed but not yet whole.
pub const PENDING: u32 = 1 << 31;

/// Bytes of a [`RecordHeader`].
pub const RECORD_HEADER_LEN: usize = 24;

/// The longest path that a record takes.
pub const MAX_PATH: usize = 8192;

/// The whole length of a record with a path of `path_len` bytes.
pub const fn record_len(path_len: usize) -> usize {
    (RECORD_HEADER_LEN + path_len).next_multiple_of(8)
}

const _: () = {
    assert!(size_of::<Header>() == HEADER_LEN);
    assert!(size_of::<RecordHeader>() == RECORD_HEADER_LEN);
    assert!(core::mem::offset_of!(Header, overflow) == 12);
    assert!(core::mem::offset_of!(Header, capacity) == 16);
    assert!(core::mem::offset_of!(Header, tail) == 24);
    assert!(core::mem::offset_of!(RecordHeader, pid) == 4);
    assert!(core::mem::offset_of!(RecordHeader, errno) == 10);
    assert!(core::mem::offset_of!(RecordHeader, path_len) == 12);
    assert!(core::mem::offset_of!(RecordHeader, aux) == 16);
    assert!(HEADER_LEN.is_multiple_of(8));
};
