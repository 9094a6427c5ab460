//! Turning the paths that a program passes into absolute ones, without allocating.

use core::ffi::{CStr, c_char, c_int};

use crate::sys;

/// Room for one absolute path.
pub const ROOM: usize = 4096;

/// A path as the program gave it: relative to a descriptor.
#[derive(Clone, Copy)]
pub struct At {
    pub dir: c_int,
    pub path: *const c_char,
}

impl At {
    /// Relative to the current folder.
    pub const fn cwd(path: *const c_char) -> Self {
        Self { dir: libc::AT_FDCWD, path }
    }
}

/// The bytes of a C string; empty for null.
///
/// # Safety
/// `text` must be null or NUL-terminated, and stay so for `'a`.
pub unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    if text.is_null() {
        return b"";
    }
    // SAFETY: the caller vouches for the string.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}

/// Calls `then` with the pieces of the absolute path; `None` where the base cannot be told.
///
/// # Safety
/// `at.path` must be null or NUL-terminated.
pub unsafe fn absolute<R>(at: At, then: impl FnOnce(Option<&[&[u8]]>) -> R) -> R {
    // SAFETY: the caller vouches for the string.
    let path = unsafe { bytes(at.path) };
    // What `getcwd` answers under a portable folder leads there for this process alone.
    let (at, path) = match path.strip_prefix(b"/proc/self/cwd") {
        Some(rest @ ([] | [b'/', ..])) => (At::cwd(at.path), rest.strip_prefix(b"/").unwrap_or(rest)),
        _ if path.starts_with(b"/") => return then(Some(&[path])),
        _ => (at, path),
    };
    let mut room = [0; ROOM];
    let base = if at.dir == libc::AT_FDCWD { sys::getcwd(&mut room) } else { of_descriptor(at.dir, &mut room) };
    match base {
        Some(base) if path.is_empty() => then(Some(&[base])),
        Some(base) => then(Some(&[base, b"/", path])),
        None => then(None),
    }
}

/// Where a descriptor points, as `/proc` tells.
pub fn of_descriptor(fd: c_int, room: &mut [u8]) -> Option<&[u8]> {
    let mut name = [0_u8; 32];
    let link = descriptor_link(fd, &mut name)?;
    sys::readlink(link, room).filter(|path| path.starts_with(b"/"))
}

fn descriptor_link(fd: c_int, room: &mut [u8; 32]) -> Option<&CStr> {
    const PREFIX: &[u8] = b"/proc/self/fd/";
    let mut value = u32::try_from(fd).ok()?;
    let mut digits = [0_u8; 10];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    let digits = &digits[first..];
    room[..PREFIX.len()].copy_from_slice(PREFIX);
    room[PREFIX.len()..PREFIX.len() + digits.len()].copy_from_slice(digits);
    CStr::from_bytes_until_nul(room).ok()
}
