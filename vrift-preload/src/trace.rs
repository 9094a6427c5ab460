//! Appending events, with the repeated ones left out.

use core::ffi::c_char;
use core::sync::atomic::{AtomicU64, Ordering};

use vrift_core::arena::Writer;
use vrift_core::event::{EventKind, Untraced, flag, value_hash};

use crate::path::{self, At};
use crate::{libraries, sys};

/// How many recent events are remembered. A repeated event says nothing new; one that falls out is merely repeated.
const REMEMBERED: usize = 8192;

static RECENT: [AtomicU64; REMEMBERED] = [const { AtomicU64::new(0) }; REMEMBERED];

/// The arena of the enclosing action and, where that runs inside another one, the arena of that.
pub struct Trace {
    writers: [Option<Writer>; 2],
}

impl Trace {
    /// Nothing where there is no arena. Of two of which one cannot be had, that one's action misses this process's sign-in.
    pub fn new(inner: Option<Writer>, outer: Option<Writer>) -> Option<Self> {
        (inner.is_some() || outer.is_some()).then_some(Self { writers: [inner, outer] })
    }

    /// Reports the process itself: its program and the libraries that the loader has mapped for it.
    pub fn sign_in(&self) {
        let mut room = [0; path::ROOM];
        let program = sys::readlink(c"/proc/self/exe", &mut room);
        let flags = if program.is_none() { flag::UNRESOLVED } else { 0 };
        self.append(EventKind::SignIn, flags, 0, 0, &[program.unwrap_or(b"")]);
        libraries::report(self);
    }

    /// An event about a path; `errno` is 0 for a call that succeeded.
    ///
    /// # Safety
    /// `at.path` must be null or NUL-terminated.
    pub unsafe fn path(&self, kind: EventKind, flags: u8, errno: u16, at: At) {
        // SAFETY: the caller vouches for the path.
        unsafe {
            path::absolute_of(at, follows(kind), |pieces| match pieces {
                Some(pieces) => self.once(kind, flags, errno, 0, pieces),
                None => self.once(kind, flags | flag::UNRESOLVED, errno, 0, &[path::bytes(at.path)]),
            });
        }
    }

    /// A change that is about to be made. Never left out: the order counts.
    ///
    /// # Safety
    /// `at.path` must be null or NUL-terminated.
    pub unsafe fn ahead(&self, kind: EventKind, flags: u8, errno: u16, at: At) {
        let flags = flags | flag::AHEAD;
        // SAFETY: the caller vouches for the path.
        unsafe {
            path::absolute_of(at, follows(kind), |pieces| match pieces {
                Some(pieces) => self.append(kind, flags, errno, 0, pieces),
                None => self.append(kind, flags | flag::UNRESOLVED, errno, 0, &[path::bytes(at.path)]),
            });
        }
    }

    /// An event about a path already known in full.
    pub fn known_path(&self, kind: EventKind, errno: u16, path: &[u8]) {
        self.once(kind, 0, errno, 0, &[path]);
    }

    /// The folder or file behind a descriptor.
    pub fn descriptor(&self, kind: EventKind, fd: i32) {
        let mut room = [0; path::ROOM];
        if let Some(path) = path::of_descriptor(fd, &mut room) {
            self.once(kind, 0, 0, 0, &[path]);
        }
    }

    /// A variable was asked for.
    ///
    /// # Safety
    /// `name` must be, and `value` must be null or, NUL-terminated.
    pub unsafe fn variable(&self, name: *const c_char, value: *const c_char) {
        // SAFETY: the caller vouches for both.
        let hash = if value.is_null() { 0 } else { value_hash(unsafe { path::bytes(value) }) };
        // SAFETY: as above.
        self.once(EventKind::Env, 0, 0, hash, &[unsafe { path::bytes(name) }]);
    }

    /// Something happened that cannot be followed.
    pub fn untraced(&self, reason: Untraced, detail: &[u8]) {
        self.once(EventKind::Untraced, 0, 0, reason as u64, &[detail]);
    }

    /// An event that is never left out.
    pub fn append(&self, kind: EventKind, flags: u8, errno: u16, aux: u64, pieces: &[&[u8]]) {
        let pid = sys::getpid();
        for writer in self.writers.iter().flatten() {
            writer.append(pid, kind, flags, errno, aux, pieces);
        }
    }

    fn once(&self, kind: EventKind, flags: u8, errno: u16, aux: u64, pieces: &[&[u8]]) {
        let head = [kind as u8, flags, errno as u8, (errno >> 8) as u8];
        let mut hash = value_hash(&head) ^ aux.rotate_left(29);
        for piece in pieces {
            hash = hash.rotate_left(5) ^ value_hash(piece);
        }
        let slot = &RECENT[(hash as usize) % REMEMBERED];
        if slot.load(Ordering::Relaxed) == hash {
            return;
        }
        self.append(kind, flags, errno, aux, pieces);
        // Behind the append: a process that dies in between repeats nothing and loses nothing.
        slot.store(hash, Ordering::Relaxed);
    }
}

/// Whether a call of this kind follows a link that it is given.
fn follows(kind: EventKind) -> bool {
    use EventKind::{Access, Exec, Library, List, Modify, OpenRead, OpenWrite, Stat};
    matches!(kind, OpenRead | OpenWrite | Stat | Access | List | Modify | Exec | Library)
}
