//! The network: whoever uses it cannot be replayed.

use core::ffi::{c_char, c_int, c_uint, c_void};

use libc::{mmsghdr, msghdr, size_t, sockaddr, socklen_t};
use vrift_core::event::Untraced;

use crate::next::hooks;
use crate::trace::Trace;

unsafe fn reached(trace: &Trace, address: *const sockaddr, len: socklen_t) {
    if address.is_null() || (len as usize) < size_of::<libc::sa_family_t>() {
        return;
    }
    // SAFETY: the address is long enough to have a family, by the caller's own length.
    let family = unsafe { (*address).sa_family };
    if i32::from(family) != libc::AF_UNSPEC {
        trace.untraced(Untraced::Network, b"");
    }
}

hooks! {
    fn connect(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int { |next, trace| { reached(trace, address, len); next(fd, address, len) } }
    fn sendto(fd: c_int, data: *const c_void, len: size_t, flags: c_int, address: *const sockaddr, size: socklen_t) -> isize { |next, trace| { reached(trace, address, size); next(fd, data, len, flags, address, size) } }
    fn sendmsg(fd: c_int, message: *const msghdr, flags: c_int) -> isize { |next, trace| {
        if !message.is_null() {
            reached(trace, (*message).msg_name.cast_const().cast(), (*message).msg_namelen);
        }
        next(fd, message, flags)
    } }
    fn sendmmsg(fd: c_int, messages: *mut mmsghdr, count: c_uint, flags: c_int) -> c_int { |next, trace| {
        for index in 0..if messages.is_null() { 0 } else { count as usize } {
            let message = &(*messages.add(index)).msg_hdr;
            reached(trace, message.msg_name.cast_const().cast(), message.msg_namelen);
        }
        next(fd, messages, count, flags)
    } }
    fn bind(fd: c_int, address: *const sockaddr, len: socklen_t) -> c_int { |next, trace| { reached(trace, address, len); next(fd, address, len) } }
    fn getaddrinfo(node: *const c_char, service: *const c_char, hints: *const c_void, found: *mut c_void) -> c_int { |next, trace| { trace.untraced(Untraced::Network, b""); next(node, service, hints, found) } }
    fn gethostbyname(name: *const c_char) -> *mut c_void { |next, trace| { trace.untraced(Untraced::Network, b""); next(name) } }
    fn gethostbyname2(name: *const c_char, family: c_int) -> *mut c_void { |next, trace| { trace.untraced(Untraced::Network, b""); next(name, family) } }
}
