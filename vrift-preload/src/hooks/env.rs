//! Reading the environment and the current folder.

use core::ffi::{CStr, c_char, c_int, c_void};

use libc::{size_t, time_t};
use vrift_core::event::{EventKind, Untraced};

use crate::next::{Next, hooks, register};
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
    let value = |name| {
        // SAFETY: `environ` is libc's list of strings.
        unsafe { crate::exec::find(state::libc_environ().cast_const().cast(), name) }
    };
    let Some(zone) = value(b"TZ").map(|zone| zone.strip_prefix(b":").unwrap_or(zone)) else {
        return read(trace, &[b"/etc/localtime"]);
    };
    // A file, unless it is a rule. Nothing stands for this one.
    let zone: &[u8] = if zone.is_empty() { b"Universal" } else { zone };
    if zone.starts_with(b"/") {
        return read(trace, &[zone]);
    }
    read(trace, &[value(b"TZDIR").filter(|dir| !dir.is_empty()).unwrap_or(b"/usr/share/zoneinfo"), b"/", zone]);
}

/// A file that libc opens by itself.
fn read(trace: &Trace, name: &[&[u8]]) {
    let (mut room, mut used) = ([0_u8; path::ROOM], 0);
    for piece in name {
        let Some(to) = room.get_mut(used..used + piece.len()) else { return };
        to.copy_from_slice(piece);
        used += piece.len();
    }
    if used == room.len() {
        return;
    }
    // SAFETY: zeroes follow the path in the room.
    unsafe {
        let missing = crate::sys::access(libc::AT_FDCWD, room.as_ptr().cast(), libc::F_OK);
        trace.path(EventKind::OpenRead, 0, (-missing) as u16, At::cwd(room.as_ptr().cast()));
    }
}

/// What looking for a catalogue of messages reads inside libc, unless its name is a path; see catopen(3).
fn catalogue(trace: &Trace, name: &[u8]) {
    if name.contains(&b'/') {
        return read(trace, &[name]);
    }
    variable(trace, c"NLSPATH");
    locale(trace);
    // SAFETY: `environ` is libc's list of strings.
    if unsafe { crate::exec::find(state::libc_environ().cast_const().cast(), b"NLSPATH") }.is_some_and(|path| !path.is_empty()) {
        trace.untraced(Untraced::LostPath, b"NLSPATH");
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
    fn timelocal(parts: *mut c_void) -> time_t { |next, trace| { time_zone(trace); next(parts) } }
    fn ctime(time: *const time_t) -> *mut c_char { |next, trace| { time_zone(trace); next(time) } }
    fn ctime_r(time: *const time_t, text: *mut c_char) -> *mut c_char { |next, trace| { time_zone(trace); next(time, text) } }
    fn strftime(text: *mut c_char, len: size_t, format: *const c_char, parts: *const c_void) -> size_t { |next, trace| { time_zone(trace); next(text, len, format, parts) } }
    fn strftime_l(text: *mut c_char, len: size_t, format: *const c_char, parts: *const c_void, locale: *mut c_void) -> size_t { |next, trace| { time_zone(trace); next(text, len, format, parts, locale) } }
    fn wcsftime(text: *mut c_void, len: size_t, format: *const c_void, parts: *const c_void) -> size_t { |next, trace| { time_zone(trace); next(text, len, format, parts) } }
    fn catopen(name: *const c_char, flag: c_int) -> *mut c_void { |next, trace| { catalogue(trace, path::bytes(name)); next(name, flag) } }
    fn getcwd(buffer: *mut c_char, size: size_t) -> *mut c_char { |next, _trace| {
        // A caller without a buffer wants one from `malloc`: not one that cares for portable debug information.
        if buffer.is_null() || size < PORTABLE.count_bytes() + 1 || !state::portable_cwd() {
            return next(buffer, size);
        }
        buffer.copy_from_nonoverlapping(PORTABLE.as_ptr(), PORTABLE.count_bytes() + 1);
        buffer
    } }
}

// It returns nothing.
static TZSET: Next = Next::new(c"tzset");
register!(TZSET);

#[unsafe(no_mangle)]
pub unsafe extern "C" fn tzset() {
    if let Some(trace) = state::trace() {
        time_zone(trace);
    }
    let found = TZSET.get();
    if !found.is_null() {
        // SAFETY: the signature by the man page.
        unsafe { core::mem::transmute::<*mut c_void, unsafe extern "C" fn()>(found)() };
    }
}
