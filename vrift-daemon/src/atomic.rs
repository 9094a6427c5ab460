//! State files that are whole or old, never half.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// Replaces the file at `path`: temporary file, fsync, rename. A crash leaves the old content or the new.
///
/// # Errors
/// What the file system gives; the temporary file is gone then.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy().into_owned();
    let temp = path.with_file_name(format!(".{name}.{}.tmp", std::process::id()));
    let written = File::create(&temp).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    let moved = written.and_then(|()| fs::rename(&temp, path));
    if moved.is_err() {
        let _ = fs::remove_file(&temp);
    }
    remove_leftovers(path, &name);
    moved
}

/// Removes what processes that were killed, or ended, in the middle of replacing this file left beside it.
fn remove_leftovers(path: &Path, name: &str) {
    let Some(Ok(entries)) = path.parent().map(fs::read_dir) else { return };
    for entry in entries.flatten() {
        let found = entry.file_name();
        let own =
            found.to_str().and_then(|found| found.strip_prefix('.')?.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".tmp"));
        if own.and_then(|pid| pid.parse().ok()).is_some_and(is_gone) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn is_gone(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("state.json");
        write(&path, b"one").expect("writes");
        write(&path, b"two").expect("writes");
        assert_eq!(fs::read(&path).expect("reads"), b"two");
        fs::create_dir(dir.path().join("taken")).expect("creates");
        assert!(write(&dir.path().join("taken"), b"x").is_err());
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 2);
    }

    #[test]
    fn what_the_dead_left_goes() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut child = std::process::Command::new("true").spawn().expect("starts");
        child.wait().expect("ends");
        let temp = |name: &str, pid: u32| dir.path().join(format!(".{name}.{pid}.tmp"));
        let (dead, alive, other) = (temp("a", child.id()), temp("a", 1), temp("b", child.id()));
        for path in [&dead, &alive, &other] {
            fs::write(path, b"half").expect("writes");
        }
        write(&dir.path().join("a"), b"whole").expect("writes");
        assert!(!dead.exists() && alive.exists() && other.exists());
    }
}
