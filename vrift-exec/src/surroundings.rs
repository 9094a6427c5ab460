//! What a command finds around it that is no file and no variable.

use std::io::{IsTerminal, stderr, stdout};

use vrift_core::action::Tool;
use vrift_core::context::{Field, mode};
use vrift_core::rules;

use crate::command::Command;
use crate::nested;

/// Variables by which programs decide how colourful a terminal is. Where there is none, they do not ask.
const COLOURS: [&str; 4] = ["TERM", "COLORTERM", "TERM_PROGRAM", "TERM_PROGRAM_VERSION"];

/// As texts for the key. What a script said to a terminal is not what it says to a file, nor to another kind of terminal.
pub fn of(command: &Command, open_stdin: bool) -> Vec<String> {
    let mut all = Vec::new();
    if command.context_mode(mode::NO_PREFIX_MAP) {
        // Who wants the checkout named must not get a result that was made with the maps.
        all.push("no prefix maps".to_owned());
    }
    if command.tool != Tool::Script {
        if nested::is_inside(command) {
            // What a compiler says in colours must not come back in a script's output that is for a file.
            all.extend(terminals(command));
        }
        return all;
    }
    // What a configure script asks the system for by `uname`.
    if rules::configures(command.program.as_bytes(), command.argv.iter().skip(1).map(|arg| &arg[..])) {
        let system = rustix::system::uname();
        all.extend([system.sysname(), system.release(), system.machine()].map(|field| field.to_string_lossy().into_owned()));
    }
    if open_stdin {
        all.push("standard input not read".to_owned());
    }
    all.extend(terminals(command));
    // What is a cache by one setting is an input by another.
    let script = command.context().get(Field::Script);
    if !script.is_empty() {
        all.push(format!("script settings {}", String::from_utf8_lossy(script)));
    }
    all
}

/// Which streams are terminals, and of what kind.
fn terminals(command: &Command) -> Vec<String> {
    let terminals = [("output", stdout().is_terminal()), ("errors", stderr().is_terminal())];
    let mut all: Vec<String> = terminals.iter().filter(|(_, is)| *is).map(|(name, _)| format!("{name} to a terminal")).collect();
    if !all.is_empty() {
        let value = |name: &&str| Some(format!("{name}={}", String::from_utf8_lossy(command.var(name)?)));
        all.extend(COLOURS.iter().filter_map(value));
    }
    all
}
