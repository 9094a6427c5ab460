//! Commands as an ordinary user: root may write to read-only files, and so hides faults that users meet.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, ensure};
use nix::unistd::{Gid, Uid};

use crate::{Result, host};

/// The user's and the group's number. Nobody needs to have it: no program here asks for a name.
pub const ID: u32 = 1000;

/// The arguments of `setpriv` that make a command the user's.
pub fn setpriv() -> [String; 4] {
    [format!("--reuid={ID}"), format!("--regid={ID}"), "--clear-groups".to_owned(), "--".to_owned()]
}

/// Whether this machine can run commands as another user.
pub fn is_possible() -> bool {
    host::is_root() && host::has_program("setpriv")
}

/// Gives a path, and everything below it, to the user.
///
/// # Errors
/// The kernel refuses.
pub fn give(path: &Path) -> Result {
    for entry in walkdir::WalkDir::new(path) {
        let entry = entry?;
        nix::unistd::fchownat(
            nix::fcntl::AT_FDCWD,
            entry.path(),
            Some(Uid::from_raw(ID)),
            Some(Gid::from_raw(ID)),
            nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
        )
        .with_context(|| format!("cannot give `{}` away", entry.path().display()))?;
    }
    Ok(())
}

/// Whether the user may run the program at `path`.
fn may_run(path: &Path, arg: &str) -> bool {
    let mut command = Command::new("setpriv");
    command.args(setpriv()).arg(path).arg(arg).env_clear();
    command.output().is_ok_and(|output| output.status.success())
}

/// A toolchain that the user may run: the real one, or a copy where that lies in a folder closed to others.
///
/// # Errors
/// It cannot be copied.
pub fn toolchain() -> Result<PathBuf> {
    static FOUND: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut found = FOUND.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(dir) = &*found {
        return Ok(dir.clone());
    }
    let real = host::sysroot()?;
    let dir = if may_run(&real.join("bin/rustc"), "-vV") { real.to_owned() } else { copied_toolchain(real)? };
    ensure!(may_run(&dir.join("bin/rustc"), "-vV"), "`{}` does not run for uid {ID}", dir.display());
    *found = Some(dir.clone());
    Ok(dir)
}

/// Copies what builds need: a few hundred megabytes, once for each version.
fn copied_toolchain(real: &Path) -> Result<PathBuf> {
    let version = host::line_of(Command::new(real.join("bin/rustc")).arg("-V"))?;
    let version: String = version.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let into = std::env::temp_dir().join("vrift-test-toolchains");
    std::fs::create_dir_all(&into)?;
    std::fs::set_permissions(&into, std::fs::Permissions::from_mode(0o755))?;
    let dir = into.join(version);
    if dir.is_dir() {
        return Ok(dir);
    }
    let temp = tempfile::tempdir_in(&into)?;
    for part in ["bin/cargo", "bin/cargo-clippy", "bin/clippy-driver", "bin/rustc", "bin/rustdoc", "lib"] {
        if real.join(part).exists() {
            copy_tree(&real.join(part), &temp.path().join(part))?;
        }
    }
    std::fs::set_permissions(temp.path(), std::fs::Permissions::from_mode(0o755))?;
    let temp = temp.keep();
    if std::fs::rename(&temp, &dir).is_err() {
        // Another test process was faster.
        std::fs::remove_dir_all(&temp)?;
    }
    Ok(dir)
}

/// Copies a file or a folder, symbolic links as links, times not kept.
///
/// # Errors
/// Something cannot be read or written.
pub fn copy_tree(from: &Path, to: &Path) -> Result {
    for entry in walkdir::WalkDir::new(from) {
        let entry = entry?;
        let target = to.join(entry.path().strip_prefix(from)?);
        let target = if entry.depth() == 0 { to.to_owned() } else { target };
        let copied = if entry.file_type().is_dir() {
            std::fs::create_dir_all(&target)
        } else if entry.file_type().is_symlink() {
            std::fs::read_link(entry.path()).and_then(|link| std::os::unix::fs::symlink(link, &target))
        } else {
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::copy(entry.path(), &target).map(|_| ())
        };
        copied.with_context(|| format!("cannot copy `{}` to `{}`", entry.path().display(), target.display()))?;
    }
    Ok(())
}
