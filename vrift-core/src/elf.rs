//! What kind of program a file is: whether a preload reaches it. Neither allocates nor does I/O by itself.
//! Sources: elf(5), ld.so(8), execve(2).

use crate::event::Untraced;

/// What executing a file means for the shim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    /// A dynamic program of this libc: the preload works.
    Followed,
    /// No preload reaches it, but the kernel tells what it does: `loader` bytes of the room hold its loader, NUL-terminated; 0
    /// where it has none.
    Unhooked {
        /// Why no preload does.
        reason: Untraced,
        /// The length of its loader's path.
        loader: usize,
    },
    /// It cannot be followed.
    Lost(Untraced),
    /// A script: `interpreter` bytes of the room hold its interpreter, NUL-terminated.
    Script {
        /// The length of the interpreter's path.
        interpreter: usize,
    },
    /// Not to be read, or no program: the kernel or libc will say.
    Unknown,
}

/// The loader of this machine's own libc, which takes the preload.
#[cfg(target_arch = "x86_64")]
pub const LOADER: &[u8] = b"/lib64/ld-linux-x86-64.so.2";
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
/// The loader of this machine's own libc, which takes the preload.
#[cfg(target_arch = "aarch64")]
pub const LOADER: &[u8] = b"/lib/ld-linux-aarch64.so.1";
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
/// More program headers or entries than any program has.
const MOST_HEADERS: usize = 32;
const MOST_NEEDED: usize = 64;

/// Room for a script's first line, or a loader's path.
pub type Room = [u8; 256];

/// A file that is to be looked at.
pub trait Source {
    /// Reads at an offset; returns how many bytes came, 0 where that fails.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> usize;
    /// Whether the kernel runs it in secure mode, in which the loader drops preloads that are not in system folders.
    fn gains_privileges(&self) -> bool;
}

/// Looks at a file.
pub fn inspect(file: &impl Source, room: &mut Room) -> Program {
    look(file, room).unwrap_or(Program::Unknown)
}

fn look(file: &impl Source, room: &mut Room) -> Option<Program> {
    let mut head = [0_u8; 64 + MOST_HEADERS * 56];
    let len = file.read_at(&mut head, 0);
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
    if file.gains_privileges() {
        return Some(Program::Lost(Untraced::Privileged));
    }
    let (table, size, count) = (u64_at(head, 32)? as usize, u16_at(head, 54)? as usize, u16_at(head, 56)? as usize);
    let headers = head.get(table..)?.get(..size.checked_mul(count.min(MOST_HEADERS))?)?;
    let header = |kind| headers.chunks_exact(size.max(1)).find(|h| u32_at(h, 0) == Some(kind));
    let Some(interpreter) = header(PT_INTERP) else {
        return Some(Program::Unhooked { reason: Untraced::StaticProgram, loader: 0 });
    };
    let mut name = [0_u8; size_of::<Room>()];
    let got = file.read_at(&mut name[..size_of::<Room>() - 1], u64_at(interpreter, 8)?);
    let name = name.get(..got)?.split(|c| *c == 0).next()?;
    if name != LOADER {
        return Some(Program::Unhooked { reason: Untraced::ForeignProgram, loader: keep(name, room)? });
    }
    if header(PT_DYNAMIC).is_some_and(|dynamic| needs_sanitizer(file, headers, size, dynamic)) {
        return Some(Program::Lost(Untraced::Sanitizer));
    }
    if headers.chunks_exact(size.max(1)).any(|h| u32_at(h, 0) == Some(PT_NOTE) && is_of_go(file, h)) {
        return Some(Program::Unhooked { reason: Untraced::DirectCalls, loader: keep(name, room)? });
    }
    Some(Program::Followed)
}

/// The first line of a script names its interpreter and one argument.
fn script(head: &[u8], room: &mut Room) -> Option<Program> {
    let line = head.get(2..)?.split(|c| *c == b'\n').next()?;
    let name = line.split(|c| matches!(c, b' ' | b'\t')).find(|word| !word.is_empty())?;
    Some(Program::Script { interpreter: keep(name, room)? })
}

fn keep(name: &[u8], room: &mut Room) -> Option<usize> {
    room.get_mut(..name.len())?.copy_from_slice(name);
    *room.get_mut(name.len())? = 0;
    Some(name.len())
}

/// Whether the program needs a sanitizer's runtime, which insists on being loaded first.
fn needs_sanitizer(file: &impl Source, headers: &[u8], size: usize, dynamic: &[u8]) -> bool {
    const RUNTIMES: [&[u8]; 6] = [b"libasan", b"libtsan", b"liblsan", b"libhwasan", b"libmsan", b"libclang_rt"];
    let mut entries = [0_u8; 16 * MOST_NEEDED];
    let Some(at) = u64_at(dynamic, 8) else { return false };
    let len = file.read_at(&mut entries, at).min(u64_at(dynamic, 32).unwrap_or(0) as usize);
    let entries = entries.get(..len).unwrap_or(&[]);
    let value = |entry: &[u8]| Some((u64_at(entry, 0)?, u64_at(entry, 8)?));
    let Some((_, strings)) = entries.chunks_exact(16).filter_map(value).find(|(tag, _)| *tag == DT_STRTAB) else { return false };
    let Some(strings) = file_offset(headers, size, strings) else { return false };
    entries.chunks_exact(16).filter_map(value).take_while(|(tag, _)| *tag != 0).filter(|(tag, _)| *tag == DT_NEEDED).any(
        |(_, name)| {
            let mut text = [0_u8; 16];
            file.read_at(&mut text, strings.wrapping_add(name));
            RUNTIMES.iter().any(|runtime| text.starts_with(runtime))
        },
    )
}

/// Whether a note says that Go's linker made the program: Go's runtime calls the kernel by itself, libc or not.
/// Source: `cmd/link/internal/ld/elf.go` (`ELF_NOTE_GO_NAME`).
fn is_of_go(file: &impl Source, header: &[u8]) -> bool {
    const NAME: &[u8] = b"Go\0\0";
    let (Some(at), Some(len)) = (u64_at(header, 8), u64_at(header, 32)) else { return false };
    let mut notes = [0_u8; 512];
    let len = file.read_at(&mut notes, at).min(usize::try_from(len).unwrap_or(0));
    notes.get(..len).is_some_and(|notes| notes.chunks_exact(4).any(|word| word == NAME))
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
