//! Running a program for real and watching it.
//!
//! The program runs with the shim and an arena, its output passes through this process on its way, and this process adopts
//! whatever the program leaves running (it is its children's subreaper), so that a surviving child is noticed. What no shim
//! reaches is watched through the kernel ([`kernel`]).

mod kernel;
mod pty;
mod pump;
mod signals;

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vrift_core::action::Stream;
use vrift_core::arena::{ArenaFile, DEFAULT_CAPACITY, Trace, TraceError, read_trace};
use vrift_core::bytes::ByteText;
use vrift_core::context::{Field, mode};
use vrift_core::env;
use vrift_core::tool::{Tool, WATCH};

pub use kernel::launch;
use kernel::{Seen, Supervisor};

use crate::command::Command;
use crate::{flags, nested, plain};

/// What a run left.
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What it said, in order; `None` where that was too much to keep.
    pub stdio: Option<Vec<(Stream, Vec<u8>)>>,
    /// What it did.
    pub trace: Result<Trace, TraceError>,
    /// `CLOCK_REALTIME_COARSE` before it started, nanoseconds: the clock that file systems stamp with.
    pub started_ns: u64,
    /// Wall time, microseconds.
    pub wall_us: u64,
    /// User and system time of it and all children that were waited for, microseconds.
    pub cpu_us: u64,
    /// It left processes running.
    pub survivors: bool,
}

/// Runs the command with the arguments `argv` under the tracer: with the shim, or seen by the kernel alone where `by_kernel` says so or
/// no shim reaches it.
///
/// # Errors
/// Where the arena cannot be made or the program not be started; then nothing has run.
pub fn run(command: &Command, argv: &[ByteText], by_kernel: bool) -> io::Result<Finished> {
    let context = command.context();
    if !context.get(Field::Outer).is_empty() {
        // An arena cannot be added to two.
        return Err(io::ErrorKind::Unsupported.into());
    }
    let arena = ArenaFile::create(DEFAULT_CAPACITY)?;
    become_subreaper()?;
    let arena_path = arena.path();
    let mut child_command = prepare(command, argv, Some(&arena_path), by_kernel);
    die_with_parent(&mut child_command);
    let mut streams = Streams::open(&mut child_command)?;
    let mut supervisor = Supervisor::new(&arena_path, arena.file(), context.get(Field::Arena));
    let started_ns = coarse_now();
    let start = Instant::now();
    let mut child = child_command.spawn()?;
    // The slave ends of terminals live on in the command otherwise, and the master would never see their end.
    drop(child_command);
    signals::forward_to(child.id());
    let ending = ending_of(child.id());
    if ending.is_none() {
        // Kernels that cannot tell of the program's end cannot report calls either.
        supervisor = Supervisor::off();
    }
    let rewrite = |text: &[u8]| flags::restore_paths(command, text);
    let grace = grace(command.tool);
    let stdio = pump::pump(streams.sources(&mut child), ending.as_ref(), grace, &mut supervisor, rewrite);
    wait_for_end(ending.as_ref(), &mut supervisor);
    wait_unreaped(child.id());
    signals::stop_forwarding();
    let status = child.wait()?;
    // Output that goes on has been waited for already.
    let survivors = has_children(if stdio.is_some() { grace } else { Duration::ZERO });
    supervisor.finish();
    let wall_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok(Finished { status, stdio, trace: read_trace(arena.map()), started_ns, wall_us, cpu_us: children_cpu_us(), survivors })
}

/// The program with the arguments `argv` as a part of the action that this process runs in.
pub fn prepare_part(command: &Command, argv: &[ByteText]) -> std::process::Command {
    prepare(command, argv, None, false)
}

/// The program, with the variables that make it sign in; or what executes it where the kernel reports its calls. `arena` is that
/// of the program's own action, if it is to be one.
fn prepare(command: &Command, argv: &[ByteText], arena: Option<&str>, by_kernel: bool) -> std::process::Command {
    let variables = child_variables(command, arena);
    let seen = kernel::seen_by(command.program.as_bytes(), argv.get(1).map(|arg| &arg[..]));
    if seen == Seen::Unseen {
        // It does not sign in, so that nothing is stored.
        return plain::prepare(command, argv);
    }
    let unhooked = by_kernel || seen == Seen::Reported;
    let mut child = if unhooked {
        let mut launcher = argv.to_vec();
        launcher.splice(0..0, [ByteText::from("vrift-exec"), ByteText::from(WATCH), ByteText::from(command.program.as_bytes())]);
        let exec = command.context().get(Field::Exec).to_vec();
        plain::prepare_as(command, OsStr::from_bytes(&exec), &launcher)
    } else {
        plain::prepare(command, argv)
    };
    for (name, value) in variables.iter().filter(|(name, _)| !unhooked || *name == env::CONTEXT) {
        child.env(name, OsStr::from_bytes(value));
    }
    child
}

/// The variables that make the child sign in.
fn child_variables(command: &Command, arena: Option<&str>) -> Vec<(&'static str, Vec<u8>)> {
    let context = command.context();
    // Both are decided for each action.
    let decided = [mode::NESTED, mode::PORTABLE_CWD];
    let mut modes: Vec<u8> = context.get(Field::Mode).iter().copied().filter(|letter| !decided.contains(letter)).collect();
    if flags::portable_cwd(command) {
        modes.push(mode::PORTABLE_CWD);
    }
    if nested::is_around_others(command) {
        modes.push(mode::NESTED);
    }
    let placed = match arena {
        Some(own) => context.with(Field::Outer, context.get(Field::Arena)).with(Field::Arena, own.as_bytes()),
        None => context,
    };
    let value = placed.with(Field::Mode, &modes).encode();
    let mut preload = context.get(Field::Shim).to_vec();
    if let Some(users) = command.var("LD_PRELOAD").filter(|users| !users.is_empty()) {
        preload.push(b':');
        preload.extend_from_slice(users);
    }
    vec![(env::CONTEXT, value), ("LD_PRELOAD", preload)]
}

/// Where the child's output goes: pipes, or terminals where this process has one.
struct Streams {
    terminal: Option<(File, Vec<Stream>)>,
}

impl Streams {
    fn open(child: &mut std::process::Command) -> io::Result<Self> {
        let terminals: Vec<Stream> =
            [(Stream::Out, 1), (Stream::Err, 2)].into_iter().filter(|(_, fd)| pty::is_terminal(*fd)).map(|(s, _)| s).collect();
        child.stdout(Stdio::piped()).stderr(Stdio::piped());
        if terminals.is_empty() {
            return Ok(Self { terminal: None });
        }
        let pty = pty::open()?;
        for stream in &terminals {
            let slave: OwnedFd = pty.slave.try_clone()?.into();
            match stream {
                Stream::Out => child.stdout(slave),
                Stream::Err => child.stderr(slave),
            };
        }
        Ok(Self { terminal: Some((pty.master, terminals)) })
    }

    /// The ends to read from, each with the stream that it stands for. One terminal serves both streams; what comes from it
    /// goes to the first of them.
    fn sources(&mut self, child: &mut Child) -> Vec<pump::Source> {
        let mut sources = Vec::new();
        if let Some((master, streams)) = self.terminal.take() {
            sources.push(pump::Source { from: master, stream: streams.first().copied().unwrap_or(Stream::Err) });
        }
        let mut add = |fd: OwnedFd, stream| sources.push(pump::Source { from: File::from(fd), stream });
        if let Some(out) = child.stdout.take() {
            add(out.into(), Stream::Out);
        }
        if let Some(err) = child.stderr.take() {
            add(err.into(), Stream::Err);
        }
        sources
    }
}

/// Ends this process as the child ended: with its status, or by its signal.
pub fn end_like(status: ExitStatus) -> u8 {
    if let Some(signal) = status.signal() {
        signals::die_of(signal);
        return u8::try_from(128 + signal).unwrap_or(u8::MAX);
    }
    u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)
}

fn become_subreaper() -> io::Result<()> {
    // SAFETY: takes numbers alone.
    match unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whoever kills this process means the program.
fn die_with_parent(child: &mut std::process::Command) {
    // SAFETY: between fork and exec the closure makes one system call, which is async-signal-safe.
    unsafe {
        child.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
            Ok(())
        });
    }
}

/// How long what a program left running may take to end, before it is taken for something that stays.
///
/// mold tells whoever waits that its output is whole, and a child of it goes on to give memory back; all compilers may run it.
fn grace(tool: Tool) -> Duration {
    let may_link = tool.is_native() || (tool.is_rust() && tool != Tool::BuildScript);
    Duration::from_millis(if may_link { 1_000 } else { 50 })
}

/// Whether children are still running after that time; those that have ended are reaped.
fn has_children(grace: Duration) -> bool {
    let start = Instant::now();
    loop {
        // SAFETY: a null status is allowed.
        match unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } {
            0 if start.elapsed() >= grace => return true,
            0 => std::thread::sleep(Duration::from_millis(1)),
            pid if pid < 0 => return false,
            _ => {}
        }
    }
}

fn children_cpu_us() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the buffer is a `struct rusage`, for which all zeroes are valid too.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    let us = |time: libc::timeval| u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0);
    us(usage.ru_utime) + us(usage.ru_stime)
}

fn coarse_now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the buffer is a `struct timespec`.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// A descriptor that is readable once the child has ended; nothing on kernels that have no such thing.
fn ending_of(child: u32) -> Option<File> {
    // SAFETY: takes numbers alone.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, child as libc::pid_t, 0) };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the descriptor is new and nobody else's.
    Some(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// Waits until the program has ended, and for launchers until then.
fn wait_for_end(ending: Option<&File>, supervisor: &mut Supervisor) {
    while let (Some(ending), Some(launcher)) = (ending, supervisor.waiting()) {
        let ready = wait_readable([ending.as_raw_fd(), launcher].into_iter(), -1);
        if ready.first() == Some(&true) {
            return;
        }
        supervisor.start();
    }
}

/// Waits until the child has ended, and leaves its number to it.
fn wait_unreaped(child: u32) {
    let mut info = std::mem::MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the buffer is of the type that the call fills.
    while unsafe { libc::waitid(libc::P_PID, child, info.as_mut_ptr(), libc::WEXITED | libc::WNOWAIT) } != 0
        && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted
    {}
}

/// Whether this process is the copy that [`stay_behind`] made.
static BEHIND: AtomicBool = AtomicBool::new(false);

/// Forks; returns true in the copy, which is to pass on what a surviving process says, and false in the original.
fn stay_behind() -> bool {
    // SAFETY: the copy has this thread alone. The other one, where there is one, holds no lock but the allocator's, which libc
    // releases in a copy.
    match unsafe { signals::fork_to_stay() } {
        0 => BEHIND.store(true, Ordering::Relaxed),
        copy if copy > 0 => return false,
        // No copy: the original waits.
        _ => {}
    }
    true
}

/// Closes all descriptors but these.
fn close_all_but(kept: &[RawFd]) {
    let mut kept: Vec<u32> = kept.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    kept.sort_unstable();
    let mut first = 0;
    for last in kept.into_iter().map(Some).chain([None]) {
        let end = last.map_or(u32::MAX, |kept| kept.saturating_sub(1));
        if last != Some(first) && first <= end {
            // SAFETY: takes numbers alone; only this process's copy, which uses none of them any more, comes here.
            unsafe { libc::syscall(libc::SYS_close_range, first, end, 0) };
        }
        first = last.map_or(u32::MAX, |kept| kept + 1);
    }
}

/// Ends the copy once there is nothing left to pass on.
fn end_if_behind() {
    if BEHIND.load(Ordering::Relaxed) {
        // SAFETY: takes a number alone. What the process holds is its original's to tidy up.
        unsafe { libc::_exit(0) };
    }
}

/// Waits until one of the files is readable or closed, or for `limit` milliseconds if that is not negative; returns which are.
fn wait_readable(files: impl Iterator<Item = RawFd>, limit: i32) -> Vec<bool> {
    let mut polls: Vec<_> = files.map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 }).collect();
    loop {
        // SAFETY: the list is valid for its length.
        let ready = unsafe { libc::poll(polls.as_mut_ptr(), polls.len() as libc::nfds_t, limit) };
        if ready >= 0 {
            return polls.iter().map(|poll| poll.revents != 0).collect();
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return vec![true; polls.len()];
        }
    }
}
