//! Opening files.

use core::ffi::{c_char, c_int, c_void};

use libc::{FILE, mode_t};
use vrift_core::event::Untraced;
use vrift_core::open;

use crate::next::{always, errno, hooks, set_errno};
use crate::path::{self, At};
use crate::sys;
use crate::trace::Trace;
use crate::vdir;

/// What must be known before the call: whether a file about to be changed was there.
unsafe fn existed(at: At, flags: c_int) -> bool {
    // SAFETY: the program's own path.
    open::writes(flags) && unsafe { sys::access(at.dir, at.path, libc::F_OK) } == 0
}

/// Reports an `open` with these flags that ended in `error`, 0 for success.
unsafe fn report(trace: &Trace, at: At, flags: c_int, existed: bool, error: u16) {
    let Some((kind, bits)) = open::event(flags, existed) else { return };
    // SAFETY: the program's own path.
    unsafe { trace.path(kind, bits, error, at) };
}

unsafe fn opened(trace: Option<&Trace>, at: At, flags: c_int, call: impl FnOnce() -> c_int) -> c_int {
    let call = || {
        let plain = flags & libc::O_CREAT == 0 && flags & libc::O_TMPFILE != libc::O_TMPFILE;
        // SAFETY: the program's own path.
        match plain.then(|| unsafe { vdir::lacks(at) }).flatten() {
            Some(error) => {
                set_errno(error);
                -1
            }
            None => call(),
        }
    };
    let Some(trace) = trace else { return call() };
    // SAFETY: the program's own path.
    let existed = unsafe { existed(at, flags) };
    let fd = call();
    // SAFETY: as above.
    unsafe { report(trace, at, flags, existed, if fd < 0 { errno() } else { 0 }) };
    fd
}

const CREAT: c_int = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;

// `open` and its like take a mode only where they create. Passing on what the third argument's register holds is what a
// variadic caller does anyway.
always! {
    fn __open(file: *const c_char, flags: c_int, mode: mode_t) -> c_int { |next, trace| opened(trace, At::cwd(file), flags, || next(file, flags, mode)) }
    fn __open64(file: *const c_char, flags: c_int, mode: mode_t) -> c_int { |next, trace| opened(trace, At::cwd(file), flags, || next(file, flags, mode)) }
    fn open(file: *const c_char, flags: c_int, mode: mode_t) -> c_int { |next, trace| opened(trace, At::cwd(file), flags, || next(file, flags, mode)) }
    fn open64(file: *const c_char, flags: c_int, mode: mode_t) -> c_int { |next, trace| opened(trace, At::cwd(file), flags, || next(file, flags, mode)) }
    fn openat(dir: c_int, file: *const c_char, flags: c_int, mode: mode_t) -> c_int { |next, trace| opened(trace, At { dir, path: file }, flags, || next(dir, file, flags, mode)) }
    fn openat64(dir: c_int, file: *const c_char, flags: c_int, mode: mode_t) -> c_int { |next, trace| opened(trace, At { dir, path: file }, flags, || next(dir, file, flags, mode)) }
    fn creat(file: *const c_char, mode: mode_t) -> c_int { |next, trace| opened(trace, At::cwd(file), CREAT, || next(file, mode)) }
    fn creat64(file: *const c_char, mode: mode_t) -> c_int { |next, trace| opened(trace, At::cwd(file), CREAT, || next(file, mode)) }
    fn __open_2(file: *const c_char, flags: c_int) -> c_int { |next, trace| opened(trace, At::cwd(file), flags, || next(file, flags)) }
    fn __open64_2(file: *const c_char, flags: c_int) -> c_int { |next, trace| opened(trace, At::cwd(file), flags, || next(file, flags)) }
    fn __openat_2(dir: c_int, file: *const c_char, flags: c_int) -> c_int { |next, trace| opened(trace, At { dir, path: file }, flags, || next(dir, file, flags)) }
    fn __openat64_2(dir: c_int, file: *const c_char, flags: c_int) -> c_int { |next, trace| opened(trace, At { dir, path: file }, flags, || next(dir, file, flags)) }
    fn fopen(file: *const c_char, mode: *const c_char) -> *mut FILE { |next, trace| stream(trace, file, mode, || next(file, mode)) }
    fn fopen64(file: *const c_char, mode: *const c_char) -> *mut FILE { |next, trace| stream(trace, file, mode, || next(file, mode)) }
    fn _IO_fopen(file: *const c_char, mode: *const c_char) -> *mut FILE { |next, trace| stream(trace, file, mode, || next(file, mode)) }
    fn setmntent(file: *const c_char, mode: *const c_char) -> *mut FILE { |next, trace| stream(trace, file, mode, || next(file, mode)) }
    fn __setmntent(file: *const c_char, mode: *const c_char) -> *mut FILE { |next, trace| stream(trace, file, mode, || next(file, mode)) }
    fn freopen(file: *const c_char, mode: *const c_char, old: *mut FILE) -> *mut FILE { |next, trace| reopened(trace, file, mode, || next(file, mode, old)) }
    fn freopen64(file: *const c_char, mode: *const c_char, old: *mut FILE) -> *mut FILE { |next, trace| reopened(trace, file, mode, || next(file, mode, old)) }
}

hooks! {
    // A file by its number, not by its name.
    fn open_by_handle_at(mount: c_int, handle: *mut c_void, flags: c_int) -> c_int { |next, trace| { trace.untraced(Untraced::LostPath, b"open_by_handle_at"); next(mount, handle, flags) } }
}

/// The flags that `fopen` derives from its mode; see fopen(3).
unsafe fn flags_of(mode: *const c_char) -> c_int {
    // SAFETY: the program's own string.
    let mode = unsafe { path::bytes(mode) };
    let has = |c: u8| mode.split(|b| *b == b',').next().unwrap_or(b"").contains(&c);
    let access = if has(b'+') { libc::O_RDWR } else { libc::O_WRONLY };
    let exclusive = if has(b'x') { libc::O_EXCL } else { 0 };
    match mode.first() {
        Some(b'w') => access | libc::O_CREAT | libc::O_TRUNC | exclusive,
        Some(b'a') => access | libc::O_CREAT | libc::O_APPEND | exclusive,
        _ if has(b'+') => libc::O_RDWR,
        _ => libc::O_RDONLY,
    }
}

unsafe fn stream(trace: Option<&Trace>, file: *const c_char, mode: *const c_char, call: impl FnOnce() -> *mut FILE) -> *mut FILE {
    let Some(trace) = trace else { return call() };
    let at = At::cwd(file);
    // SAFETY: the program's own strings.
    let (flags, existed) = unsafe {
        let flags = flags_of(mode);
        (flags, existed(at, flags))
    };
    let stream = call();
    // SAFETY: as above.
    unsafe { report(trace, at, flags, existed, if stream.is_null() { errno() } else { 0 }) };
    stream
}

unsafe fn reopened(
    trace: Option<&Trace>,
    file: *const c_char,
    mode: *const c_char,
    call: impl FnOnce() -> *mut FILE,
) -> *mut FILE {
    if file.is_null() {
        // Only the mode of an open stream changes.
        return call();
    }
    // SAFETY: the program's own strings.
    unsafe { stream(trace, file, mode, call) }
}
