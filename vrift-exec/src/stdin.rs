//! Data on standard input: `gcc -x c -`.
//!
//! A command that may read it is asked for together with a digest of all that is there. So everything is read first, and the
//! command then gets it from a file in memory. What nobody can read to its end (a terminal) makes no action.
//!
//! Of a program that a setting makes an action nobody knows whether it reads. It may find nothing there, or a terminal, which the
//! setting says that it does not ask; whatever else is there makes no action, and is not touched.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{FileType, MemfdFlags};
use vrift_core::action::Tool;
use vrift_core::bytes::ByteText;
use vrift_core::digest::Digest;

use crate::command::Command;

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
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice if is_null(&stat) || command.tool == Tool::Script => return Ok(Input::None),
        FileType::Fifo | FileType::RegularFile | FileType::Socket => {}
        _ => return Ok(Input::Endless),
    }
    if command.tool == Tool::Script {
        return Ok(if is_empty(stdin.as_fd()) { Input::None } else { Input::Endless });
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

/// Whether nobody can write to the pipe any more, and nothing is in it: Make gives one to all parallel commands but the first.
fn is_empty(stdin: std::os::fd::BorrowedFd<'_>) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut polls = [PollFd::from_borrowed_fd(stdin, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut polls, Some(&now)).is_ok() && polls[0].revents() == PollFlags::HUP
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
