//! Which variables the run looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use vrift_core::action::{EnvInput, Tool};
use vrift_core::arena::Trace;
use vrift_core::bytes::ByteText;
use vrift_core::digest::Digest;
use vrift_core::event::{EventKind, value_hash};
use vrift_core::rules;

use crate::command::Command;

/// Values longer than this are not shown by `vrift why`, only their digests.
const LONGEST_SHOWN: usize = 200;

/// The variables; `closed` says that any of them may have been looked at.
pub fn inputs(command: &Command, trace: &Trace, closed: bool) -> Vec<EnvInput> {
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
                let noise = command.tool == Tool::Script && command.script.is_noise(&event.path);
                if value == event.aux
                    && !noise
                    && !is_unimportant(command, by, &event.path)
                    && !rules::key_env(command.tool, &event.path)
                {
                    names.insert(&event.path);
                }
            }
            _ => {}
        }
    }
    if closed {
        let noise = |name: &[u8]| match command.tool {
            Tool::Script => command.script.is_noise(name),
            _ => rules::is_session_noise(name),
        };
        names.extend(given.keys().copied().filter(|name| !noise(name) && !rules::key_env(command.tool, name)));
    }
    names.into_iter().map(|name| input(command, name, given.get(name).copied())).collect()
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
        .filter(|value| value.len() <= LONGEST_SHOWN && !rules::sounds_secret(name))
        .map(|value| String::from_utf8_lossy(value).into_owned());
    EnvInput { name: ByteText::from(name), value: template.map(|template| Digest::of(&template.bytes)), shown }
}
