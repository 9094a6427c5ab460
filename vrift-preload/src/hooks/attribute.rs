//! Reading extended attributes, and files' handles: looks at the file. (Attributes are not compared: whoever sets one is not stored.)

use core::ffi::{c_char, c_int, c_void};

use libc::size_t;
use vrift_core::event::EventKind;

use crate::next::{errno, hooks};
use crate::path::At;
use crate::trace::Trace;

unsafe fn seen(trace: &Trace, kind: EventKind, at: At, result: isize) -> isize {
    const OF_THE_FILE: [i32; 5] = [libc::ENOENT, libc::ENOTDIR, libc::ELOOP, libc::EACCES, libc::ENAMETOOLONG];
    let error = if result < 0 { errno() } else { 0 };
    // That it has no such attribute says that it is there.
    let error = if OF_THE_FILE.contains(&error.into()) { error } else { 0 };
    // SAFETY: the program's own path.
    unsafe { trace.path(kind, 0, error, at) };
    result
}

hooks! {
    fn getxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> isize { |next, trace| seen(trace, EventKind::Stat, At::cwd(path), next(path, name, value, size)) }
    fn lgetxattr(path: *const c_char, name: *const c_char, value: *mut c_void, size: size_t) -> isize { |next, trace| seen(trace, EventKind::Lstat, At::cwd(path), next(path, name, value, size)) }
    fn listxattr(path: *const c_char, list: *mut c_char, size: size_t) -> isize { |next, trace| seen(trace, EventKind::Stat, At::cwd(path), next(path, list, size)) }
    fn llistxattr(path: *const c_char, list: *mut c_char, size: size_t) -> isize { |next, trace| seen(trace, EventKind::Lstat, At::cwd(path), next(path, list, size)) }
    fn name_to_handle_at(dir: c_int, path: *const c_char, handle: *mut c_void, mount: *mut c_int, flags: c_int) -> c_int { |next, trace| {
        let result = next(dir, path, handle, mount, flags);
        let kind = if flags & libc::AT_SYMLINK_FOLLOW != 0 { EventKind::Stat } else { EventKind::Lstat };
        seen(trace, kind, At { dir, path }, result as isize);
        result
    } }
}
