//! Folders whose names come from the VDir.
//!
//! The stream is libc's own, so that its descriptor, its position and its end are what they would be; only the names are not
//! read from the kernel, which is what takes the time. A program that asks for a position, or goes back to one, gets the
//! kernel's from there on.

use core::cell::UnsafeCell;
use core::ffi::c_int;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use libc::{DIR, dirent64};
use vrift_core::vdir::layout::flag;
use vrift_core::vdir::{Found, Reader};

/// Streams with names of ours at a time; others are the kernel's.
const STREAMS: usize = 64;
/// Streams whose addresses fall together.
const BUCKET: usize = 4;

/// Bytes of a record before its name: inode, position, length, kind. See getdents(2).
const HEAD: usize = 19;

struct Stream {
    dir: AtomicPtr<DIR>,
    names: UnsafeCell<Names>,
}

/// Records as getdents64 gives them.
struct Names {
    records: *mut u8,
    len: usize,
    at: usize,
    /// Records that were given.
    given: c_int,
}

// SAFETY: who made a stream, or was given it, has its names for himself: libc's streams are not for two threads at a time
// either (readdir(3)). The table is reached through atomics.
unsafe impl Sync for Stream {}

static TABLE: [Stream; STREAMS] = [const {
    Stream { dir: AtomicPtr::new(null_mut()), names: UnsafeCell::new(Names { records: null_mut(), len: 0, at: 0, given: 0 }) }
}; STREAMS];

/// How many are in use: most programs have none, and look no further.
static USED: AtomicU32 = AtomicU32::new(0);

/// Marks a place that is about to be used.
fn busy() -> *mut DIR {
    core::ptr::dangling_mut()
}

fn bucket(dir: *mut DIR) -> impl Iterator<Item = &'static Stream> {
    let first = (dir as usize >> 5).wrapping_mul(0x9e37_79b9) % (STREAMS / BUCKET) * BUCKET;
    TABLE[first..first + BUCKET].iter()
}

fn find(dir: *mut DIR) -> Option<&'static Stream> {
    if USED.load(Ordering::Relaxed) == 0 || dir.is_null() {
        return None;
    }
    bucket(dir).find(|stream| stream.dir.load(Ordering::Acquire) == dir)
}

/// Names of a folder, copied out of the map, and not yet a stream's.
pub struct Copied(Names);

impl Drop for Copied {
    fn drop(&mut self) {
        // SAFETY: null, or from `malloc` and nobody else's.
        unsafe { libc::free(self.0.records.cast()) };
    }
}

/// Copies the names of the folder that was found, `parent` being the inode of the one above it.
pub fn copy(reader: &Reader, folder: &Found, parent: u64, now: u64) -> Option<Copied> {
    /// Bytes of a record, as a first guess.
    const USUAL: usize = 56;
    const LONGEST: usize = HEAD + 256 + 8;
    let mut names = reader.names(folder, now)?;
    let mut room = names.left() as usize * USUAL + 2 * LONGEST;
    let mut copied = Copied(Names { records: null_mut(), len: 0, at: 0, given: 0 });
    let grow = |copied: &mut Copied, room: usize| {
        // SAFETY: null, or from `malloc`.
        let records = unsafe { libc::realloc(copied.0.records.cast(), room) };
        if !records.is_null() {
            copied.0.records = records.cast();
        }
        !records.is_null()
    };
    if !grow(&mut copied, room) {
        return None;
    }
    // SAFETY: there is room for two longest records.
    unsafe {
        put(&mut copied.0, folder.ino, libc::DT_DIR, b".");
        put(&mut copied.0, parent, libc::DT_DIR, b"..");
    }
    let mut buffer = [0_u8; 256];
    while let Some(name) = names.next(&mut buffer).ok()? {
        let kind = match name.kind {
            flag::FILE => libc::DT_REG,
            flag::DIR => libc::DT_DIR,
            flag::LINK => libc::DT_LNK,
            _ => return None,
        };
        if copied.0.len + LONGEST > room {
            room *= 2;
            if !grow(&mut copied, room) {
                return None;
            }
        }
        // SAFETY: there is room for a longest record.
        unsafe { put(&mut copied.0, name.ino, kind, buffer.get(..name.len)?) };
    }
    Some(copied)
}

/// Appends a record.
///
/// # Safety
/// There must be room for it.
unsafe fn put(names: &mut Names, ino: u64, kind: u8, name: &[u8]) {
    let size = (HEAD + name.len() + 1).next_multiple_of(8);
    // SAFETY: the caller vouches for the room. `malloc` and sizes that are multiples of 8 align the record.
    unsafe {
        let at = names.records.add(names.len);
        at.cast::<u64>().write(ino);
        // The position behind it: a number that grows.
        at.add(8).cast::<i64>().write((names.len + size) as i64);
        at.add(16).cast::<u16>().write(size as u16);
        at.add(18).write(kind);
        at.add(HEAD).copy_from_nonoverlapping(name.as_ptr(), name.len());
        at.add(HEAD + name.len()).write_bytes(0, size - HEAD - name.len());
    }
    names.len += size;
}

/// Gives a stream these names.
pub fn give(dir: *mut DIR, mut copied: Copied) {
    let free = |stream: &&Stream| stream.dir.compare_exchange(null_mut(), busy(), Ordering::Acquire, Ordering::Relaxed).is_ok();
    let Some(stream) = bucket(dir).find(free) else { return };
    let records = core::mem::replace(&mut copied.0.records, null_mut());
    // SAFETY: the exchange made the place this thread's.
    unsafe { *stream.names.get() = Names { records, len: copied.0.len, at: 0, given: 0 } };
    USED.fetch_add(1, Ordering::Relaxed);
    stream.dir.store(dir, Ordering::Release);
}

/// The next record of a stream, null at its end; `None` where the kernel has the names.
pub fn next(dir: *mut DIR) -> Option<*mut dirent64> {
    let stream = find(dir)?;
    // SAFETY: the caller has the stream for himself.
    let names = unsafe { &mut *stream.names.get() };
    if names.at >= names.len {
        return Some(null_mut());
    }
    // SAFETY: inside the records, whose lengths `put` wrote.
    let record = unsafe { names.records.add(names.at) };
    // SAFETY: as above.
    names.at += usize::from(unsafe { record.add(16).cast::<u16>().read() });
    names.given += 1;
    Some(record.cast())
}

/// From here on the kernel has the stream's names; how many were given. The last one that was given stays readable until then.
pub fn leave(dir: *mut DIR) -> c_int {
    let Some(stream) = find(dir) else { return 0 };
    // SAFETY: the caller has the stream for himself.
    let names = unsafe { &mut *stream.names.get() };
    let given = names.given;
    // SAFETY: from `malloc`; nobody else knows it once the place is free.
    unsafe { libc::free(names.records.cast()) };
    names.records = null_mut();
    stream.dir.store(null_mut(), Ordering::Release);
    USED.fetch_sub(1, Ordering::Relaxed);
    given
}
