//! Changing names and attributes.

use core::ffi::{c_char, c_int, c_uint, c_void};

use libc::{dev_t, gid_t, mode_t, off_t, size_t, uid_t};
use vrift_core::event::{EventKind, Untraced, flag};
use vrift_core::rules;

use super::ahead;
use crate::next::{always, errno, hooks};
use crate::path::At;
use crate::sys;
use crate::trace::Trace;
use crate::vdir;

unsafe fn one(trace: &Trace, kind: EventKind, at: At, result: c_int) -> c_int {
    // SAFETY: the program's own path.
    unsafe { trace.path(kind, 0, if result < 0 { errno() } else { 0 }, at) };
    result
}

unsafe fn two(trace: &Trace, kinds: [EventKind; 2], from: At, to: At, flags: u8, result: c_int) -> c_int {
    let error = if result < 0 { errno() } else { 0 };
    // SAFETY: the program's own paths.
    unsafe {
        trace.path(kinds[0], 0, error, from);
        trace.path(kinds[1], flags, error, to);
    }
    result
}

/// Of the new name of a rename: whether something is there now, before the call.
unsafe fn taken(at: At) -> u8 {
    // SAFETY: the program's own path, which the kernel refuses where it cannot be read.
    if unsafe { sys::look_at(at.dir, at.path, libc::AT_SYMLINK_NOFOLLOW) }.is_ok() { flag::EXISTED } else { 0 }
}

/// A file is changed through a descriptor, which may have been opened for reading.
unsafe fn held(trace: &Trace, fd: c_int, result: c_int) -> c_int {
    // One without a name leaves nothing behind.
    if result == 0 && sys::fstat(fd as isize).is_some_and(|stat| stat.st_nlink > 0) {
        trace.descriptor(EventKind::Modify, fd);
    }
    result
}

/// Extended attributes are not kept with an output.
fn attribute(trace: &Trace, name: &[u8], result: c_int) -> c_int {
    if result == 0 {
        trace.untraced(Untraced::UnknownSyscall, name);
    }
    result
}

/// Whether an extended attribute is an access control list of owner, group and others alone: a mode, in another form. `cp -p` sets
/// it so.
///
/// # Safety
/// `name` must be null or NUL-terminated.
unsafe fn is_mode(name: *const c_char, size: size_t) -> bool {
    // SAFETY: the caller vouches for the name.
    !name.is_null() && rules::is_mode_attribute(unsafe { crate::path::bytes(name) }, size)
}

/// Whether exactly one of two times is to be set; see utimensat(2).
unsafe fn sets_one(times: *const c_void) -> bool {
    // SAFETY: the program's own times, which the kernel has read by now; null stands for "now", both of them.
    let times = unsafe { times.cast::<[libc::timespec; 2]>().as_ref() };
    times.is_some_and(|[access, modified]| (access.tv_nsec == libc::UTIME_OMIT) != (modified.tv_nsec == libc::UTIME_OMIT))
}

/// One time of two was set, alone. Of that the kernel tells those who watch something else than of both: that the file was read
/// (`atime` alone), or written, which says nothing of a folder.
unsafe fn timed(at: At, times: *const c_void, flags: c_int, result: c_int) -> c_int {
    // SAFETY: the program's own times, which the kernel has just accepted.
    if result == 0 && unsafe { sets_one(times) } {
        // SAFETY: the program's own arguments.
        let stat = unsafe { if at.path.is_null() { sys::fstat(at.dir as isize) } else { sys::stat_at(at.dir, at.path, flags) } };
        // SAFETY: as above; there are two times.
        let access_alone = unsafe { (*times.cast::<[libc::timespec; 2]>())[0].tv_nsec } != libc::UTIME_OMIT;
        if access_alone || stat.is_none_or(|stat| stat.st_mode & libc::S_IFMT != libc::S_IFREG) {
            vdir::doubt();
        }
    }
    result
}

const RENAME: [EventKind; 2] = [EventKind::RenameFrom, EventKind::RenameTo];
const LINK: [EventKind; 2] = [EventKind::LinkFrom, EventKind::LinkTo];

hooks! {
    fn rename(from: *const c_char, to: *const c_char) -> c_int { |next, trace| two(trace, RENAME, At::cwd(from), At::cwd(to), taken(At::cwd(to)), next(from, to)) }
    fn renameat(fd: c_int, from: *const c_char, td: c_int, to: *const c_char) -> c_int { |next, trace| two(trace, RENAME, At { dir: fd, path: from }, At { dir: td, path: to }, taken(At { dir: td, path: to }), next(fd, from, td, to)) }
    fn renameat2(fd: c_int, from: *const c_char, td: c_int, to: *const c_char, flags: c_uint) -> c_int { |next, trace| {
        let existed = taken(At { dir: td, path: to });
        let result = next(fd, from, td, to, flags);
        if ahead::exchanges(flags) {
            trace.untraced(Untraced::UnknownSyscall, b"renameat2");
            return result;
        }
        two(trace, RENAME, At { dir: fd, path: from }, At { dir: td, path: to }, existed, result)
    } }
    fn link(from: *const c_char, to: *const c_char) -> c_int { |next, trace| two(trace, LINK, At::cwd(from), At::cwd(to), 0, next(from, to)) }
    fn linkat(fd: c_int, from: *const c_char, td: c_int, to: *const c_char, flags: c_int) -> c_int { |next, trace| two(trace, LINK, At { dir: fd, path: from }, At { dir: td, path: to }, 0, next(fd, from, td, to, flags)) }
    fn symlink(target: *const c_char, path: *const c_char) -> c_int { |next, trace| one(trace, EventKind::LinkTo, At::cwd(path), next(target, path)) }
    fn symlinkat(target: *const c_char, dir: c_int, path: *const c_char) -> c_int { |next, trace| one(trace, EventKind::LinkTo, At { dir, path }, next(target, dir, path)) }
    fn mknod(path: *const c_char, mode: mode_t, device: dev_t) -> c_int { |next, trace| one(trace, EventKind::LinkTo, At::cwd(path), next(path, mode, device)) }
    fn mknodat(dir: c_int, path: *const c_char, mode: mode_t, device: dev_t) -> c_int { |next, trace| one(trace, EventKind::LinkTo, At { dir, path }, next(dir, path, mode, device)) }
    fn mkfifo(path: *const c_char, mode: mode_t) -> c_int { |next, trace| one(trace, EventKind::LinkTo, At::cwd(path), next(path, mode)) }
    fn mkfifoat(dir: c_int, path: *const c_char, mode: mode_t) -> c_int { |next, trace| one(trace, EventKind::LinkTo, At { dir, path }, next(dir, path, mode)) }
    fn mkdir(path: *const c_char, mode: mode_t) -> c_int { |next, trace| one(trace, EventKind::Mkdir, At::cwd(path), next(path, mode)) }
    fn mkdirat(dir: c_int, path: *const c_char, mode: mode_t) -> c_int { |next, trace| one(trace, EventKind::Mkdir, At { dir, path }, next(dir, path, mode)) }
    fn unlink(path: *const c_char) -> c_int { |next, trace| one(trace, EventKind::Remove, At::cwd(path), next(path)) }
    fn unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int { |next, trace| one(trace, EventKind::Remove, At { dir, path }, next(dir, path, flags)) }
    fn rmdir(path: *const c_char) -> c_int { |next, trace| one(trace, EventKind::Remove, At::cwd(path), next(path)) }
    fn remove(path: *const c_char) -> c_int { |next, trace| one(trace, EventKind::Remove, At::cwd(path), next(path)) }

    fn chmod(path: *const c_char, mode: mode_t) -> c_int { |next, trace| one(trace, EventKind::Modify, At::cwd(path), next(path, mode)) }
    fn lchmod(path: *const c_char, mode: mode_t) -> c_int { |next, trace| one(trace, EventKind::Modify, At::cwd(path), next(path, mode)) }
    fn fchmodat(dir: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int { |next, trace| one(trace, EventKind::Modify, At { dir, path }, next(dir, path, mode, flags)) }
    fn chown(path: *const c_char, user: uid_t, group: gid_t) -> c_int { |next, trace| one(trace, EventKind::Modify, At::cwd(path), next(path, user, group)) }
    fn lchown(path: *const c_char, user: uid_t, group: gid_t) -> c_int { |next, trace| one(trace, EventKind::Modify, At::cwd(path), next(path, user, group)) }
    fn fchownat(dir: c_int, path: *const c_char, user: uid_t, group: gid_t, flags: c_int) -> c_int { |next, trace| one(trace, EventKind::Modify, At { dir, path }, next(dir, path, user, group, flags)) }
    fn utime(path: *const c_char, times: *const c_void) -> c_int { |next, trace| one(trace, EventKind::Modify, At::cwd(path), next(path, times)) }
    fn utimes(path: *const c_char, times: *const c_void) -> c_int { |next, trace| one(trace, EventKind::Modify, At::cwd(path), next(path, times)) }
    fn lutimes(path: *const c_char, times: *const c_void) -> c_int { |next, trace| one(trace, EventKind::Modify, At::cwd(path), next(path, times)) }
    fn futimesat(dir: c_int, path: *const c_char, times: *const c_void) -> c_int { |next, trace| one(trace, EventKind::Modify, At { dir, path }, next(dir, path, times)) }
    fn __xmknod(version: c_int, path: *const c_char, mode: mode_t, device: *const dev_t) -> c_int { |next, trace| one(trace, EventKind::LinkTo, At::cwd(path), next(version, path, mode, device)) }
    fn __xmknodat(version: c_int, dir: c_int, path: *const c_char, mode: mode_t, device: *const dev_t) -> c_int { |next, trace| one(trace, EventKind::LinkTo, At { dir, path }, next(version, dir, path, mode, device)) }

    fn fchmod(fd: c_int, mode: mode_t) -> c_int { |next, trace| held(trace, fd, next(fd, mode)) }
    fn fchown(fd: c_int, user: uid_t, group: gid_t) -> c_int { |next, trace| held(trace, fd, next(fd, user, group)) }
    fn futimes(fd: c_int, times: *const c_void) -> c_int { |next, trace| held(trace, fd, next(fd, times)) }

    fn setxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int { |next, trace| {
        let result = next(path, name, value, size, flags);
        if is_mode(name, size) { one(trace, EventKind::Modify, At::cwd(path), result) } else { attribute(trace, b"setxattr", result) }
    } }
    fn lsetxattr(path: *const c_char, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int { |next, trace| attribute(trace, b"setxattr", next(path, name, value, size, flags)) }
    fn fsetxattr(fd: c_int, name: *const c_char, value: *const c_void, size: size_t, flags: c_int) -> c_int { |next, trace| {
        let result = next(fd, name, value, size, flags);
        if is_mode(name, size) { held(trace, fd, result) } else { attribute(trace, b"setxattr", result) }
    } }
    fn removexattr(path: *const c_char, name: *const c_char) -> c_int { |next, trace| attribute(trace, b"removexattr", next(path, name)) }
    fn lremovexattr(path: *const c_char, name: *const c_char) -> c_int { |next, trace| attribute(trace, b"removexattr", next(path, name)) }
    fn fremovexattr(fd: c_int, name: *const c_char) -> c_int { |next, trace| attribute(trace, b"removexattr", next(fd, name)) }

    fn truncate(path: *const c_char, len: off_t) -> c_int { |next, trace| one(trace, EventKind::Modify, At::cwd(path), next(path, len)) }
    fn truncate64(path: *const c_char, len: off_t) -> c_int { |next, trace| one(trace, EventKind::Modify, At::cwd(path), next(path, len)) }
}

always! {
    fn utimensat(dir: c_int, path: *const c_char, times: *const c_void, flags: c_int) -> c_int { |next, trace| {
        let result = timed(At { dir, path }, times, flags, next(dir, path, times, flags));
        trace.map_or(result, |trace| one(trace, EventKind::Modify, At { dir, path }, result))
    } }
    fn futimens(fd: c_int, times: *const c_void) -> c_int { |next, trace| {
        let result = timed(At { dir: fd, path: core::ptr::null() }, times, 0, next(fd, times));
        trace.map_or(result, |trace| held(trace, fd, result))
    } }
}
