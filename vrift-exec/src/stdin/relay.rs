//! An open pipe or socket on standard input that had nothing in it when a script began.
//!
//! Nobody can tell afterwards whether something came and was read: a pipe keeps no count. So the script gets a pipe of ours. What comes
//! meanwhile is passed on, and taken from whoever sent it only as far as the script takes it: the rest is for whoever reads next.

use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::net::RecvFlags;
use rustix::pipe::{PipeFlags, SpliceFlags};

/// How often it is looked whether the script has taken what came.
const LOOK: Duration = Duration::from_millis(2);

/// Bytes passed on at a time: a pipe holds as many.
const PIECE: usize = 64 << 10;

/// The pipe in between.
pub struct Relay {
    real: Arc<OwnedFd>,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Something came, or the other end was closed.
    given: bool,
    /// Bytes that were passed on and are still with whoever sent them.
    pending: usize,
}

impl Relay {
    /// Puts the pipe in place of standard input.
    ///
    /// # Errors
    /// Where there are no descriptors or threads; then nothing has changed.
    pub fn start() -> io::Result<Self> {
        let real = Arc::new(io::stdin().as_fd().try_clone_to_owned()?);
        let (from, to) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let relay = Self { real, state: Arc::default() };
        let (real, state, left) = (Arc::clone(&relay.real), Arc::clone(&relay.state), from.try_clone()?);
        rustix::stdio::dup2_stdin(&from)?;
        let started = std::thread::Builder::new().stack_size(256 << 10).spawn(move || pass_on(&real, &left, to, &state));
        if let Err(error) = started {
            rustix::stdio::dup2_stdin(&*relay.real)?;
            return Err(error);
        }
        Ok(relay)
    }

    /// Puts standard input back, less what the script has taken; returns whether nothing came.
    pub fn end(self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let left = rustix::io::ioctl_fionread(io::stdin().as_fd()).map_or(0, |left| usize::try_from(left).unwrap_or(0));
        take(&self.real, state.pending.saturating_sub(left));
        let _ = rustix::stdio::dup2_stdin(&*self.real);
        let given = state.given;
        // The thread is to touch nothing any more.
        std::mem::forget(state);
        !given
    }
}

/// Passes on what comes from `real` into the pipe `to`, of which `left` is the other end.
fn pass_on(real: &OwnedFd, left: &OwnedFd, to: OwnedFd, state: &Mutex<State>) {
    let mut to = std::fs::File::from(to);
    loop {
        let mut polls = [PollFd::from_borrowed_fd(real.as_fd(), PollFlags::IN)];
        if poll(&mut polls, None).is_err() {
            continue;
        }
        let passed = {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            state.given = true;
            match copy(real, &mut to) {
                Ok(passed) => {
                    state.pending = passed;
                    passed
                }
                // Somebody else who reads from it was faster.
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
                Err(_) => 0,
            }
        };
        if passed == 0 {
            // The end, which the script sees when `to` is closed.
            return;
        }
        loop {
            std::thread::sleep(LOOK);
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            if rustix::io::ioctl_fionread(left).is_ok_and(|left| left == 0) {
                take(real, state.pending);
                state.pending = 0;
                break;
            }
        }
    }
}

/// Copies what is in `from`, which keeps it; 0 at its end.
fn copy(from: &OwnedFd, to: &mut std::fs::File) -> io::Result<usize> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(from)?.st_mode);
    if kind == FileType::Fifo {
        return Ok(rustix::pipe::tee(from, &*to, PIECE, SpliceFlags::NONBLOCK)?);
    }
    let mut buffer = vec![0; PIECE / 2];
    let (len, _) = rustix::net::recv(from, &mut buffer[..], RecvFlags::PEEK | RecvFlags::DONTWAIT)?;
    to.write_all(&buffer[..len])?;
    Ok(len)
}

/// Takes so many bytes out, as far as nobody else has: it waits for none.
fn take(from: &OwnedFd, mut bytes: usize) {
    let mut buffer = vec![0; PIECE.min(bytes)];
    let is_there = || {
        let mut polls = [PollFd::from_borrowed_fd(from.as_fd(), PollFlags::IN)];
        poll(&mut polls, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    };
    while bytes > 0 && is_there() {
        let piece = buffer.len().min(bytes);
        match rustix::io::read(from, &mut buffer[..piece]) {
            Ok(0) | Err(_) => return,
            Ok(len) => bytes -= len,
        }
    }
}
