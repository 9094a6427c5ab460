//! Unix stream sockets at paths of any length, between processes of one user.
//!
//! `sun_path` holds 108 bytes with its final NUL (unix(7)), and state folders may lie deeper. A longer path is reached
//! through `/proc/self/fd/<folder>/<name>`, the folder being held open for that moment.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_peercred};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect as dial, socket_with};
use rustix::process::geteuid;

/// The longest path that fits into `sun_path` with its NUL.
const MAX_SUN_PATH: usize = 107;

/// Connects to the socket at `path`. Neither this nor a read or a write on the result waits longer than `timeout`; zero is
/// taken for a millisecond.
///
/// # Errors
/// What the kernel gives: `NotFound` and `ConnectionRefused` mean that nobody listens, `WouldBlock` that whoever listens takes
/// no more connections. `PermissionDenied` where another user listens: what such a one answers is not to be believed.
pub fn connect(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let timeout = Some(timeout.max(Duration::from_millis(1)));
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Before the connection: the kernel waits for room in the queue of one who is stopped as long as for a write.
    set_socket_timeout(&socket, Timeout::Send, timeout)?;
    set_socket_timeout(&socket, Timeout::Recv, timeout)?;
    with_short_path(path, |path| Ok(dial(&socket, &SocketAddrUnix::new(&path)?)?))?;
    if socket_peercred(&socket)?.uid != geteuid() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "another user listens there"));
    }
    Ok(UnixStream::from(socket))
}

/// Listens at `path`, which must be free; the socket gets mode 0600. Callers keep others out of the moment between the two
/// by a folder of mode 0700.
///
/// # Errors
/// What the kernel gives: `AddrInUse` where something is at `path`.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    let listener = with_short_path(path, UnixListener::bind)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Calls `act` with a name for `path` that fits into `sun_path`.
fn with_short_path<T>(path: &Path, act: impl FnOnce(PathBuf) -> io::Result<T>) -> io::Result<T> {
    if path.as_os_str().len() <= MAX_SUN_PATH {
        return act(path.to_owned());
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    let folder = open_folder(folder)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(OsStr::from_bytes(name.as_bytes()));
    act(short)
}

fn open_folder(folder: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_PATH).open(folder)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn talk(path: &Path) {
        let listener = bind(path).expect("binds");
        assert_eq!(fs::metadata(path).expect("exists").permissions().mode() & 0o777, 0o600);
        let mut client = connect(path, Duration::from_secs(1)).expect("connects");
        let (mut server, _) = listener.accept().expect("accepts");
        client.write_all(b"x").expect("writes");
        let mut byte = [0];
        server.read_exact(&mut byte).expect("reads");
        assert_eq!(&byte, b"x");
        assert_eq!(bind(path).expect_err("taken").kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn short_and_long_paths_work() {
        let dir = tempfile::tempdir().expect("tempdir");
        talk(&dir.path().join("s.sock"));
        let deep = dir.path().join("d".repeat(120)).join("e".repeat(120));
        fs::create_dir_all(&deep).expect("creates");
        talk(&deep.join("s.sock"));
    }

    #[test]
    fn nobody_there_is_said_at_once_and_silence_after_the_timeout() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("s.sock");
        assert_eq!(connect(&path, Duration::from_secs(1)).expect_err("absent").kind(), io::ErrorKind::NotFound);
        let listener = bind(&path).expect("binds");
        let mut client = connect(&path, Duration::from_millis(20)).expect("connects");
        assert_eq!(client.read(&mut [0]).expect_err("silence").kind(), io::ErrorKind::WouldBlock);
        // A queue that is full: nobody waits for one who takes nothing from it.
        rustix::net::listen(&listener, 0).expect("a shorter queue");
        let waiting: Vec<_> = std::iter::from_fn(|| connect(&path, Duration::from_millis(20)).ok()).take(5).collect();
        assert!(waiting.len() < 5);
        assert_eq!(connect(&path, Duration::from_millis(20)).expect_err("full").kind(), io::ErrorKind::WouldBlock);
        drop(listener);
        assert_eq!(connect(&path, Duration::from_secs(1)).expect_err("stale").kind(), io::ErrorKind::ConnectionRefused);
    }
}
