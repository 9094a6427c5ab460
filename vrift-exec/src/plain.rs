//! Running the command as if vrift were not there.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;

use vrift_core::bytes::ByteText;

use crate::command::Command;

/// Becomes the program. Returns only if it cannot be executed, with the status that a shell gives then: 127 where it is
/// missing, 126 otherwise.
pub fn exec(command: &Command) -> u8 {
    let error = prepare(command, &command.argv).exec();
    eprintln!("vrift-exec: cannot execute `{}`: {error}", command.program);
    if error.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 }
}

/// The command with these arguments, its own environment and nothing of vrift's.
pub(crate) fn prepare(command: &Command, argv: &[ByteText]) -> std::process::Command {
    prepare_as(command, command.program.as_path().as_os_str(), argv)
}

/// The same for another program.
pub(crate) fn prepare_as(command: &Command, program: &OsStr, argv: &[ByteText]) -> std::process::Command {
    let mut child = std::process::Command::new(program);
    if let Some(name) = argv.first() {
        child.arg0(OsStr::from_bytes(name));
    }
    child.args(argv.iter().skip(1).map(|arg| OsStr::from_bytes(arg)));
    child.env_clear();
    for entry in &command.env {
        if let Some(at) = entry.iter().position(|c| *c == b'=') {
            child.env(OsStr::from_bytes(&entry[..at]), OsStr::from_bytes(&entry[at + 1..]));
        }
    }
    child
}
