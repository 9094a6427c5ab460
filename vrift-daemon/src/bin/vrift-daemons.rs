//! Both daemons in one program, by the name that it is called: what this crate's tests start. The programs that are
//! installed belong to `cargo-vrift`.

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    let name = args.first().map(std::path::Path::new).and_then(|path| path.file_name());
    match name {
        Some(name) if name == "vdir_d" => vrift_daemon::worker_main(args),
        _ => vrift_daemon::coordinator_main(args),
    }
}
