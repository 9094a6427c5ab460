//! Which paths each action really looked at, as `strace` saw it, and what of that vrift's traces lack.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use anyhow::{Context, ensure};
use serde::Deserialize;
use vrift_core::event::EventKind;
use vrift_core::tool::WATCH;

use crate::command::{Cmd, Done};
use crate::judge::path_text;
use crate::strace::{self, Call};
use crate::traces::Trace;
use crate::{Result, host};

/// How a path was looked at, weakest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Look {
    /// Its presence or kind: `stat`, `access`, `readlink`, or an `open` that failed.
    Seen,
    /// Its entries.
    Listed,
    /// Its content.
    Read,
}

/// What one action's processes looked at: the strongest look at each path, and the program that looked.
#[derive(Clone, Debug, Default)]
pub struct Action {
    /// The process that became vrift's runner of the action.
    pub root: u32,
    /// Each path with its strongest look, and the program that looked.
    pub looks: BTreeMap<String, (Look, String)>,
    /// All its processes and threads.
    pub pids: BTreeSet<u32>,
}

/// The program that runs an action. What it does itself is no part of the action.
const RUNNER: &str = "vrift-exec";

#[derive(Clone, Default)]
struct Process {
    /// The action's root, if any.
    action: Option<u32>,
    program: String,
    cwd: String,
}

/// Runs a command under `strace`, and returns what each of its actions looked at.
///
/// # Errors
/// `strace` is missing, or the command fails.
pub fn watch(cmd: &Cmd) -> Result<(Done, Vec<Action>)> {
    watch_by(cmd, &["--seccomp-bpf"])
}

/// The same where processes are traced by seccomp's notifications, which go before the faster way of `strace` to see calls.
///
/// # Errors
/// As for [`watch`].
pub fn watch_slowly(cmd: &Cmd) -> Result<(Done, Vec<Action>)> {
    watch_by(cmd, &[])
}

fn watch_by(cmd: &Cmd, more: &[&str]) -> Result<(Done, Vec<Action>)> {
    let log = tempfile::Builder::new().prefix("strace").tempfile_in(cmd.scratch())?;
    let calls = "trace=%file,%process,getdents,getdents64,fchdir";
    let options = ["-f", "-qq", "-y", "-s", "4096", "-e", calls, "-e", "signal=none", "-o"];
    let options = more.iter().copied().chain(options).map(str::to_owned).chain([path_text(log.path())?]);
    let done = cmd.clone().under("strace", options).ok()?;
    let text = std::fs::read(log.path()).context("cannot read the log of strace")?;
    let dir = path_text(cmd.working_dir())?;
    Ok((done, actions(&String::from_utf8_lossy(&text), &dir)))
}

/// The actions of a log whose first process starts in `dir`.
fn actions(log: &str, dir: &str) -> Vec<Action> {
    let mut processes: HashMap<u32, Process> = HashMap::new();
    let mut actions: BTreeMap<u32, Action> = BTreeMap::new();
    for call in order(strace::parse(log)) {
        let first = Process { cwd: dir.to_owned(), ..Process::default() };
        let process = processes.entry(call.pid).or_insert(first).clone();
        match &*call.name {
            "fork" | "vfork" | "clone" | "clone3" => {
                if let Some(child) = call.number().filter(|_| call.is_ok()) {
                    if let Some(action) = process.action.and_then(|root| actions.get_mut(&root)) {
                        action.pids.insert(child);
                    }
                    processes.insert(child, process);
                }
                continue;
            }
            "chdir" | "fchdir" if call.is_ok() => {
                let to = call.text(0).or_else(|| call.descriptor_path(0)).unwrap_or_default();
                if let Some(process) = processes.get_mut(&call.pid) {
                    process.cwd = absolute(&to, &process.cwd);
                }
            }
            _ => {}
        }
        if process.program != RUNNER
            && let Some(action) = process.action.and_then(|root| actions.get_mut(&root))
        {
            for (path, look) in looks(&call, &process.cwd) {
                let entry = action.looks.entry(path).or_insert_with(|| (look, process.program.clone()));
                if entry.0 < look {
                    *entry = (look, process.program.clone());
                }
            }
        }
        if call.name == "execve" && call.is_ok() {
            let path = call.text(0).unwrap_or_default();
            let name = path.rsplit('/').next().unwrap_or_default().to_owned();
            // It executes what no preload reaches, too, inside of an action.
            let begins = name == RUNNER && call.list(1).is_none_or(|args| args.get(1).is_none_or(|kind| kind != WATCH));
            if begins {
                actions.insert(call.pid, Action { root: call.pid, pids: BTreeSet::from([call.pid]), ..Action::default() });
            }
            if let Some(process) = processes.get_mut(&call.pid) {
                if begins {
                    process.action = Some(call.pid);
                }
                process.program = name;
            }
        }
    }
    actions.into_values().collect()
}

/// A child may be seen before the call that made it has returned: puts such calls in front.
fn order(calls: Vec<Call>) -> Vec<Call> {
    let is_fork = |call: &Call| matches!(&*call.name, "fork" | "vfork" | "clone" | "clone3") && call.is_ok();
    let mut born_late: HashMap<u32, usize> = HashMap::new();
    let mut first_seen: HashMap<u32, usize> = HashMap::new();
    for (at, call) in calls.iter().enumerate() {
        first_seen.entry(call.pid).or_insert(at);
        if is_fork(call)
            && let Some(child) = call.number()
            && first_seen.contains_key(&child)
        {
            born_late.entry(child).or_insert(at);
        }
    }
    let mut keys: Vec<(usize, usize)> = (0..calls.len()).map(|at| (at, at)).collect();
    for (child, at) in born_late {
        if let Some(first) = first_seen.get(&child)
            && *first < at
        {
            // In front of the child's first call, and behind whatever came before that.
            keys[at].0 = *first;
            keys[at].1 = 0;
        }
    }
    let mut indexed: Vec<_> = calls.into_iter().zip(keys).collect();
    indexed.sort_by_key(|(_, key)| *key);
    indexed.into_iter().map(|(call, _)| call).collect()
}

/// The paths that a call looks at.
fn looks(call: &Call, cwd: &str) -> Vec<(String, Look)> {
    let at = |dir: usize, path: usize| {
        let path = call.text(path)?;
        if path.is_empty() {
            return None;
        }
        let base = call.descriptor_path(dir).unwrap_or_else(|| cwd.to_owned());
        Some(absolute(&path, &base))
    };
    let plain = |path: usize| call.text(path).filter(|path| !path.is_empty()).map(|path| absolute(&path, cwd));
    let found = match &*call.name {
        "open" | "openat" | "openat2" | "creat" => {
            let shift = usize::from(call.name.starts_with("openat"));
            let path = if shift == 1 { at(0, 1) } else { plain(0) };
            let flags = call.args.get(shift + 1).map(String::as_str).unwrap_or_default();
            // The content of what is written is an output, not an input; of a folder, listing is what counts.
            let reads = !flags.contains("O_WRONLY") && !flags.contains("O_DIRECTORY") && !flags.contains("O_PATH");
            let look = if call.is_ok() && reads && call.name != "creat" { Look::Read } else { Look::Seen };
            path.map(|path| (path, look))
        }
        "stat" | "lstat" | "access" | "readlink" => plain(0).map(|path| (path, Look::Seen)),
        "newfstatat" | "fstatat64" | "statx" | "faccessat" | "faccessat2" | "readlinkat" => {
            at(0, 1).map(|path| (path, Look::Seen))
        }
        "getdents" | "getdents64" => call.descriptor_path(0).map(|path| (absolute(&path, cwd), Look::Listed)),
        "execve" => plain(0).map(|path| (path, Look::Seen)),
        _ => None,
    };
    found.into_iter().collect()
}

/// Joins and normalises by text alone: `.`, `..`, and `/proc/self/cwd`.
fn absolute(path: &str, base: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let joined = match joined.strip_prefix("/proc/self/cwd") {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{base}{rest}"),
        _ => joined,
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Paths that traces need not hold, each with its reason.
#[derive(Debug)]
pub struct Ignores {
    paths: Vec<(globset::GlobMatcher, Option<String>)>,
    loader: Vec<globset::GlobMatcher>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IgnoresFile {
    ignore: Vec<Ignore>,
    loader: Vec<Loader>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ignore {
    path: String,
    program: Option<String>,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Loader {
    folder: String,
    reason: String,
}

impl Ignores {
    /// Those of `data/trace-ignores.toml`, where `{name}` stands for a folder of `places`.
    ///
    /// # Errors
    /// The file is not as it should be.
    pub fn load(places: &[(&str, &Path)]) -> Result<Self> {
        let path = host::data("trace-ignores.toml");
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let file: IgnoresFile = toml::from_str(&text).with_context(|| format!("`{}`", path.display()))?;
        let compile = |pattern: &str, reason: &str| -> Result<globset::GlobMatcher> {
            ensure!(!reason.trim().is_empty(), "`{pattern}` has no reason");
            let mut glob = pattern.to_owned();
            for (name, at) in places {
                glob = glob.replace(&format!("{{{name}}}"), &path_text(at)?);
            }
            Ok(globset::GlobBuilder::new(&glob).literal_separator(true).build()?.compile_matcher())
        };
        let path = |ignore: &Ignore| Ok((compile(&ignore.path, &ignore.reason)?, ignore.program.clone()));
        Ok(Self {
            paths: file.ignore.iter().map(path).collect::<Result<_>>()?,
            loader: file.loader.iter().map(|loader| compile(&loader.folder, &loader.reason)).collect::<Result<_>>()?,
        })
    }

    fn covers(&self, path: &str, look: Look, program: &str) -> bool {
        self.paths.iter().any(|(glob, by)| glob.is_match(path) && by.as_deref().is_none_or(|by| by == program))
            || (look == Look::Seen && loader_folder(path).is_some_and(|dir| self.loader.iter().any(|glob| glob.is_match(dir))))
    }
}

/// The folder of a library path that the dynamic loader searches when it looks at `path`: it tries each folder with and
/// without parts named after the processor, and looks at the folder itself where it finds nothing.
fn loader_folder(path: &str) -> Option<&str> {
    const PARTS: [&str; 7] = ["tls", "x86_64", "haswell", "glibc-hwcaps", "x86-64-v2", "x86-64-v3", "x86-64-v4"];
    let is_library = |name: &str| name.starts_with("lib") && (name.ends_with(".so") || name.contains(".so."));
    let mut folder = path;
    while let Some((parent, name)) = folder.rsplit_once('/') {
        let skip = PARTS.contains(&name) || (folder.len() == path.len() && is_library(name));
        if !skip {
            break;
        }
        folder = parent;
    }
    (!folder.is_empty()).then_some(folder)
}

/// What the actions looked at and the traces lack, a line each.
///
/// # Errors
/// An action has no trace at all.
pub fn missing(actions: &[Action], traces: &[Trace], ignores: &Ignores) -> Result<Vec<String>> {
    let mut lines = BTreeSet::new();
    for action in actions.iter().filter(|action| !action.looks.is_empty()) {
        let trace = traces
            .iter()
            .find(|trace| trace.pid == action.root)
            .or_else(|| traces.iter().find(|trace| trace.events.iter().any(|event| action.pids.contains(&event.pid))))
            .with_context(|| format!("the action of process {} has no trace: {:?}", action.root, action.looks.iter().next()))?;
        let known = known(trace);
        for (path, (look, program)) in &action.looks {
            let strongest = known.get(path).copied();
            if strongest.is_none_or(|known| known < *look) && !ignores.covers(path, *look, program) {
                lines.insert(format!("{program}: {look:?} {path} (traced: {strongest:?})"));
            }
        }
    }
    Ok(lines.into_iter().collect())
}

fn known(trace: &Trace) -> HashMap<String, Look> {
    let mut known = HashMap::new();
    for event in &trace.events {
        let look = match event.kind {
            // What is executed is an input with its content.
            EventKind::OpenRead | EventKind::OpenWrite | EventKind::Library | EventKind::Exec if event.errno == 0 => Look::Read,
            EventKind::List => Look::Listed,
            EventKind::Env | EventKind::Spawned | EventKind::Untraced => continue,
            _ => Look::Seen,
        };
        let entry = known.entry(absolute(&event.path, "/")).or_insert(look);
        *entry = (*entry).max(look);
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traces::Event;

    const LOG: &str = concat!(
        "1 execve(\"/usr/bin/cargo\", [\"cargo\"], 0x7 /* 1 vars */) = 0\n",
        "1 openat(AT_FDCWD</w>, \"Cargo.toml\", O_RDONLY) = 3</w/Cargo.toml>\n",
        "1 vfork( <unfinished ...>\n",
        "2 execve(\"/h/vrift-exec\", [\"x\"], 0x7 /* 1 vars */ <unfinished ...>\n",
        "1 <... vfork resumed>) = 2\n",
        "2 <... execve resumed>) = 0\n",
        "2 openat(AT_FDCWD</w>, \"/dev/shm/arena\", O_RDWR) = 3</dev/shm/arena>\n",
        "2 clone(child_stack=NULL) = 3\n",
        "3 execve(\"/r/rustc\", [\"rustc\"], 0x7 /* 1 vars */) = 0\n",
        "3 openat(AT_FDCWD</w>, \"src/../src/lib.rs\", O_RDONLY) = 3</w/src/lib.rs>\n",
        "3 chdir(\"src\") = 0\n",
        "3 access(\"x\", R_OK) = -1 ENOENT (No such file or directory)\n",
        "3 getdents64(4</w/src>, 0x5 /* 2 entries */, 32768) = 48\n",
    );

    #[test]
    fn actions_are_told_apart() {
        let actions = actions(LOG, "/w");
        assert_eq!(actions.len(), 1);
        let looks = &actions[0].looks;
        assert_eq!(looks.get("/w/src/lib.rs"), Some(&(Look::Read, "rustc".to_owned())));
        assert_eq!(looks.get("/w/src/x"), Some(&(Look::Seen, "rustc".to_owned())));
        assert_eq!(looks.get("/w/src"), Some(&(Look::Listed, "rustc".to_owned())));
        assert!(!looks.contains_key("/dev/shm/arena") && !looks.contains_key("/w/Cargo.toml"), "{looks:?}");
    }

    #[test]
    fn gaps_are_found() -> Result {
        let event = |kind, path: &str| Event { pid: 3, kind, errno: 0, path: path.to_owned() };
        let events = vec![event(EventKind::Stat, "/w/src/lib.rs"), event(EventKind::List, "/w/src")];
        let trace = Trace { name: "2-0".to_owned(), pid: 2, events };
        let missing = missing(&actions(LOG, "/w"), &[trace], &Ignores { paths: Vec::new(), loader: Vec::new() })?;
        assert_eq!(missing.len(), 2, "{missing:?}");
        assert!(missing[0].contains("Read /w/src/lib.rs (traced: Some(Seen))"), "{missing:?}");
        assert!(missing[1].contains("Seen /w/src/x (traced: None)"), "{missing:?}");
        Ok(())
    }

    #[test]
    fn ignores_are_narrow() -> Result {
        let home = Path::new("/h");
        let ignores =
            Ignores::load(&[("vrift", home), ("tmp", home), ("target", Path::new("/w/target")), ("sysroot", Path::new("/r/*"))])?;
        assert!(ignores.covers("/etc/ld.so.cache", Look::Read, "rustc"));
        let search = "/w/target/debug/deps/glibc-hwcaps/x86-64-v3/libgcc_s.so.1";
        assert!(ignores.covers(search, Look::Seen, "rustc") && !ignores.covers(search, Look::Read, "rustc"));
        assert!(
            ignores.covers("/w/target/debug/deps", Look::Seen, "x") && !ignores.covers("/w/target/debug/deps", Look::Listed, "x")
        );
        assert!(
            ignores.covers("/r/1.0-x/lib/tls/x86_64", Look::Seen, "rustc") && ignores.covers("/r/1.0-x/lib", Look::Seen, "rustc")
        );
        assert!(!ignores.covers("/w/src/arch/x86_64", Look::Seen, "rustc"));
        assert!(!ignores.covers("/w/target/debug/deps/libx.rlib", Look::Seen, "rustc"));
        Ok(())
    }
}
