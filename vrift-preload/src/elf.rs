//! What kind of program a file is: [`vrift_core::elf`] with this crate's own system calls.

use core::ffi::c_char;

use vrift_core::elf::{self, Source};
pub use vrift_core::elf::{Program, Room};

use crate::sys;

/// Looks at the file `path`.
///
/// # Safety
/// `path` must be NUL-terminated.
pub unsafe fn inspect(path: *const c_char, room: &mut Room) -> Program {
    // Opening a pipe waits for its other end, or is news there.
    // SAFETY: the caller vouches for the path.
    let fd =
        unsafe { if sys::is_file(path) { sys::openat(libc::AT_FDCWD, path, libc::O_RDONLY | libc::O_NONBLOCK) } else { -1 } };
    if fd < 0 {
        return Program::Unknown;
    }
    let program = elf::inspect(&Opened(fd), room);
    sys::close(fd);
    program
}

struct Opened(isize);

impl Source for Opened {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> usize {
        sys::pread(self.0, buffer, offset)
    }

    fn gains_privileges(&self) -> bool {
        let Some(stat) = sys::fstat(self.0) else { return false };
        let (user, group) = sys::effective_ids();
        (stat.st_mode & libc::S_ISUID != 0 && stat.st_uid != user)
            || (stat.st_mode & libc::S_ISGID != 0 && stat.st_gid != group)
            || (user != 0 && sys::has_capabilities(self.0))
    }
}
