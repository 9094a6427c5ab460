//! Programs that call the kernel without libc, which the shim does not see.
//!
//! Rust's `rustix` does so, and Go's runtime, and whoever writes `asm!("syscall")`. The instruction is searched in the code of
//! each program and library of the run that may hold it. Its two bytes also occur by chance, nearly always inside a distance,
//! whose upper bytes then follow: 0x00 or 0xff.

use memchr::memmem;

/// Whether the program or library with this content does, or may do so. Of one that was built elsewhere only Go's way is looked
/// for.
pub fn calls_kernel(content: &[u8], built_here: bool) -> bool {
    code(content).any(|code| if built_here { has_call(code) } else { memmem::find(code, GO).is_some() })
}

/// How Go's runtime calls the kernel: `syscall; cmp rax, -4095`.
#[cfg(target_arch = "x86_64")]
const GO: &[u8] = b"\x0f\x05\x48\x3d\x01\xf0\xff\xff";
/// The same: `svc 0; cmn x0, 4095`.
#[cfg(target_arch = "aarch64")]
const GO: &[u8] = b"\x01\x00\x00\xd4\x1f\xfc\x3f\xb1";

#[cfg(target_arch = "x86_64")]
fn has_call(code: &[u8]) -> bool {
    // libgcc's unwinder compares with the code of a signal's return, `mov rax, 15; syscall`.
    const SIGNAL_RETURN: &[u8] = b"\xc7\xc0\x0f\x00\x00\x00";
    let chance = |byte: Option<&u8>| matches!(byte, Some(0x00 | 0xff) | None);
    memmem::find_iter(code, b"\x0f\x05")
        .any(|at| !chance(code.get(at + 2)) && !chance(code.get(at + 3)) && !code[..at].ends_with(SIGNAL_RETURN))
}

#[cfg(target_arch = "aarch64")]
fn has_call(code: &[u8]) -> bool {
    code.chunks_exact(4).any(|instruction| *instruction == *b"\x01\x00\x00\xd4")
}

/// The parts of an ELF file that are mapped executable. Source: elf(5).
fn code(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    const LOAD: u64 = 1;
    const EXECUTABLE: u64 = 1;
    let number = |at: usize, len: usize| {
        let bytes = file.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let table = if file.starts_with(b"\x7fELF") { number(32, 8).zip(number(54, 2)).zip(number(56, 2)) } else { None };
    let ((start, size), count) = table.unwrap_or_default();
    (0..count).filter_map(move |index| {
        let header = usize::try_from(start.checked_add(index * size)?).ok()?;
        let at = |offset: usize, len| number(header.checked_add(offset)?, len);
        if at(0, 4)? != LOAD || at(4, 4)? & EXECUTABLE == 0 {
            return None;
        }
        let (from, len) = (usize::try_from(at(8, 8)?).ok()?, usize::try_from(at(32, 8)?).ok()?);
        file.get(from..from.checked_add(len)?)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn compiled(source: &str) -> Vec<u8> {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::write(dir.path().join("p.c"), source).expect("writes");
        let done = std::process::Command::new("cc").args(["-O0", "p.c", "-o", "p"]).current_dir(dir.path()).status();
        assert!(done.expect("cc starts").success());
        fs::read(dir.path().join("p")).expect("reads")
    }

    #[test]
    fn a_call_past_libc_is_found() {
        let call = if cfg!(target_arch = "x86_64") { "syscall" } else { "svc 0" };
        let direct = format!("int main(void) {{ long r; __asm__ volatile(\"{call}\" : \"=a\"(r)); return r; }}");
        let direct = if cfg!(target_arch = "x86_64") {
            direct
        } else {
            direct.replace(": \"=a\"(r)", "").replace("long r;", "long r = 0;")
        };
        assert!(code(&compiled(&direct)).any(has_call));
        assert!(!code(&compiled("#include <unistd.h>\nint main(void) { return getpid(); }")).any(has_call));
        // A test program of some megabytes that goes through libc alone.
        let own = fs::read("/proc/self/exe").expect("reads");
        assert!(!code(&own).any(|code| memmem::find(code, GO).is_some()));
    }

    #[test]
    fn what_is_no_program_has_no_code() {
        for file in [&b""[..], b"\x7fELF", b"#!/bin/sh\n", &[0xff; 100]] {
            assert_eq!(code(file).count(), 0);
        }
        let mut torn = b"\x7fELF".to_vec();
        torn.resize(64, 0xff);
        assert_eq!(code(&torn).count(), 0);
    }
}
