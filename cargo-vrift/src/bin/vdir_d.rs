//! `vdir_d`: the worker of one project.

use std::process::ExitCode;

fn main() -> ExitCode {
    vrift_daemon::worker_main(std::env::args_os())
}
