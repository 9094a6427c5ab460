//! The command line of vrift.
//!
//! Two programs share this library: `cargo-vrift`, which Cargo runs for `cargo vrift …`, and `vrift` with its own commands.
//!
//! # The way of a build
//! [`cargo`] reads what was typed as far as it must ([`cargo::LowArgs`]) and finds out where everything is
//! ([`cargo::Places`]). [`parts`] makes sure that the shim and `vrift-exec`, embedded here, are on disk. [`front`] starts the
//! build tool with the shim and, at the same time, the daemons; then it waits, passes signals on, prints one line and ends
//! as the tool ended.
//!
//! # Failure
//! Whatever is missing or broken on vrift's side, the build tool runs as if vrift were not there, and one line on stderr
//! says what is off. Only what the tool itself needs is an error: see [`error`].

#![forbid(unsafe_code)]

pub mod args;
pub mod cargo;
pub mod commands;
pub mod daemon;
pub mod error;
pub mod front;
pub mod npm;
pub mod parts;
pub mod program;
pub mod say;

use std::ffi::OsString;
use std::process::ExitCode;

/// `vrift`.
pub fn vrift_main() -> ExitCode {
    if let Some(done) = front::stand_in(std::env::args_os()) {
        return finish(done);
    }
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    // Not through clap: every argument behind `vrift cargo` is Cargo's, and a build should not wait for a parser.
    if words.first().is_some_and(|first| first == "cargo") {
        words.remove(0);
        return finish(front::cargo(words));
    }
    // The same: whatever stands behind a script's name is the package manager's.
    if words.first().is_some_and(|first| first == "run")
        && !matches!(words.get(1).and_then(|w| w.to_str()), None | Some("-h" | "--help"))
    {
        words.remove(0);
        return finish(front::script_or_command(words));
    }
    finish(commands::run())
}

/// `cargo-vrift`.
pub fn cargo_vrift_main() -> ExitCode {
    let mut words: Vec<OsString> = std::env::args_os().skip(1).collect();
    // Cargo repeats the subcommand's name; a person who runs `cargo-vrift build` does not.
    if words.first().is_some_and(|first| first == "vrift") {
        words.remove(0);
    }
    match words.first().and_then(|first| first.to_str()) {
        None | Some("-h" | "--help") => {
            say::out(args::CARGO_HELP);
            ExitCode::SUCCESS
        }
        Some("-V" | "--version") => {
            say::out(&format!("{}\n", args::version_line()));
            ExitCode::SUCCESS
        }
        Some(_) => finish(front::cargo(words)),
    }
}

fn finish(result: Result<ExitCode, error::Error>) -> ExitCode {
    result.unwrap_or_else(|error| {
        say::error(&error);
        error.exit_code()
    })
}
