//! Arguments that make a compiler's output the same in every checkout.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use memchr::memmem;
use vrift_core::action::Tool;
use vrift_core::bytes::ByteText;
use vrift_core::context::mode;
use vrift_core::paths::Root;
use vrift_core::rules;

use crate::command::Command;

/// What replaces a checkout's path: debuggers that run in the checkout resolve it.
pub const PORTABLE: &[u8] = b"/proc/self/cwd";

/// Source files that are searched for `OUT_DIR`.
const MOST_SOURCES: usize = 2_000;

/// The arguments that the command runs with.
pub fn arguments(command: &Command) -> Vec<ByteText> {
    let mut argv = command.argv.clone();
    if has_portable_paths(command) {
        for arg in argv.iter_mut().skip(1) {
            if let Some(portable) = portable(command, arg) {
                *arg = ByteText(portable);
            }
        }
    }
    argv.extend(prefix_maps(command).into_iter().map(ByteText));
    argv
}

/// Whether paths below the working folder are given to rustc as seen from there.
///
/// Incremental state records where output goes and where crates were found, and rustc compiles everything again when either
/// moves: state that comes with a result from another checkout would be of no use.
fn has_portable_paths(command: &Command) -> bool {
    portable_cwd(command) && incremental_folder(command).is_some()
}

/// An argument with the working folder's path replaced by [`PORTABLE`]: a path, or a path behind `name=` or `kind=`.
fn portable(command: &Command, arg: &[u8]) -> Option<Vec<u8>> {
    let start = if arg.starts_with(b"/") { 0 } else { arg.iter().position(|c| *c == b'=')? + 1 };
    let rest = arg[start..].strip_prefix(command.cwd.as_bytes())?;
    rest.starts_with(b"/").then(|| [&arg[..start], PORTABLE, rest].concat())
}

/// Puts the working folder's path in place of [`PORTABLE`] in text about the output of a command; `None` where there is
/// nothing to do.
pub fn restore_paths(command: &Command, text: &[u8]) -> Option<Vec<u8>> {
    if !has_portable_paths(command) {
        return None;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut done = 0;
    for at in memmem::find_iter(text, PORTABLE).filter(|at| text.get(at + PORTABLE.len()) == Some(&b'/')) {
        out.extend_from_slice(&text[done..at]);
        out.extend_from_slice(command.cwd.as_bytes());
        done = at + PORTABLE.len();
    }
    (done > 0).then(|| {
        out.extend_from_slice(&text[done..]);
        out
    })
}

/// Does the same to the dep-info file that the command wrote.
///
/// # Errors
/// Where it cannot be read or replaced.
pub fn restore_dep_info(command: &Command) -> io::Result<()> {
    if !has_portable_paths(command) {
        return Ok(());
    }
    let (Some(dir), Some(name)) = (command.flag("--out-dir"), command.flag("--crate-name")) else { return Ok(()) };
    let suffix = command.codegen_option("extra-filename").unwrap_or_default();
    let file = [name, suffix, b".d"].concat();
    let path = command.cwd.as_path().join(OsStr::from_bytes(dir)).join(OsStr::from_bytes(&file));
    match fs::read(&path) {
        Ok(text) => restore_paths(command, &text).map_or(Ok(()), |text| fs::write(&path, text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Options that replace the checkout's path in what a compiler writes.
fn prefix_maps(command: &Command) -> Vec<Vec<u8>> {
    if command.context_mode(mode::NO_PREFIX_MAP) {
        return Vec::new();
    }
    let map = |option: &[u8], root: Root, suffix: &[u8]| {
        let path = command.roots.get(root)?;
        Some([option, path.as_bytes(), b"=", PORTABLE, suffix].concat())
    };
    // The last match wins, and the target folder may lie inside the project.
    let maps = |option| [map(option, Root::Project, b""), map(option, Root::Target, b"/target")].into_iter().flatten().collect();
    if command.tool == Tool::Cc {
        // As the shim does for compilers inside other actions.
        let compiles = rules::makes_objects(command.argv.iter().skip(1).map(|arg| &arg[..]));
        let users = command.argv.iter().any(|arg| rules::maps_paths(arg));
        return if compiles && !users { maps(b"-fdebug-prefix-map=") } else { Vec::new() };
    }
    if !command.is_rustc() {
        return Vec::new();
    }
    let compiles = command.flag("--crate-name").is_some_and(|name| name != b"___") && command.flag("--out-dir").is_some();
    let users = command.argv.iter().any(|arg| arg.starts_with(b"--remap-path-prefix"));
    if !compiles || users || (incremental_folder(command).is_some() && !includes_generated_code(command)) {
        // An incremental compilation keeps a hash of this very option, the checkout's path included: with it, the state
        // that comes with a result from another checkout would be of no use. `getcwd` alone does for it, see the shim.
        return Vec::new();
    }
    maps(b"--remap-path-prefix=")
}

/// Whether a Rust compiler may write the checkout's path where no search finds it: compressed, and not replaced beforehand.
pub fn hides_paths(command: &Command) -> bool {
    const COMPRESSED: [&[u8]; 3] = [b"instrument-coverage", b"compress-debug-sections", b"debuginfo-compression"];
    let users = command.argv.iter().any(|arg| arg.starts_with(b"--remap-path-prefix"));
    (users || command.context_mode(mode::NO_PREFIX_MAP))
        && command.argv.iter().any(|arg| COMPRESSED.iter().any(|word| memmem::find(arg, word).is_some()))
}

/// Whether `getcwd` is to be portable for this command.
pub fn portable_cwd(command: &Command) -> bool {
    let inside = command.roots.get(Root::Project).is_some_and(|root| command.cwd.below(root).is_some());
    inside && command.is_rustc() && !command.context_mode(mode::NO_PREFIX_MAP)
}

/// Where rustc keeps the state of incremental compilation.
pub fn incremental_folder(command: &Command) -> Option<&[u8]> {
    if command.is_rustc() { command.codegen_option("incremental") } else { None }
}

/// Whether a source file of the package names `OUT_DIR`: code from there is compiled under its absolute path.
fn includes_generated_code(command: &Command) -> bool {
    if command.tool == Tool::Rustdoc || command.var("OUT_DIR").is_none() {
        return false;
    }
    let Some(package) = command.var("CARGO_MANIFEST_DIR") else { return true };
    let mut budget = MOST_SOURCES;
    let root = Path::new(OsStr::from_bytes(package));
    ["src", "crates", "tests", "examples", "benches"].iter().any(|dir| names_out_dir(&root.join(dir), &mut budget))
}

fn names_out_dir(dir: &Path, budget: &mut usize) -> bool {
    let Ok(entries) = fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            return names_out_dir(&path, budget);
        }
        if path.extension().is_none_or(|ext| ext != "rs") {
            return false;
        }
        *budget = budget.saturating_sub(1);
        *budget == 0 || fs::read(&path).is_ok_and(|text| memmem::find(&text, b"OUT_DIR").is_some())
    })
}
