//! The coordinator's program.

fn main() -> std::process::ExitCode {
    vrift_daemon::coordinator_main(std::env::args_os())
}
