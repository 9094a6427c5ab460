//! Memory that another process writes: words of it, by offset.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU32, AtomicU64};

/// A mapped file, unmapped on drop. Every access is checked against its length, and goes through an atomic.
pub struct Mem {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is plain shared memory that is reached through atomics alone; no thread owns it.
unsafe impl Send for Mem {}
// SAFETY: as for `Send`.
unsafe impl Sync for Mem {}

impl Mem {
    /// Maps the first `len` bytes of the descriptor `fd`, to be written as well where `write` is set; `None` where `mmap(2)`
    /// fails, `errno` telling why. All of the `len` bytes must have been allocated, or an access ends in SIGBUS.
    pub fn new(fd: i32, len: usize, write: bool) -> Option<Self> {
        let protection = if write { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        // SAFETY: a fresh shared mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe { libc::mmap(core::ptr::null_mut(), len, protection, libc::MAP_SHARED, fd, 0) };
        NonNull::new(base.cast::<u8>()).filter(|_| base != libc::MAP_FAILED).map(|base| Self { base, len })
    }

    /// Bytes mapped.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is mapped; never so for a map that was made.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The address of a byte.
    #[cfg(feature = "std")]
    pub(super) fn address(&self, offset: usize) -> u64 {
        self.base.as_ptr() as u64 + offset as u64
    }

    /// The word at `offset`, a multiple of 8.
    #[inline(always)]
    pub fn u64(&self, offset: usize) -> Option<&AtomicU64> {
        let fits = offset.is_multiple_of(8) && offset.checked_add(8).is_some_and(|end| end <= self.len);
        // SAFETY: the word lies inside the mapping, which is page-aligned; an atomic may be read while others write it.
        fits.then(|| unsafe { &*self.base.as_ptr().add(offset).cast::<AtomicU64>() })
    }

    /// `N` words from `offset`, a multiple of 8, on.
    #[inline(always)]
    pub fn words<const N: usize>(&self, offset: usize) -> Option<&[AtomicU64; N]> {
        let fits = offset.is_multiple_of(8) && offset.checked_add(8 * N).is_some_and(|end| end <= self.len);
        // SAFETY: as for `u64`; an array of atomics has their size and alignment.
        fits.then(|| unsafe { &*self.base.as_ptr().add(offset).cast::<[AtomicU64; N]>() })
    }

    /// The half word at `offset`, a multiple of 4.
    #[inline(always)]
    pub fn u32(&self, offset: usize) -> Option<&AtomicU32> {
        let fits = offset.is_multiple_of(4) && offset.checked_add(4).is_some_and(|end| end <= self.len);
        // SAFETY: as for `u64`.
        fits.then(|| unsafe { &*self.base.as_ptr().add(offset).cast::<AtomicU32>() })
    }
}

impl Drop for Mem {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` mapped; references into it borrow from `self` and are gone.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
