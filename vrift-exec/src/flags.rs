//! Arguments that make a compiler's output the same in every checkout.

use std::fs;
use std::path::Path;

use vrift_core::action::Tool;
use vrift_core::context::mode;
use vrift_core::paths::Root;

use crate::command::Command;

/// What replaces a checkout's path: debuggers that run in the checkout resolve it.
pub const PORTABLE: &[u8] = b"/proc/self/cwd";

/// Source files that are searched for `OUT_DIR`.
const MOST_SOURCES: usize = 2_000;

/// Arguments to add at the end.
pub fn extra_arguments(command: &Command) -> Vec<Vec<u8>> {
    if command.context_mode(mode::NO_PREFIX_MAP) || !command.is_rustc() {
        return Vec::new();
    }
    let compiles = command.flag("--crate-name").is_some_and(|name| name != b"___") && command.flag("--out-dir").is_some();
    let users = command.argv.iter().any(|arg| arg.starts_with(b"--remap-path-prefix"));
    if !compiles || users || (incremental_folder(command).is_some() && !includes_generated_code(command)) {
        // An incremental compilation keeps a hash of this very option, the checkout's path included: with it, the state
        // that comes with a result from another checkout would be of no use. `getcwd` alone does for it, see the shim.
        return Vec::new();
    }
    let remap = |root: Root, suffix: &[u8]| {
        let path = command.roots.get(root)?;
        Some([b"--remap-path-prefix=", path.as_bytes(), b"=", PORTABLE, suffix].concat())
    };
    // The last match wins, and the target folder may lie inside the project.
    [remap(Root::Project, b""), remap(Root::Target, b"/target")].into_iter().flatten().collect()
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
    use std::os::unix::ffi::OsStrExt;
    let mut budget = MOST_SOURCES;
    let root = Path::new(std::ffi::OsStr::from_bytes(package));
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
        *budget == 0 || fs::read(&path).is_ok_and(|text| memchr::memmem::find(&text, b"OUT_DIR").is_some())
    })
}
