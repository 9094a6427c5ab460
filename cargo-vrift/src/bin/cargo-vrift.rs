//! `cargo-vrift`: what `cargo vrift …` runs.

use std::process::ExitCode;

fn main() -> ExitCode {
    cargo_vrift::cargo_vrift_main()
}
