//! Temporary names: the name is known only when the call is done.

use core::ffi::{c_char, c_int};

use vrift_core::event::{EventKind, flag};

use crate::next::hooks;
use crate::path::At;
use crate::trace::Trace;

unsafe fn made(trace: &Trace, name: *mut c_char, fd: c_int) -> c_int {
    if fd >= 0 {
        // SAFETY: the program's own buffer, which now holds the name.
        unsafe { trace.path(EventKind::OpenWrite, flag::TRUNCATED, 0, At::cwd(name)) };
    }
    fd
}

hooks! {
    fn mkstemp(name: *mut c_char) -> c_int { |next, trace| made(trace, name, next(name)) }
    fn mkstemp64(name: *mut c_char) -> c_int { |next, trace| made(trace, name, next(name)) }
    fn mkostemp(name: *mut c_char, flags: c_int) -> c_int { |next, trace| made(trace, name, next(name, flags)) }
    fn mkostemp64(name: *mut c_char, flags: c_int) -> c_int { |next, trace| made(trace, name, next(name, flags)) }
    fn mkstemps(name: *mut c_char, suffix: c_int) -> c_int { |next, trace| made(trace, name, next(name, suffix)) }
    fn mkstemps64(name: *mut c_char, suffix: c_int) -> c_int { |next, trace| made(trace, name, next(name, suffix)) }
    fn mkostemps(name: *mut c_char, suffix: c_int, flags: c_int) -> c_int { |next, trace| made(trace, name, next(name, suffix, flags)) }
    fn mkostemps64(name: *mut c_char, suffix: c_int, flags: c_int) -> c_int { |next, trace| made(trace, name, next(name, suffix, flags)) }
    fn mkdtemp(name: *mut c_char) -> *mut c_char { |next, trace| {
        let made = next(name);
        if !made.is_null() {
            trace.path(EventKind::Mkdir, 0, 0, At::cwd(name));
        }
        made
    } }
}
