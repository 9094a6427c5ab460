//! `vriftd`: the coordinator.

use std::process::ExitCode;

fn main() -> ExitCode {
    vrift_daemon::coordinator_main(std::env::args_os())
}
