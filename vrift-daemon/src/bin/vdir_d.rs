//! The worker's program.

fn main() -> std::process::ExitCode {
    vrift_daemon::worker_main(std::env::args_os())
}
