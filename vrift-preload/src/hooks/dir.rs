//! Listing folders.

use core::ffi::{c_char, c_int, c_void};

use libc::{DIR, size_t};
use vrift_core::event::EventKind;

use crate::next::{errno, hooks};
use crate::path::At;
use crate::trace::Trace;

unsafe fn listed(trace: &Trace, at: At, failed: bool) {
    // SAFETY: the program's own path.
    unsafe { trace.path(EventKind::List, 0, if failed { errno() } else { 0 }, at) };
}

hooks! {
    fn opendir(path: *const c_char) -> *mut DIR { |next, trace| {
        let dir = next(path);
        listed(trace, At::cwd(path), dir.is_null());
        dir
    } }
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
