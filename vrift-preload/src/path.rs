//! Turning the paths that a program passes into absolute ones, without allocating.

use core::ffi::{CStr, c_char, c_int};

use vrift_core::proc::{Link, decimal};

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
    unsafe { absolute_of(at, true, then) }
}

/// The same; `follow` says whether a link of `/proc` that the path is itself is followed.
///
/// # Safety
/// As for [`absolute`].
pub unsafe fn absolute_of<R>(at: At, follow: bool, then: impl FnOnce(Option<&[&[u8]]>) -> R) -> R {
    // SAFETY: the caller vouches for the string.
    let path = unsafe { bytes(at.path) };
    let mut room = [0; ROOM];
    if path.starts_with(b"/") {
        return match behind(path, follow, &mut room) {
            Behind::Link(base, b"") => then(Some(&[base])),
            Behind::Link(base, rest) => then(Some(&[base, b"/", rest])),
            Behind::Lost => then(None),
            Behind::Nothing => then(Some(&[path])),
        };
    }
    let base = if at.dir == libc::AT_FDCWD { sys::getcwd(&mut room) } else { of_descriptor(at.dir, &mut room) };
    match base {
        Some(base) if path.is_empty() => then(Some(&[base])),
        Some(base) if base.starts_with(b"/proc/") => in_proc([base, b"/", path], follow, then),
        Some(base) => then(Some(&[base, b"/", path])),
        None => then(None),
    }
}

/// A path relative to a folder of `/proc`, which may be one of links.
#[inline(never)]
fn in_proc<R>(pieces: [&[u8]; 3], follow: bool, then: impl FnOnce(Option<&[&[u8]]>) -> R) -> R {
    let (mut whole, mut room, mut used) = ([0; ROOM], [0; ROOM], 0);
    for piece in pieces {
        let Some(to) = whole.get_mut(used..used + piece.len()) else { return then(None) };
        to.copy_from_slice(piece);
        used += piece.len();
    }
    match behind(&whole[..used], follow, &mut room) {
        Behind::Link(base, rest) => then(Some(&[base, b"/", rest])),
        Behind::Lost => then(None),
        Behind::Nothing => then(Some(&pieces)),
    }
}

enum Behind<'a> {
    /// This, and what follows it.
    Link(&'a [u8], &'a [u8]),
    /// A folder that has no name.
    Lost,
    /// The path goes through no such link.
    Nothing,
}

/// Where a link of `/proc` leads that `path` goes through, which is another place for each process. What `getcwd` answers under a
/// portable folder is one.
fn behind<'a>(path: &'a [u8], follow: bool, room: &'a mut [u8; ROOM]) -> Behind<'a> {
    let may_be = [&b"/proc/"[..], b"/dev/fd/", b"//", b"/."].iter().any(|start| path.starts_with(start));
    let Some(link) = may_be.then(|| Link::of(path)).flatten() else { return Behind::Nothing };
    if link.is_own_folder() {
        return sys::getcwd(room).map_or(Behind::Lost, |base| Behind::Link(base, link.rest));
    }
    let mut name = [0; 64];
    let Some(name) = link.name(None, &mut name).filter(|_| follow || !link.rest.is_empty()) else { return Behind::Nothing };
    let Some(len) = sys::readlink(name, &mut room[..ROOM - 1]).filter(|base| base.starts_with(b"/")).map(<[u8]>::len) else {
        return Behind::Nothing;
    };
    // What was removed has a name there all the same, which may be another file's.
    // SAFETY: the name is NUL-terminated, and zeroes follow the path in the room.
    let [there, here] = unsafe { [sys::stat(name.as_ptr()), sys::stat(room.as_ptr().cast())] };
    if there.zip(here).is_some_and(|(there, here)| (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)) {
        Behind::Link(&room[..len], link.rest)
    } else if link.rest.is_empty() {
        Behind::Nothing
    } else {
        Behind::Lost
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
    let mut digits = [0_u8; 10];
    let digits = decimal(u32::try_from(fd).ok()?, &mut digits);
    room[..PREFIX.len()].copy_from_slice(PREFIX);
    room[PREFIX.len()..PREFIX.len() + digits.len()].copy_from_slice(digits);
    CStr::from_bytes_until_nul(room).ok()
}
