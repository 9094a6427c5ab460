//! What kind of program a file is: whether a preload reaches it.
//! Sources: elf(5), ld.so(8), execve(2).

use crate::sys;
use core::ffi::c_char;
use vrift_core::event::Untraced;

/// What executing a file means for the shim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    /// A dynamic program of this libc: the preload works.
    Followed,
    /// It cannot be followed.
    Lost(Untraced),
    /// A script: `interpreter` bytes of the room hold its interpreter, NUL-terminated.
    Script { interpreter: usize },
    /// Not to be read, or no program: the kernel or libc will say.
    Unknown,
}

/// The loader of this shim's own libc.
#[cfg(target_arch = "x86_64")]
const LOADER: &[u8] = b"/lib64/ld-linux-x86-64.so.2";
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const LOADER: &[u8] = b"/lib/ld-linux-aarch64.so.1";
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
/// More program headers or entries than any program has.
const MOST_HEADERS: usize = 32;
const MOST_NEEDED: usize = 64;

/// Room for a script's first line.
pub type Room = [u8; 256];

/// Looks at the file `path`.
///
/// # Safety
/// `path` must be NUL-terminated.
pub unsafe fn inspect(path: *const c_char, room: &mut Room) -> Program {
    // SAFETY: the caller vouches for the path.
    let fd = unsafe { sys::openat(libc::AT_FDCWD, path, libc::O_RDONLY) };
    if fd < 0 {
        return Program::Unknown;
    }
    let program = look(fd, room).unwrap_or(Program::Unknown);
    sys::close(fd);
    program
}

fn look(fd: isize, room: &mut Room) -> Option<Program> {
    let mut head = [0_u8; 64 + MOST_HEADERS * 56];
    let len = sys::pread(fd, &mut head, 0);
    let head = head.get(..len)?;
    if head.starts_with(b"#!") {
        return script(head, room);
    }
    if !head.starts_with(b"\x7fELF") || len < 64 {
        return Some(Program::Unknown);
    }
    // 64 bit, little-endian, this machine.
    if head[4] != 2 || head[5] != 1 || u16_at(head, 18)? != MACHINE {
        return Some(Program::Lost(Untraced::ForeignProgram));
    }
    if gains_privileges(fd) {
        return Some(Program::Lost(Untraced::Privileged));
    }
    let (table, size, count) = (u64_at(head, 32)? as usize, u16_at(head, 54)? as usize, u16_at(head, 56)? as usize);
    let headers = head.get(table..)?.get(..size.checked_mul(count.min(MOST_HEADERS))?)?;
    let header = |kind| headers.chunks_exact(size.max(1)).find(|h| u32_at(h, 0) == Some(kind));
    let Some(interpreter) = header(PT_INTERP) else { return Some(Program::Lost(Untraced::StaticProgram)) };
    let mut name = [0_u8; 64];
    let got = sys::pread(fd, &mut name, u64_at(interpreter, 8)?);
    let name = name.get(..got)?.split(|c| *c == 0).next()?;
    if name != LOADER {
        return Some(Program::Lost(Untraced::ForeignProgram));
    }
    if header(PT_DYNAMIC).is_some_and(|dynamic| needs_sanitizer(fd, headers, size, dynamic)) {
        return Some(Program::Lost(Untraced::Sanitizer));
    }
    Some(Program::Followed)
}

/// The first line of a script names its interpreter and one argument.
fn script(head: &[u8], room: &mut Room) -> Option<Program> {
    let line = head.get(2..)?.split(|c| *c == b'\n').next()?;
    let name = line.split(|c| matches!(c, b' ' | b'\t')).find(|word| !word.is_empty())?;
    room.get_mut(..name.len())?.copy_from_slice(name);
    *room.get_mut(name.len())? = 0;
    Some(Program::Script { interpreter: name.len() })
}

/// Whether the kernel runs it in secure mode, in which the loader drops preloads that are not in system folders.
fn gains_privileges(fd: isize) -> bool {
    let Some(stat) = sys::fstat(fd) else { return false };
    let (user, group) = sys::effective_ids();
    (stat.st_mode & libc::S_ISUID != 0 && stat.st_uid != user)
        || (stat.st_mode & libc::S_ISGID != 0 && stat.st_gid != group)
        || (user != 0 && sys::has_capabilities(fd))
}

/// Whether the program needs a sanitizer's runtime, which insists on being loaded first.
fn needs_sanitizer(fd: isize, headers: &[u8], size: usize, dynamic: &[u8]) -> bool {
    const RUNTIMES: [&[u8]; 6] = [b"libasan", b"libtsan", b"liblsan", b"libhwasan", b"libmsan", b"libclang_rt"];
    let mut entries = [0_u8; 16 * MOST_NEEDED];
    let Some(at) = u64_at(dynamic, 8) else { return false };
    let len = sys::pread(fd, &mut entries, at).min(u64_at(dynamic, 32).unwrap_or(0) as usize);
    let entries = entries.get(..len).unwrap_or(&[]);
    let value = |entry: &[u8]| Some((u64_at(entry, 0)?, u64_at(entry, 8)?));
    let Some((_, strings)) = entries.chunks_exact(16).filter_map(value).find(|(tag, _)| *tag == DT_STRTAB) else { return false };
    let Some(strings) = file_offset(headers, size, strings) else { return false };
    entries.chunks_exact(16).filter_map(value).take_while(|(tag, _)| *tag != 0).filter(|(tag, _)| *tag == DT_NEEDED).any(
        |(_, name)| {
            let mut text = [0_u8; 16];
            sys::pread(fd, &mut text, strings.wrapping_add(name));
            RUNTIMES.iter().any(|runtime| text.starts_with(runtime))
        },
    )
}

/// Where in the file the loader finds the address.
fn file_offset(headers: &[u8], size: usize, address: u64) -> Option<u64> {
    headers.chunks_exact(size.max(1)).filter(|h| u32_at(h, 0) == Some(PT_LOAD)).find_map(|load| {
        let (offset, start, len) = (u64_at(load, 8)?, u64_at(load, 16)?, u64_at(load, 32)?);
        let inside = address.checked_sub(start)?;
        (inside < len).then(|| offset.wrapping_add(inside))
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}
