//! Asking the project's VDir before the kernel; see [`vrift_core::vdir`]. What it does not say exactly, the kernel says.

use core::cell::UnsafeCell;
use core::ffi::{c_char, c_int};
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicUsize, Ordering};

use vrift_core::context::Field;
use vrift_core::vdir::layout::flag;
use vrift_core::vdir::{Answer, Found, Mem, Reader, asked};

use crate::below::below;
use crate::cwd;
use crate::listing::{self, Copied};
use crate::next::{errno, set_errno};
use crate::path::{self, At};
use crate::state;
use crate::sys;

/// Looks before the map is worth mapping: most programs end before.
const FIRST: u32 = 32;

/// Looks between two attempts to find a map.
const AGAIN: u32 = 1024;

/// Maps that a process uses one after the other; they stay mapped, since another thread may be reading.
const MAPS: usize = 8;

struct Places(UnsafeCell<[MaybeUninit<Reader>; MAPS]>);

// SAFETY: each place is written once, by the thread that took its number, before a pointer to it is published.
unsafe impl Sync for Places {}

/// The maps of one kind that this process has had, and the one that it has.
struct Maps {
    field: Field,
    places: Places,
    taken: AtomicUsize,
    current: AtomicPtr<Reader>,
    looks: AtomicU32,
    /// Looks that a silent map did not answer.
    silent: AtomicU32,
    off: AtomicBool,
}

impl Maps {
    const fn new(field: Field) -> Self {
        Self {
            field,
            places: Places(UnsafeCell::new([const { MaybeUninit::uninit() }; MAPS])),
            taken: AtomicUsize::new(0),
            current: AtomicPtr::new(core::ptr::null_mut()),
            looks: AtomicU32::new(0),
            silent: AtomicU32::new(0),
            off: AtomicBool::new(false),
        }
    }
}

/// The project's.
static PROJECT: Maps = Maps::new(Field::VDir);

/// That of the trees which all projects share.
static BASE: Maps = Maps::new(Field::Base);

static OFF: AtomicBool = AtomicBool::new(false);

/// From now on the kernel is asked: this process sees other files, or sees them with other rights.
pub fn turn_off() {
    OFF.store(true, Ordering::Relaxed);
}

/// This process changed something of which the kernel gives no fitting notice: nobody is to believe the maps until their keepers
/// have heard of it.
///
/// What is asked for are the questions that are there now, with a map beside them or not. A keeper makes these before it looks at any
/// file: either it hears of the doubt, or it saw the change.
pub fn doubt() {
    let error = errno();
    let (_, user) = sys::users();
    for maps in [&PROJECT, &BASE] {
        if let Some(questions) = maps.place().and_then(|place| questions(place, user)) {
            asked::doubt(&questions);
        }
    }
    set_errno(error.into());
}

impl Maps {
    /// Where the map is, or will be.
    fn place(&self) -> Option<&'static [u8]> {
        state::context().map(|context| context.get(self.field)).filter(|place| !place.is_empty())
    }

    /// The map, if there is one and this process may use it.
    #[inline]
    fn reader(&'static self) -> Option<&'static Reader> {
        if OFF.load(Ordering::Relaxed) {
            return None;
        }
        let current = self.current.load(Ordering::Acquire);
        // SAFETY: a published pointer leads to one of the places, and that is never written again.
        if let Some(reader) = unsafe { current.as_ref() }
            && !reader.has_ended()
        {
            return Some(reader);
        }
        self.find()
    }

    #[cold]
    fn find(&'static self) -> Option<&'static Reader> {
        let error = errno();
        let found = self.find_now();
        set_errno(error.into());
        found
    }

    fn find_now(&'static self) -> Option<&'static Reader> {
        let looks = self.looks.fetch_add(1, Ordering::Relaxed);
        if looks != FIRST && !looks.wrapping_add(AGAIN / 2).is_multiple_of(AGAIN) || self.off.load(Ordering::Relaxed) {
            return None;
        }
        let Some(place) = self.place() else {
            self.off.store(true, Ordering::Relaxed);
            return None;
        };
        let reader = map(place)?;
        // One that is as silent as the one before may be the same.
        reader.mark(now())?;
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        if number >= MAPS {
            self.off.store(true, Ordering::Relaxed);
            return None;
        }
        // SAFETY: the number is this thread's alone.
        let place = unsafe { (*self.places.0.get()).as_mut_ptr().add(number) };
        // SAFETY: as above; nobody has a pointer to it yet.
        unsafe { place.cast::<Reader>().write(reader) };
        self.current.store(place.cast(), Ordering::Release);
        // SAFETY: written above, and never again.
        unsafe { place.cast::<Reader>().as_ref() }
    }

    /// A keeper that was killed cannot say that its map has ended. One that is silent for long is looked for anew.
    #[cold]
    fn is_silent(&self, reader: &Reader, now: u64) {
        if reader.mark(now).is_some() {
            self.silent.store(0, Ordering::Relaxed);
        } else if self.silent.fetch_add(1, Ordering::Relaxed) == AGAIN {
            self.silent.store(0, Ordering::Relaxed);
            self.current.store(core::ptr::null_mut(), Ordering::Release);
        }
    }
}

/// The map that may know a path: the project's where that is where the path leads, else that of the shared trees.
#[inline]
fn responsible(path: &[u8]) -> Option<(&'static Maps, &'static Reader)> {
    if !path.starts_with(b"/") {
        return PROJECT.reader().map(|reader| (&PROJECT, reader));
    }
    match PROJECT.reader() {
        Some(reader) if cwd::below_root(reader, path).is_some() => Some((&PROJECT, reader)),
        _ if path.starts_with(b"/proc/") => None,
        _ => BASE.reader().map(|reader| (&BASE, reader)),
    }
}

/// Maps the file at `place`, if it is for this process.
fn map(place: &[u8]) -> Option<Reader> {
    let (real, effective) = sys::users();
    if real != effective {
        return None;
    }
    let (map, len) = open(&[place], libc::O_RDONLY, effective)?;
    // Without it doubts would not be seen.
    let reader = Reader::new(map, Some(questions(place, effective)?), len).ok()?;
    // SAFETY: string literals.
    let here = unsafe { [sys::stat(c"/proc/self/ns/mnt".as_ptr())?, sys::stat(c"/proc/self/ns/user".as_ptr())?] };
    (reader.uid == effective && reader.namespaces == here.map(|stat| stat.st_ino)).then_some(reader)
}

/// Maps the questions beside the map at `place`.
fn questions(place: &[u8], uid: u32) -> Option<Mem> {
    let (questions, len) = open(&[place, asked::SUFFIX.as_bytes()], libc::O_RDWR, uid)?;
    (len == asked::LEN as u64).then_some(questions)
}

/// `/dev/shm` is a public place: the file must be regular, ours, and nobody else's to write. `name` is in pieces.
fn open(name: &[&[u8]], flags: c_int, uid: u32) -> Option<(Mem, u64)> {
    let flags = flags | libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut room = [0_u8; 256];
    let mut used = 0;
    for piece in name {
        // The last byte stays zero.
        room.get_mut(used..used + piece.len()).filter(|_| used + piece.len() < 256)?.copy_from_slice(piece);
        used += piece.len();
    }
    let name = &room;
    // SAFETY: there are zeroes behind the name.
    let fd = unsafe { sys::openat(libc::AT_FDCWD, name.as_ptr().cast(), flags) };
    if fd < 0 {
        return None;
    }
    let stat = sys::fstat(fd).filter(|stat| stat.st_mode == libc::S_IFREG | 0o600 && stat.st_uid == uid && stat.st_size > 0);
    let map = stat
        .and_then(|stat| Some((Mem::new(fd as c_int, stat.st_size as usize, flags & libc::O_RDWR != 0)?, stat.st_size as u64)));
    sys::close(fd);
    map
}

/// Seconds since 1970, of the last tick.
fn now() -> u64 {
    let mut now = libc::timespec { tv_sec: i64::MAX, tv_nsec: 0 };
    // SAFETY: the pointer is to a local; the call ends in the vDSO. Where it fails the time is one at which no map is valid.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut now) };
    now.tv_sec as u64
}

/// What the map says of a path: links are not followed, those on the way excepted for which it says nothing.
///
/// # Safety
/// `at.path` must be null or NUL-terminated.
#[inline]
unsafe fn look<R>(at: At, then: impl FnOnce(&'static Reader, &[u8], Found, u64) -> Answer<R>) -> Answer<R> {
    if OFF.load(Ordering::Relaxed) {
        return Answer::Unknown;
    }
    // SAFETY: the caller vouches for the path.
    let path = unsafe { path::bytes(at.path) };
    if path.len() >= path::ROOM {
        return Answer::Unknown;
    }
    let Some((maps, reader)) = responsible(path) else { return Answer::Unknown };
    let now = now();
    let mut room = [MaybeUninit::uninit(); path::ROOM];
    let Some((below, folder)) = below(reader, at.dir, path, &mut room, now) else { return Answer::Unknown };
    match reader.look(below, now) {
        Answer::Found(found) => match found.kind() {
            flag::OTHER => Answer::Unknown,
            flag::DIR => then(reader, below, found, now),
            flag::FILE if folder => Answer::Fails(libc::ENOTDIR),
            _ if folder => Answer::Unknown,
            _ => then(reader, below, found, now),
        },
        Answer::Fails(error) if !has_long_name(below) => Answer::Fails(error),
        Answer::Fails(_) => Answer::Unknown,
        Answer::Unknown => {
            maps.is_silent(reader, now);
            Answer::Unknown
        }
    }
}

/// Whether the kernel would have refused the path for one of its names, see path_resolution(7).
fn has_long_name(path: &[u8]) -> bool {
    const NAME_MAX: usize = 255;
    path.len() > NAME_MAX && path.split(|c| *c == b'/').any(|name| name.len() > NAME_MAX)
}

/// What `stat` tells.
///
/// # Safety
/// `at.path` must be null or NUL-terminated.
pub unsafe fn stat(at: At, follow: bool) -> Answer<Found> {
    // SAFETY: the caller vouches for the path.
    unsafe {
        look(at, |reader, _, found, _| {
            if follow && found.kind() == flag::LINK {
                return Answer::Unknown;
            }
            if found.flags & flag::STAT == 0 {
                reader.ask(found.number);
                return Answer::Unknown;
            }
            Answer::Found(found)
        })
    }
}

/// Whether something is there, links followed.
///
/// # Safety
/// `at.path` must be null or NUL-terminated.
pub unsafe fn exists(at: At) -> Answer<()> {
    // SAFETY: the caller vouches for the path.
    unsafe { look(at, |_, _, found, _| if found.kind() == flag::LINK { Answer::Unknown } else { Answer::Found(()) }) }
}

/// Whether it pays to ask before a file is opened: most that are opened are there, and then it is for nothing.
static WORTH: AtomicI32 = AtomicI32::new(64);

/// The error with which the kernel would refuse to open a path without `O_CREAT`, where that is for want of the file. (A process
/// that has no descriptors left is told of the file as well, where the kernel would tell of those first.)
///
/// # Safety
/// `at.path` must be null or NUL-terminated.
pub unsafe fn lacks(at: At) -> Option<c_int> {
    let worth = WORTH.fetch_sub(1, Ordering::Relaxed);
    if worth <= 0 && worth % 32 != 0 {
        return None;
    }
    // SAFETY: the caller vouches for the path.
    match unsafe { look(at, |_, _, _, _| Answer::<()>::Unknown) } {
        // What is no folder may still be opened with a slash behind it, and fails otherwise.
        Answer::Fails(libc::ENOENT) => {
            WORTH.store(64, Ordering::Relaxed);
            Some(libc::ENOENT)
        }
        _ => None,
    }
}

/// Copies a link's target to `buffer`; how many bytes that were.
///
/// # Safety
/// `at.path` must be null or NUL-terminated; `buffer` must be valid for `len` bytes.
pub unsafe fn readlink(at: At, buffer: *mut c_char, len: usize) -> Answer<usize> {
    if len == 0 || buffer.is_null() {
        return Answer::Unknown;
    }
    // SAFETY: the caller vouches for the path.
    unsafe {
        look(at, |reader, _, found, now| {
            if found.kind() != flag::LINK {
                return Answer::Fails(libc::EINVAL);
            }
            let mut room = [0; path::ROOM];
            let Some(target) = reader.target(&found, &mut room, now) else { return Answer::Unknown };
            let some = target.len().min(len);
            buffer.cast::<u8>().copy_from_nonoverlapping(target.as_ptr(), some);
            Answer::Found(some)
        })
    }
}

/// Calls `then` with the absolute path without links that a path leads to, where that is known.
///
/// # Safety
/// `path` must be null or NUL-terminated.
pub unsafe fn real_path<R>(path: *const c_char, then: impl FnOnce([&[u8]; 3]) -> R) -> Option<R> {
    // SAFETY: the caller vouches for the path.
    let found = unsafe {
        look(At::cwd(path), |reader, below, found, _| {
            if found.kind() == flag::LINK {
                return Answer::Unknown;
            }
            let root = reader.root();
            if root.is_empty() && below.is_empty() {
                return Answer::Unknown;
            }
            if root.len() + 1 + below.len() >= path::ROOM {
                return Answer::Unknown;
            }
            Answer::Found(then([root, if below.is_empty() { b"" } else { b"/" }, below]))
        })
    };
    if let Answer::Found(result) = found { Some(result) } else { None }
}

/// A folder that is about to be listed.
pub struct Listing {
    reader: &'static Reader,
    folder: Found,
    parent: u64,
    mark: u64,
    now: u64,
}

/// What the map has on a folder that is about to be opened.
///
/// # Safety
/// `path` must be null or NUL-terminated.
pub unsafe fn begin_list(path: *const c_char) -> Option<Listing> {
    // SAFETY: the caller vouches for the path.
    let found = unsafe {
        look(At::cwd(path), |reader, below, folder, now| {
            if folder.kind() != flag::DIR {
                return Answer::Unknown;
            }
            // The root's parent is not in the map.
            let Some(parent) = (!below.is_empty()).then(|| below.iter().rposition(|c| *c == b'/').unwrap_or(0)) else {
                return Answer::Unknown;
            };
            if folder.flags & flag::ORDERED == 0 {
                reader.ask(folder.number);
                return Answer::Unknown;
            }
            // What was found before may be void by now: it is found again.
            let Some(mark) = reader.mark(now) else { return Answer::Unknown };
            match (reader.look(below, now), reader.look(&below[..parent], now)) {
                (Answer::Found(folder), Answer::Found(parent)) if folder.flags & flag::ORDERED != 0 => {
                    Answer::Found(Listing { reader, folder, parent: parent.ino, mark, now })
                }
                _ => Answer::Unknown,
            }
        })
    };
    if let Answer::Found(listing) = found { Some(listing) } else { None }
}

impl Listing {
    /// Its names, if nothing has changed since it began: then the folder that was opened is the one that is listed.
    pub fn names(self) -> Option<Copied> {
        let names = listing::copy(self.reader, &self.folder, self.parent, self.now)?;
        self.reader.holds(self.mark, self.now).then_some(names)
    }
}
