//! Checks of the programs: Cargo, rustc, the shim and `vrift-exec`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use vrift_core::arena::{ArenaFile, DEFAULT_CAPACITY, read_trace};
use vrift_core::context::{Context, Field};
use vrift_core::env;
use vrift_core::event::EventKind;

use super::{Check, shown};
use crate::parts::Parts;
use crate::program::{self, Reach};

/// Cargo and rustc.
pub fn checks() -> Vec<Check> {
    vec![tool("cargo", cargo()), tool("rustc", find("rustc"))]
}

fn cargo() -> Option<PathBuf> {
    std::env::var_os("CARGO").filter(|cargo| !cargo.is_empty()).map(PathBuf::from).or_else(|| find("cargo"))
}

fn find(name: &str) -> Option<PathBuf> {
    program::find(OsStr::new(name), std::env::var_os("PATH").as_deref())
}

/// Whether a tool is there, runs, and takes the shim.
fn tool(name: &'static str, file: Option<PathBuf>) -> Check {
    let Some(file) = file else {
        return Check::fail(name, "not in PATH", "install Rust (https://rustup.rs) or add its bin folder to PATH");
    };
    let version = match Command::new(&file).arg("-V").stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        Ok(output) => return Check::fail(name, format!("{} -V: {}", shown(&file), output.status), "install it again"),
        Err(e) => return Check::fail(name, format!("{} cannot be run: {e}", shown(&file)), "install it again"),
    };
    let text = format!("{version} at {}", shown(&file));
    match program::reach(&file) {
        Reach::Loaded => Check::ok(name, text),
        Reach::Static => {
            Check::warn(name, format!("{text}: a static program"), "vrift sees only the dynamic programs that it starts")
        }
        Reach::Foreign(loader) => Check::fail(
            name,
            format!("{text}: a program of another C library ({})", shown(&loader)),
            "use a toolchain for the target *-linux-gnu",
        ),
        Reach::Unknown => Check::warn(name, format!("{text}: of an unknown kind"), "vrift may not see what it runs"),
    }
}

/// Runs a program with the shim and looks whether it reports.
pub fn shim(parts: &Parts) -> Check {
    const NAME: &str = "shim";
    let arena = match ArenaFile::create(DEFAULT_CAPACITY) {
        Ok(arena) => arena,
        Err(e) => {
            return Check::fail(NAME, format!("no shared memory for a trace: {e}"), "raise the limit on memory (ulimit -v)");
        }
    };
    let path = arena.path();
    let output = command(Path::new("/bin/sh"), parts, path.as_bytes()).args(["-c", ":"]).env("LD_PRELOAD", &parts.shim).output();
    let said = match output {
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(e) => return Check::fail(NAME, format!("`/bin/sh` cannot be run: {e}"), "repair the system"),
    };
    let signed_in = read_trace(arena.map()).is_ok_and(|t| t.events.iter().any(|event| event.kind == EventKind::SignIn));
    match (signed_in, said.is_empty()) {
        (true, true) => Check::ok(NAME, format!("loads from {}", shown(&parts.shim))),
        (true, false) => Check::warn(NAME, format!("loads, and `/bin/sh` says: {said}"), "see what else is in LD_PRELOAD"),
        (false, _) => Check::fail(
            NAME,
            format!("{} does not load into `/bin/sh` {said}", shown(&parts.shim)),
            "is its folder mounted noexec, or the C library older than vrift's? Set VRIFT_HOME elsewhere, or build vrift here",
        ),
    }
}

/// Runs a program through `vrift-exec`, without a worker.
pub fn exec(parts: &Parts) -> Check {
    const NAME: &str = "vrift-exec";
    let started = command(&parts.exec, parts, b"").args(["script", "/bin/sh", "sh", "-c", "exit 7"]).output();
    match started {
        Ok(output) if output.status.code() == Some(7) => Check::ok(NAME, format!("runs from {}", shown(&parts.exec))),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Check::fail(NAME, format!("{}: {} {said}", shown(&parts.exec), output.status), "install vrift again")
        }
        Err(e) => Check::fail(
            NAME,
            format!("{} cannot be run: {e}", shown(&parts.exec)),
            "is its folder mounted noexec? Set VRIFT_HOME elsewhere",
        ),
    }
}

/// A command with a context that names no worker.
fn command(file: &Path, parts: &Parts, arena: &[u8]) -> Command {
    use std::os::unix::ffi::OsStrExt;
    let context = Context::empty()
        .with(Field::Exec, parts.exec.as_os_str().as_bytes())
        .with(Field::Shim, parts.shim.as_os_str().as_bytes())
        .with(Field::Arena, arena)
        .with(Field::Session, b"0000000000000000")
        .with(Field::Socket, b"/nonexistent/vrift.sock")
        .with(Field::Source, b"/nonexistent")
        .encode();
    let mut command = Command::new(file);
    command.env_remove("LD_PRELOAD").env(env::CONTEXT, OsStr::from_bytes(&context)).stdin(Stdio::null());
    command
}
