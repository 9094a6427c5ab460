//! Asking this user's systemd.

use std::process::{Command, Stdio};

use crate::error::Error;

/// The units that vrift has.
pub const SOCKET: &str = "vriftd.socket";
/// See [`SOCKET`].
pub const SERVICE: &str = "vriftd.service";

/// What people type where systemd does not run yet.
pub const BY_HAND: &str = "systemctl --user daemon-reload && systemctl --user enable --now vriftd.socket";

/// Whether one answers: a container, or a shell without a login session, mostly has none.
pub fn answers() -> bool {
    ask(&["show", "--property=Version"]).is_some()
}

/// What `systemctl --user` prints; `None` where it fails.
fn ask(args: &[&str]) -> Option<String> {
    let output = command(args).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Does something.
///
/// # Errors
/// What `systemctl` says.
pub fn run(args: &[&str]) -> Result<(), Error> {
    let fail = |what: &str| Error::Other(format!("`systemctl --user {}` failed: {what}", args.join(" ")));
    let output = command(args).stdin(Stdio::null()).output().map_err(|e| fail(&e.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(fail(said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it does not say why").trim()))
}

/// How a unit is: `active`, `inactive`, `failed`, … and whether it is `enabled`.
pub fn state(unit: &str) -> (String, String) {
    let property = |name: &str| ask(&["show", "--value", "--property", name, unit]).unwrap_or_default();
    (property("ActiveState"), property("UnitFileState"))
}

/// The process of the service, where it runs.
pub fn main_pid() -> Option<u32> {
    ask(&["show", "--value", "--property=MainPID", SERVICE])?.parse().ok().filter(|pid| *pid > 0)
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new("systemctl");
    command.arg("--user").args(args);
    command
}
