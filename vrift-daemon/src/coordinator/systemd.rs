//! Being a service of systemd: the socket that it hands over, and what it wants to hear. Where `vriftd` is no such service,
//! nothing here does anything.
//!
//! Sources: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).

use std::cell::Cell;
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::process;
use std::time::Duration;

use listenfd::ListenFd;

use crate::process::check_listening;

/// What systemd calls our socket where several are handed over: the name of its unit.
const NAME: &str = "vriftd.socket";

/// The listening socket that systemd hands over, if it does. To be asked before descriptors are closed and threads started.
///
/// # Errors
/// What is handed over is no listening Unix socket.
pub fn listener() -> io::Result<Option<UnixListener>> {
    // Without a number they may be meant for anybody.
    if own_number("LISTEN_PID") != Some(true) {
        return Ok(None);
    }
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let at = names.split(':').position(|name| name == NAME).unwrap_or(0);
    let listener = ListenFd::from_env().take_unix_listener(at)?;
    listener.as_ref().map_or(Ok(()), check_listening)?;
    Ok(listener)
}

/// Whether clients that connect to `path` come to `listener`.
pub fn is_at(listener: &UnixListener, path: &Path) -> bool {
    let real = |path: &Path| Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?));
    let bound = listener.local_addr().ok();
    bound.as_ref().and_then(SocketAddr::as_pathname).is_some_and(|bound| real(bound).is_some() && real(bound) == real(path))
}

/// Whoever started this process and wants to hear how it is.
pub struct Manager {
    to: Option<SocketAddr>,
    watchdog: Option<Duration>,
    workers: Cell<Option<usize>>,
}

impl Manager {
    /// The one that the environment names.
    pub fn from_env() -> Self {
        let to = env::var_os("NOTIFY_SOCKET").and_then(|name| address(&name));
        let usec = env::var("WATCHDOG_USEC").ok().and_then(|text| text.parse().ok()).filter(|usec| *usec > 0);
        let watchdog = usec.filter(|_| own_number("WATCHDOG_PID") != Some(false)).map(Duration::from_micros);
        Self { to, watchdog, workers: Cell::new(None) }
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.to.is_some()
    }

    /// How often it wants to hear something, at most `otherwise` apart: twice in the time that it waits.
    pub fn interval(&self, otherwise: Duration) -> Duration {
        self.watchdog.map_or(otherwise, |watchdog| otherwise.min(watchdog / 2))
    }

    /// Clients are served.
    pub fn ready(&self) {
        self.tell("READY=1\nSTATUS=Ready\n");
    }

    /// All is well, and so many workers live.
    pub fn alive(&self, workers: usize) {
        let mut text = String::new();
        if self.watchdog.is_some() {
            text += "WATCHDOG=1\n";
        }
        if self.workers.replace(Some(workers)) != Some(workers) {
            text += &format!("STATUS=Projects that are looked after: {workers}\n");
        }
        if !text.is_empty() {
            self.tell(&text);
        }
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Writing down what is left\n");
    }

    fn tell(&self, text: &str) {
        let Some(to) = &self.to else { return };
        let told = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.send_to_addr(text.as_bytes(), to)
        });
        if let Err(e) = told {
            tracing::warn!("the service manager cannot be told: {e}");
        }
    }
}

/// Names that start with `@` are in no folder.
fn address(name: &OsStr) -> Option<SocketAddr> {
    match name.as_bytes() {
        [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest).ok(),
        _ => SocketAddr::from_pathname(name).ok(),
    }
}

/// Whether the variable names this process; `None` where it is not set.
fn own_number(variable: &str) -> Option<bool> {
    Some(env::var(variable).ok()?.parse() == Ok(process::id()))
}
