//! The worker's way to the coordinator.
//!
//! Connections are kept and shared; a lease keeps the one that it was taken on. Where the coordinator is gone, calls fail at
//! once, and a thread starts another one, with growing pauses. No client ever waits for that.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use vrift_core::digest::Digest;
use vrift_core::home::Home;
use vrift_core::wire::{LeaseParams, LeaseResult, method};

use crate::client::{ClientError, Connection, ensure_coordinator};
use crate::server::pulse;
use crate::sync::lock;

/// How long an ordinary answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// What a lease's answer may take on top of the wait that was asked for.
const LEASE_SLACK: Duration = Duration::from_secs(2);

/// How long the coordinator may be silent while a client waits here: less than that client takes silence.
const SILENCE: Duration = Duration::from_secs(1);

/// How long a coordinator that is started may take to answer.
const START: Duration = Duration::from_secs(5);

/// The first pause after a failure; it doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// See [`FIRST_PAUSE`].
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Connections kept for the next call.
const MAX_IDLE: usize = 8;

/// Why the coordinator did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It is gone; another one is on its way.
    #[error("the coordinator is not running")]
    Down,
    /// It said no.
    #[error(transparent)]
    Refused(#[from] vrift_core::wire::RpcError),
}

/// See the module.
pub struct Upstream {
    home: Home,
    /// What to start where no coordinator runs; without it, none is started.
    program: Option<PathBuf>,
    idle: Mutex<Vec<Connection>>,
    pause: Mutex<Pause>,
    starting: AtomicBool,
    ending: AtomicBool,
}

struct Pause {
    until: Option<Instant>,
    next: Duration,
}

/// The right to compute something, which ends with its connection.
pub struct Lease {
    connection: Connection,
    work: Digest,
}

impl Upstream {
    /// Not yet connected.
    pub fn new(home: Home, program: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            home,
            program,
            idle: Mutex::default(),
            pause: Mutex::new(Pause { until: None, next: FIRST_PAUSE }),
            starting: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        })
    }

    /// Whether the coordinator answered when it was last asked, or was not asked yet.
    pub fn is_up(&self) -> bool {
        lock(&self.pause).until.is_none()
    }

    /// Nobody has asked for a while: no connection is kept.
    pub fn rest(&self) {
        lock(&self.idle).clear();
    }

    /// From now on no coordinator is started: this worker ends, and so may everything.
    pub fn retire(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }

    /// Calls a method.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn call<P: Serialize, R: DeserializeOwned>(self: &Arc<Self>, method: &str, params: &P) -> Result<R, Failure> {
        self.with_connection(ANSWER, |connection| connection.call(method, params)).map(|(result, connection)| {
            self.keep(connection);
            result
        })
    }

    /// Asks for the right to compute `work`, and waits for at most `wait` while another one has it. The client that this thread
    /// serves hears that it waits for as long as the coordinator says so.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn lease(self: &Arc<Self>, work: Digest, wait: Duration) -> Result<(LeaseResult, Option<Lease>), Failure> {
        let params = LeaseParams { key: work, wait_ms: Some(wait.as_millis().try_into().unwrap_or(u64::MAX)) };
        let (result, mut connection) = self.with_connection(SILENCE, |connection| {
            // A socket that refuses the option refuses the call, too.
            let _ = connection.set_timeout(SILENCE);
            connection.call_within(wait + LEASE_SLACK, pulse::beat, method::LEASE_ACQUIRE, &params)
        })?;
        let _ = connection.set_timeout(ANSWER);
        if result == LeaseResult::Granted {
            return Ok((result, Some(Lease { connection, work })));
        }
        self.keep(connection);
        Ok((result, None))
    }

    /// Ends a lease: whoever waits for it goes on once what was sent before is stored.
    pub fn end(self: &Arc<Self>, lease: Lease) {
        let Lease { mut connection, work } = lease;
        let params = LeaseParams { key: work, wait_ms: None };
        // Where this fails the connection closes, which ends the lease as well.
        if connection.call::<_, bool>(method::LEASE_RELEASE, &params).is_ok() {
            self.keep(connection);
        }
    }

    /// Calls a method on the lease's own connection.
    ///
    /// # Errors
    /// See [`Failure`].
    pub fn call_on<P: Serialize, R: DeserializeOwned>(
        self: &Arc<Self>,
        lease: &mut Lease,
        method: &str,
        params: &P,
    ) -> Result<R, Failure> {
        lease.connection.call(method, params).map_err(|e| self.judge(e))
    }

    fn with_connection<R>(
        self: &Arc<Self>,
        timeout: Duration,
        act: impl Fn(&mut Connection) -> Result<R, ClientError>,
    ) -> Result<(R, Connection), Failure> {
        // A kept connection may be one to a coordinator that has ended since: then a new one gets the call.
        let kept = lock(&self.idle).pop();
        if let Some(mut connection) = kept {
            match act(&mut connection) {
                Ok(result) => return Ok((result, connection)),
                Err(ClientError::Rpc(e)) => return Err(Failure::Refused(e)),
                // One that is there and says nothing says no more on another connection.
                Err(e) if e.is_silence() => return Err(self.judge(e)),
                Err(_) => lock(&self.idle).clear(),
            }
        }
        if lock(&self.pause).until.is_some_and(|until| Instant::now() < until) {
            return Err(Failure::Down);
        }
        let mut connection = Connection::connect(&self.home.coordinator_socket(), timeout).map_err(|e| self.judge(e))?;
        match act(&mut connection) {
            Ok(result) => {
                *lock(&self.pause) = Pause { until: None, next: FIRST_PAUSE };
                Ok((result, connection))
            }
            Err(e) => Err(self.judge(e)),
        }
    }

    fn keep(&self, connection: Connection) {
        let mut idle = lock(&self.idle);
        if idle.len() < MAX_IDLE {
            idle.push(connection);
        }
    }

    /// What an error means; one that means that the coordinator is gone brings another one up.
    fn judge(self: &Arc<Self>, error: ClientError) -> Failure {
        if let ClientError::Rpc(e) = error {
            return Failure::Refused(e);
        }
        tracing::warn!("{error}");
        let mut pause = lock(&self.pause);
        pause.until = Some(Instant::now() + pause.next);
        pause.next = (pause.next * 2).min(MAX_PAUSE);
        drop(pause);
        self.start();
        Failure::Down
    }

    fn start(self: &Arc<Self>) {
        let Some(program) = self.program.clone() else { return };
        if self.ending.load(Ordering::SeqCst) || self.starting.swap(true, Ordering::SeqCst) {
            return;
        }
        let upstream = Arc::clone(self);
        let starter = thread::Builder::new().name("starter".to_owned()).spawn(move || {
            match ensure_coordinator(&upstream.home, &program, START) {
                Ok(connection) => {
                    upstream.keep(connection);
                    *lock(&upstream.pause) = Pause { until: None, next: FIRST_PAUSE };
                }
                Err(e) => tracing::warn!("{e}"),
            }
            upstream.starting.store(false, Ordering::SeqCst);
        });
        if starter.is_err() {
            self.starting.store(false, Ordering::SeqCst);
        }
    }
}
