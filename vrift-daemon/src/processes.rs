//! Daemons by their processes: for ending those that say nothing any more.
//!
//! A process is known by its command line, which names what it serves. Numbers that were written down earlier may be somebody
//! else's by now.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use vrift_core::home::Home;

/// How often to look whether a process is gone.
const LOOK: Duration = Duration::from_millis(2);

/// The process of the worker that was started to serve `socket`.
pub fn worker_at(socket: &Path) -> Option<u32> {
    own().find(|pid| is_worker(*pid, socket))
}

/// The sockets of the workers of `home`, whether or not a coordinator knows of them.
pub fn workers_of(home: &Home) -> Vec<PathBuf> {
    let of_home = own().map(command_line).filter(|words| names(words, b"--home", home.dir().as_os_str()));
    of_home.filter_map(|words| Some(PathBuf::from(OsStr::from_bytes(value(&words, b"--socket")?)))).collect()
}

/// The process of the coordinator of `home`.
pub fn coordinator_of(home: &Home) -> Option<u32> {
    own().find(|pid| {
        let words = command_line(*pid);
        words.iter().any(|word| word == b"--serve") && names(&words, b"--home", home.dir().as_os_str())
    })
}

/// Whether the process is the worker that was started to serve `socket`.
pub fn is_worker(pid: u32, socket: &Path) -> bool {
    names(&command_line(pid), b"--socket", socket.as_os_str())
}

/// Kills a process and waits, for at most `patience`, until it is gone; one that its parent has not taken note of is.
///
/// # Errors
/// What the kernel gives, and `TimedOut`.
pub fn end(pid: u32, patience: Duration) -> io::Result<()> {
    let number = i32::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    kill(Pid::from_raw(number), Signal::SIGKILL)?;
    if is_gone_within(pid, Instant::now() + patience) { Ok(()) } else { Err(io::ErrorKind::TimedOut.into()) }
}

/// Waits for the end of a process; whether it has come before `deadline`.
pub fn is_gone_within(pid: u32, deadline: Instant) -> bool {
    while is_alive(pid) {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(LOOK);
    }
    true
}

/// Whether the process runs. Source: proc_pid_stat(5).
fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// This user's processes.
fn own() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        (entry.metadata().ok()?.uid() == geteuid().as_raw()).then_some(pid)
    })
}

fn command_line(pid: u32) -> Vec<Vec<u8>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|c| *c == 0).map(<[u8]>::to_vec).collect()
}

/// Whether `option` is there with that value.
fn names(words: &[Vec<u8>], option: &[u8], value: &OsStr) -> bool {
    self::value(words, option) == Some(value.as_bytes())
}

fn value<'a>(words: &'a [Vec<u8>], option: &[u8]) -> Option<&'a [u8]> {
    words.windows(2).find(|pair| pair[0] == option).map(|pair| &*pair[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn daemons_are_known_by_what_they_serve() {
        let words = |text: &str| text.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
        let line = words("vdir_d --home /h --root /w --socket /h/run/1.sock --listening");
        assert!(names(&line, b"--socket", "/h/run/1.sock".as_ref()));
        assert!(!names(&line, b"--socket", "/h/run/2.sock".as_ref()) && !names(&line, b"--root", "/h/run/1.sock".as_ref()));
        assert_eq!(worker_at(Path::new("/no/such.sock")), None);
    }

    #[test]
    fn a_stopped_process_is_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("starts");
        kill(Pid::from_raw(child.id() as i32), Signal::SIGSTOP).expect("stops");
        assert!(!is_gone_within(child.id(), Instant::now()));
        end(child.id(), Duration::from_secs(5)).expect("ends");
        child.wait().expect("waits");
    }
}
