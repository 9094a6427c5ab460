//! Which build of vrift a daemon is.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The identity of the program at `path`: version, and its inode, size and time. A front end compares what the running
/// coordinator says with the file that it would start, and so notices a re-installed vrift.
pub fn of_program(path: &Path) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match std::fs::metadata(path) {
        Ok(meta) => format!("{version}+{:x}.{:x}.{:x}.{:x}", meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()),
        Err(_) => version.to_owned(),
    }
}

/// The identity of this program.
pub fn own() -> String {
    std::env::current_exe().map_or_else(|_| env!("CARGO_PKG_VERSION").to_owned(), |path| of_program(&path))
}
