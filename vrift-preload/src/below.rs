//! Spelling the paths that programs pass as the VDir has them: below its root, plainly.

use core::ffi::c_int;
use core::mem::MaybeUninit;

use vrift_core::vdir::layout::flag;
use vrift_core::vdir::{Answer, Reader};

use crate::cwd;
use crate::path;

/// The path below the root that the program means, plainly spelt; and whether a slash behind it says that it is a folder.
#[inline]
pub fn below<'a>(
    reader: &Reader,
    dir: c_int,
    path: &'a [u8],
    room: &'a mut [MaybeUninit<u8>; path::ROOM],
    now: u64,
) -> Option<(&'a [u8], bool)> {
    if path.is_empty() {
        return None;
    }
    if path.starts_with(b"/") {
        let rest = cwd::below_root(reader, path)?;
        if is_plain(rest) {
            return Some((rest, false));
        }
        return plain(reader, rest, 0, room, now);
    }
    if dir != libc::AT_FDCWD {
        return None;
    }
    let used = cwd::copy(reader, room, now)?;
    if is_plain(path) {
        let slash = usize::from(used > 0);
        let whole = room.get_mut(..used + slash + path.len())?;
        if slash > 0 {
            whole[used].write(b'/');
        }
        for (to, from) in whole[used + slash..].iter_mut().zip(path) {
            to.write(*from);
        }
        // SAFETY: `cwd::copy` wrote the first part, the lines above the others.
        return Some((unsafe { written(whole) }, false));
    }
    plain(reader, path, used, room, now)
}

/// # Safety
/// All of it must have been written.
unsafe fn written(room: &[MaybeUninit<u8>]) -> &[u8] {
    // SAFETY: the caller vouches for it; `MaybeUninit<u8>` has the layout of `u8`.
    unsafe { core::slice::from_raw_parts(room.as_ptr().cast(), room.len()) }
}

/// Whether a path has no empty names, none that start with a dot, and no slash at an end. (A name like `.git` is looked at more
/// closely by [`plain`].)
#[inline]
fn is_plain(path: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let zeroes = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let mut before = b'/';
    let mut chunks = path.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().unwrap_or_default());
        // Where there is neither a slash in these eight bytes nor one before them, no name starts here.
        if before == b'/' || zeroes(word ^ (ONES * b'/' as u64)) != 0 {
            for byte in chunk {
                if before == b'/' && matches!(byte, b'/' | b'.') {
                    return false;
                }
                before = *byte;
            }
        } else {
            before = chunk[7];
        }
    }
    for byte in chunks.remainder() {
        if before == b'/' && matches!(byte, b'/' | b'.') {
            return false;
        }
        before = *byte;
    }
    before != b'/' || path.is_empty()
}

/// Spells a path plainly, behind the `used` bytes of the current folder that are in `room`.
fn plain<'a>(
    reader: &Reader,
    path: &[u8],
    mut used: usize,
    room: &'a mut [MaybeUninit<u8>; path::ROOM],
    now: u64,
) -> Option<(&'a [u8], bool)> {
    let mut folder = false;
    for name in path.split(|c| *c == b'/') {
        folder = matches!(name, b"" | b"." | b"..");
        match name {
            b"" | b"." => {}
            b".." => {
                // It leads back only from a folder that is there, and is no link.
                // SAFETY: the first `used` bytes are written, by the caller or below.
                let so_far = unsafe { written(&room[..used]) };
                match reader.look(so_far, now) {
                    Answer::Found(found) if found.kind() == flag::DIR && !so_far.is_empty() => {}
                    _ => return None,
                }
                used = so_far.iter().rposition(|c| *c == b'/').unwrap_or(0);
            }
            name => {
                let slash = usize::from(used > 0);
                let to = room.get_mut(used..used + slash + name.len())?;
                if slash > 0 {
                    to[0].write(b'/');
                }
                for (to, from) in to[slash..].iter_mut().zip(name) {
                    to.write(*from);
                }
                used += slash + name.len();
            }
        }
    }
    // SAFETY: as above.
    Some((unsafe { written(&room[..used]) }, folder))
}
