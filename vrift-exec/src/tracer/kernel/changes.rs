//! Calls that change names and attributes.
//!
//! They are reported before they are made. Where one is going to fail the failure is foretold, together with what it tells of the
//! file that is in the way.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use libc::{c_int, c_long};
use vrift_core::event::{EventKind, Untraced, flag};
use vrift_core::{open, rules};

use super::report::{Call, Event};
use super::tracee::{self, Found};

type At = (c_int, u64);

/// What a call brings about.
#[derive(Clone, Copy)]
enum Change {
    Mkdir,
    Unlink,
    Rmdir,
    Symlink,
}

impl Call<'_> {
    /// Whether the call is one of these; it is reported then.
    pub fn changes(&mut self, number: c_long) -> bool {
        let args = self.args;
        let at = |dir: usize, path: usize| (args[dir] as c_int, args[path]);
        match number {
            libc::SYS_mkdirat => self.change(Change::Mkdir, at(0, 1)),
            libc::SYS_unlinkat if args[2] as c_int & libc::AT_REMOVEDIR != 0 => self.change(Change::Rmdir, at(0, 1)),
            libc::SYS_unlinkat => self.change(Change::Unlink, at(0, 1)),
            libc::SYS_symlinkat => self.change(Change::Symlink, at(1, 2)),
            libc::SYS_mknodat => self.change(Change::Symlink, at(0, 1)),
            libc::SYS_renameat => self.rename(at(0, 1), at(2, 3), 0),
            libc::SYS_renameat2 => self.rename(at(0, 1), at(2, 3), args[4] as u32),
            libc::SYS_linkat => self.link(at(0, 1), at(2, 3), args[4] as c_int),
            libc::SYS_truncate => self.modify((libc::AT_FDCWD, args[0]), true),
            libc::SYS_fchmodat => self.modify(at(0, 1), true),
            FCHMODAT2 => self.modify_at(at(0, 1), args[3] as c_int),
            libc::SYS_fchownat => self.modify_at(at(0, 1), args[4] as c_int),
            libc::SYS_utimensat if args[1] == 0 => self.modify_open(args[0] as c_int),
            libc::SYS_utimensat => self.modify_at(at(0, 1), args[3] as c_int),
            libc::SYS_fchmod | libc::SYS_fchown => self.modify_open(args[0] as c_int),
            libc::SYS_setxattr if self.sets_mode() => self.modify((libc::AT_FDCWD, args[0]), true),
            libc::SYS_fsetxattr if self.sets_mode() => self.modify_open(args[0] as c_int),
            // Extended attributes are not kept with an output.
            libc::SYS_setxattr | libc::SYS_lsetxattr | libc::SYS_fsetxattr => self.attribute(b"setxattr"),
            libc::SYS_removexattr | libc::SYS_lremovexattr | libc::SYS_fremovexattr => self.attribute(b"removexattr"),
            _ => return self.older_changes(number),
        }
        true
    }

    /// Those that only older architectures have.
    #[cfg(target_arch = "x86_64")]
    fn older_changes(&mut self, number: c_long) -> bool {
        let at = |index: usize| (libc::AT_FDCWD, self.args[index]);
        let (first, second) = (at(0), at(1));
        match number {
            libc::SYS_mkdir => self.change(Change::Mkdir, first),
            libc::SYS_rmdir => self.change(Change::Rmdir, first),
            libc::SYS_unlink => self.change(Change::Unlink, first),
            libc::SYS_symlink => self.change(Change::Symlink, second),
            libc::SYS_mknod => self.change(Change::Symlink, first),
            libc::SYS_rename => self.rename(first, second, 0),
            libc::SYS_link => self.link(first, second, 0),
            libc::SYS_chmod | libc::SYS_chown | libc::SYS_utime | libc::SYS_utimes => self.modify(first, true),
            libc::SYS_lchown => self.modify(first, false),
            libc::SYS_futimesat if self.args[1] == 0 => self.modify_open(self.args[0] as c_int),
            libc::SYS_futimesat => self.modify((self.args[0] as c_int, self.args[1]), true),
            _ => return false,
        }
        true
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn older_changes(&mut self, _number: c_long) -> bool {
        false
    }

    fn ahead(&mut self, kind: EventKind, existed: bool, errno: u16, path: Vec<u8>) {
        let existed = if existed { flag::EXISTED } else { 0 };
        self.events.push(Event { flags: flag::AHEAD | existed, ..Event::of(kind, errno, path) });
    }

    /// What is in the way of a call was seen by it.
    fn seen(&mut self, path: &[u8], errno: u16) {
        self.events.push(Event::of(EventKind::Access, errno, path.to_vec()));
    }

    fn change(&mut self, change: Change, at: At) {
        let Some(path) = self.path(at) else { return };
        let found = tracee::look(&path, false);
        let (kind, errno) = match change {
            Change::Mkdir => (EventKind::Mkdir, would_make(&path, found)),
            Change::Symlink => (EventKind::LinkTo, would_make(&path, found)),
            Change::Unlink => {
                (EventKind::Remove, found.map_or_else(|e| e, |at| if at.is_folder() { libc::EISDIR as u16 } else { 0 }))
            }
            Change::Rmdir => (EventKind::Remove, found.map_or_else(|e| e, |at| would_remove(&path, at))),
        };
        if errno != 0 && found.is_ok() {
            self.seen(&path, 0);
        }
        self.ahead(kind, found.is_ok(), errno, path);
    }

    fn rename(&mut self, from: At, to: At, flags: u32) {
        if flags & !libc::RENAME_NOREPLACE != 0 {
            return self.events.push(Event::untraced(Untraced::UnknownSyscall, b"renameat2"));
        }
        let (Some(from), Some(to)) = (self.path(from), self.path(to)) else { return };
        let (source, target) = (tracee::look(&from, false), tracee::look(&to, false));
        let errno = match (source, target) {
            (Err(error), _) => error,
            (_, Ok(_)) if flags & libc::RENAME_NOREPLACE != 0 => libc::EEXIST as u16,
            (Ok(source), Ok(target)) if source.is_folder() && !target.is_folder() => libc::ENOTDIR as u16,
            (Ok(source), Ok(target)) if !source.is_folder() && target.is_folder() => libc::EISDIR as u16,
            (Ok(_), Ok(target)) if target.is_folder() => would_remove(&to, target),
            _ => match no_folder(&to) {
                0 if on_other_mounts(open::parent(&from), open::parent(&to)) => libc::EXDEV as u16,
                error => error,
            },
        };
        if errno != 0 && source.is_ok() {
            self.seen(&from, 0);
            self.seen(&to, target.err().unwrap_or(0));
        }
        self.ahead(EventKind::RenameFrom, source.is_ok(), errno, from);
        self.ahead(EventKind::RenameTo, target.is_ok(), errno, to);
    }

    fn link(&mut self, from: At, to: At, flags: c_int) {
        let is_open = flags & libc::AT_EMPTY_PATH != 0 && self.text(from.1).is_some_and(|path| path.is_empty());
        let source = if is_open { self.tracee.descriptor(from.0) } else { self.path(from) };
        let (Some(from), Some(to)) = (source, self.path(to)) else { return };
        let (found, target) = (tracee::look(&from, flags & libc::AT_SYMLINK_FOLLOW != 0), tracee::look(&to, false));
        // A file without a name yet has content that the run made.
        let unnamed = found.is_err() && from.ends_with(b" (deleted)");
        let errno = match found {
            Err(error) if !unnamed => error,
            _ => would_make(&to, target),
        };
        if errno != 0 && target.is_ok() {
            self.seen(&to, 0);
        }
        if !unnamed {
            self.events.push(Event::of(EventKind::LinkFrom, errno, from));
        }
        self.ahead(EventKind::LinkTo, target.is_ok(), errno, to);
    }

    fn modify_at(&mut self, at: At, flags: c_int) {
        if flags & libc::AT_EMPTY_PATH != 0 && self.text(at.1).is_some_and(|path| path.is_empty()) {
            return self.modify_open(at.0);
        }
        self.modify(at, flags & libc::AT_SYMLINK_NOFOLLOW == 0);
    }

    fn modify(&mut self, at: At, follow: bool) {
        let Some(path) = self.path(at) else { return };
        let found = tracee::look(&path, follow);
        self.ahead(EventKind::Modify, found.is_ok(), found.err().unwrap_or(0), path);
    }

    /// A file is changed through a descriptor, which may have been opened for reading. One without a name leaves nothing behind.
    fn modify_open(&mut self, fd: c_int) {
        if let Some(path) = self.tracee.descriptor(fd).filter(|path| tracee::look(path, false).is_ok()) {
            self.ahead(EventKind::Modify, true, 0, path);
        }
    }

    /// Whether the attribute that is set is a mode in another form.
    fn sets_mode(&mut self) -> bool {
        let (name, size) = (self.args[1], self.args[3]);
        self.text(name).is_some_and(|name| rules::is_mode_attribute(&name, usize::try_from(size).unwrap_or(usize::MAX)))
    }

    fn attribute(&mut self, name: &[u8]) {
        self.events.push(Event::untraced(Untraced::UnknownSyscall, name));
    }
}

/// Linux 6.6; libc's crate has no name for it on all architectures.
const FCHMODAT2: c_long = 452;

fn would_make(path: &[u8], found: Result<Found, u16>) -> u16 {
    if found.is_ok() { libc::EEXIST as u16 } else { no_folder(path) }
}

/// Why the folder that a path is to be made in is not found, 0 where it is.
pub fn no_folder(path: &[u8]) -> u16 {
    match tracee::look(open::parent(path), true) {
        Ok(found) if found.is_folder() => 0,
        Ok(_) => libc::ENOTDIR as u16,
        Err(missing) => missing,
    }
}

fn would_remove(path: &[u8], found: Found) -> u16 {
    if !found.is_folder() {
        return libc::ENOTDIR as u16;
    }
    let entries = std::fs::read_dir(Path::new(OsStr::from_bytes(path)));
    if entries.is_ok_and(|mut entries| entries.next().is_some()) { libc::ENOTEMPTY as u16 } else { 0 }
}

/// Whether two folders are surely on different mounts, between which nothing can be renamed. Devices do not tell: a file on an overlay
/// may have another one than its folder, and one file system may be mounted twice.
fn on_other_mounts(one: &[u8], other: &[u8]) -> bool {
    mount_of(one).zip(mount_of(other)).is_some_and(|(one, other)| one != other)
}

/// Since Linux 5.8.
fn mount_of(path: &[u8]) -> Option<u64> {
    let path = Path::new(OsStr::from_bytes(path));
    let found = rustix::fs::statx(rustix::fs::CWD, path, rustix::fs::AtFlags::empty(), rustix::fs::StatxFlags::MNT_ID).ok()?;
    (found.stx_mask & rustix::fs::StatxFlags::MNT_ID.bits() != 0).then_some(found.stx_mnt_id)
}

/// Whether this user may write to what is there.
pub fn may_write(path: &[u8]) -> Result<(), u16> {
    let Ok(path) = CString::new(path) else { return Err(libc::EINVAL as u16) };
    // SAFETY: the path is NUL-terminated.
    match unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), libc::W_OK, libc::AT_EACCESS) } {
        0 => Ok(()),
        _ => Err(tracee::number(&std::io::Error::last_os_error())),
    }
}
