//! From a reported call to events, as the shim would have written them (`vrift-preload/src/hooks`).

use std::collections::HashSet;

use libc::{c_int, c_long, seccomp_notif};
use vrift_core::arena::Writer;
use vrift_core::event::{EventKind, Untraced, flag, value_hash};
use vrift_core::open;

use super::changes;
use super::filter::ARCH;
use super::tracee::{self, Read, Tracee};

/// More different looks than this are not remembered: those that follow are written as often as they happen.
const MOST_REMEMBERED: usize = 1 << 20;

/// Writes events about calls into an arena.
pub struct Reporter {
    writer: Writer,
    /// That of the enclosing action.
    outer: Option<Writer>,
    /// Looks that are in the arena: the same look again says nothing new.
    known: HashSet<u64>,
}

/// One event to be.
pub struct Event {
    pub kind: EventKind,
    pub flags: u8,
    pub errno: u16,
    pub aux: u64,
    pub path: Vec<u8>,
}

impl Event {
    pub fn of(kind: EventKind, errno: u16, path: Vec<u8>) -> Self {
        Self { kind, flags: 0, errno, aux: 0, path }
    }

    pub fn untraced(reason: Untraced, detail: &[u8]) -> Self {
        Self { kind: EventKind::Untraced, flags: 0, errno: 0, aux: reason as u64, path: detail.to_vec() }
    }
}

/// A call, with what is to be said of it.
pub struct Call<'a> {
    pub tracee: Tracee,
    pub args: [u64; 6],
    /// The process has not executed anything since it became one of ours.
    pub is_launch: bool,
    pub events: &'a mut Vec<Event>,
}

impl Reporter {
    pub fn new(writer: Writer, outer: Option<Writer>) -> Self {
        Self { writer, outer, known: HashSet::new() }
    }

    /// Reports a call; `still_waits` says whether it was this call's process that was looked at. `is_launch`: the process is
    /// about to execute its first program, which somebody else has announced.
    pub fn report(&mut self, call: &seccomp_notif, is_launch: bool, still_waits: impl FnOnce() -> bool) {
        let mut events = Vec::new();
        if call.pid == 0 {
            // It is in a process namespace that this process does not see into.
            events.push(Event::untraced(Untraced::OtherRoot, b""));
        } else if call.data.arch != ARCH {
            events.push(Event::untraced(Untraced::UnknownSyscall, b"another architecture's"));
        } else {
            let mut call_ = Call { tracee: Tracee(call.pid), args: call.data.args, is_launch, events: &mut events };
            call_.dispatch(c_long::from(call.data.nr));
        }
        if events.is_empty() || !still_waits() {
            return;
        }
        for event in events {
            self.write(call.pid, &event);
        }
    }

    fn write(&mut self, pid: u32, event: &Event) {
        // Whoever changes something says so each time: the order counts.
        let is_look = event.flags == 0 && !matches!(event.kind, EventKind::Exec | EventKind::ExecFailed | EventKind::SignIn);
        if is_look {
            let head = (event.aux << 24) ^ (u64::from(event.errno) << 8) ^ event.kind as u64;
            let hash = value_hash(&event.path) ^ value_hash(&head.to_le_bytes()).rotate_left(17);
            if self.known.contains(&hash) {
                return;
            }
            if self.known.len() < MOST_REMEMBERED {
                self.known.insert(hash);
            }
        }
        for writer in std::iter::once(&self.writer).chain(&self.outer) {
            writer.append(pid, event.kind, event.flags, event.errno, event.aux, &[&event.path]);
        }
    }
}

impl Call<'_> {
    fn dispatch(&mut self, number: c_long) {
        let args = self.args;
        let flags = |index: usize| args[index] as c_int;
        let at = |dir: usize, path: usize| (args[dir] as c_int, args[path]);
        match number {
            libc::SYS_openat => self.open(at(0, 1), flags(2)),
            libc::SYS_openat2 => self.open2(),
            libc::SYS_newfstatat => self.stat(at(0, 1), flags(3)),
            libc::SYS_statx => self.stat(at(0, 1), flags(2)),
            libc::SYS_faccessat | libc::SYS_faccessat2 => self.look(EventKind::Access, at(0, 1), true),
            libc::SYS_readlinkat => self.look(EventKind::Readlink, at(0, 1), false),
            libc::SYS_getdents64 => self.list(),
            libc::SYS_statfs => self.look(EventKind::Access, (libc::AT_FDCWD, args[0]), true),
            libc::SYS_chdir => self.look(EventKind::Stat, (libc::AT_FDCWD, args[0]), true),
            libc::SYS_getxattr | libc::SYS_listxattr => self.look(EventKind::Stat, (libc::AT_FDCWD, args[0]), true),
            libc::SYS_lgetxattr | libc::SYS_llistxattr => self.look(EventKind::Lstat, (libc::AT_FDCWD, args[0]), false),
            _ if self.older(number) || self.changes(number) || self.executes(number) || self.others(number) => {}
            _ => self.events.push(Event::untraced(Untraced::UnknownSyscall, number.to_string().as_bytes())),
        }
    }

    /// The looks that only older architectures have.
    #[cfg(target_arch = "x86_64")]
    fn older(&mut self, number: c_long) -> bool {
        let first = (libc::AT_FDCWD, self.args[0]);
        match number {
            libc::SYS_open => self.open(first, self.args[1] as c_int),
            libc::SYS_creat => self.open(first, libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC),
            libc::SYS_stat => self.stat(first, 0),
            libc::SYS_lstat => self.stat(first, libc::AT_SYMLINK_NOFOLLOW),
            libc::SYS_access => self.look(EventKind::Access, first, true),
            libc::SYS_readlink => self.look(EventKind::Readlink, first, false),
            libc::SYS_getdents => self.list(),
            _ => return false,
        }
        true
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn older(&mut self, _number: c_long) -> bool {
        false
    }

    /// The absolute path that a call means. Nothing where the call cannot succeed, or where the reason why there is none has been
    /// reported.
    pub fn path(&mut self, (dir, address): (c_int, u64)) -> Option<Vec<u8>> {
        let path = self.text(address)?;
        if path.is_empty() { None } else { self.absolute(dir, path) }
    }

    pub fn text(&mut self, address: u64) -> Option<Vec<u8>> {
        if address == 0 {
            return None;
        }
        match self.tracee.text(address) {
            Read::Got(path) => Some(path),
            Read::Bad => None,
            Read::Denied => {
                self.lost(b"the process cannot be read");
                None
            }
        }
    }

    pub fn absolute(&mut self, dir: c_int, path: Vec<u8>) -> Option<Vec<u8>> {
        let absolute = self.tracee.absolute(dir, path.clone());
        // A descriptor that is none makes the call fail; a folder that was removed has no path.
        if absolute.is_none() {
            self.lost(&path);
        }
        absolute
    }

    pub fn lost(&mut self, detail: &[u8]) {
        self.events.push(Event::untraced(Untraced::LostPath, detail));
    }

    /// A look whose result is what is there.
    fn look(&mut self, kind: EventKind, at: (c_int, u64), follow: bool) {
        let Some(path) = self.path(at) else { return };
        let errno = tracee::look(&path, follow).err().unwrap_or(0);
        self.events.push(Event::of(kind, errno, path));
    }

    /// A descriptor's own `stat` looks at what was seen when it was opened.
    fn stat(&mut self, at: (c_int, u64), flags: c_int) {
        let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
        self.look(if follow { EventKind::Stat } else { EventKind::Lstat }, at, follow);
    }

    fn list(&mut self) {
        match self.tracee.descriptor(self.args[0] as c_int) {
            Some(path) => self.events.push(Event::of(EventKind::List, 0, path)),
            None => self.lost(b"a folder that is listed"),
        }
    }

    fn open2(&mut self) {
        // `struct open_how`: flags, mode, resolve.
        let mut how = [0; 24];
        match self.tracee.bytes(self.args[2], &mut how) {
            Read::Got(()) => {}
            Read::Bad => return,
            Read::Denied => return self.lost(b"the process cannot be read"),
        }
        let number = |at: usize| how[at..at + 8].iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        if number(16) & libc::RESOLVE_IN_ROOT != 0 {
            return self.lost(b"RESOLVE_IN_ROOT");
        }
        self.open((self.args[0] as c_int, self.args[1]), number(0) as c_int);
    }

    fn open(&mut self, at: (c_int, u64), flags: c_int) {
        let Some(path) = self.path(at) else { return };
        let has = |flag: c_int| flags & flag == flag;
        let found = tracee::look(&path, !has(libc::O_NOFOLLOW) && !has(libc::O_CREAT | libc::O_EXCL));
        let Some((kind, bits)) = open::event(flags, found.is_ok()) else { return };
        let folder = || changes::no_folder(&path);
        let writable = || changes::may_write(&path).err().unwrap_or(0);
        let errno = open::foretell(flags, found.map(|found| found.mode), folder, writable);
        let ahead = if kind == EventKind::OpenWrite { flag::AHEAD } else { 0 };
        self.events.push(Event { flags: bits | ahead, ..Event::of(kind, errno, path) });
    }
}
