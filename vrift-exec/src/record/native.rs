//! What C compilers and their like do that a trace of paths does not show.
//!
//! - A compiler that expands `__DATE__`, `__TIME__` or `__TIMESTAMP__` asks for the local time, gcc and clang alike, and asks for
//!   it in no other case. With SOURCE_DATE_EPOCH gcc does not ask, and the variable is an input. Source: `libcpp/macro.cc`
//!   (`_cpp_builtin_macro_expand`), clang's `lib/Lex/PPMacroExpansion.cpp` (`ComputeDATE_TIME`).
//! - clang's precompiled headers hold the modification times of the headers, and are refused where these differ.
//! - An archiver that is not told or built to be deterministic writes times and owners into the archive.
//! - What is compressed (debug information, link-time code, names of files and functions for coverage), or no whole bytes (clang's
//!   precompiled headers and bitcode), may hold the checkout's path where no search finds it.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use vrift_core::action::Tool;
use vrift_core::arena::Trace;
use vrift_core::event::{EventKind, flag};
use vrift_core::paths::AbsPath;
use vrift_core::rules;

use super::Reason;
use super::content::Content;
use crate::command::Command;
use crate::flags;

/// Refuses a run in which a compiler wrote the time into its output.
pub fn check_clock(trace: &Trace) -> Result<(), Reason> {
    let mut programs: HashMap<u32, &[u8]> = HashMap::new();
    for event in &trace.events {
        match event.kind {
            EventKind::SignIn => {
                let name = event.path.rsplit(|c| *c == b'/').next().unwrap_or_default();
                if event.flags & flag::BY_KERNEL != 0 && rules::is_c_compiler(name) {
                    return Err(format!(
                        "whether it expanded __DATE__ or __TIME__ was not seen: {}",
                        String::from_utf8_lossy(name)
                    ));
                }
                programs.insert(event.pid, &event.path);
            }
            EventKind::Env if event.path == b"TZ" => {
                let program = programs.get(&event.pid).copied().unwrap_or_default();
                if rules::is_c_compiler(program.rsplit(|c| *c == b'/').next().unwrap_or_default()) {
                    return Err(
                        "it expanded __DATE__, __TIME__ or __TIMESTAMP__; SOURCE_DATE_EPOCH fixes the first two".to_owned()
                    );
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// What an output is to the search for the checkout's path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// What it holds is what it shows. The path may be replaced by another one where it is text.
    Plain,
    /// The same, but lengths of its parts stand in it: nothing may be replaced.
    Measured,
    /// It may hold anything.
    Opaque,
}

/// Looks into an output.
///
/// # Errors
/// The [`Reason`] where it depends on more than its inputs' contents.
pub fn form(command: &Command, path: &AbsPath, content: &Content, started_ns: u64) -> Result<Form, Reason> {
    if command.tool.is_rust() && command.tool != Tool::BuildScript {
        return Ok(if flags::hides_paths(command) { Form::Opaque } else { Form::Plain });
    }
    let started = i64::try_from(started_ns).unwrap_or(i64::MAX);
    if command.tool.is_native() && content.stamp.mtime_ns < started {
        return Err(format!("it gave an output the date of another file: {path}"));
    }
    let mut head = [0; 64];
    let Ok(file) = File::open(path.as_path()) else { return Ok(Form::Opaque) };
    let len = file.read_at(&mut head, 0).unwrap_or(0);
    let head = &head[..len];
    if command.tool == Tool::Cc && head.starts_with(b"CPCH") && !command.argv.iter().any(|arg| **arg == *NO_TIMES) {
        return Err(format!(
            "clang writes the dates of headers into precompiled ones, without {}: {path}",
            String::from_utf8_lossy(NO_TIMES)
        ));
    }
    if head.starts_with(b"!<arch>\n") || head.starts_with(b"!<thin>\n") {
        if command.tool == Tool::Ar && has_dates(&file, head.starts_with(b"!<thin>")) {
            return Err(format!("it wrote the dates of files into the archive {path}; `D` among ar's letters keeps them out"));
        }
        return Ok(Form::Measured);
    }
    let bits = [&b"BC\xc0\xde"[..], b"\xde\xc0\x17\x0b", b"CPCH"].iter().any(|magic| head.starts_with(magic));
    Ok(if bits || is_compressed(&file, head).unwrap_or(false) { Form::Opaque } else { Form::Plain })
}

/// Keeps times out of clang's precompiled headers.
const NO_TIMES: &[u8] = b"-fno-pch-timestamp";

/// Whether a member of an archive has a date. Source: ar(5); in a thin archive, the special members alone have content.
fn has_dates(file: &File, thin: bool) -> bool {
    const HEADER: usize = 60;
    let mut at = 8;
    let mut header = [0; HEADER];
    while file.read_exact_at(&mut header, at).is_ok() {
        let number = |range: std::ops::Range<usize>| -> Option<u64> {
            let text = std::str::from_utf8(&header[range]).ok()?.trim();
            if text.is_empty() { Some(0) } else { text.parse().ok() }
        };
        let (Some(0), Some(size)) = (number(16..28), number(48..58)) else { return true };
        let special = header.starts_with(b"/ ") || header.starts_with(b"// ") || header.starts_with(b"/SYM64/");
        let content = if thin && !special { 0 } else { size };
        // Members start at even offsets.
        at += HEADER as u64 + content + content % 2;
    }
    false
}

/// Whether a section of an ELF file is compressed, or holds what is compressed without saying so: code for the link-time optimiser,
/// and clang's names for coverage and profiles. `None` for what is no ELF file of this kind of machine. Source: elf(5), LLVM's
/// `docs/CoverageMappingFormat.rst`.
fn is_compressed(file: &File, head: &[u8]) -> Option<bool> {
    const COMPRESSED: u64 = 0x800;
    const MOST_NAMES: u64 = 16 << 20;
    const NAMES: [&[u8]; 6] = [b".gnu.lto_", b".gnu.debuglto_", b".llvm.lto", b".zdebug_", b"__llvm_covmap", b"__llvm_prf_names"];
    // 64 bit, little-endian.
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |bytes: &[u8], at: usize, len: usize| {
        Some(bytes.get(at..at + len)?.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte)))
    };
    let read = |at: u64, len: u64| {
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        file.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
    };
    let (table, size, count, names) = (number(head, 40, 8)?, number(head, 58, 2)?, number(head, 60, 2)?, number(head, 62, 2)?);
    if table == 0 {
        return Some(false);
    }
    if size < 64 || count == 0 {
        // So many sections that their number is elsewhere.
        return Some(true);
    }
    let sections = read(table, size * count)?;
    let section = |index: u64| sections.get(usize::try_from(index * size).ok()?..);
    let compressed =
        (0..count).filter_map(section).any(|header| number(header, 8, 8).is_some_and(|flags| flags & COMPRESSED != 0));
    let strings = section(names)?;
    let (at, len) = (number(strings, 24, 8)?, number(strings, 32, 8)?);
    let text = read(at, len.min(MOST_NAMES))?;
    let hidden = text.split(|c| *c == 0).any(|name| NAMES.iter().any(|known| memchr::memmem::find(name, known).is_some()));
    Some(compressed || hidden)
}

#[cfg(test)]
mod tests {
    use std::process::Command as Process;

    use super::*;

    fn compiled(args: &[&str]) -> Option<bool> {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::write(dir.path().join("x.c"), "int x(int a) { return a + 1; }\n").expect("writes");
        let done = Process::new("cc").args(["-c", "x.c", "-o", "x.o"]).args(args).current_dir(dir.path()).status();
        assert!(done.expect("cc starts").success());
        let file = File::open(dir.path().join("x.o")).expect("opens");
        let mut head = [0; 64];
        file.read_exact_at(&mut head, 0).expect("reads");
        is_compressed(&file, &head)
    }

    #[test]
    fn what_no_search_sees_into_is_known() {
        assert_eq!(compiled(&["-g"]), Some(false));
        assert_eq!(compiled(&["-g", "-gz"]), Some(true));
        assert_eq!(compiled(&["-flto"]), Some(true));
    }

    #[test]
    fn archives_with_dates_are_known() {
        let dir = tempfile::tempdir().expect("tempdir");
        for name in ["one", "a-rather-long-name-of-a-member"] {
            std::fs::write(dir.path().join(name), "odd").expect("writes");
        }
        let archive = |letters: &str| {
            let args = [letters, "x.a", "one", "a-rather-long-name-of-a-member"];
            let _ = std::fs::remove_file(dir.path().join("x.a"));
            assert!(Process::new("ar").args(args).current_dir(dir.path()).status().expect("ar starts").success());
            File::open(dir.path().join("x.a")).expect("opens")
        };
        assert!(!has_dates(&archive("rcD"), false));
        assert!(has_dates(&archive("rcU"), false));
        assert!(!has_dates(&archive("rcTD"), true));
        assert!(has_dates(&archive("rcTU"), true));
    }
}
