//! The daemons of one home: found by their command lines, which name the home's folder.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use vrift_core::wire::{self, Reply, Request};

use crate::Result;

/// A daemon that runs.
#[derive(Clone, Debug)]
pub struct Daemon {
    /// Its process.
    pub pid: Pid,
    /// `vriftd` or `vdir_d`.
    pub name: String,
    /// Its arguments, joined by blanks.
    pub command: String,
}

impl Daemon {
    /// Ends it at once, and waits until it is gone.
    ///
    /// # Errors
    /// It does not go.
    pub fn kill(&self) -> Result {
        let _ = kill(self.pid, Signal::SIGKILL);
        let began = Instant::now();
        while is_alive(self.pid) {
            ensure!(began.elapsed() < Duration::from_secs(10), "`{}` does not die", self.command);
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// User and system time that it has used so far.
    pub fn cpu(&self) -> Duration {
        // Times are in clock ticks, which are 10 ms for user space on every Linux.
        let stat = std::fs::read_to_string(proc(self.pid).join("stat")).unwrap_or_default();
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks = after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum::<u64>();
        Duration::from_millis(ticks * 10)
    }

    /// What it has in memory; `None` where it is gone.
    pub fn memory(&self) -> Option<Memory> {
        parse_memory(&std::fs::read_to_string(proc(self.pid).join("smaps_rollup")).ok()?)
    }
}

/// What a process has in memory, bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory {
    /// All of it.
    pub resident: u64,
    /// What no other process has in memory as well.
    pub own: u64,
}

/// Reads `smaps_rollup`, which has sizes as `Rss:   6444 kB`. Source: proc_pid_smaps(5).
fn parse_memory(text: &str) -> Option<Memory> {
    let size = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
    };
    Some(Memory { resident: size("Rss")?, own: size("Private_Clean")? + size("Private_Dirty")? })
}

fn proc(pid: Pid) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// Whether a process runs: a zombie that nobody has collected does not.
pub fn is_alive(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(proc(pid).join("stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

/// Asks the daemon at `socket` a question, over a connection of its own.
///
/// # Errors
/// It does not answer, or with an error.
pub fn ask(socket: &Path, method: &str, params: &Value) -> Result<Value> {
    let mut stream = wire::connect(socket, Duration::from_secs(10))?;
    wire::write_frame(&mut stream, &Request::new(method, params, 1))?;
    let reply: Reply<Value> = wire::decode(&wire::read_frame(&mut stream)?)?;
    match reply.error {
        Some(error) => Err(error.into()),
        None => reply.result.with_context(|| format!("no answer to `{method}`")),
    }
}

/// The daemons whose command line holds the path `home`.
pub fn of(home: &Path) -> Vec<Daemon> {
    let home = home.to_string_lossy();
    let mut all = Vec::new();
    let Ok(entries) = std::fs::read_dir("/proc") else { return all };
    for entry in entries.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let words: Vec<_> = line.split(|c| *c == 0).map(String::from_utf8_lossy).collect();
        let name = words.first().and_then(|word| word.rsplit('/').next()).unwrap_or_default().to_owned();
        let command = words.join(" ");
        if matches!(&*name, "vriftd" | "vdir_d") && command.contains(&*home) && is_alive(Pid::from_raw(pid)) {
            all.push(Daemon { pid: Pid::from_raw(pid), name, command });
        }
    }
    // The coordinator first: it would start a worker again that dies before it.
    all.sort_by(|a, b| b.name.cmp(&a.name).then(a.pid.cmp(&b.pid)));
    all
}

/// Ends all daemons of a home.
///
/// # Errors
/// One does not go.
pub fn kill_all(home: &Path) -> Result {
    // A coordinator may be starting a worker right now: look again until nobody is left.
    for _ in 0..50 {
        let all = of(home);
        if all.is_empty() {
            break;
        }
        all.iter().try_for_each(Daemon::kill)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read() {
        let text = "0-1 ---p [rollup]\nRss:                6444 kB\nPss: 1 kB\nPrivate_Clean:        16 kB\nPrivate_Dirty:        2 kB\n";
        assert_eq!(parse_memory(text), Some(Memory { resident: 6444 * 1024, own: 18 * 1024 }));
        let own = std::fs::read_to_string("/proc/self/smaps_rollup").ok().and_then(|text| parse_memory(&text));
        assert!(own.is_some_and(|memory| memory.resident > memory.own));
    }
}
