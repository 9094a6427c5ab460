//! `vrift-exec`: what a hooked exec starts instead of a program worth caching.

fn main() -> std::process::ExitCode {
    vrift_exec::run()
}
