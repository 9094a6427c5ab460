//! Creating and mapping an arena's memory.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;

use super::layout::{HEADER_LEN, Header, MAGIC};
use crate::PROTOCOL_VERSION;

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
    /// Maps the first `len` bytes of `fd` for reading and writing.
    ///
    /// # Errors
    /// What `mmap(2)` gives.
    pub fn new(fd: RawFd, len: usize) -> io::Result<Self> {
        // SAFETY: a fresh shared mapping at an address of the kernel's choice touches no existing memory.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED, fd, 0) };
        match NonNull::new(base.cast::<u8>()) {
            Some(at) if base != libc::MAP_FAILED => Ok(Self { base: at, len }),
            _ => Err(io::Error::last_os_error()),
        }
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

/// A new arena in a memfd, with its creator's mapping.
pub struct ArenaFile {
    fd: OwnedFd,
    map: SharedMap,
}

impl ArenaFile {
    /// Creates an arena of `capacity` bytes.
    ///
    /// # Errors
    /// What `memfd_create(2)`, `ftruncate(2)` or `mmap(2)` give.
    pub fn create(capacity: usize) -> io::Result<Self> {
        // SAFETY: the name is a NUL-terminated constant.
        let fd = unsafe { libc::memfd_create(c"vrift-arena".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        let file = File::from(fd);
        file.set_len(capacity as u64)?;
        let header = {
            let mut bytes = [0; HEADER_LEN];
            bytes[..8].copy_from_slice(&MAGIC.to_le_bytes());
            bytes[8..12].copy_from_slice(&PROTOCOL_VERSION.to_le_bytes());
            bytes[16..24].copy_from_slice(&(capacity as u64).to_le_bytes());
            bytes[24..32].copy_from_slice(&(HEADER_LEN as u64).to_le_bytes());
            bytes
        };
        std::os::unix::fs::FileExt::write_all_at(&file, &header, 0)?;
        let map = SharedMap::new(file.as_raw_fd(), capacity)?;
        Ok(Self { fd: file.into(), map })
    }

    /// Where a child of any depth opens it while this process lives: `/proc/<pid>/fd/<fd>`.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }

    /// The creator's mapping.
    pub fn map(&self) -> &SharedMap {
        &self.map
    }
}
