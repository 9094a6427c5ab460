//! Terminals: where this process has one, the program keeps one, so that it colours its output as it would without vrift.

use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, RawFd};

/// Both ends of a pseudo terminal.
pub struct Pty {
    pub master: File,
    pub slave: File,
}

/// Whether the descriptor is a terminal.
pub fn is_terminal(fd: RawFd) -> bool {
    // SAFETY: takes a number alone.
    unsafe { libc::isatty(fd) == 1 }
}

/// A terminal of the size of this process's, which passes bytes through as they are: the real terminal behind it does the
/// line discipline.
pub fn open() -> io::Result<Pty> {
    let (mut master, mut slave) = (-1, -1);
    let (mut size, mut settings) =
        (std::mem::MaybeUninit::<libc::winsize>::zeroed(), std::mem::MaybeUninit::<libc::termios>::zeroed());
    let real = if is_terminal(2) { 2 } else { 1 };
    // SAFETY: the buffers are of the types that the calls fill; all zeroes are valid for both.
    unsafe {
        libc::ioctl(real, libc::TIOCGWINSZ, size.as_mut_ptr());
        libc::tcgetattr(real, settings.as_mut_ptr());
    }
    // SAFETY: as above.
    let (size, mut settings) = unsafe { (size.assume_init(), settings.assume_init()) };
    settings.c_oflag &= !libc::OPOST;
    // SAFETY: the descriptors are filled on success; a null name is allowed.
    if unsafe { libc::openpty(&raw mut master, &raw mut slave, std::ptr::null_mut(), &raw const settings, &raw const size) } != 0
    {
        return Err(io::Error::last_os_error());
    }
    for fd in [master, slave] {
        // SAFETY: takes numbers alone. `openpty` gives descriptors that children would inherit.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
    // SAFETY: both descriptors are new and nobody else's.
    Ok(unsafe { Pty { master: File::from_raw_fd(master), slave: File::from_raw_fd(slave) } })
}
