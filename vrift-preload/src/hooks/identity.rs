//! Becoming somebody else, or going somewhere else: behind these calls the VDir says nothing to the process any more.

use core::ffi::{c_char, c_int, c_void};

use libc::uid_t;
use vrift_core::event::Untraced;

use crate::next::always;
use crate::trace::Trace;
use crate::vdir;

/// From here on the process sees other files, or sees them as somebody else.
fn elsewhere<R>(trace: Option<&Trace>, name: &[u8], call: impl FnOnce() -> R) -> R {
    if let Some(trace) = trace {
        trace.untraced(Untraced::OtherRoot, name);
    }
    vdir::turn_off();
    call()
}

always! {
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
