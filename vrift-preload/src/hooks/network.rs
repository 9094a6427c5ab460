//! The network: whoever uses it cannot be replayed.
//!
//! Asking for `localhost` is not using it, as long as the answer is this machine: a few files say so. Bundlers ask for it only to know
//! how their servers would be called.

use core::ffi::{CStr, c_char, c_int, c_uint, c_void};

use libc::{addrinfo, mmsghdr, msghdr, size_t, sockaddr, sockaddr_in, sockaddr_in6, socklen_t};
use vrift_core::event::Untraced;

use super::database;
use crate::next::hooks;
use crate::trace::Trace;

/// What the answer for this machine depends on. Source: getaddrinfo(3), hosts(5), host.conf(5), gai.conf(5).
const HOSTS: [&CStr; 4] = [c"/etc/nsswitch.conf", c"/etc/hosts", c"/etc/host.conf", c"/etc/gai.conf"];

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

/// Reports a question for the addresses of `node`, by what was answered.
///
/// # Safety
/// `node` must be null or NUL-terminated. `found` must be null or a list of `getaddrinfo`.
unsafe fn asked(trace: &Trace, node: *const c_char, found: *const addrinfo) {
    // SAFETY: the caller vouches for both.
    let own =
        unsafe { !node.is_null() && CStr::from_ptr(node).to_bytes().eq_ignore_ascii_case(b"localhost") && is_loopback(found) };
    if own { database::reads(trace, &HOSTS) } else { trace.untraced(Untraced::Network, b"") }
}

/// Whether there are addresses, and all are this machine's own.
///
/// # Safety
/// `found` must be null or a list of `getaddrinfo`.
unsafe fn is_loopback(mut found: *const addrinfo) -> bool {
    let any = !found.is_null();
    // SAFETY: the caller vouches for the list; the family tells an address's type, which its length is compared with.
    while let Some(one) = unsafe { found.as_ref() } {
        let fits = |size| !one.ai_addr.is_null() && one.ai_addrlen as usize >= size;
        // SAFETY: as above. The allocator's alignment may be less than the type's.
        let own = unsafe {
            match one.ai_family {
                libc::AF_INET if fits(size_of::<sockaddr_in>()) => {
                    u32::from_be(one.ai_addr.cast::<sockaddr_in>().read_unaligned().sin_addr.s_addr) >> 24 == 127
                }
                libc::AF_INET6 if fits(size_of::<sockaddr_in6>()) => {
                    u128::from_be_bytes(one.ai_addr.cast::<sockaddr_in6>().read_unaligned().sin6_addr.s6_addr) == 1
                }
                _ => false,
            }
        };
        if !own {
            return false;
        }
        found = one.ai_next;
    }
    any
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
    fn getaddrinfo(node: *const c_char, service: *const c_char, hints: *const c_void, found: *mut *mut addrinfo) -> c_int { |next, trace| {
        let failed = next(node, service, hints, found);
        asked(trace, node, if failed == 0 && !found.is_null() { *found } else { core::ptr::null() });
        failed
    } }
    fn gethostbyname(name: *const c_char) -> *mut c_void { |next, trace| { trace.untraced(Untraced::Network, b""); next(name) } }
    fn gethostbyname2(name: *const c_char, family: c_int) -> *mut c_void { |next, trace| { trace.untraced(Untraced::Network, b""); next(name, family) } }
}
