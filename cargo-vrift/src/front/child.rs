//! Running the command as if it had been started directly: its terminal, its signals, its exit status.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};
use std::thread::{self, Scope, ScopedJoinHandle};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::siginfo::Cause;

/// Signals that end a build.
const PASSED_ON: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// Runs the command to its end.
///
/// Signals that a person or program sends to us alone are passed on; those from the terminal reach the command by
/// themselves, since it is in our process group. Either way we stay until it has ended.
///
/// # Errors
/// Where it cannot be started.
pub fn run(mut command: Command) -> io::Result<ExitStatus> {
    let passing = Passing::new()?;
    let mut child = command.spawn()?;
    let pid = Pid::from_raw(child.id().cast_signed());
    thread::scope(|scope| {
        let passing = passing.pass(scope, |signal, passed_on| {
            if passed_on {
                let _ = kill(pid, signal);
            }
        });
        // The process is not reaped until nobody signals its id any more.
        while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
        passing.end();
    });
    child.wait()
}

/// Signals that end a build, kept for whom they are meant.
pub struct Passing(SignalsInfo<WithOrigin>);

/// The same at work.
pub struct Passed<'scope>(Handle, Option<ScopedJoinHandle<'scope, ()>>);

impl Passing {
    /// From here on they do not end this process.
    ///
    /// Handlers, not SIG_IGN: a command starts with the default actions again. What was ignored when this process was started (nohup)
    /// stays ignored for both.
    ///
    /// # Errors
    /// The system has no means for it.
    pub fn new() -> io::Result<Self> {
        let ignored = ignored_signals();
        let wanted = PASSED_ON.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
        Ok(Self(SignalsInfo::new(wanted)?))
    }

    /// Calls `to` for each of them, those that came before as well; with `false` where a terminal has sent it to the children, too.
    pub fn pass<'scope>(mut self, scope: &'scope Scope<'scope, '_>, to: impl Fn(Signal, bool) + Send + 'scope) -> Passed<'scope> {
        let handle = self.0.handle();
        let pass = move || {
            for origin in &mut self.0 {
                if let Ok(signal) = Signal::try_from(origin.signal) {
                    to(signal, origin.cause != Cause::Kernel);
                }
            }
        };
        Passed(handle, thread::Builder::new().name("signals".into()).spawn_scoped(scope, pass).ok())
    }
}

impl Passed<'_> {
    /// None are passed on from here on.
    pub fn end(self) {
        self.0.close();
        if let Some(thread) = self.1 {
            let _ = thread.join();
        }
    }
}

/// Ends as the command ended: with its status, or by the same signal.
pub fn end_like(status: ExitStatus) -> ExitCode {
    if let Some(signal) = status.signal() {
        // Returns where the signal's default is not to end a process.
        let _ = signal_hook::low_level::emulate_default_handler(signal);
        return ExitCode::from(128_u8.wrapping_add(signal as u8));
    }
    ExitCode::from(status.code().unwrap_or(1) as u8)
}

/// The signals that this process was started with as ignored, as a bit mask; bit 0 is signal 1. Source: proc(5).
fn ignored_signals() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test: signals belong to the whole process, so two runs at once would both pass one signal on.
    #[test]
    fn statuses_and_signals_come_through() {
        let sh = |script: &str| {
            let mut command = Command::new("/bin/sh");
            command.args(["-c", script]);
            run(command).expect("runs")
        };
        assert_eq!(sh("exit 7").code(), Some(7));
        assert_eq!(sh("kill -TERM $$").signal(), Some(SIGTERM));
        assert!(run(Command::new("/no/such/program")).is_err());
        let told = "trap 'exit 9' TERM; kill -TERM $PPID; while :; do sleep 0.01; done";
        assert_eq!(sh(told).code(), Some(9), "a signal to us reaches the command");
    }
}
