//! Listing folders.

use core::ffi::{c_char, c_int, c_long, c_void};

use libc::{DIR, dirent64, size_t};
use vrift_core::event::EventKind;

use crate::listing;
use crate::next::{Next, always, errno, hooks, register};
use crate::path::At;
use crate::trace::Trace;
use crate::vdir;

unsafe fn listed(trace: &Trace, at: At, failed: bool) {
    // SAFETY: the program's own path.
    unsafe { trace.path(EventKind::List, 0, if failed { errno() } else { 0 }, at) };
}

/// Opens a stream, with names from the map where it has them.
unsafe fn opened(path: *const c_char, call: impl FnOnce() -> *mut DIR) -> *mut DIR {
    // SAFETY: the program's own path.
    let names = unsafe { vdir::begin_list(path) };
    let dir = call();
    if let Some(names) = names.filter(|_| !dir.is_null()).and_then(vdir::Listing::names) {
        listing::give(dir, names);
    }
    dir
}

/// The kernel has the stream's names from now on; those that were given are passed over.
unsafe fn left(dir: *mut DIR) {
    for _ in 0..listing::leave(dir) {
        // SAFETY: the program's own stream, by libc's function: there are no names of ours any more.
        if unsafe { readdir64(dir) }.is_null() {
            return;
        }
    }
}

always! {
    fn opendir(path: *const c_char) -> *mut DIR { |next, trace| {
        let dir = opened(path, || next(path));
        if let Some(trace) = trace {
            listed(trace, At::cwd(path), dir.is_null());
        }
        dir
    } }
    fn readdir(dir: *mut DIR) -> *mut dirent64 { |next, _trace| listing::next(dir).unwrap_or_else(|| next(dir)) }
    fn readdir64(dir: *mut DIR) -> *mut dirent64 { |next, _trace| listing::next(dir).unwrap_or_else(|| next(dir)) }
    fn readdir_r(dir: *mut DIR, entry: *mut dirent64, result: *mut *mut dirent64) -> c_int { |next, _trace| { left(dir); next(dir, entry, result) } }
    fn readdir64_r(dir: *mut DIR, entry: *mut dirent64, result: *mut *mut dirent64) -> c_int { |next, _trace| { left(dir); next(dir, entry, result) } }
    fn telldir(dir: *mut DIR) -> c_long { |next, _trace| { left(dir); next(dir) } }
    fn closedir(dir: *mut DIR) -> c_int { |next, _trace| { listing::leave(dir); next(dir) } }
}

// Those return nothing.
macro_rules! positions {
    ($(fn $name:ident($($arg:ident: $type:ty),*);)*) => {
        $(
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name(dir: *mut DIR, $($arg: $type),*) {
                static NEXT: Next = Next::new(match core::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => c"",
                });
                register!(NEXT);
                listing::leave(dir);
                let found = NEXT.get();
                if !found.is_null() {
                    // SAFETY: the symbol of this name has this signature, by its man page; the program's own arguments.
                    unsafe { core::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut DIR, $($type),*)>(found)(dir, $($arg),*) };
                }
            }
        )*
    };
}
positions! {
    fn rewinddir();
    fn seekdir(position: c_long);
}

hooks! {
    fn fdopendir(fd: c_int) -> *mut DIR { |next, trace| {
        let dir = next(fd);
        trace.descriptor(EventKind::List, fd);
        dir
    } }
    fn getdents64(fd: c_int, buf: *mut c_void, len: size_t) -> isize { |next, trace| {
        trace.descriptor(EventKind::List, fd);
        next(fd, buf, len)
    } }
    fn scandir(path: *const c_char, list: *mut c_void, filter: *const c_void, order: *const c_void) -> c_int { |next, trace| {
        let count = next(path, list, filter, order);
        listed(trace, At::cwd(path), count < 0);
        count
    } }
    fn scandir64(path: *const c_char, list: *mut c_void, filter: *const c_void, order: *const c_void) -> c_int { |next, trace| {
        let count = next(path, list, filter, order);
        listed(trace, At::cwd(path), count < 0);
        count
    } }
    fn scandirat(dir: c_int, path: *const c_char, list: *mut c_void, filter: *const c_void, order: *const c_void) -> c_int { |next, trace| {
        let count = next(dir, path, list, filter, order);
        listed(trace, At { dir, path }, count < 0);
        count
    } }
    fn scandirat64(dir: c_int, path: *const c_char, list: *mut c_void, filter: *const c_void, order: *const c_void) -> c_int { |next, trace| {
        let count = next(dir, path, list, filter, order);
        listed(trace, At { dir, path }, count < 0);
        count
    } }
}
