//! Finding the program to run, and telling whether the shim reaches it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The loader of the C library that the shim is built for.
#[cfg(target_arch = "x86_64")]
const LOADER: &[u8] = b"/lib64/ld-linux-x86-64.so.2";
/// The loader of the C library that the shim is built for.
#[cfg(target_arch = "aarch64")]
const LOADER: &[u8] = b"/lib/ld-linux-aarch64.so.1";

/// What the shim can do about a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reach {
    /// It is loaded into it.
    Loaded,
    /// It is not loaded into the program itself, which does no harm; dynamic programs that it starts have it.
    Static,
    /// Another C library: the shim would kill it. Holds the loader's path.
    Foreign(PathBuf),
    /// The file is no program that this machine runs by itself.
    Unknown,
}

/// The file that `name` starts: itself where it has a slash, else the first executable in `PATH`.
pub fn find(name: &OsStr, path: Option<&OsStr>) -> Option<PathBuf> {
    if name.as_bytes().contains(&b'/') {
        return Some(PathBuf::from(name));
    }
    std::env::split_paths(path?).map(|dir| dir.join(name)).find(|file| is_executable(file))
}

/// The first executable of that name in `path` that is not the program `own` under another name.
pub fn find_other(name: &OsStr, path: Option<&OsStr>, own: &Path) -> Option<PathBuf> {
    let own = own.canonicalize().ok();
    let other = |file: &PathBuf| own.is_none() || file.canonicalize().ok() != own;
    std::env::split_paths(path?).map(|dir| dir.join(name)).filter(other).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0)
        && nix::unistd::access(file, nix::unistd::AccessFlags::X_OK).is_ok()
}

/// Looks at the file's headers. A script counts as its interpreter.
pub fn reach(file: &Path) -> Reach {
    match inspect(file) {
        Ok(Found::Script(interpreter)) => match inspect(&interpreter) {
            Ok(Found::Program(reach)) => reach,
            _ => Reach::Unknown,
        },
        Ok(Found::Program(reach)) => reach,
        Err(_) => Reach::Unknown,
    }
}

enum Found {
    Program(Reach),
    Script(PathBuf),
}

/// Source: elf(5), execve(2).
fn inspect(path: &Path) -> io::Result<Found> {
    const PT_INTERP: u32 = 3;
    /// The ELF header and more program headers than any program has.
    const HEAD: usize = 64 + 64 * 56;
    let unknown = Ok(Found::Program(Reach::Unknown));
    let file = File::open(path)?;
    let mut head = [0; HEAD];
    let len = file.read_at(&mut head, 0)?;
    let head = &head[..len];
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|c| *c == b'\n').next().unwrap_or_default();
        let name = line.split(u8::is_ascii_whitespace).find(|word| !word.is_empty());
        return Ok(name.map_or(Found::Program(Reach::Unknown), |name| Found::Script(PathBuf::from(OsStr::from_bytes(name)))));
    }
    // 64 bit, little-endian.
    if !head.starts_with(b"\x7fELF\x02\x01") || len < 64 {
        return unknown;
    }
    let (Some(table), Some(size), Some(count)) = (number(head, 32, 8), number(head, 54, 2), number(head, 56, 2)) else {
        return unknown;
    };
    let headers = (0..count).map_while(|n| head.get((table + n * size) as usize..)).filter(|h| number(h, 0, 4).is_some());
    let Some(interpreter) = headers.into_iter().find(|h| number(h, 0, 4) == Some(u64::from(PT_INTERP))) else {
        return Ok(Found::Program(Reach::Static));
    };
    let (Some(at), Some(size)) = (number(interpreter, 8, 8), number(interpreter, 32, 8)) else { return unknown };
    let mut name = vec![0; size.min(4096) as usize];
    file.read_exact_at(&mut name, at)?;
    name.truncate(name.iter().position(|c| *c == 0).unwrap_or(name.len()));
    Ok(Found::Program(if name == LOADER { Reach::Loaded } else { Reach::Foreign(OsString::from_vec(name).into()) }))
}

/// A little-endian number of `len` bytes at `at`; small enough for offsets to be added without overflow.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<u64> {
    let mut value = [0; 8];
    value[..len].copy_from_slice(bytes.get(at..at + len)?);
    Some(u64::from_le_bytes(value)).filter(|n| *n < 1 << 48)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn path_is_searched_as_a_shell_does() {
        let tmp = tempfile::tempdir().expect("tempdir");
        for (dir, mode) in [("a", 0o644), ("b", 0o755)] {
            std::fs::create_dir(tmp.path().join(dir)).expect("mkdir");
            let file = tmp.path().join(dir).join("tool");
            std::fs::write(&file, "#!/bin/sh\n").expect("write");
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("chmod");
        }
        let path = std::env::join_paths([tmp.path().join("none"), tmp.path().join("a"), tmp.path().join("b")]).expect("joins");
        assert_eq!(find(OsStr::new("tool"), Some(&path)), Some(tmp.path().join("b/tool")));
        assert_eq!(find(OsStr::new("other"), Some(&path)), None);
        assert_eq!(find(OsStr::new("./x"), None), Some(PathBuf::from("./x")));
    }

    #[test]
    fn headers_tell_what_a_program_is() {
        let tmp = tempfile::tempdir().expect("tempdir");
        let write = |name: &str, content: &[u8]| {
            let path = tmp.path().join(name);
            std::fs::write(&path, content).expect("write");
            path
        };
        assert_eq!(reach(Path::new("/bin/sh")), Reach::Loaded);
        assert_eq!(reach(&write("script", b"#! /bin/sh -e\n")), Reach::Loaded);
        assert_eq!(reach(&write("text", b"hello")), Reach::Unknown);
        assert_eq!(reach(&write("cut", b"\x7fELF\x02\x01")), Reach::Unknown);
        assert_eq!(reach(&tmp.path().join("missing")), Reach::Unknown);

        // One program header, an interpreter of another C library.
        let mut elf = vec![0; 64 + 56];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[32] = 64;
        elf[54] = 56;
        elf[56] = 1;
        elf[64] = 3;
        elf[64 + 8] = 120;
        elf[64 + 32] = 14;
        elf.extend_from_slice(b"/lib/ld-musl.x\0");
        assert_eq!(reach(&write("musl", &elf)), Reach::Foreign("/lib/ld-musl.x".into()));
        elf[64] = 1;
        assert_eq!(reach(&write("static", &elf)), Reach::Static);
        elf[33] = 0xff;
        assert!(matches!(reach(&write("odd", &elf)), Reach::Static | Reach::Unknown));
    }
}
