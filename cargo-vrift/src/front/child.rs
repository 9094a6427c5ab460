//! Running the command as if it had been started directly: its terminal, its signals, its exit status.

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};
use std::thread;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
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
    // Handlers, not SIG_IGN: the command starts with the default actions again. What was ignored when we were started
    // (nohup) stays ignored for both.
    let ignored = ignored_signals();
    let wanted = PASSED_ON.into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = SignalsInfo::<WithOrigin>::new(wanted)?;
    let handle = signals.handle();
    let mut child = command.spawn()?;
    let pid = Pid::from_raw(child.id().cast_signed());
    let passing = thread::Builder::new().name("signals".into()).spawn(move || {
        for origin in &mut signals {
            if let (false, Ok(signal)) = (origin.cause == Cause::Kernel, Signal::try_from(origin.signal)) {
                let _ = kill(pid, signal);
            }
        }
    });
    // The process is not reaped until nobody signals its id any more.
    while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
    handle.close();
    if let Ok(thread) = passing {
        let _ = thread.join();
    }
    child.wait()
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
