//! Running several programs at once: their output gathered, signals passed on to all of them.
//!
//! They stay in this process's group, so what a terminal sends reaches them by itself. Their input is empty, since nobody could say which
//! of them it is for. Where this process has a terminal, so have they.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{PidfdFlags, pidfd_open};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{OptionalActions, OutputModes, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use super::group::{Group, Stream};

/// How long output may go on once the program has ended: what is in a pipe comes at once, what others hold may never end.
const REST: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// How long something that is kept waits until it is seen whether it is its turn.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The running children.
#[derive(Debug, Default)]
pub struct Live(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    children: Vec<Pid>,
    /// The first signal that came.
    told: Option<Signal>,
}

impl Live {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The signal that ends everything, if one came.
    pub fn told(&self) -> Option<Signal> {
        self.state().told
    }

    /// A signal came: nothing more is started. `passed_on`: the children have not got it yet.
    pub fn tell(&self, signal: Signal, passed_on: bool) {
        let mut state = self.state();
        state.told.get_or_insert(signal);
        for child in state.children.iter().filter(|_| passed_on) {
            let _ = kill(*child, signal);
        }
    }

    /// The lock is held meanwhile: a signal comes before, and nothing starts, or behind, and reaches the child.
    fn start(&self, mut command: Command) -> io::Result<Result<Child, Signal>> {
        let mut state = self.state();
        if let Some(signal) = state.told {
            return Ok(Err(signal));
        }
        let child = command.spawn()?;
        state.children.push(Pid::from_raw(child.id().cast_signed()));
        Ok(Ok(child))
    }

    /// Its number is somebody else's once it is reaped.
    fn reap(&self, mut child: Child) -> io::Result<ExitStatus> {
        let pid = Pid::from_raw(child.id().cast_signed());
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(nix::errno::Errno::EINTR) {}
        self.state().children.retain(|one| *one != pid);
        child.wait()
    }
}

/// Runs a command to its end. One that was not started because of a signal has died of it.
///
/// # Errors
/// It cannot be started.
pub fn run(mut command: Command, group: &mut Group<'_>) -> io::Result<ExitStatus> {
    let mut sources = ends(&mut command)?;
    command.stdin(Stdio::null());
    let live = group.live;
    // The command goes, and with it this process's copies of the ends that the child writes to.
    let child = match live.start(command)? {
        Ok(child) => child,
        Err(signal) => return Ok(ExitStatus::from_raw(signal as i32)),
    };
    let ended =
        rustix::process::Pid::from_raw(child.id().cast_signed()).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    pass_on(&mut sources, ended.as_ref(), group);
    drop(sources);
    live.reap(child)
}

/// Where output is read, each end with the stream that it stands for. One terminal serves both streams.
fn ends(command: &mut Command) -> io::Result<Vec<(Stream, File)>> {
    let mut ends = Vec::new();
    let mut terminal: Option<OwnedFd> = None;
    for stream in [Stream::Out, Stream::Err] {
        let write = if !stream.is_terminal() {
            let (read, write) = io::pipe()?;
            ends.push((stream, File::from(OwnedFd::from(read))));
            OwnedFd::from(write)
        } else if let Some(slave) = &terminal {
            slave.try_clone()?
        } else {
            let (master, slave) = open_terminal(stream)?;
            ends.push((stream, File::from(master)));
            terminal = Some(slave.try_clone()?);
            slave
        };
        match stream {
            Stream::Out => command.stdout(Stdio::from(write)),
            Stream::Err => command.stderr(Stdio::from(write)),
        };
    }
    Ok(ends)
}

/// A terminal like the one of this process's stream, which passes bytes through as they are.
fn open_terminal(like: Stream) -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    let (size, settings) = match like {
        Stream::Out => (tcgetwinsize(io::stdout()), tcgetattr(io::stdout())),
        Stream::Err => (tcgetwinsize(io::stderr()), tcgetattr(io::stderr())),
    };
    let mut settings = settings?;
    settings.output_modes &= !OutputModes::OPOST;
    tcsetattr(&slave, OptionalActions::Now, &settings)?;
    tcsetwinsize(&slave, size?)?;
    Ok((master, slave))
}

/// Passes on until every end is closed, or the program has ended and no more comes.
fn pass_on(sources: &mut Vec<(Stream, File)>, mut ended: Option<&OwnedFd>, group: &mut Group<'_>) {
    let mut buffer = vec![0; 64 << 10];
    let mut rest = None;
    while !sources.is_empty() {
        let mut ready: Vec<PollFd<'_>> = sources.iter().map(|(_, file)| PollFd::new(file, PollFlags::IN)).collect();
        ready.extend(ended.map(|ended| PollFd::new(ended, PollFlags::IN)));
        let kept = group.keeps_something().then_some(PATIENCE);
        match poll(&mut ready, rest.or(kept).as_ref()) {
            Ok(0) if rest.is_some() => return,
            Ok(0) => {
                group.try_to_show();
                continue;
            }
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
        }
        let ready: Vec<bool> = ready.iter().map(|one| !one.revents().is_empty()).collect();
        if ended.is_some() && ready.last() == Some(&true) {
            (ended, rest) = (None, Some(REST));
        }
        let mut ready = ready.into_iter();
        sources.retain_mut(|(stream, file)| {
            if !ready.next().unwrap_or(false) {
                return true;
            }
            match file.read(&mut buffer) {
                Ok(0) => false,
                Ok(len) => {
                    group.write(*stream, &buffer[..len]);
                    true
                }
                // EIO: the last user of a terminal has gone.
                Err(e) => e.kind() == io::ErrorKind::Interrupted,
            }
        });
    }
}
