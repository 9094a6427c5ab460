//! Becoming a daemon: nothing of the starter is kept but standard streams, and those lead nowhere.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use nix::sys::stat::{Mode, umask};
use nix::unistd;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Leaves the starter: own session, umask 077, folder `/`, no descriptor above 2 but `kept`. A descriptor that stayed open
/// would keep a build's jobserver or a terminal's pipe alive.
pub fn leave_starter(kept: Option<RawFd>) {
    // Fails where this is a session's leader already, which is what is wanted.
    let _ = unistd::setsid();
    umask(Mode::from_bits_truncate(0o077));
    let _ = unistd::chdir("/");
    close_inherited(kept);
    allow_descriptors();
}

/// Asks for room for all clients, their leases and open folders: the usual limit of 1024 descriptors is for `select`, which
/// is not used here.
fn allow_descriptors() {
    const WANTED: u64 = 8192;
    let mut limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.map_or(WANTED, |hard| hard.min(WANTED));
    if limit.current.is_some_and(|soft| soft < most) {
        limit.current = Some(most);
        // Otherwise the old limit holds, and clients beyond it wait.
        let _ = setrlimit(Resource::Nofile, limit);
    }
}

/// Points the standard streams at `/dev/null`.
pub fn silence() {
    let Ok(null) = OpenOptions::new().read(true).write(true).open("/dev/null") else { return };
    let _ = unistd::dup2_stdin(&null);
    let _ = unistd::dup2_stdout(&null);
    let _ = unistd::dup2_stderr(&null);
}

/// The listening socket that the starter left as standard input.
///
/// # Errors
/// Where standard input is no listening Unix socket.
pub fn listener_from_stdin() -> io::Result<UnixListener> {
    let stdin = io::stdin().as_fd().try_clone_to_owned()?;
    check_listening(&stdin)?;
    Ok(UnixListener::from(stdin))
}

/// Refuses what is no listening socket.
///
/// # Errors
/// That it is none.
pub fn check_listening(handed: &impl AsFd) -> io::Result<()> {
    if nix::sys::socket::getsockopt(handed, nix::sys::socket::sockopt::AcceptConn)? {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "what was handed over is no listening socket"))
}

/// What is at `path`, a link itself: device, inode and time of birth, where the file system keeps one, because numbers of inodes are
/// used again at once.
pub type Inode = (u64, u64, Option<SystemTime>);

/// See [`Inode`]; `None` where nothing is there.
pub fn inode(path: &Path) -> Option<Inode> {
    fs::symlink_metadata(path).ok().map(|meta| (meta.dev(), meta.ino(), meta.created().ok()))
}

fn close_inherited(kept: Option<RawFd>) {
    let open: Vec<RawFd> = match fs::read_dir("/proc/self/fd") {
        Ok(list) => list.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect(),
        Err(_) => (3..1024).collect(),
    };
    for fd in open {
        if fd > 2 && Some(fd) != kept {
            let _ = unistd::close(fd);
        }
    }
}

/// A folder for this user alone: made where it is absent, its mode set to 0700 where it is wider. A link is followed where it
/// is this user's own: another one's may lead anywhere.
///
/// # Errors
/// What the file system gives, and `PermissionDenied` where the folder, or the link to it, is another user's.
pub fn private_folder(path: &Path) -> io::Result<()> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    let denied = |why| Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    let own = unistd::geteuid().as_raw();
    if fs::symlink_metadata(path)?.uid() != own && path.is_symlink() {
        return denied("it is a link that another user made");
    }
    let meta = fs::metadata(path)?;
    if !meta.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    if meta.uid() != own {
        return denied("the folder belongs to another user");
    }
    if meta.mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// A command that inherits nothing of a build: its variables may name a shim, a jobserver or a session that a daemon must
/// not carry on.
pub fn clean_command(program: &Path) -> Command {
    const KEPT: [&str; 6] = ["HOME", "PATH", "LANG", "TZ", "TMPDIR", vrift_core::env::LOG];
    let mut command = Command::new(program);
    command.env_clear().envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    command
}

/// Has the program take itself for `name`: a program that is several in one goes by what it is called.
pub fn as_program(command: &mut Command, name: &str) {
    use std::os::unix::process::CommandExt;
    command.arg0(name);
}

/// Takes the lock at `path` for as long as the result lives; `None` where another process holds it.
///
/// # Errors
/// What the file system gives.
pub fn try_lock(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(e)) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_exclusive_and_ends_with_its_holder() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("lock");
        let held = try_lock(&path).expect("opens").expect("free");
        assert!(try_lock(&path).expect("opens").is_none());
        drop(held);
        assert!(try_lock(&path).expect("opens").is_some());
    }

    #[test]
    fn private_folders_are_private() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("a/b");
        private_folder(&path).expect("creates");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("chmod");
        private_folder(&path).expect("narrows");
        assert_eq!(fs::metadata(&path).expect("exists").mode() & 0o777, 0o700);
    }
}
