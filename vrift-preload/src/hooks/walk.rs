//! Functions that walk trees inside libc: what they will look at is looked at here first.

use core::ffi::{CStr, c_char, c_int, c_void};

use vrift_core::event::EventKind;

use crate::cwd;
use crate::next::{always, hooks};
use crate::path::{self, At};
use crate::sys;
use crate::trace::Trace;

/// Folders deeper than this are beyond any walk that a build makes.
const DEEPEST: usize = 64;

hooks! {
    fn ftw(path: *const c_char, visit: *const c_void, fds: c_int) -> c_int { |next, trace| { tree(trace, path); next(path, visit, fds) } }
    fn ftw64(path: *const c_char, visit: *const c_void, fds: c_int) -> c_int { |next, trace| { tree(trace, path); next(path, visit, fds) } }
    fn glob(pattern: *const c_char, flags: c_int, error: *const c_void, found: *mut c_void) -> c_int { |next, trace| { matched(trace, pattern); next(pattern, flags, error, found) } }
    fn glob64(pattern: *const c_char, flags: c_int, error: *const c_void, found: *mut c_void) -> c_int { |next, trace| { matched(trace, pattern); next(pattern, flags, error, found) } }
}

/// libc changes the current folder by itself while it walks.
fn moves(flags: c_int, flag: c_int) {
    if flags & flag != 0 {
        cwd::lose();
    }
}

/// See fts(3).
const FTS_NOCHDIR: c_int = 4;
/// See nftw(3).
const FTW_CHDIR: c_int = 4;

always! {
    fn nftw(path: *const c_char, visit: *const c_void, fds: c_int, flags: c_int) -> c_int { |next, trace| { moves(flags, FTW_CHDIR); trace.inspect(|trace| tree(trace, path)); next(path, visit, fds, flags) } }
    fn nftw64(path: *const c_char, visit: *const c_void, fds: c_int, flags: c_int) -> c_int { |next, trace| { moves(flags, FTW_CHDIR); trace.inspect(|trace| tree(trace, path)); next(path, visit, fds, flags) } }
    fn fts_open(paths: *const *const c_char, options: c_int, compare: *const c_void) -> *mut c_void { |next, trace| { moves(!options, FTS_NOCHDIR); trace.inspect(|trace| trees(trace, paths)); next(paths, options, compare) } }
    fn fts64_open(paths: *const *const c_char, options: c_int, compare: *const c_void) -> *mut c_void { |next, trace| { moves(!options, FTS_NOCHDIR); trace.inspect(|trace| trees(trace, paths)); next(paths, options, compare) } }
    fn daemon(stays: c_int, keeps: c_int) -> c_int { |next, _trace| { moves(c_int::from(stays == 0), 1); next(stays, keeps) } }
}

unsafe fn trees(trace: &Trace, mut paths: *const *const c_char) {
    // SAFETY: `fts_open` takes a NULL-terminated list of strings.
    unsafe {
        while !(*paths).is_null() {
            tree(trace, *paths);
            paths = paths.add(1);
        }
    }
}

/// A whole tree, its files' stats included.
unsafe fn tree(trace: &Trace, path: *const c_char) {
    // SAFETY: the program's own path.
    unsafe {
        trace.path(EventKind::Stat, 0, absent(At::cwd(path)), At::cwd(path));
        walk(trace, At::cwd(path), DEEPEST);
    }
}

/// The folders that a pattern is matched in: the one before the first wildcard, and below it as deep as the pattern goes.
unsafe fn matched(trace: &Trace, pattern: *const c_char) {
    // SAFETY: the program's own string.
    let pattern = unsafe { path::bytes(pattern) };
    let wild = pattern.iter().position(|c| matches!(c, b'*' | b'?' | b'[' | b'{' | b'~'));
    let fixed = &pattern[..wild.unwrap_or(pattern.len())];
    let folder = &fixed[..fixed.iter().rposition(|c| *c == b'/').map_or(0, |at| at + 1)];
    let depth = pattern[folder.len()..].iter().filter(|c| **c == b'/').count() + 1;
    let mut room = [0_u8; path::ROOM];
    let name = if folder.is_empty() { b"." } else { folder };
    let Some(to) = room.get_mut(..name.len()) else { return };
    to.copy_from_slice(name);
    // SAFETY: zeroes follow the name in the room.
    unsafe { walk(trace, At::cwd(room.as_ptr().cast()), depth.min(DEEPEST)) };
}

unsafe fn absent(at: At) -> u16 {
    // SAFETY: the program's own path.
    (-unsafe { sys::access(at.dir, at.path, libc::F_OK) }) as u16
}

/// Reports the listing of a folder and of the folders in it. Links are not followed into: what lies behind them is
/// reported when the walker gets there by a call of its own.
unsafe fn walk(trace: &Trace, at: At, depth: usize) {
    // SAFETY: the caller's path.
    let fd = unsafe { sys::openat(at.dir, at.path, libc::O_RDONLY | libc::O_DIRECTORY) };
    if fd < 0 || depth == 0 {
        if fd >= 0 {
            sys::close(fd);
        }
        return;
    }
    trace.descriptor(EventKind::List, fd as c_int);
    let mut buffer = [0_u8; 4096];
    loop {
        let len = sys::getdents(fd, &mut buffer);
        let Some(mut entries) = buffer.get(..len).filter(|entries| !entries.is_empty()) else { break };
        // `struct linux_dirent64`, getdents(2): ino 8, off 8, reclen 2, type 1, name.
        while let Some([low, high]) = entries.get(16..18) {
            let size = usize::from(u16::from_le_bytes([*low, *high]));
            let (Some(entry), Some(rest)) = (entries.get(..size), entries.get(size..)) else { break };
            visit(trace, fd as c_int, entry, depth);
            if size == 0 {
                break;
            }
            entries = rest;
        }
    }
    sys::close(fd);
}

fn visit(trace: &Trace, dir: c_int, entry: &[u8], depth: usize) {
    let Some(name) = entry.get(19..).and_then(|name| CStr::from_bytes_until_nul(name).ok()) else { return };
    if matches!(name.to_bytes(), b"." | b"..") {
        return;
    }
    let at = At { dir, path: name.as_ptr() };
    // SAFETY: the name is NUL-terminated.
    unsafe {
        trace.path(EventKind::Lstat, 0, 0, at);
        if entry.get(18) == Some(&libc::DT_DIR) {
            walk(trace, at, depth - 1);
        }
    }
}
