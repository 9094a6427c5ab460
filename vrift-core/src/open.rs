//! What opening a file means, by its flags. Neither allocates nor asks the kernel.

use core::ffi::c_int;

use crate::event::{EventKind, flag};

/// Whether the call may make a file or change one.
pub fn writes(flags: c_int) -> bool {
    flags & libc::O_ACCMODE != libc::O_RDONLY || flags & (libc::O_TRUNC | libc::O_CREAT) != 0
}

/// The event that an `open` with these flags is, and its bits; `existed` says whether the name was there before. `None` for a
/// file without a name.
pub fn event(flags: c_int, existed: bool) -> Option<(EventKind, u8)> {
    if flags & libc::O_TMPFILE == libc::O_TMPFILE {
        return None;
    }
    let reads = flags & (libc::O_ACCMODE | libc::O_TRUNC) == libc::O_RDONLY;
    let exclusive = flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL;
    Some(if flags & (libc::O_PATH | libc::O_DIRECTORY) != 0 {
        (if flags & libc::O_NOFOLLOW != 0 { EventKind::Lstat } else { EventKind::Stat }, 0)
    } else if !writes(flags) || (reads && existed && !exclusive) {
        (EventKind::OpenRead, 0)
    } else {
        let truncated = if flags & libc::O_TRUNC != 0 || exclusive { flag::TRUNCATED } else { 0 };
        (EventKind::OpenWrite, truncated | if existed && !exclusive { flag::EXISTED } else { 0 })
    })
}
