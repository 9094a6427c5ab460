//! The processes of one environment: daemons, and everything that its builds run. Told by the variable `HOME`, which all of
//! them have, so that nobody else's process is ever touched.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::daemons::is_alive;
use crate::judge::Exec;

/// What a process is to vrift.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// `vriftd`.
    Coordinator,
    /// `vdir_d`.
    Worker,
    /// `vrift-exec`, in place of a program.
    Client,
    /// `cargo vrift`, and the Cargo that it runs.
    Front,
    /// A compiler, a linker or a build script.
    Compiler,
    /// Anything else.
    Other,
}

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number.
    pub pid: Pid,
    /// Its process group: that of the build that it belongs to.
    pub group: Pid,
    /// What it is.
    pub role: Role,
    /// Its arguments.
    pub args: Vec<String>,
    parent: i32,
    program: PathBuf,
}

impl Process {
    /// Sends it a signal; false where it is gone.
    pub fn signal(&self, signal: Signal) -> bool {
        kill(self.pid, signal).is_ok()
    }

    /// What of its command line tells it from others.
    pub fn shown(&self) -> String {
        let line = self.args.join(" ");
        let short: String = line.chars().take(160).collect();
        format!("{} {short}", self.pid)
    }

    /// Whether its failure is an answer, and not the failure of a build: it tries something out for Cargo, or for a build
    /// script, which go by what they see. A compiler that is killed then makes another build, with and without vrift.
    fn is_question(&self, all: &HashMap<i32, Process>) -> bool {
        let mut ancestor = all.get(&self.parent);
        while let Some(process) = ancestor {
            if file_name(&process.program).starts_with("build-script-") {
                return true;
            }
            ancestor = all.get(&process.parent);
        }
        let at = self.args.iter().position(|arg| arg == "--crate-name");
        let named = at.and_then(|at| self.args.get(at + 1)).is_some_and(|name| name != "___");
        let compiles = self.args.iter().any(|arg| file_name(Path::new(arg)) == "rustc");
        compiles && !named
    }
}

/// All processes of the environment at `env`, zombies left out, but those of [`Process::is_question`].
pub fn targets(env: &Path) -> Vec<Process> {
    let all: HashMap<i32, Process> = of(env).into_iter().map(|process| (process.pid.as_raw(), process)).collect();
    let mut targets: Vec<Process> = all.values().filter(|process| !process.is_question(&all)).cloned().collect();
    targets.sort_by_key(|process| process.pid);
    targets
}

/// All processes of the environment at `env`, zombies left out.
pub fn of(env: &Path) -> Vec<Process> {
    let mut home = b"HOME=".to_vec();
    home.extend_from_slice(env.join("home").as_os_str().as_encoded_bytes());
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut all: Vec<Process> = numbers.filter_map(|pid| look(pid, &home)).collect();
    all.sort_by_key(|process| process.pid);
    all
}

fn look(pid: i32, home: &[u8]) -> Option<Process> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let variables = std::fs::read(proc.join("environ")).ok()?;
    if !variables.split(|c| *c == 0).any(|variable| variable == home) || !is_alive(Pid::from_raw(pid)) {
        return None;
    }
    let program = std::fs::read_link(proc.join("exe")).ok()?;
    let line = std::fs::read(proc.join("cmdline")).ok()?;
    let args: Vec<String> =
        line.split(|c| *c == 0).filter(|word| !word.is_empty()).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let stat = std::fs::read_to_string(proc.join("stat")).ok()?;
    // Behind the name, which may hold anything: state, parent, group.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(1);
    let (parent, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let role = role(&program, &args);
    Some(Process { pid: Pid::from_raw(pid), group: Pid::from_raw(group), role, args, parent, program })
}

fn role(program: &Path, args: &[String]) -> Role {
    let called = args.first().map(|first| file_name(Path::new(first))).unwrap_or_default();
    match (called.as_str(), file_name(program).as_str()) {
        // The program that starts the daemon is none, and gone in a moment.
        ("vriftd", _) if args.iter().any(|arg| arg == "--serve") => Role::Coordinator,
        ("vdir_d", _) => Role::Worker,
        (_, "vrift-exec") => Role::Client,
        (_, "vrift" | "cargo-vrift" | "cargo" | "rustup") if called != "rustc" => Role::Front,
        (_, name) => {
            let is_work = |name: &str| Exec { pid: 0, program: name.to_owned(), argv: Vec::new() }.is_work();
            if is_work(name) || is_work(&called) { Role::Compiler } else { Role::Other }
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
