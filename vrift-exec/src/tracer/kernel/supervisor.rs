//! The thread that answers reported calls, and how programs come to it.
//!
//! A launcher ([`super::launch`]) connects to a socket whose name follows from the arena's path. It tells the number of one of its
//! descriptors; that this process can take it shows that it may look into the launcher, and everything below it. Then the
//! launcher puts itself behind the filter and tells the number of its listener, which is taken likewise: to send it would be a
//! call that the filter reports, to nobody yet.
//!
//! Until the first launcher comes there is no thread: an action without such programs pays for a socket.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use vrift_core::arena::{SharedMap, Writer, open_arena};

use super::notify::Listener;
use super::report::Reporter;

/// The answer to a launcher: all is well.
pub const WELCOME: u8 = 1;

/// The name of the socket that belongs to an arena.
pub fn name(arena: &[u8]) -> Option<SocketAddr> {
    SocketAddr::from_abstract_name([b"vrift", arena].concat()).ok()
}

/// Who answers the calls of an action's unhooked programs.
pub struct Supervisor {
    state: State,
}

enum State {
    /// Nobody does: such programs make the action one that is not stored.
    Off,
    /// A socket, the arena to write into, and the path of the one around it.
    Waiting(UnixListener, OwnedFd, Vec<u8>),
    /// A thread, and what ends it.
    Running(JoinHandle<Vec<Listener>>, Arc<OwnedFd>),
}

impl Supervisor {
    /// Waits for launchers of the action with the arena at `path`. That at `outer` hears of everything, too, unless it is empty.
    pub fn new(path: &str, arena: BorrowedFd<'_>, outer: &[u8]) -> Self {
        let socket = name(path.as_bytes()).and_then(|name| UnixListener::bind_addr(&name).ok());
        let arena = arena.try_clone_to_owned().ok();
        let waiting = |(socket, arena)| State::Waiting(socket, arena, outer.to_vec());
        Self { state: socket.zip(arena).map_or(State::Off, waiting) }
    }

    /// Nobody.
    pub fn off() -> Self {
        Self { state: State::Off }
    }

    /// What is readable when the first launcher comes; [`Supervisor::start`] is to be called then.
    pub fn waiting(&self) -> Option<RawFd> {
        match &self.state {
            State::Waiting(socket, ..) => Some(socket.as_raw_fd()),
            _ => None,
        }
    }

    /// Starts the thread.
    pub fn start(&mut self) {
        if let State::Waiting(socket, arena, outer) = std::mem::replace(&mut self.state, State::Off) {
            self.state = start(socket, &arena, &outer).unwrap_or(State::Off);
        }
    }

    /// Ends the thread. Where processes are still behind the filter, a copy of this process goes on answering, for it may have to
    /// end before them.
    pub fn finish(&mut self) {
        let State::Running(thread, stop) = std::mem::replace(&mut self.state, State::Off) else { return };
        let _ = rustix::io::write(&*stop, &1_u64.to_ne_bytes());
        let listeners = thread.join().unwrap_or_default();
        let left: Vec<Listener> = listeners.into_iter().filter(|listener| !is_over(listener)).collect();
        if !left.is_empty() {
            stay_for(&left);
        }
    }
}

fn start(socket: UnixListener, arena: &OwnedFd, outer: &[u8]) -> Option<State> {
    let len = File::from(arena.try_clone().ok()?).metadata().ok()?.len();
    let map = SharedMap::new(arena.as_raw_fd(), usize::try_from(len).ok()?)?;
    let outer = match outer {
        b"" => None,
        path => Some(open_arena(path)?),
    };
    let reporter = Reporter::new(Writer::new(map).ok()?, outer);
    let stop = Arc::new(rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC).ok()?);
    let mut thread =
        Thread { socket: Some(socket), stop: Arc::clone(&stop), reporter, launchers: Vec::new(), watched: Vec::new() };
    let blocked = block_signals();
    let handle = std::thread::Builder::new().stack_size(256 << 10).spawn(move || {
        thread.run();
        thread.watched.into_iter().map(|watched| watched.listener).collect()
    });
    restore_signals(&blocked);
    Some(State::Running(handle.ok()?, stop))
}

/// Signals are the first thread's business.
fn block_signals() -> libc::sigset_t {
    // SAFETY: both sets are of the type that the calls fill.
    unsafe {
        let (mut all, mut old) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old);
        old
    }
}

fn restore_signals(old: &libc::sigset_t) {
    // SAFETY: a set that `block_signals` was given.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, old, std::ptr::null_mut()) };
}

/// One program with all that it starts.
struct Watched {
    listener: Listener,
    /// The process that is about to execute its first program.
    launcher: Option<u32>,
}

/// A launcher that is not through yet.
struct Launcher {
    stream: UnixStream,
    pid: u32,
    process: OwnedFd,
    /// Its own end of the connection. It keeps a number free for the listener: once that is there, nothing may fail any more.
    probe: Option<OwnedFd>,
}

struct Thread {
    /// Nothing where no more launchers can be let in.
    socket: Option<UnixListener>,
    stop: Arc<OwnedFd>,
    reporter: Reporter,
    launchers: Vec<Launcher>,
    watched: Vec<Watched>,
}

impl Thread {
    fn run(&mut self) {
        loop {
            // What is negative is not polled.
            let fixed = [self.stop.as_raw_fd(), self.socket.as_ref().map_or(-1, AsRawFd::as_raw_fd)];
            let launchers = self.launchers.iter().map(|launcher| launcher.stream.as_raw_fd());
            let watched = self.watched.iter().map(|watched| watched.listener.fd());
            let mut polls: Vec<libc::pollfd> = fixed.into_iter().chain(launchers).chain(watched).map(poll_of).collect();
            if !poll(&mut polls) {
                continue;
            }
            let mut events = polls.iter().map(|poll| poll.revents);
            let (stop, come) = (events.next().unwrap_or(0), events.next().unwrap_or(0));
            if stop != 0 {
                // Whoever was let in is behind the filter by now, or about to be.
                let watched = &mut self.watched;
                self.launchers.drain(..).filter(|launcher| launcher.probe.is_some()).for_each(|mut launcher| {
                    launcher.serve(watched);
                });
                return;
            }
            let events: Vec<libc::c_short> = events.collect();
            let (spoke, called) = events.split_at(self.launchers.len());
            let mut called = called.iter();
            let reporter = &mut self.reporter;
            self.watched.retain_mut(|watched| watched.serve(reporter, called.next().copied().unwrap_or(0)));
            let mut spoke = spoke.iter();
            let watched = &mut self.watched;
            self.launchers.retain_mut(|launcher| spoke.next() == Some(&0) || launcher.serve(watched));
            if come != 0 {
                self.let_in();
            }
        }
    }

    /// Without descriptors nobody can be let in, and those who wait would wait for ever: once the socket is gone they hear of it.
    fn let_in(&mut self) {
        use std::io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
        match self.socket.as_ref().map(UnixListener::accept) {
            Some(Ok((stream, _))) => self.launchers.extend(Launcher::new(stream)),
            Some(Err(e)) if matches!(e.kind(), ConnectionAborted | Interrupted | WouldBlock) => {}
            Some(Err(_)) | None => self.socket = None,
        }
    }
}

impl Watched {
    /// Answers one call, if there is one. Whether there may be more.
    fn serve(&mut self, reporter: &mut Reporter, events: libc::c_short) -> bool {
        if events & libc::POLLIN != 0 {
            if let Some(call) = self.listener.receive() {
                let executes = [libc::SYS_execve, libc::SYS_execveat].contains(&libc::c_long::from(call.data.nr));
                let is_launch = executes && self.launcher == Some(call.pid);
                if is_launch {
                    self.launcher = None;
                }
                reporter.report(&call, is_launch, || self.listener.is_waiting(&call));
                self.listener.let_go(&call);
            }
            return true;
        }
        // The last process behind the filter is gone.
        events & (libc::POLLHUP | libc::POLLERR | libc::POLLNVAL) == 0
    }
}

impl Launcher {
    fn new(stream: UnixStream) -> Option<Self> {
        let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
        let ours = peer.uid == rustix::process::geteuid();
        if !ours {
            return None;
        }
        // Half a number must not keep everybody else waiting.
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
        let pid = u32::try_from(peer.pid.as_raw_nonzero().get()).ok()?;
        // It waits for an answer, so that its number is its own.
        let process = rustix::process::pidfd_open(peer.pid, rustix::process::PidfdFlags::empty()).ok()?;
        Some(Self { stream, pid, process, probe: None })
    }

    /// Answers what it said. Whether it may say more.
    fn serve(&mut self, watched: &mut Vec<Watched>) -> bool {
        let mut number = [0; 4];
        if self.stream.read_exact(&mut number).is_err() {
            return false;
        }
        let had_probe = self.probe.take().is_some();
        let Some(fd) = self.take(i32::from_ne_bytes(number)) else { return false };
        if had_probe {
            let Some(listener) = Listener::new(fd) else { return false };
            watched.push(Watched { listener, launcher: Some(self.pid) });
        } else {
            self.probe = Some(fd);
        }
        self.stream.write_all(&[WELCOME]).is_ok()
    }

    /// A copy of its descriptor.
    fn take(&self, number: RawFd) -> Option<OwnedFd> {
        rustix::process::pidfd_getfd(&self.process, number, rustix::process::PidfdGetfdFlags::empty()).ok()
    }
}

fn poll_of(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

/// Waits; whether something came.
fn poll(polls: &mut [libc::pollfd]) -> bool {
    // SAFETY: the list is valid for its length.
    unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, -1) > 0 }
}

/// Whether nobody is behind the filter any more.
fn is_over(listener: &Listener) -> bool {
    let mut polls = [poll_of(listener.fd())];
    // SAFETY: the list is valid for its length.
    unsafe { libc::poll(polls.as_mut_ptr(), 1, 0) > 0 && polls[0].revents & libc::POLLHUP != 0 }
}

/// Forks a process that lets all further calls go, until there are none.
fn stay_for(listeners: &[Listener]) {
    // SAFETY: this process has one thread again.
    if unsafe { super::super::signals::fork_to_stay() } != 0 {
        return;
    }
    let mut open: Vec<&Listener> = listeners.iter().collect();
    super::super::close_all_but(&open.iter().map(|listener| listener.fd()).collect::<Vec<_>>());
    while !open.is_empty() {
        let mut polls: Vec<libc::pollfd> = open.iter().map(|listener| poll_of(listener.fd())).collect();
        if !poll(&mut polls) {
            continue;
        }
        let mut polls = polls.iter();
        open.retain(|listener| {
            let events = polls.next().map_or(0, |poll| poll.revents);
            if events & libc::POLLIN != 0 {
                if let Some(call) = listener.receive() {
                    listener.let_go(&call);
                }
                return true;
            }
            events == 0
        });
    }
    // SAFETY: takes a number alone. What the process holds is its original's to tidy up.
    unsafe { libc::_exit(0) };
}
