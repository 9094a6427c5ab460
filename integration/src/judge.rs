//! Which programs really ran: `strace -f -e trace=execve` is the judge, not vrift.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::Result;
use crate::command::{Cmd, Done};
use crate::strace;

/// A program that was executed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exec {
    /// The process.
    pub pid: u32,
    /// The program's path, as given.
    pub program: String,
    /// Its arguments, its name first.
    pub argv: Vec<String>,
}

impl Exec {
    /// The program's file name.
    pub fn name(&self) -> &str {
        self.program.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it does work that a second checkout must not do again: compile, assemble, link, archive, document, or run
    /// as a build script.
    pub fn is_work(&self) -> bool {
        const NAMES: [&str; 16] = [
            "rustc",
            "rustdoc",
            "clippy-driver",
            "cc1",
            "cc1plus",
            "collect2",
            "lto1",
            "lto-wrapper",
            "as",
            "ld",
            "lld",
            "rust-lld",
            "ld.lld",
            "mold",
            "ar",
            "ranlib",
        ];
        let name = self.name();
        let last = name.rsplit('-').find(|part| !part.bytes().all(|c| c.is_ascii_digit() || c == b'.')).unwrap_or(name);
        NAMES.contains(&name)
            || matches!(last, "cc" | "gcc" | "g++" | "c++" | "clang" | "clang++" | "ar" | "as" | "ld")
            || last.starts_with("ld.")
            || name.starts_with("build-script-")
    }

    /// What it compiles: the crate's name, with what Cargo adds to tell versions apart.
    pub fn crate_name(&self) -> Option<&str> {
        let at = self.argv.iter().position(|arg| arg == "--crate-name")?;
        self.argv.get(at + 1).map(String::as_str).filter(|name| *name != "___")
    }
}

/// A command with every program that it and its children executed.
#[derive(Clone, Debug)]
pub struct Judged {
    /// How it went.
    pub done: Done,
    /// What was executed, in order.
    pub execs: Vec<Exec>,
}

impl Judged {
    /// The programs that did work.
    pub fn work(&self) -> Vec<&Exec> {
        self.execs.iter().filter(|exec| exec.is_work()).collect()
    }

    /// The crates that a compiler ran for, each once (rustup's stand-in for `rustc` executes the real one).
    pub fn crates(&self) -> BTreeSet<String> {
        let compilers = self.execs.iter().filter(|exec| exec.is_work());
        compilers.filter_map(|exec| exec.crate_name().map(str::to_owned)).collect()
    }

    /// How often a program of that name was executed, once for each process.
    pub fn count(&self, name: &str) -> usize {
        let pids: BTreeSet<_> = self.execs.iter().filter(|exec| exec.name().starts_with(name)).map(|exec| exec.pid).collect();
        pids.len()
    }

    /// Fails where any program did work.
    ///
    /// # Errors
    /// Says which did.
    pub fn nothing_ran(&self) -> Result {
        let work = self.work();
        let lines: Vec<_> = work.iter().take(20).map(|exec| shorten(&exec.argv.join(" "), 300)).collect();
        ensure!(work.is_empty(), "{} programs ran that should not have:\n{}", work.len(), lines.join("\n"));
        Ok(())
    }

    /// Fails unless compilers ran for exactly these crates.
    ///
    /// # Errors
    /// Says for which they did.
    pub fn compiled_exactly(&self, names: &[&str]) -> Result {
        let expected: BTreeSet<_> = names.iter().map(|&name| name.to_owned()).collect();
        let found = self.crates();
        ensure!(found == expected, "compilers ran for {found:?}, expected {expected:?}\n{}", self.done.stderr);
        Ok(())
    }
}

fn shorten(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

impl Cmd {
    /// Runs it under the judge, and takes anything but success for an error. Daemons must run already: the judge waits
    /// for every process that it saw start.
    ///
    /// # Errors
    /// `strace` is missing, or the command fails.
    pub fn judged(&self) -> Result<Judged> {
        let judged = self.judged_any()?;
        ensure!(judged.done.status.success(), "`{self}`: {}\n{}", judged.done.status, judged.done.all());
        Ok(judged)
    }

    /// Runs it under the judge, whatever its end.
    ///
    /// # Errors
    /// `strace` is missing, or the command hangs.
    pub fn judged_any(&self) -> Result<Judged> {
        self.judged_by(&["--seccomp-bpf"])
    }

    /// As [`Cmd::judged`], where programs run that vrift traces by seccomp's notifications: those go before the faster way of
    /// `strace` to see calls.
    ///
    /// # Errors
    /// As there.
    pub fn judged_slowly(&self) -> Result<Judged> {
        let judged = self.judged_by(&[])?;
        ensure!(judged.done.status.success(), "`{self}`: {}\n{}", judged.done.status, judged.done.all());
        Ok(judged)
    }

    fn judged_by(&self, more: &[&str]) -> Result<Judged> {
        let log = tempfile::Builder::new().prefix("strace").tempfile_in(self.scratch())?;
        let options = ["-f", "-qq", "-s", "1000000", "-e", "trace=execve,execveat", "-e", "abbrev=none", "-e"];
        let options = more.iter().copied().chain(options).map(str::to_owned).chain(["signal=none".to_owned(), "-o".to_owned()]);
        let options = options.chain([path_text(log.path())?]);
        let done = self.clone().under("strace", options).run()?;
        let text = std::fs::read(log.path()).context("cannot read the log of strace")?;
        Ok(Judged { done, execs: execs(&String::from_utf8_lossy(&text)) })
    }
}

pub(crate) fn path_text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("`{}` is no text", path.display()))
}

fn execs(log: &str) -> Vec<Exec> {
    let read = |call: strace::Call| {
        let shift = usize::from(call.name == "execveat");
        call.is_ok().then(|| Exec {
            pid: call.pid,
            program: call.text(shift).unwrap_or_default(),
            argv: call.list(shift + 1).unwrap_or_default(),
        })
    };
    strace::parse(log).into_iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_recognised() {
        let exec = |program: &str| Exec { pid: 1, program: program.to_owned(), argv: Vec::new() };
        for program in [
            "/r/bin/rustc",
            "cc",
            "/usr/bin/x86_64-linux-gnu-gcc-12",
            "/usr/libexec/gcc/x/12/cc1",
            "collect2",
            "as",
            "/usr/bin/x86_64-linux-gnu-ld.bfd",
            "/t/build/x-1/build-script-build",
            "rustdoc",
            "clippy-driver",
            "gcc-ar-12",
        ] {
            assert!(exec(program).is_work(), "{program}");
        }
        for program in ["cargo", "vrift-exec", "git", "sh", "/t/debug/rg", "cargo-vrift", "strace"] {
            assert!(!exec(program).is_work(), "{program}");
        }
    }

    #[test]
    fn failed_searches_do_not_count() {
        let log = "1 execve(\"/a/rustc\", [\"rustc\"], []) = -1 ENOENT (No such file or directory)\n\
                   1 execve(\"/b/rustc\", [\"rustc\", \"--crate-name\", \"x\"], []) = 0\n";
        let judged = execs(log);
        assert_eq!(judged.len(), 1);
        assert_eq!(judged[0].crate_name(), Some("x"));
    }
}
