//! What the programs and libraries of a run may do unseen. Each file is read once, and all through one buffer: a procedural
//! macro is large, and part of many runs.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use memchr::memmem;
use vrift_core::arena::Trace;
use vrift_core::event::{EventKind, flag};
use vrift_core::paths::Root;
use vrift_core::rules;
use vrift_core::wire::PAST_LIBC;

use super::accesses::Seen;
use super::{Reason, direct, rust_symbols};
use crate::command::Command;

/// Whether one of them may have listed its environment: a program that is not known to ask by name or not heard asking, or a library from outside the
/// toolchain (a procedural macro).
///
/// # Errors
/// The [`Reason`] where one of them calls the kernel past libc. What the machine's own packages bring is taken to use libc, Go
/// programs apart.
pub fn examine(command: &Command, trace: &Trace, seen: &Seen) -> Result<bool, Reason> {
    let signed_in = || trace.events.iter().filter(|event| event.kind == EventKind::SignIn);
    // What the kernel tells of may call it as it likes, and is not heard asking for variables.
    let (by_kernel, by_shim): (Vec<_>, Vec<_>) = signed_in().partition(|event| event.flags & flag::BY_KERNEL != 0);
    let programs = by_shim.iter().map(|event| &event.path[..]);
    let programs = programs.filter(|program| !rules::reads_env_by_name(program)).map(|program| (program, true));
    let libraries = seen.libraries.iter().map(|library| (&library[..], false));
    let (mut examined, mut content): (Vec<&[u8]>, _) = (Vec::new(), Vec::new());
    let mut may_list_variables = !by_kernel.is_empty();
    for (file, is_program) in programs.chain(libraries) {
        if examined.contains(&file) {
            continue;
        }
        examined.push(file);
        let here = is_built_here(command, file);
        let may_be_direct = here || !is_library(file);
        let mut may_list = is_program || here;
        let provable = may_list && !may_list_variables && here && command.tool.is_rust();
        if (may_be_direct || provable) && read(file, &mut content).is_ok() {
            if may_be_direct && direct::calls_kernel(&content, here) {
                return Err(format!("{PAST_LIBC}: {}", String::from_utf8_lossy(file)));
            }
            may_list = may_list && (!provable || rust_symbols::may_list_variables(&content));
        }
        may_list_variables |= may_list;
    }
    Ok(may_list_variables)
}

/// Whether the command's own program calls the kernel past libc.
pub fn is_direct(command: &Command) -> bool {
    let (file, mut content) = (command.program.as_bytes(), Vec::new());
    read(file, &mut content).is_ok() && direct::calls_kernel(&content, is_built_here(command, file))
}

fn read(file: &[u8], content: &mut Vec<u8>) -> io::Result<()> {
    content.clear();
    let mut file = File::open(Path::new(OsStr::from_bytes(file)))?;
    content.reserve(usize::try_from(file.metadata()?.len()).unwrap_or(0) + 1);
    file.read_to_end(content).map(drop)
}

/// Whether the file lies where this build's own programs are.
fn is_built_here(command: &Command, path: &[u8]) -> bool {
    [Root::Project, Root::Target].iter().any(|root| command.roots.get(*root).is_some_and(|at| path.starts_with(at.as_bytes())))
}

fn is_library(file: &[u8]) -> bool {
    let name = file.rsplit(|c| *c == b'/').next().unwrap_or(file);
    memmem::find(name, b".so").is_some()
}
