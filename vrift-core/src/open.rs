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

/// The error that an `open` is going to end in, 0 for success, by what is at the path: its mode, or why it is not found. `folder` says
/// why the folder that it would be made in is not found, `writable` why this user may not write to what is there; 0 for both where
/// nothing is in the way.
pub fn foretell(
    flags: c_int,
    found: Result<libc::mode_t, u16>,
    folder: impl FnOnce() -> u16,
    writable: impl FnOnce() -> u16,
) -> u16 {
    let has = |flag: c_int| flags & flag == flag;
    let accesses = flags & libc::O_ACCMODE != libc::O_RDONLY || has(libc::O_TRUNC);
    let kind = found.map(|mode| mode & libc::S_IFMT);
    match kind {
        // Whoever only looks where it leads changes nothing, whatever else is asked for.
        _ if has(libc::O_PATH) => found.err().unwrap_or(0),
        Err(missing) if !has(libc::O_CREAT) => missing,
        Err(_) => folder(),
        Ok(_) if has(libc::O_CREAT | libc::O_EXCL) => libc::EEXIST as u16,
        Ok(libc::S_IFLNK) if has(libc::O_NOFOLLOW) => libc::ELOOP as u16,
        Ok(kind) if has(libc::O_DIRECTORY) && kind != libc::S_IFDIR => libc::ENOTDIR as u16,
        Ok(libc::S_IFDIR) if accesses || has(libc::O_CREAT) => libc::EISDIR as u16,
        Ok(_) if accesses => writable(),
        Ok(_) => 0,
    }
}

/// The folder that a path is in.
pub fn parent(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|c| *c != b'/').map_or(0, |at| at + 1);
    match path[..end].iter().rposition(|c| *c == b'/') {
        Some(0) => b"/",
        Some(at) => &path[..at],
        None if path.starts_with(b"/") => b"/",
        None => b".",
    }
}
