//! `vrift daemon`: `vriftd` as a service of this user's systemd. A choice, never a need: without it, builds start `vriftd`
//! themselves.

mod log;
mod systemctl;
mod units;

use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use vrift_core::home::Home;
use vrift_daemon::processes;

use super::stop;
use crate::args::Daemon;
use crate::error::Error;
use crate::{daemon, front, say};
pub use units::Units;

/// Does what was asked.
///
/// # Errors
/// Where files cannot be read or written, or systemd refuses.
pub fn run(args: &Daemon) -> Result<ExitCode, Error> {
    let cwd = std::env::current_dir().map_err(|source| Error::File { action: "find", path: ".".into(), source })?;
    let (home, _) = front::load(&cwd, None)?;
    match args {
        Daemon::Install => install(&home)?,
        Daemon::Uninstall => uninstall(&home)?,
        Daemon::Status(output) => {
            let status = status(&home)?;
            if output.json {
                say::json(&status)?;
            } else {
                say::out(&text(&status));
            }
        }
        Daemon::Log(args) => log::print(&home, usize::from(args.lines))?,
    }
    Ok(ExitCode::SUCCESS)
}

fn install(home: &Home) -> Result<(), Error> {
    let units = Units::find()?;
    let vriftd = std::path::absolute(daemon::vriftd()?).map_err(|e| Error::Other(format!("no path to vriftd: {e}")))?;
    units.write(&vriftd, home)?;
    say::line(format_args!("wrote {} and {}", units.service().display(), units.socket().display()));
    if !systemctl::answers() {
        let by_hand = systemctl::BY_HAND;
        say::line(format_args!("no systemd answers for this user here; where one does: {by_hand}"));
        say::line("until then builds start vriftd themselves, as without units");
        return Ok(());
    }
    systemctl::run(&["daemon-reload"])?;
    rest(home)?;
    systemctl::run(&["enable", "--now", systemctl::SOCKET])?;
    say::line(
        "systemd listens, and starts vriftd when a build comes; after the last logout it stops both, unless `loginctl enable-linger`",
    );
    Ok(())
}

fn uninstall(home: &Home) -> Result<(), Error> {
    let units = Units::find()?;
    let answers = systemctl::answers();
    if answers && units.are_installed() {
        rest(home)?;
        systemctl::run(&["disable", "--now", systemctl::SOCKET])?;
    }
    match units.remove()? {
        true => say::line("removed the units; builds start vriftd themselves"),
        false => say::line("no units are installed"),
    }
    if answers {
        systemctl::run(&["daemon-reload"])?;
    }
    Ok(())
}

/// Ends whatever runs, so that the socket is free for another owner. Of units that do not run yet systemd knows nothing to stop.
fn rest(home: &Home) -> Result<(), Error> {
    for unit in [systemctl::SOCKET, systemctl::SERVICE] {
        let _ = systemctl::run(&["stop", unit]);
    }
    stop::stop_all(home).map(drop)
}

/// What `--json` prints.
#[derive(Serialize)]
struct Status {
    installed: bool,
    service: String,
    socket: String,
    /// Nothing where no systemd answers.
    systemd: Option<Systemd>,
    /// The coordinator's process.
    pid: Option<u32>,
}

#[derive(Serialize)]
struct Systemd {
    /// `active` where it listens.
    socket: String,
    /// `enabled` where it will listen after the next login.
    socket_enabled: String,
    service: String,
    /// The process that it started.
    pid: Option<u32>,
}

fn status(home: &Home) -> Result<Status, Error> {
    let units = Units::find()?;
    let shown = |path: &Path| path.display().to_string();
    let systemd = systemctl::answers().then(|| {
        let (socket, socket_enabled) = systemctl::state(systemctl::SOCKET);
        Systemd { socket, socket_enabled, service: systemctl::state(systemctl::SERVICE).0, pid: systemctl::main_pid() }
    });
    Ok(Status {
        installed: units.are_installed(),
        service: shown(&units.service()),
        socket: shown(&units.socket()),
        systemd,
        pid: processes::coordinator_of(home),
    })
}

fn text(status: &Status) -> String {
    let mut out = String::new();
    let Status { service, socket, .. } = status;
    let _ = match status.installed {
        true => writeln!(out, "units    {service}\n         {socket}"),
        false => writeln!(out, "units    not installed; `vrift daemon install` writes them"),
    };
    let _ = match &status.systemd {
        Some(Systemd { socket, socket_enabled, service, .. }) if status.installed => {
            writeln!(out, "systemd  vriftd.socket is {socket} and {socket_enabled}, vriftd.service is {service}")
        }
        Some(_) => writeln!(out, "systemd  answers"),
        None => writeln!(out, "systemd  none answers for this user here"),
    };
    let by_systemd = status.systemd.as_ref().and_then(|systemd| systemd.pid);
    let _ = match status.pid {
        Some(pid) if by_systemd == Some(pid) => writeln!(out, "vriftd   running: pid {pid}, started by systemd"),
        Some(pid) => writeln!(out, "vriftd   running: pid {pid}, started by a build"),
        None => writeln!(out, "vriftd   not running; the next build starts it"),
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_says_who_started_it() {
        let systemd = |pid| Systemd { socket: "active".into(), socket_enabled: "enabled".into(), service: "active".into(), pid };
        let mut status =
            Status { installed: true, service: "/s".into(), socket: "/t".into(), systemd: Some(systemd(Some(7))), pid: Some(7) };
        assert!(text(&status).contains("started by systemd") && text(&status).contains("active and enabled"));
        status.systemd = Some(systemd(None));
        assert!(text(&status).contains("started by a build"));
        (status.systemd, status.pid, status.installed) = (None, None, false);
        assert!(text(&status).contains("none answers") && text(&status).contains("not installed"));
    }
}
