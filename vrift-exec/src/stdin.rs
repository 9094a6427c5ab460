//! Data on standard input: `gcc -x c -`.
//!
//! A command that may read it is asked for together with a digest of all that is there. So everything is read first, and the
//! command then gets it from a file in memory. What nobody can read to its end (a terminal) makes no action.
//!
//! Of a script nobody knows whether it reads, and nothing may be taken from whoever reads after it. Where nothing is there to
//! read, it is like any other command. Elsewhere it is run with what is there, and its result is stored where it is certain that
//! it took nothing: see [`Unread`]. Such a result holds whatever is there, and has a key of its own: the script that found
//! nothing there may have looked.

mod relay;

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, MemfdFlags, Timestamps};
use vrift_core::action::Tool;
use vrift_core::arena::{Event, Trace};
use vrift_core::bytes::ByteText;
use vrift_core::digest::Digest;
use vrift_core::event::EventKind;

use crate::command::Command;
use crate::tracer::Finished;
pub use relay::Relay;

/// A larger response file is not searched.
const LARGEST_LIST: u64 = 16 << 20;

/// Lists in lists, as deep as this.
const DEEPEST: usize = 8;

/// Bytes read at a time.
const PIECE: usize = 64 << 10;

/// What the command finds on standard input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Input {
    /// Nothing, or it does not look.
    None,
    /// Data with this digest; what is to be run will find all of it.
    Data(Digest),
    /// Something that has no end.
    Endless,
    /// Something that a script is not known to read.
    Open(Unread),
}

/// What tells afterwards that nobody has read from standard input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unread {
    /// A terminal, whose access time was set back to this many seconds: the kernel moves it with whatever is read.
    Terminal(i64),
    /// A file that was read up to here.
    File(u64),
    /// A pipe or socket that was open and had nothing in it; see [`Relay`].
    Idle,
}

/// The kernel moves a terminal's access time in steps of eight seconds, so that nobody can tell keystrokes by it. Source:
/// `tty_update_time` in `drivers/tty/tty_io.c`.
const TERMINAL_STEP: i64 = 8;

impl Unread {
    /// Whether nobody has read. A terminal gets its access time back.
    pub fn holds(self, trace: Option<&Trace>) -> bool {
        let stdin = io::stdin();
        // Who opens it by a name has an offset of his own.
        let by_name = |path: &[u8]| path == b"/dev/stdin" || path == b"/dev/fd/0" || is_first_descriptor(path);
        let untold = trace.is_none_or(|trace| opened(trace, by_name));
        let unread = match self {
            Self::Terminal(back) => {
                let unread = rustix::fs::fstat(stdin.as_fd()).is_ok_and(|stat| stat.st_atime == back);
                if unread {
                    set_access_time(stdin.as_fd(), back + 2 * TERMINAL_STEP);
                }
                unread
            }
            Self::File(at) => rustix::fs::tell(stdin.as_fd()).is_ok_and(|now| now == at),
            // The relay tells.
            Self::Idle => true,
        };
        unread && !untold
    }

    fn of_terminal(stdin: BorrowedFd<'_>, stat: &rustix::fs::Stat) -> Option<Self> {
        let back = stat.st_atime - 2 * TERMINAL_STEP;
        let is_back = set_access_time(stdin, back) && rustix::fs::fstat(stdin).is_ok_and(|stat| stat.st_atime == back);
        is_back.then_some(Self::Terminal(back))
    }
}

fn set_access_time(fd: BorrowedFd<'_>, seconds: i64) -> bool {
    let time = |tv_sec, tv_nsec| Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: time(seconds, 0), last_modification: time(0, rustix::fs::UTIME_OMIT) };
    rustix::fs::futimens(fd, &times).is_ok()
}

/// Finds out, and puts the data where what is run next will find it.
///
/// # Errors
/// Where the data cannot be read or kept; then some of it may be lost.
pub fn take(command: &Command) -> io::Result<Input> {
    if !may_read(command.tool, &command.argv, command.cwd.as_path(), 0) {
        return Ok(Input::None);
    }
    let stdin = io::stdin();
    let Ok(stat) = rustix::fs::fstat(stdin.as_fd()) else { return Ok(Input::None) };
    let kind = FileType::from_raw_mode(stat.st_mode);
    if kind == FileType::CharacterDevice && is_null(&stat) {
        return Ok(Input::None);
    }
    if command.tool == Tool::Script {
        return Ok(of_script(stdin.as_fd(), kind, &stat));
    }
    if !matches!(kind, FileType::Fifo | FileType::RegularFile | FileType::Socket) {
        return Ok(Input::Endless);
    }
    let mut copy = File::from(rustix::fs::memfd_create("stdin", MemfdFlags::CLOEXEC)?);
    let mut from = File::from(stdin.as_fd().try_clone_to_owned()?);
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; PIECE];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(len) => {
                hasher.update(&buffer[..len]);
                copy.write_all(&buffer[..len])?;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    copy.rewind()?;
    rustix::stdio::dup2_stdin(&copy)?;
    Ok(Input::Data(Digest::from_bytes(*hasher.finalize().as_bytes())))
}

/// What a script finds, none of it taken.
fn of_script(stdin: BorrowedFd<'_>, kind: FileType, stat: &rustix::fs::Stat) -> Input {
    let open = match kind {
        FileType::CharacterDevice if stdin.is_terminal() => Unread::of_terminal(stdin, stat),
        FileType::RegularFile => match rustix::fs::tell(stdin) {
            Ok(at) if at >= stat.st_size as u64 => return Input::None,
            Ok(at) => Some(Unread::File(at)),
            Err(_) => None,
        },
        FileType::Fifo | FileType::Socket => match state(stdin) {
            // Nobody can write to it any more: Make gives such a pipe to all parallel commands but the first.
            Some(PollFlags::HUP) => return Input::None,
            Some(flags) if flags.is_empty() => Some(Unread::Idle),
            _ => None,
        },
        _ => None,
    };
    open.map_or(Input::Endless, Input::Open)
}

/// What can be had from the pipe or socket now.
fn state(stdin: BorrowedFd<'_>) -> Option<PollFlags> {
    let mut polls = [PollFd::from_borrowed_fd(stdin, PollFlags::IN)];
    poll(&mut polls, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).ok()?;
    Some(polls[0].revents())
}

fn is_null(stat: &rustix::fs::Stat) -> bool {
    rustix::fs::stat("/dev/null").is_ok_and(|null| null.st_rdev == stat.st_rdev)
}

/// Whether a command with these arguments may read standard input.
fn may_read(tool: Tool, argv: &[ByteText], cwd: &Path, depth: usize) -> bool {
    let args = argv.get(1..).unwrap_or_default();
    match tool {
        // It gets nothing from Cargo.
        Tool::BuildScript => return false,
        Tool::Script | Tool::Build => return true,
        // Without a file they read it. What is an option's value here is taken for a file: then nothing is stored of what
        // nobody has typed yet.
        Tool::As if depth == 0 && !args.iter().any(|arg| !arg.starts_with(b"-")) => return true,
        // A script of commands.
        Tool::Ar if args.first().is_some_and(|arg| arg.starts_with(b"-M")) => return true,
        _ => {}
    }
    args.iter().any(|arg| match &arg[..] {
        b"-" => true,
        [b'@', list @ ..] => match read_list(cwd, list) {
            Some(words) => depth >= DEEPEST || may_read(tool, &words, cwd, depth + 1),
            None => false,
        },
        arg => {
            ["/dev/stdin", "/dev/fd/", "/proc/self/fd/"].iter().any(|name| memchr::memmem::find(arg, name.as_bytes()).is_some())
        }
    })
}

/// The words of a response file, behind an empty one. Quotes hide no dash that stands alone.
fn read_list(cwd: &Path, name: &[u8]) -> Option<Vec<ByteText>> {
    use std::os::unix::ffi::OsStrExt;
    let path = cwd.join(std::ffi::OsStr::from_bytes(name));
    if !std::fs::metadata(&path).ok().is_some_and(|meta| meta.is_file() && meta.len() <= LARGEST_LIST) {
        return None;
    }
    let text = std::fs::read(path).ok()?;
    let words = text.split(|c| c.is_ascii_whitespace() || matches!(c, b'"' | b'\''));
    Some(std::iter::once(ByteText::from("")).chain(words.filter(|word| !word.is_empty()).map(ByteText::from)).collect())
}

/// Whether a process of the run opened the terminal itself, to ask a person. Bun does so each time, to set it up.
pub fn asked_a_person(finished: &Finished) -> bool {
    let Ok(trace) = &finished.trace else { return false };
    let mut bun = HashSet::new();
    let asks = |event: &Event| {
        if event.kind == EventKind::SignIn && event.path.ends_with(b"/bun") {
            bun.insert(event.pid);
        }
        opens(event, |path| path == b"/dev/tty") && !bun.contains(&event.pid)
    };
    // Where there is no terminal, opening it fails.
    trace.events.iter().any(asks) && File::open("/dev/tty").is_ok()
}

fn opened(trace: &Trace, is_it: impl Fn(&[u8]) -> bool) -> bool {
    trace.events.iter().any(|event| opens(event, &is_it))
}

fn opens(event: &Event, is_it: impl Fn(&[u8]) -> bool) -> bool {
    matches!(event.kind, EventKind::OpenRead | EventKind::OpenWrite) && event.errno == 0 && is_it(&event.path)
}

/// `/proc/<process>/fd/0`.
fn is_first_descriptor(path: &[u8]) -> bool {
    path.starts_with(b"/proc/") && path.ends_with(b"/fd/0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_of_standard_input_are_known() {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::write(dir.path().join("list"), "-O2 '-'\n").expect("writes");
        std::fs::write(dir.path().join("deep"), "@list").expect("writes");
        std::fs::write(dir.path().join("files"), "a.o b-.o --\n").expect("writes");
        let reads = |tool, line: &str| {
            let argv: Vec<ByteText> = line.split(' ').map(ByteText::from).collect();
            may_read(tool, &argv, dir.path(), 0)
        };
        for (tool, line) in [
            (Tool::Cc, "cc -x c -"),
            (Tool::Cc, "cc -E /dev/stdin"),
            (Tool::Cc, "cc @list"),
            (Tool::Cc, "cc @deep"),
            (Tool::As, "as"),
            (Tool::As, "as --64"),
            (Tool::Ar, "ar -M"),
            (Tool::Rustc, "rustc - --print cfg"),
        ] {
            assert!(reads(tool, line), "{line}");
        }
        for (tool, line) in [
            (Tool::Cc, "cc -c a-.c -o -x"),
            (Tool::Cc, "cc @files @none"),
            (Tool::As, "as x.s"),
            (Tool::Ar, "ar rcs libM.a -M"),
            (Tool::Rustc, "rustc src/lib.rs"),
        ] {
            assert!(!reads(tool, line), "{line}");
        }
    }
}
