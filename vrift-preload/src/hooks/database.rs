//! Users, groups and services: libc reads their files by itself. Source: getpwnam(3), nsswitch.conf(5).

use core::ffi::{CStr, c_char, c_int, c_void};

use libc::{gid_t, size_t, uid_t};
use vrift_core::event::EventKind;

use crate::next::hooks;
use crate::path::At;
use crate::sys;
use crate::trace::Trace;

const USERS: [&CStr; 2] = [c"/etc/nsswitch.conf", c"/etc/passwd"];
const GROUPS: [&CStr; 2] = [c"/etc/nsswitch.conf", c"/etc/group"];
const SERVICES: [&CStr; 2] = [c"/etc/nsswitch.conf", c"/etc/services"];
const PROTOCOLS: [&CStr; 2] = [c"/etc/nsswitch.conf", c"/etc/protocols"];

/// Reports files that libc reads by itself.
pub fn reads(trace: &Trace, files: &[&CStr]) {
    for file in files {
        // SAFETY: the paths are NUL-terminated.
        unsafe {
            let missing = sys::access(libc::AT_FDCWD, file.as_ptr(), libc::F_OK);
            trace.path(EventKind::OpenRead, 0, (-missing) as u16, At::cwd(file.as_ptr()));
        }
    }
}

hooks! {
    fn getpwnam(name: *const c_char) -> *mut c_void { |next, trace| { reads(trace, &USERS); next(name) } }
    fn getpwuid(user: uid_t) -> *mut c_void { |next, trace| { reads(trace, &USERS); next(user) } }
    fn getpwnam_r(name: *const c_char, entry: *mut c_void, room: *mut c_char, len: size_t, found: *mut c_void) -> c_int { |next, trace| { reads(trace, &USERS); next(name, entry, room, len, found) } }
    fn getpwuid_r(user: uid_t, entry: *mut c_void, room: *mut c_char, len: size_t, found: *mut c_void) -> c_int { |next, trace| { reads(trace, &USERS); next(user, entry, room, len, found) } }
    fn getgrnam(name: *const c_char) -> *mut c_void { |next, trace| { reads(trace, &GROUPS); next(name) } }
    fn getgrgid(group: gid_t) -> *mut c_void { |next, trace| { reads(trace, &GROUPS); next(group) } }
    fn getgrnam_r(name: *const c_char, entry: *mut c_void, room: *mut c_char, len: size_t, found: *mut c_void) -> c_int { |next, trace| { reads(trace, &GROUPS); next(name, entry, room, len, found) } }
    fn getgrgid_r(group: gid_t, entry: *mut c_void, room: *mut c_char, len: size_t, found: *mut c_void) -> c_int { |next, trace| { reads(trace, &GROUPS); next(group, entry, room, len, found) } }
    fn getpwent() -> *mut c_void { |next, trace| { reads(trace, &USERS); next() } }
    fn getgrent() -> *mut c_void { |next, trace| { reads(trace, &GROUPS); next() } }
    fn getpwent_r(entry: *mut c_void, room: *mut c_char, len: size_t, found: *mut c_void) -> c_int { |next, trace| { reads(trace, &USERS); next(entry, room, len, found) } }
    fn getgrent_r(entry: *mut c_void, room: *mut c_char, len: size_t, found: *mut c_void) -> c_int { |next, trace| { reads(trace, &GROUPS); next(entry, room, len, found) } }
    fn getgrouplist(user: *const c_char, group: gid_t, groups: *mut gid_t, count: *mut c_int) -> c_int { |next, trace| { reads(trace, &GROUPS); next(user, group, groups, count) } }
    fn initgroups(user: *const c_char, group: gid_t) -> c_int { |next, trace| { reads(trace, &GROUPS); next(user, group) } }
    fn getservbyname(name: *const c_char, protocol: *const c_char) -> *mut c_void { |next, trace| { reads(trace, &SERVICES); next(name, protocol) } }
    fn getservbyport(port: c_int, protocol: *const c_char) -> *mut c_void { |next, trace| { reads(trace, &SERVICES); next(port, protocol) } }
    fn getprotobyname(name: *const c_char) -> *mut c_void { |next, trace| { reads(trace, &PROTOCOLS); next(name) } }
    fn getprotobynumber(number: c_int) -> *mut c_void { |next, trace| { reads(trace, &PROTOCOLS); next(number) } }
}
