//! Calls that are reported before they are made, as the kernel's tracer does (`vrift-exec/src/tracer/kernel/changes.rs`): a failure that is
//! foretold is certain, a success is not ([`flag::AHEAD`]).

use core::ffi::{c_char, c_int};

use vrift_core::event::{EventKind, Untraced, flag};
use vrift_core::open as opening;

use crate::path::{self, At};
use crate::sys;
use crate::trace::Trace;

/// What is at a path: its mode, or the error's number; nothing where the call cannot read the path either.
unsafe fn found(at: At, follow: bool) -> Option<Result<libc::mode_t, u16>> {
    let flags = if follow { 0 } else { libc::AT_SYMLINK_NOFOLLOW };
    // SAFETY: the caller vouches for the path, or the kernel finds it bad.
    match unsafe { sys::look_at(at.dir, at.path, flags) } {
        Ok(stat) => Some(Ok(stat.st_mode)),
        Err(libc::EFAULT) => None,
        Err(error) => Some(Err(error as u16)),
    }
}

/// Reports a look whose result is what is there.
pub unsafe fn look(trace: &Trace, kind: EventKind, at: At, follow: bool) {
    // SAFETY: the program's own path, which can be read where something is found.
    unsafe {
        if let Some(found) = found(at, follow) {
            trace.path(kind, 0, found.err().unwrap_or(0), at);
        }
    }
}

unsafe fn ahead(trace: &Trace, kind: EventKind, existed: bool, error: u16, at: At) {
    // SAFETY: the caller vouches for the path.
    unsafe { trace.ahead(kind, if existed { flag::EXISTED } else { 0 }, error, at) };
}

/// What is in the way of a call was seen by it.
unsafe fn seen(trace: &Trace, at: At, error: u16) {
    // SAFETY: the caller vouches for the path.
    unsafe { trace.path(EventKind::Access, 0, error, at) };
}

/// Why the folder that a path is to be made in is not found, 0 where it is.
unsafe fn no_folder(at: At) -> u16 {
    let mut room = [0_u8; path::ROOM];
    // SAFETY: the caller vouches for the path.
    let folder = opening::parent(unsafe { path::bytes(at.path) });
    let Some(to) = room.get_mut(..folder.len()).filter(|to| to.len() < path::ROOM) else { return libc::ENAMETOOLONG as u16 };
    to.copy_from_slice(folder);
    // SAFETY: zeroes follow the name in the room.
    match unsafe { found(At { path: room.as_ptr().cast(), ..at }, true) } {
        Some(Ok(mode)) if mode & libc::S_IFMT != libc::S_IFDIR => libc::ENOTDIR as u16,
        Some(Err(missing)) => missing,
        Some(Ok(_)) | None => 0,
    }
}

/// `open`.
pub unsafe fn open(trace: &Trace, at: At, flags: c_int) {
    let has = |flag: c_int| flags & flag == flag;
    // SAFETY: the program's own path, which can be read where something is found.
    unsafe {
        let Some(found) = found(at, !has(libc::O_NOFOLLOW) && !has(libc::O_CREAT | libc::O_EXCL)) else { return };
        let Some((kind, bits)) = opening::event(flags, found.is_ok()) else { return };
        let writable = || (-sys::access(at.dir, at.path, libc::W_OK)) as u16;
        let error = opening::foretell(flags, found, || no_folder(at), writable);
        if kind == EventKind::OpenWrite { trace.ahead(kind, bits, error, at) } else { trace.path(kind, bits, error, at) }
    }
}

/// An `open` of a child to be: what is there then is not known yet, so that no failure to make something is foretold.
pub unsafe fn planned(trace: &Trace, at: At, flags: c_int) {
    // SAFETY: the program's own path, which can be read where something is found.
    unsafe {
        let Some(found) = found(at, true) else { return };
        let Some((kind, bits)) = opening::event(flags, found.is_ok()) else { return };
        if kind == EventKind::OpenWrite {
            trace.ahead(kind, bits, 0, at);
        } else {
            trace.path(kind, bits, found.err().unwrap_or(0), at);
        }
    }
}

/// Makes a folder, or a name of another kind.
pub unsafe fn make(trace: &Trace, kind: EventKind, at: At) {
    // SAFETY: the program's own path, which can be read where something is found.
    unsafe {
        let Some(found) = found(at, false) else { return };
        let error = would_make(trace, at, found.is_ok());
        ahead(trace, kind, found.is_ok(), error, at);
    }
}

unsafe fn would_make(trace: &Trace, at: At, existed: bool) -> u16 {
    // SAFETY: the caller vouches for the path.
    unsafe {
        if !existed {
            return no_folder(at);
        }
        seen(trace, at, 0);
        libc::EEXIST as u16
    }
}

/// `unlink` or `rmdir`.
pub unsafe fn remove(trace: &Trace, at: At, folder: bool) {
    // SAFETY: the program's own path, which can be read where something is found.
    unsafe {
        let Some(found) = found(at, false) else { return };
        let error = match found.map(|mode| mode & libc::S_IFMT == libc::S_IFDIR) {
            Err(missing) => missing,
            Ok(true) if !folder => libc::EISDIR as u16,
            Ok(false) if folder => libc::ENOTDIR as u16,
            // Whether a folder is empty the call itself finds out.
            Ok(_) => 0,
        };
        if error != 0 && found.is_ok() {
            seen(trace, at, 0);
        }
        ahead(trace, EventKind::Remove, found.is_ok(), error, at);
    }
}

/// `renameat2`.
pub unsafe fn rename(trace: &Trace, from: At, to: At, flags: u32) {
    if exchanges(flags) {
        return trace.untraced(Untraced::UnknownSyscall, b"renameat2");
    }
    // SAFETY: the program's own paths, which can be read where something is found.
    unsafe {
        let Some((source, target)) = found(from, false).zip(found(to, false)) else { return };
        let is_folder = |mode: libc::mode_t| mode & libc::S_IFMT == libc::S_IFDIR;
        let error = match (source, target) {
            (Err(error), _) => error,
            (_, Ok(_)) if flags & libc::RENAME_NOREPLACE != 0 => libc::EEXIST as u16,
            (Ok(source), Ok(target)) if is_folder(source) && !is_folder(target) => libc::ENOTDIR as u16,
            (Ok(source), Ok(target)) if !is_folder(source) && is_folder(target) => libc::EISDIR as u16,
            (Ok(_), Ok(_)) => 0,
            (Ok(_), Err(_)) => no_folder(to),
        };
        if error != 0 && source.is_ok() {
            seen(trace, from, 0);
            seen(trace, to, target.err().unwrap_or(0));
        }
        ahead(trace, EventKind::RenameFrom, source.is_ok(), error, from);
        ahead(trace, EventKind::RenameTo, target.is_ok(), error, to);
    }
}

/// Whether a rename does more than move a name: what was at the other one lives on.
pub fn exchanges(flags: u32) -> bool {
    flags & !libc::RENAME_NOREPLACE != 0
}

/// `linkat`.
pub unsafe fn link(trace: &Trace, from: At, to: At, flags: c_int) {
    // SAFETY: the program's own paths, which can be read where something is found.
    unsafe {
        let Some(target) = found(to, false) else { return };
        let opened = flags & libc::AT_EMPTY_PATH != 0 && is_empty(from.path);
        let source = if opened {
            // A file without a name yet has content that the run made.
            let named = sys::fstat(from.dir as isize).is_some_and(|stat| stat.st_nlink > 0);
            named.then_some(Ok(0))
        } else {
            let Some(found) = found(from, flags & libc::AT_SYMLINK_FOLLOW != 0) else { return };
            Some(found)
        };
        let error = match source {
            Some(Err(error)) => error,
            _ => would_make(trace, to, target.is_ok()),
        };
        if source.is_some() {
            trace.path(EventKind::LinkFrom, 0, error, from);
        }
        ahead(trace, EventKind::LinkTo, target.is_ok(), error, to);
    }
}

/// Mode, owner, times or length.
pub unsafe fn modify(trace: &Trace, at: At, flags: c_int) {
    // SAFETY: the program's own path, which can be read where something is found.
    unsafe {
        if at.path.is_null() || flags & libc::AT_EMPTY_PATH != 0 && is_empty(at.path) {
            // One without a name leaves nothing behind.
            if sys::fstat(at.dir as isize).is_some_and(|stat| stat.st_nlink > 0) {
                ahead(trace, EventKind::Modify, true, 0, At { path: c"".as_ptr(), ..at });
            }
            return;
        }
        let Some(found) = found(at, flags & libc::AT_SYMLINK_NOFOLLOW == 0) else { return };
        ahead(trace, EventKind::Modify, found.is_ok(), found.err().unwrap_or(0), at);
    }
}

/// Whether a path is empty; one that cannot be read is not.
unsafe fn is_empty(path: *const c_char) -> bool {
    // SAFETY: the kernel reads the path: nothing is found under an empty one, for that reason.
    unsafe { sys::access(libc::AT_FDCWD, path, libc::F_OK) != -(libc::EFAULT as isize) && path::bytes(path).is_empty() }
}
