//! The kernel's interface to seccomp's notifications: seccomp(2), seccomp_unotify(2).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use libc::{seccomp_notif, seccomp_notif_resp};

use super::filter;

/// Puts this thread behind the filter; returns the listener's descriptor, which is closed on exec.
///
/// Only a process that renounces to gain privileges may do so, or one with CAP_SYS_ADMIN: a program that is set-user-ID would
/// otherwise run with calls that somebody else answers. So the former is done where the latter is not the case.
///
/// # Errors
/// `EBUSY` where there is a listener above already; `EPERM`, `EINVAL`, `ENOSYS` in sandboxes and on old kernels.
pub fn install() -> io::Result<OwnedFd> {
    const LISTEN: libc::c_ulong = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    // Without it a signal takes a reported call back, which then is reported again: Go sends itself signals all the time. What is not
    // received yet it takes back in any case; see `vrift_core::shells`.
    const FIRM: libc::c_ulong = libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
    let mut program = filter::program();
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: program.as_mut_ptr(),
    };
    let mut flags = LISTEN | FIRM;
    let mut renounced = false;
    loop {
        // SAFETY: the program is valid for its length; the kernel copies it.
        let fd = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
        if let Ok(fd @ 0..) = RawFd::try_from(fd) {
            // SAFETY: the descriptor is new and nobody else's.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINVAL) if flags != LISTEN => flags = LISTEN,
            // What is renounced is gone for good: a copy tries first whether that is of any use.
            Some(libc::EACCES) if !renounced && copy_may(flags, &program) => {
                renounce();
                renounced = true;
            }
            _ => return Err(error),
        }
    }
}

fn renounce() {
    // SAFETY: takes numbers alone.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
}

/// Whether a copy of this process that renounces may install the filter. The copy ends without a signal: one that waited for the
/// program to come would be news to it.
fn copy_may(flags: libc::c_ulong, program: &libc::sock_fprog) -> bool {
    let none = 0_usize;
    // SAFETY: a fork without an exit signal. This process has one thread; the copy makes system calls alone, and ends.
    unsafe {
        let copy = libc::syscall(libc::SYS_clone, none, none, none, none, none);
        if copy == 0 {
            renounce();
            let fd = libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(program));
            libc::_exit(i32::from(fd < 0));
        }
        let mut status = 0;
        let pid = libc::pid_t::try_from(copy).unwrap_or(-1);
        pid > 0 && libc::waitpid(pid, &raw mut status, libc::__WALL) == pid && status == 0
    }
}

/// The end at which reported calls arrive.
pub struct Listener(OwnedFd);

impl Listener {
    /// Takes a descriptor; `None` where it is no listener.
    pub fn new(fd: OwnedFd) -> Option<Self> {
        let listener = Self(fd);
        let unknown = u64::MAX;
        // SAFETY: the call reads a number.
        let result = unsafe { libc::ioctl(listener.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID as _, &raw const unknown) };
        if result == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ENOENT) {
            return None;
        }
        // Both sides take turns, so that neither need wait for another processor to wake up (since Linux 6.6).
        const SYNC_WAKE_UP: libc::c_ulong = 1;
        // SAFETY: takes a number.
        unsafe { libc::ioctl(listener.0.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS as _, SYNC_WAKE_UP) };
        Some(listener)
    }

    /// Its number.
    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    /// The next call; `None` where there is none after all.
    pub fn receive(&self) -> Option<seccomp_notif> {
        // SAFETY: all zeroes are a valid record, and what the kernel asks for.
        let mut call: seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the record is of the type that the call fills.
        let result = unsafe { libc::ioctl(self.fd(), libc::SECCOMP_IOCTL_NOTIF_RECV as _, &raw mut call) };
        (result == 0).then_some(call)
    }

    /// Whether the call still waits, so that what was read of its process was that process's.
    pub fn is_waiting(&self, call: &seccomp_notif) -> bool {
        // SAFETY: the call reads a number.
        unsafe { libc::ioctl(self.fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID as _, &raw const call.id) == 0 }
    }

    /// Lets the call go.
    pub fn let_go(&self, call: &seccomp_notif) {
        let flags = libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32;
        let answer = seccomp_notif_resp { id: call.id, val: 0, error: 0, flags };
        // SAFETY: the record is of the type that the call reads. It fails where the process is gone.
        unsafe { libc::ioctl(self.fd(), libc::SECCOMP_IOCTL_NOTIF_SEND as _, &raw const answer) };
    }
}
