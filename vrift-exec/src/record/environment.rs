//! Which variables the run looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use memchr::memmem;
use vrift_core::action::{EnvInput, Tool};
use vrift_core::arena::Trace;
use vrift_core::bytes::ByteText;
use vrift_core::digest::Digest;
use vrift_core::event::{EventKind, value_hash};
use vrift_core::paths::Root;
use vrift_core::rules;

use super::Reason;
use super::accesses::Seen;
use super::rust_symbols;
use crate::command::Command;

/// The variables that are inputs.
pub struct Environment {
    pub inputs: Vec<EnvInput>,
    /// The run may have looked at any variable.
    pub closed: bool,
}

/// Values longer than this are not shown by `vrift why`, only their digests.
const LONGEST_SHOWN: usize = 200;

pub fn inputs(command: &Command, trace: &Trace, seen: &Seen) -> Result<Environment, Reason> {
    let given = given(command);
    let mut names: BTreeSet<&[u8]> = BTreeSet::new();
    let mut programs: HashMap<u32, &[u8]> = HashMap::new();
    for event in &trace.events {
        match event.kind {
            EventKind::SignIn => {
                programs.insert(event.pid, &event.path);
            }
            EventKind::Env => {
                let value = given.get(&event.path[..]).map_or(0, |value| value_hash(value));
                // A process that saw another value had it from its parent inside this action: that is no input.
                let by = programs.get(&event.pid).copied().unwrap_or_default();
                if value == event.aux && !is_unimportant(command, by, &event.path) && !rules::key_env(command.tool, &event.path) {
                    names.insert(&event.path);
                }
            }
            _ => {}
        }
    }
    let closed = may_list_all(command, trace, seen);
    if closed {
        names.extend(given.keys().copied().filter(|name| !rules::is_session_noise(name) && !rules::key_env(command.tool, name)));
    }
    let inputs = names.into_iter().map(|name| input(command, name, given.get(name).copied())).collect();
    Ok(Environment { inputs, closed })
}

/// Whether the program `by` of the run asked for a variable that has no bearing on what it does: what holds for a compiler that
/// is an action holds for one that is part of an action.
fn is_unimportant(command: &Command, by: &[u8], name: &[u8]) -> bool {
    rules::unimportant_read(command.tool, name) || (rules::reads_env_by_name(by) && rules::unimportant_read(Tool::Cc, name))
}

fn given(command: &Command) -> BTreeMap<&[u8], &[u8]> {
    let split = |entry: &'_ ByteText| entry.iter().position(|c| *c == b'=');
    command.env.iter().filter_map(|entry| split(entry).map(|at| (&entry[..at], &entry[at + 1..]))).collect()
}

fn input(command: &Command, name: &[u8], value: Option<&[u8]>) -> EnvInput {
    let template = value.map(|value| command.roots.template_text(value));
    let shown = value
        .filter(|value| value.len() <= LONGEST_SHOWN && !sounds_secret(name))
        .map(|value| String::from_utf8_lossy(value).into_owned());
    EnvInput { name: ByteText::from(name), value: template.map(|template| Digest::of(&template.bytes)), shown }
}

fn sounds_secret(name: &[u8]) -> bool {
    let name = name.to_ascii_uppercase();
    ["TOKEN", "SECRET", "PASS", "KEY", "CREDENTIAL", "AUTH", "COOKIE"]
        .iter()
        .any(|word| memmem::find(&name, word.as_bytes()).is_some())
}

/// Whether any program of the run may have listed its environment: one that is not known to ask by name, or a library from
/// outside the toolchain (a procedural macro).
fn may_list_all(command: &Command, trace: &Trace, seen: &Seen) -> bool {
    let programs = trace.events.iter().filter(|event| event.kind == EventKind::SignIn).map(|event| &event.path[..]);
    let macros = seen.libraries.iter().filter(|path| is_built_here(command, path)).map(|path| &path[..]);
    programs.filter(|program| !rules::reads_env_by_name(program)).chain(macros).any(|file| !asks_by_name(command, file))
}

/// Whether the file lies where this build's own programs are.
pub fn is_built_here(command: &Command, path: &[u8]) -> bool {
    [Root::Project, Root::Target].iter().any(|root| command.roots.get(*root).is_some_and(|at| path.starts_with(at.as_bytes())))
}

/// Whether a Rust program or library that this project built provably asks for variables by name alone.
fn asks_by_name(command: &Command, file: &[u8]) -> bool {
    is_built_here(command, file)
        && command.tool.is_rust()
        && fs::read(Path::new(OsStr::from_bytes(file))).is_ok_and(|content| !rust_symbols::may_list_variables(&content))
}
