//! Mapping an arena's memory.

use core::ptr::NonNull;

use super::layout::{HEADER_LEN, Header};

/// A shared mapping of a whole arena file, unmapped on drop.
pub struct SharedMap {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain shared memory that is only reached through atomics, or through bytes that the record
// protocol gives to one writer; no thread owns it.
unsafe impl Send for SharedMap {}
// SAFETY: as for `Send`.
unsafe impl Sync for SharedMap {}

impl SharedMap {
    /// Maps the first `len` bytes of the descriptor `fd` for reading and writing; `None` where `mmap(2)` fails, `errno`
    /// telling why.
    pub fn new(fd: i32, len: usize) -> Option<Self> {
        // SAFETY: a fresh shared mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe { libc::mmap(core::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd, 0) };
        NonNull::new(base.cast::<u8>()).filter(|_| base != libc::MAP_FAILED).map(|base| Self { base, len })
    }

    /// The first byte.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes mapped.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is mapped; never so for a map that was made.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn header(&self) -> &Header {
        debug_assert!(self.len >= HEADER_LEN);
        // SAFETY: the mapping is page-aligned and at least a page long; `Header` is plain integers and atomics, for which
        // any bytes are valid.
        unsafe { self.base.cast::<Header>().as_ref() }
    }
}

impl Drop for SharedMap {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` mapped; references into it borrow from `self` and are gone.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
