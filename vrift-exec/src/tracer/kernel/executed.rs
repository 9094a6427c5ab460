//! Executing programs.
//!
//! What a process below a listener executes is traced by the kernel, whatever it is: nobody else signs it in. So its announcement
//! and its sign-in are one. What the kernel itself opens for it, its interpreters and its loader, nobody reports.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use libc::{c_int, c_long};
use vrift_core::elf::{self, LOADER, Program, Room, Source};
use vrift_core::event::{EventKind, Untraced, flag};
use vrift_core::shells;

use super::report::{Call, Event};
use super::tracee::{self, Found};

/// Scripts whose interpreters are scripts, as deep as the kernel follows them.
const DEEPEST: usize = 5;

/// A program's file.
struct Opened(File);

impl Source for Opened {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> usize {
        self.0.read_at(buffer, offset).unwrap_or(0)
    }

    fn gains_privileges(&self) -> bool {
        let Ok(meta) = self.0.metadata() else { return false };
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let has_capabilities = || {
            // SAFETY: a size of 0 asks for the attribute's length alone; the name is NUL-terminated.
            unsafe { libc::fgetxattr(self.0.as_raw_fd(), c"security.capability".as_ptr(), std::ptr::null_mut(), 0) > 0 }
        };
        (meta.mode() & libc::S_ISUID != 0 && meta.uid() != user)
            || (meta.mode() & libc::S_ISGID != 0 && meta.gid() != group)
            || (user != 0 && has_capabilities())
    }
}

/// What a file is, as far as executing it goes, with what the room then holds.
fn inspect(path: &[u8]) -> (Program, Vec<u8>) {
    // Opening a pipe waits for its other end, or is news there.
    let is_file = tracee::look(path, true).is_ok_and(Found::is_file);
    let opened = || File::options().read(true).custom_flags(libc::O_NONBLOCK).open(Path::new(OsStr::from_bytes(path))).ok();
    let Some(file) = is_file.then(opened).flatten() else { return (Program::Unknown, Vec::new()) };
    let mut room: Room = [0; size_of::<Room>()];
    let program = elf::inspect(&Opened(file), &mut room);
    let len = match program {
        Program::Script { interpreter: len } | Program::Unhooked { loader: len, .. } => len,
        _ => 0,
    };
    (program, room[..len].to_vec())
}

/// Who can see what a program does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// The shim does.
    Hooked,
    /// No preload reaches the program, or the interpreter of the script, while the kernel can report its calls.
    Reported,
    /// Nobody is to, for its own good ([`shells`]).
    Unseen,
}

/// Who can see what the program at `path` does; `first` is its first argument.
pub fn seen_by(path: &[u8], mut first: Option<&[u8]>) -> Seen {
    let mut path = path.to_vec();
    for _ in 0..DEEPEST {
        match inspect(&path) {
            (Program::Unhooked { .. }, _) if shells::is_shell(&path, first) => return Seen::Unseen,
            (Program::Unhooked { .. }, _) => return Seen::Reported,
            (Program::Script { .. }, interpreter) if interpreter.starts_with(b"/") => (path, first) = (interpreter, None),
            _ => break,
        }
    }
    Seen::Hooked
}

impl Call<'_> {
    /// Whether the call executes something; it is reported then.
    pub fn executes(&mut self, number: c_long) -> bool {
        match number {
            libc::SYS_execve => {
                if let Some(path) = self.path((libc::AT_FDCWD, self.args[0])) {
                    self.execute(path);
                }
            }
            libc::SYS_execveat => {
                let (dir, flags) = (self.args[0] as c_int, self.args[4] as c_int);
                match self.text(self.args[1]) {
                    Some(path) if path.is_empty() && flags & libc::AT_EMPTY_PATH != 0 => match self.tracee.descriptor(dir) {
                        Some(path) => self.execute(path),
                        None => self.lost(b"execveat"),
                    },
                    Some(path) if !path.is_empty() => {
                        if let Some(path) = self.absolute(dir, path) {
                            self.execute(path);
                        }
                    }
                    _ => {}
                }
            }
            _ => return false,
        }
        true
    }

    fn execute(&mut self, path: Vec<u8>) {
        let errno = match tracee::look(&path, true) {
            Err(missing) => missing,
            Ok(found) if !found.is_file() || found.mode & 0o111 == 0 => libc::EACCES as u16,
            Ok(_) => 0,
        };
        if !self.is_launch {
            self.events.push(Event::of(EventKind::Exec, errno, path.clone()));
        }
        if errno != 0 {
            if !self.is_launch {
                self.events.push(Event::of(EventKind::ExecFailed, errno, Vec::new()));
            }
            return;
        }
        let mut program = path;
        for _ in 0..DEEPEST {
            let (kind, other) = inspect(&program);
            match kind {
                Program::Script { .. } => {
                    let Some(interpreter) = self.absolute(libc::AT_FDCWD, other) else { return };
                    self.read(interpreter.clone());
                    program = interpreter;
                    continue;
                }
                Program::Unhooked { loader: 0, .. } => {}
                Program::Unhooked { .. } => self.read(other),
                Program::Followed | Program::Lost(Untraced::Sanitizer) => self.read(LOADER.to_vec()),
                Program::Lost(reason) => self.events.push(Event::untraced(reason, &program)),
                // Some other program may stand in for it (binfmt_misc), or it is not for us to read.
                Program::Unknown => self.events.push(Event::untraced(Untraced::ForeignProgram, &program)),
            }
            break;
        }
        // Its name may be a link that has another name than the program.
        let real = std::fs::canonicalize(Path::new(OsStr::from_bytes(&program)));
        let path = real.map_or(program, |real| real.into_os_string().as_bytes().to_vec());
        self.events.push(Event { flags: flag::BY_KERNEL, ..Event::of(EventKind::SignIn, 0, path) });
    }

    fn read(&mut self, path: Vec<u8>) {
        let errno = tracee::look(&path, true).err().unwrap_or(0);
        self.events.push(Event::of(EventKind::OpenRead, errno, path));
    }
}
