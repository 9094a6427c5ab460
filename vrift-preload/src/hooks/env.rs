//! Reading the environment and the current folder.

use core::ffi::{CStr, c_char, c_int, c_void};

use libc::{size_t, time_t};
use vrift_core::event::EventKind;

use crate::next::hooks;
use crate::path::{self, At};
use crate::state::{self, PORTABLE};
use crate::trace::Trace;

/// What choosing the user's locale reads inside libc; see setlocale(3), locale(7).
const LOCALE: [&CStr; 10] = [
    c"LC_ALL",
    c"LANG",
    c"LANGUAGE",
    c"LC_CTYPE",
    c"LC_MESSAGES",
    c"LC_COLLATE",
    c"LC_NUMERIC",
    c"LC_TIME",
    c"LC_MONETARY",
    c"LOCPATH",
];

fn locale(trace: &Trace) {
    LOCALE.iter().for_each(|name| variable(trace, name));
}

/// What converting to local time reads inside libc; see tzset(3).
fn time_zone(trace: &Trace) {
    variable(trace, c"TZ");
    variable(trace, c"TZDIR");
    // SAFETY: the path is NUL-terminated.
    unsafe {
        let missing = crate::sys::access(libc::AT_FDCWD, c"/etc/localtime".as_ptr(), libc::F_OK);
        trace.path(EventKind::OpenRead, 0, (-missing) as u16, At::cwd(c"/etc/localtime".as_ptr()));
    }
}

fn variable(trace: &Trace, name: &CStr) {
    // SAFETY: `environ` is libc's list of strings.
    unsafe {
        let value = crate::exec::find(state::libc_environ().cast_const().cast(), name.to_bytes());
        trace.variable(name.as_ptr(), value.map_or(core::ptr::null(), |value| value.as_ptr().cast()));
    }
}

hooks! {
    fn getenv(name: *const c_char) -> *mut c_char { |next, trace| {
        let value = next(name);
        trace.variable(name, value);
        value
    } }
    fn secure_getenv(name: *const c_char) -> *mut c_char { |next, trace| {
        let value = next(name);
        trace.variable(name, value);
        value
    } }
    fn setlocale(category: c_int, name: *const c_char) -> *mut c_char { |next, trace| {
        if !name.is_null() && path::bytes(name).is_empty() {
            locale(trace);
        }
        next(category, name)
    } }
    fn newlocale(mask: c_int, name: *const c_char, base: *mut c_void) -> *mut c_void { |next, trace| {
        if path::bytes(name).is_empty() {
            locale(trace);
        }
        next(mask, name, base)
    } }
    fn localtime(time: *const time_t) -> *mut c_void { |next, trace| { time_zone(trace); next(time) } }
    fn localtime_r(time: *const time_t, parts: *mut c_void) -> *mut c_void { |next, trace| { time_zone(trace); next(time, parts) } }
    fn mktime(parts: *mut c_void) -> time_t { |next, trace| { time_zone(trace); next(parts) } }
    fn getcwd(buffer: *mut c_char, size: size_t) -> *mut c_char { |next, _trace| {
        // A caller without a buffer wants one from `malloc`: not one that cares for portable debug information.
        if buffer.is_null() || size < PORTABLE.count_bytes() + 1 || !state::portable_cwd() {
            return next(buffer, size);
        }
        buffer.copy_from_nonoverlapping(PORTABLE.as_ptr(), PORTABLE.count_bytes() + 1);
        buffer
    } }
}
