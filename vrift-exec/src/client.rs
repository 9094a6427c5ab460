//! The worker's answers. Whatever goes wrong here, the command runs without vrift.

use std::io::{ErrorKind, IsTerminal};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;
use vrift_core::PROTOCOL_VERSION;
use vrift_core::context::Field;
use vrift_core::digest::Digest;
use vrift_core::wire::{
    self, AbandonParams, ConfirmParams, LookupParams, LookupResult, RecordParams, RecordResult, Reply, Request, method,
};

use crate::command::{self, Command};
use crate::nested;

/// How long after the start of its session a worker may take to listen. Counted from there, so that a worker that never comes
/// costs a build this once, and not each of its commands.
const START: Duration = Duration::from_secs(3);

/// Hex digits of a session's name that tell when it started, in milliseconds since 1970.
const SESSION_TIME_DIGITS: usize = 11;

/// The first wait between two attempts to connect; it doubles.
const FIRST_WAIT: Duration = Duration::from_micros(500);

/// An answer may wait for another build that runs the same action; the worker bounds that, and says all the while that it is
/// there: one that says nothing for [`wire::SILENCE`] is stopped or hangs.
const ANSWER: Duration = Duration::from_secs(90);

/// A connection to the project's worker.
pub struct Client {
    stream: UnixStream,
    next_id: u64,
}

impl Client {
    /// Connects; `None` where no worker answers.
    pub fn connect(command: &Command) -> Option<Self> {
        let deadline = Instant::now() + time_left(&command.session);
        let mut wait = FIRST_WAIT;
        loop {
            match wire::connect(&command.socket, wire::SILENCE) {
                Ok(stream) => return Some(Self { stream, next_id: 1 }),
                // It is another user's, or takes nobody on: it will be so later, too.
                Err(e) if matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::WouldBlock) => return None,
                Err(_) if Instant::now() + wait < deadline && is_starting(&command.socket) => std::thread::sleep(wait),
                Err(_) => return None,
            }
            wait *= 2;
        }
    }

    /// Asks for a result; `stdin` is a digest of the data on standard input, `surroundings` what else counts.
    pub fn lookup(&mut self, command: &Command, stdin: Option<Digest>, surroundings: &[String]) -> Option<LookupResult> {
        let params = LookupParams {
            protocol: PROTOCOL_VERSION,
            session: command.session.clone(),
            tool: command.tool,
            program: command.program.clone(),
            argv: command.argv.clone(),
            cwd: command.cwd.clone(),
            env: command.env.clone(),
            umask: command::umask(),
            roots: command.roots.clone(),
            recache: command.recache(),
            stdin,
            surroundings: surroundings.to_vec(),
            script: command.context().get(Field::Script).into(),
            plain_text: !std::io::stderr().is_terminal(),
            nested: nested::is_inside(command),
        };
        self.call(method::ACTION_LOOKUP, params)
    }

    /// Whether the result with this key, which was given last, still holds.
    pub fn confirm(&mut self, key: Digest) -> bool {
        self.call(method::ACTION_CONFIRM, ConfirmParams { key }).unwrap_or(false)
    }

    /// Hands in a result.
    pub fn record(&mut self, params: &RecordParams) -> Option<RecordResult> {
        self.call(method::ACTION_RECORD, params)
    }

    /// Says that there will be no result.
    pub fn abandon(&mut self, params: &AbandonParams) {
        let _ = wire::write_frame(&mut self.stream, &Request::notification(method::ACTION_ABANDON, params));
    }

    fn call<P: Serialize, R: DeserializeOwned>(&mut self, method: &str, params: P) -> Option<R> {
        let id = self.next_id;
        self.next_id += 1;
        wire::write_frame(&mut self.stream, &Request::new(method, params, id)).ok()?;
        let json = wire::read_answer(&mut self.stream, ANSWER, || ()).ok()?;
        let reply: Reply<R> = wire::decode(&json).ok()?;
        reply.result.filter(|_| reply.id == Some(id))
    }
}

/// What is left of [`START`].
fn time_left(session: &str) -> Duration {
    let started = session.get(..SESSION_TIME_DIGITS).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0);
    let age = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_millis(started)).unwrap_or_default();
    START.saturating_sub(age)
}

/// Whether waiting for the socket may help: the folder that it is to appear in is there.
fn is_starting(socket: &Path) -> bool {
    socket.parent().is_some_and(Path::is_dir)
}
