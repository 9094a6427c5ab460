//! Looking at files without opening them.

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};

use libc::size_t;
use vrift_core::event::EventKind;

use vrift_core::vdir::Answer;

use super::fill;
use crate::cwd;
use crate::next::{always, errno, hooks, set_errno};
use crate::path::{self, At};
use crate::state::{self, PORTABLE};
use crate::trace::Trace;
use crate::vdir;

/// Reports a look at `at` that gave `result`.
unsafe fn seen(trace: &Trace, kind: EventKind, at: At, result: c_int) -> c_int {
    // SAFETY: the program's own path.
    unsafe { trace.path(kind, 0, if result < 0 { errno() } else { 0 }, at) };
    result
}

/// The kind of event that an `…at` call with these flags is; `None` where it looks at a descriptor, whose opening was seen.
unsafe fn kind_at(path: *const c_char, flags: c_int) -> Option<EventKind> {
    // SAFETY: the program's own path.
    if flags & libc::AT_EMPTY_PATH != 0 && unsafe { path::bytes(path) }.is_empty() {
        return None;
    }
    Some(if flags & libc::AT_SYMLINK_NOFOLLOW != 0 { EventKind::Lstat } else { EventKind::Stat })
}

unsafe fn seen_at(trace: &Trace, dir: c_int, path: *const c_char, flags: c_int, result: c_int) -> c_int {
    // SAFETY: the program's own path.
    match unsafe { kind_at(path, flags) } {
        // SAFETY: as above.
        Some(kind) => unsafe { seen(trace, kind, At { dir, path }, result) },
        None => result,
    }
}

/// `stat` and its like: by the map, else by the kernel.
unsafe fn status(trace: Option<&Trace>, at: At, buf: *mut c_void, flags: c_int, call: impl FnOnce() -> c_int) -> c_int {
    const SIMPLE: c_int = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT | libc::AT_EMPTY_PATH;
    let result = if flags & !SIMPLE != 0 || buf.is_null() {
        call()
    } else {
        // SAFETY: the program's own path, and its buffer for a `struct stat`.
        unsafe { by_map(vdir::stat(at, flags & libc::AT_SYMLINK_NOFOLLOW == 0), |found| fill::stat(found, buf.cast()), call) }
    };
    match trace {
        // SAFETY: the program's own path.
        Some(trace) => unsafe { seen_at(trace, at.dir, at.path, flags, result) },
        None => result,
    }
}

/// `statx`, where it is asked for no more than the map has.
unsafe fn status_x(
    trace: Option<&Trace>,
    at: At,
    flags: c_int,
    mask: c_uint,
    buf: *mut c_void,
    call: impl FnOnce() -> c_int,
) -> c_int {
    const SIMPLE: c_int = libc::AT_SYMLINK_NOFOLLOW | libc::AT_NO_AUTOMOUNT | libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC;
    const KNOWN: c_uint = libc::STATX_BASIC_STATS | libc::STATX_BTIME | libc::STATX_MNT_ID;
    // Whether a birth is told when nobody asks for it is each file system's own affair.
    let usual = flags & !SIMPLE == 0 && mask & !KNOWN == 0 && mask & libc::STATX_BTIME != 0 && !buf.is_null();
    let result = if usual {
        // SAFETY: the program's own path, and its buffer for a `struct statx`.
        unsafe { by_map(vdir::stat(at, flags & libc::AT_SYMLINK_NOFOLLOW == 0), |found| fill::statx(found, buf.cast()), call) }
    } else {
        call()
    };
    match trace {
        // SAFETY: the program's own path.
        Some(trace) => unsafe { seen_at(trace, at.dir, at.path, flags, result) },
        None => result,
    }
}

fn by_map<T>(answer: Answer<T>, give: impl FnOnce(&T), call: impl FnOnce() -> c_int) -> c_int {
    match answer {
        Answer::Found(found) => {
            give(&found);
            0
        }
        Answer::Fails(error) => {
            set_errno(error);
            -1
        }
        Answer::Unknown => call(),
    }
}

/// `access`: whether something is there, and whether its owner may read it; what else there is to ask, the kernel is asked.
unsafe fn accessible(trace: Option<&Trace>, at: At, mode: c_int, flags: c_int, call: impl FnOnce() -> c_int) -> c_int {
    let result = if mode == libc::F_OK && flags & !libc::AT_EACCESS == 0 {
        // SAFETY: the program's own path.
        by_map(unsafe { vdir::exists(at) }, |()| (), call)
    } else {
        call()
    };
    match trace {
        // SAFETY: the program's own path.
        Some(trace) => unsafe { seen(trace, EventKind::Access, at, result) },
        None => result,
    }
}

always! {
    fn stat(path: *const c_char, buf: *mut c_void) -> c_int { |next, trace| status(trace, At::cwd(path), buf, 0, || next(path, buf)) }
    fn stat64(path: *const c_char, buf: *mut c_void) -> c_int { |next, trace| status(trace, At::cwd(path), buf, 0, || next(path, buf)) }
    fn lstat(path: *const c_char, buf: *mut c_void) -> c_int { |next, trace| status(trace, At::cwd(path), buf, libc::AT_SYMLINK_NOFOLLOW, || next(path, buf)) }
    fn lstat64(path: *const c_char, buf: *mut c_void) -> c_int { |next, trace| status(trace, At::cwd(path), buf, libc::AT_SYMLINK_NOFOLLOW, || next(path, buf)) }
    fn fstatat(dir: c_int, path: *const c_char, buf: *mut c_void, flags: c_int) -> c_int { |next, trace| status(trace, At { dir, path }, buf, flags, || next(dir, path, buf, flags)) }
    fn fstatat64(dir: c_int, path: *const c_char, buf: *mut c_void, flags: c_int) -> c_int { |next, trace| status(trace, At { dir, path }, buf, flags, || next(dir, path, buf, flags)) }
    fn statx(dir: c_int, path: *const c_char, flags: c_int, mask: c_uint, buf: *mut c_void) -> c_int { |next, trace| status_x(trace, At { dir, path }, flags, mask, buf, || next(dir, path, flags, mask, buf)) }
    fn __xstat(version: c_int, path: *const c_char, buf: *mut c_void) -> c_int { |next, trace| status(trace, At::cwd(path), buf, 0, || next(version, path, buf)) }
    fn __xstat64(version: c_int, path: *const c_char, buf: *mut c_void) -> c_int { |next, trace| status(trace, At::cwd(path), buf, 0, || next(version, path, buf)) }
    fn __lxstat(version: c_int, path: *const c_char, buf: *mut c_void) -> c_int { |next, trace| status(trace, At::cwd(path), buf, libc::AT_SYMLINK_NOFOLLOW, || next(version, path, buf)) }
    fn __lxstat64(version: c_int, path: *const c_char, buf: *mut c_void) -> c_int { |next, trace| status(trace, At::cwd(path), buf, libc::AT_SYMLINK_NOFOLLOW, || next(version, path, buf)) }
    fn __fxstatat(version: c_int, dir: c_int, path: *const c_char, buf: *mut c_void, flags: c_int) -> c_int { |next, trace| status(trace, At { dir, path }, buf, flags, || next(version, dir, path, buf, flags)) }
    fn __fxstatat64(version: c_int, dir: c_int, path: *const c_char, buf: *mut c_void, flags: c_int) -> c_int { |next, trace| status(trace, At { dir, path }, buf, flags, || next(version, dir, path, buf, flags)) }

    fn access(path: *const c_char, mode: c_int) -> c_int { |next, trace| accessible(trace, At::cwd(path), mode, 0, || next(path, mode)) }
    fn eaccess(path: *const c_char, mode: c_int) -> c_int { |next, trace| accessible(trace, At::cwd(path), mode, 0, || next(path, mode)) }
    fn euidaccess(path: *const c_char, mode: c_int) -> c_int { |next, trace| accessible(trace, At::cwd(path), mode, 0, || next(path, mode)) }
    fn faccessat(dir: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int { |next, trace| accessible(trace, At { dir, path }, mode, flags, || next(dir, path, mode, flags)) }

    fn chdir(path: *const c_char) -> c_int { |next, trace| {
        if let Some(trace) = trace {
            // Reported first: a relative path means another place afterwards.
            let exists = crate::sys::access(libc::AT_FDCWD, path, libc::F_OK);
            trace.path(EventKind::Stat, 0, (-exists) as u16, At::cwd(path));
        }
        moving(|| next(path))
    } }
    fn fchdir(fd: c_int) -> c_int { |next, _trace| moving(|| next(fd)) }

    fn readlink(path: *const c_char, buf: *mut c_char, len: size_t) -> isize { |next, trace| linked(trace, At::cwd(path), buf, len, || next(path, buf, len)) }
    fn __readlink_chk(path: *const c_char, buf: *mut c_char, len: size_t, room: size_t) -> isize { |next, trace| linked(trace, At::cwd(path), buf, if len <= room { len } else { 0 }, || next(path, buf, len, room)) }
    fn readlinkat(dir: c_int, path: *const c_char, buf: *mut c_char, len: size_t) -> isize { |next, trace| linked(trace, At { dir, path }, buf, len, || next(dir, path, buf, len)) }
    fn __readlinkat_chk(dir: c_int, path: *const c_char, buf: *mut c_char, len: size_t, room: size_t) -> isize { |next, trace| linked(trace, At { dir, path }, buf, if len <= room { len } else { 0 }, || next(dir, path, buf, len, room)) }

    fn realpath(path: *const c_char, resolved: *mut c_char) -> *mut c_char { |next, trace| resolve(trace, path, resolved, || next(path, resolved)) }
    fn __realpath_chk(path: *const c_char, resolved: *mut c_char, room: size_t) -> *mut c_char { |next, trace| if room >= path::ROOM { resolve(trace, path, resolved, || next(path, resolved, room)) } else { next(path, resolved, room) } }
    fn canonicalize_file_name(path: *const c_char) -> *mut c_char { |next, trace| resolve(trace, path, core::ptr::null_mut(), || next(path)) }
}

hooks! {
    fn statfs(path: *const c_char, buf: *mut c_void) -> c_int { |next, trace| seen(trace, EventKind::Access, At::cwd(path), next(path, buf)) }
    fn statfs64(path: *const c_char, buf: *mut c_void) -> c_int { |next, trace| seen(trace, EventKind::Access, At::cwd(path), next(path, buf)) }
    fn statvfs(path: *const c_char, buf: *mut c_void) -> c_int { |next, trace| seen(trace, EventKind::Access, At::cwd(path), next(path, buf)) }
    fn statvfs64(path: *const c_char, buf: *mut c_void) -> c_int { |next, trace| seen(trace, EventKind::Access, At::cwd(path), next(path, buf)) }
}

/// Changes the current folder.
fn moving(call: impl FnOnce() -> c_int) -> c_int {
    cwd::changes();
    let result = call();
    cwd::changes();
    result
}

unsafe fn linked(trace: Option<&Trace>, at: At, buf: *mut c_char, len: size_t, call: impl FnOnce() -> isize) -> isize {
    // SAFETY: the program's own path and buffer.
    let result = match unsafe { vdir::readlink(at, buf, len) } {
        Answer::Found(len) => len as isize,
        Answer::Fails(error) => {
            set_errno(error);
            -1
        }
        Answer::Unknown => call(),
    };
    if let Some(trace) = trace {
        // SAFETY: the program's own path.
        unsafe { trace.path(EventKind::Readlink, 0, if result < 0 { errno() } else { 0 }, at) };
    }
    result
}

/// `realpath` and its like. A null `resolved` asks for a copy from `malloc`; else it has room for any path.
unsafe fn resolve(
    trace: Option<&Trace>,
    path: *const c_char,
    resolved: *mut c_char,
    call: impl FnOnce() -> *mut c_char,
) -> *mut c_char {
    // SAFETY: the program's own strings.
    unsafe {
        let kept = portable(path, resolved).or_else(|| vdir::real_path(path, |pieces| give(&pieces, resolved)));
        let result = kept.unwrap_or_else(call);
        match trace {
            Some(trace) => resolved_path(trace, path, result),
            None => result,
        }
    }
}

/// Joins `pieces`, which are shorter than a path may be, at `resolved`, or in memory from `malloc`.
unsafe fn give(pieces: &[&[u8]], resolved: *mut c_char) -> *mut c_char {
    let mut room = [0; path::ROOM];
    let Some(len) = join(pieces, &mut room).map(<[u8]>::len) else { return core::ptr::null_mut() };
    // SAFETY: a zero follows the path in the room; the caller's buffer has room for any path.
    unsafe {
        if resolved.is_null() {
            return libc::strdup(room.as_ptr().cast());
        }
        resolved.copy_from_nonoverlapping(room.as_ptr().cast(), len + 1);
        resolved
    }
}

/// rustc was given paths that start with the portable folder; resolved, they would name the checkout again. A path that
/// exists stays as it is. A null `resolved` asks for a copy from `malloc`; see realpath(3).
unsafe fn portable(path: *const c_char, resolved: *mut c_char) -> Option<*mut c_char> {
    // SAFETY: the program's own string.
    let bytes = unsafe { path::bytes(path) };
    if !state::has_portable_paths() || !bytes.starts_with(PORTABLE.to_bytes()) || bytes.len() >= path::ROOM {
        return None;
    }
    // SAFETY: as above; the caller's buffer has room for any path (PATH_MAX, of which `ROOM` is the number).
    unsafe {
        if crate::sys::access(libc::AT_FDCWD, path, libc::F_OK) != 0 {
            return None;
        }
        if resolved.is_null() {
            return Some(libc::strdup(path));
        }
        resolved.copy_from_nonoverlapping(path, bytes.len() + 1);
        Some(resolved)
    }
}

/// Resolving a path looks at each of its folders for links, at what the links lead to, and at the folders of the result.
unsafe fn resolved_path(trace: &Trace, path: *const c_char, result: *mut c_char) -> *mut c_char {
    let error = if result.is_null() { errno() } else { 0 };
    // SAFETY: the program's own path; without a result it may be null.
    unsafe {
        trace.path(EventKind::Stat, 0, error, At::cwd(path));
        path::absolute(At::cwd(path), |pieces| {
            let mut room = [0; path::ROOM];
            let Some(whole) = pieces.and_then(|pieces| join(pieces, &mut room)) else { return };
            if error == 0 {
                folders(trace, whole);
                links(trace, whole);
            } else {
                folders_until_missing(trace, whole);
            }
        });
        if !result.is_null() {
            folders(trace, path::bytes(result));
        }
    }
    result
}

fn folders(trace: &Trace, whole: &[u8]) {
    for (at, _) in whole.iter().enumerate().skip(1).filter(|(_, c)| **c == b'/') {
        trace.known_path(EventKind::Readlink, 0, &whole[..at]);
    }
}

/// The folders that resolving looked at before it failed.
fn folders_until_missing(trace: &Trace, whole: &[u8]) {
    let mut room = [0_u8; path::ROOM];
    for (at, _) in whole.iter().enumerate().skip(1).filter(|(_, c)| **c == b'/') {
        let (Some(to), Some(folder)) = (room.get_mut(..at), whole.get(..at)) else { return };
        to.copy_from_slice(folder);
        // SAFETY: zeroes follow the name in the room.
        let missing = unsafe { crate::sys::access(libc::AT_FDCWD, room.as_ptr().cast(), libc::F_OK) };
        trace.known_path(EventKind::Readlink, (-missing) as u16, folder);
        if missing != 0 || at + 1 >= room.len() {
            return;
        }
    }
}

/// The chain of links that starts at `path`.
fn links(trace: &Trace, path: &[u8]) {
    /// The kernel gives up after as many.
    const LONGEST_CHAIN: usize = 40;
    let mut here = [0_u8; path::ROOM];
    let Some(to) = here.get_mut(..path.len()) else { return };
    to.copy_from_slice(path);
    for _ in 0..LONGEST_CHAIN {
        let Ok(name) = CStr::from_bytes_until_nul(&here) else { return };
        trace.known_path(EventKind::Readlink, 0, name.to_bytes());
        let mut room = [0; path::ROOM];
        let Some(target) = crate::sys::readlink(name, &mut room) else { return };
        let folder =
            if target.starts_with(b"/") { 0 } else { name.to_bytes().iter().rposition(|c| *c == b'/').map_or(0, |at| at + 1) };
        here[folder..].fill(0);
        let Some(to) = here.get_mut(folder..folder + target.len()) else { return };
        to.copy_from_slice(target);
    }
}

fn join<'a>(pieces: &[&[u8]], room: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut used = 0;
    for piece in pieces {
        room.get_mut(used..used + piece.len())?.copy_from_slice(piece);
        used += piece.len();
    }
    room.get(..used)
}
