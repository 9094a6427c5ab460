//! Creating an arena.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use super::layout::{HEADER_LEN, MAGIC};
use super::shared::SharedMap;
use super::writer::Writer;
use crate::PROTOCOL_VERSION;

/// Opens an arena by its [path](ArenaFile::path), to append to it; `None` where that is not possible.
pub fn open_arena(path: &[u8]) -> Option<Writer> {
    let file = File::options().read(true).write(true).open(OsStr::from_bytes(path)).ok()?;
    let len = usize::try_from(file.metadata().ok()?.len()).ok()?;
    Writer::new(SharedMap::new(file.as_raw_fd(), len)?).ok()
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
    /// What `memfd_create(2)`, `ftruncate(2)` or `mmap(2)` give; [`io::ErrorKind::FileTooLarge`] where this process may not
    /// make files as large as that, which would otherwise end it by SIGXFSZ.
    pub fn create(capacity: usize) -> io::Result<Self> {
        let mut limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the buffer is a `struct rlimit`.
        unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
        if limit.rlim_cur < capacity as libc::rlim_t {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
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
        let map = SharedMap::new(file.as_raw_fd(), capacity).ok_or_else(io::Error::last_os_error)?;
        Ok(Self { fd: file.into(), map })
    }

    /// Where a child of any depth opens it while this process lives: `/proc/<pid>/fd/<fd>`.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }

    /// The file.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// The creator's mapping.
    pub fn map(&self) -> &SharedMap {
        &self.map
    }
}
