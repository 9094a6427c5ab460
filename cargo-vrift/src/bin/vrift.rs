//! `vrift`: the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    cargo_vrift::vrift_main()
}
