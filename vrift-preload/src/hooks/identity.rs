//! Becoming somebody else, or going somewhere else: behind these calls the VDir says nothing to the process any more.

use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void};

use libc::{size_t, uid_t};
use vrift_core::event::Untraced;

use crate::next::always;
use crate::trace::Trace;
use crate::vdir;

/// From here on the process sees other files, or sees them as somebody else.
pub fn elsewhere<R>(trace: Option<&Trace>, name: &[u8], call: impl FnOnce() -> R) -> R {
    if let Some(trace) = trace {
        trace.untraced(Untraced::OtherRoot, name);
    }
    vdir::turn_off();
    call()
}

/// Whether a child of `clone` with these flags sees other files, users or processes.
pub fn leaves(flags: usize) -> bool {
    const NAMESPACES: c_int = libc::CLONE_NEWNS
        | libc::CLONE_NEWCGROUP
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET;
    flags & NAMESPACES as usize != 0
}

always! {
    fn mount(source: *const c_char, target: *const c_char, kind: *const c_char, flags: c_ulong, data: *const c_void) -> c_int { |next, trace| elsewhere(trace, b"mount", || next(source, target, kind, flags, data)) }
    fn umount(target: *const c_char) -> c_int { |next, trace| elsewhere(trace, b"umount", || next(target)) }
    fn umount2(target: *const c_char, flags: c_int) -> c_int { |next, trace| elsewhere(trace, b"umount2", || next(target, flags)) }
    fn pivot_root(new: *const c_char, old: *const c_char) -> c_int { |next, trace| elsewhere(trace, b"pivot_root", || next(new, old)) }
    fn move_mount(fd: c_int, from: *const c_char, td: c_int, to: *const c_char, flags: c_uint) -> c_int { |next, trace| elsewhere(trace, b"move_mount", || next(fd, from, td, to, flags)) }
    fn open_tree(dir: c_int, path: *const c_char, flags: c_uint) -> c_int { |next, trace| elsewhere(trace, b"open_tree", || next(dir, path, flags)) }
    fn fsopen(kind: *const c_char, flags: c_uint) -> c_int { |next, trace| elsewhere(trace, b"fsopen", || next(kind, flags)) }
    fn mount_setattr(dir: c_int, path: *const c_char, flags: c_uint, attributes: *mut c_void, len: size_t) -> c_int { |next, trace| elsewhere(trace, b"mount_setattr", || next(dir, path, flags, attributes, len)) }
    fn clone(run: *const c_void, stack: *mut c_void, flags: c_int, arg: *mut c_void, parent: *mut c_void, tls: *mut c_void, child: *mut c_void) -> c_int { |next, trace| {
        if flags & libc::CLONE_VM == 0 {
            // A forked child may only do what needs no lock, which finding functions does.
            crate::next::find_all();
        }
        if leaves(flags as usize) {
            elsewhere(trace, b"clone", || next(run, stack, flags, arg, parent, tls, child))
        } else {
            next(run, stack, flags, arg, parent, tls, child)
        }
    } }
    fn chroot(path: *const c_char) -> c_int { |next, trace| elsewhere(trace, b"chroot", || next(path)) }
    fn unshare(flags: c_int) -> c_int { |next, trace| elsewhere(trace, b"unshare", || next(flags)) }
    fn setns(fd: c_int, kind: c_int) -> c_int { |next, trace| elsewhere(trace, b"setns", || next(fd, kind)) }
    fn setuid(user: uid_t) -> c_int { |next, _trace| elsewhere(None, b"", || next(user)) }
    fn seteuid(user: uid_t) -> c_int { |next, _trace| elsewhere(None, b"", || next(user)) }
    fn setreuid(real: uid_t, effective: uid_t) -> c_int { |next, _trace| elsewhere(None, b"", || next(real, effective)) }
    fn setresuid(real: uid_t, effective: uid_t, saved: uid_t) -> c_int { |next, _trace| elsewhere(None, b"", || next(real, effective, saved)) }
    fn setfsuid(user: uid_t) -> c_int { |next, _trace| elsewhere(None, b"", || next(user)) }
    fn capset(header: *mut c_void, data: *const c_void) -> c_int { |next, _trace| elsewhere(None, b"", || next(header, data)) }
}
