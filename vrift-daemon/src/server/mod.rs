//! Serving JSON-RPC over a Unix socket, a thread for each connection.
//!
//! # Threads
//! Threads wait in `accept` on the same socket; the one that gets a connection serves it itself, so nothing is handed over
//! and woken. The last one to leave `accept` sees to a successor first, so no client waits for another to finish. Where nobody
//! comes for [`LINGER`], one that has not served yet stays and the others end, with the memory that they have come to.
//!
//! # Limits
//! Other users are turned away, as are connections beyond [`MAX_CONNECTIONS`]. Frames have the wire's limit; a frame that
//! was begun has to arrive, and a reply to be taken, within [`incoming::FRAME_TIME`]; a connection that says nothing for
//! [`incoming::IDLE_TIME`], or [`incoming::CROWDED_TIME`] where connections get scarce, is closed unless its service waits for
//! it. A connection that asks faster than [`rate::RATE`] is slowed down.

mod feed;
mod incoming;
pub mod pulse;
mod rate;
mod rpc;

use std::io::{ErrorKind, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, setsockopt, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use vrift_core::wire::{FrameError, Reply, RpcError, code, encode};

pub use feed::feed;
use incoming::Incoming;
use rate::Bucket;
pub use rpc::{Call, error};

/// Connections served at a time. A build has one for each running compiler.
pub const MAX_CONNECTIONS: usize = 1024;

/// With so many, those that say nothing make room.
const CROWDED: usize = MAX_CONNECTIONS / 2;

/// Threads that may wait in `accept`.
const MAX_WAITING: usize = 8;

/// How long several threads wait in `accept` for nobody.
const LINGER: Duration = Duration::from_secs(10);

/// Stack of a serving thread.
const STACK: usize = 1 << 20;

/// What a daemon does with requests.
pub trait Service: Send + Sync + 'static {
    /// State of one connection.
    type Session: Send;

    /// Process `peer` connected.
    fn open(&self, peer: i32) -> Self::Session;

    /// Answers one request: a whole frame, as [`Call::reply`] makes it.
    ///
    /// # Errors
    /// What the client is to be told.
    fn call(&self, session: &mut Self::Session, call: &Call<'_>) -> Result<Vec<u8>, RpcError>;

    /// The answer is on its way; time for what the client need not wait for.
    fn answered(&self, _session: &mut Self::Session) {}

    /// Whether a connection that is silent for long must stay.
    fn awaited(&self, _session: &Self::Session) -> bool {
        false
    }

    /// The client is gone.
    fn closed(&self, session: Self::Session);
}

/// A listening daemon.
pub struct Server<S> {
    listener: UnixListener,
    service: Arc<S>,
    activity: Arc<Activity>,
    waiting: AtomicUsize,
}

/// How busy a server is.
#[derive(Default)]
pub struct Activity {
    connections: AtomicUsize,
    accepted: AtomicU64,
}

impl Activity {
    /// Open connections.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections accepted since the start; a watcher that sees the same number twice saw nobody come.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }
}

impl<S: Service> Server<S> {
    /// Serves `listener` in threads of their own, until the process ends.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn start(listener: UnixListener, service: Arc<S>, activity: Arc<Activity>) -> std::io::Result<()> {
        setsockopt(&listener, sockopt::ReceiveTimeout, &TimeVal::seconds(LINGER.as_secs().cast_signed()))?;
        let server = Arc::new(Self { listener, service, activity, waiting: AtomicUsize::new(0) });
        Self::add_thread(&server)
    }

    fn add_thread(server: &Arc<Self>) -> std::io::Result<()> {
        let own = Arc::clone(server);
        server.waiting.fetch_add(1, Ordering::SeqCst);
        let started = thread::Builder::new().name("client".to_owned()).stack_size(STACK).spawn(move || own.accept_loop());
        if started.is_err() {
            server.waiting.fetch_sub(1, Ordering::SeqCst);
        }
        started.map(drop)
    }

    /// Enters with this thread counted in `waiting`.
    fn accept_loop(self: Arc<Self>) {
        let mut served = false;
        loop {
            let accepted = self.listener.accept();
            if matches!(&accepted, Err(e) if e.kind() == ErrorKind::WouldBlock) {
                let one_less = |waiting| (waiting > 1).then(|| waiting - 1);
                if self.waiting.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
                    return;
                }
                if served && Self::add_thread(&self).is_ok() {
                    self.waiting.fetch_sub(1, Ordering::SeqCst);
                    return;
                }
                continue;
            }
            served = true;
            let was_last = self.waiting.fetch_sub(1, Ordering::SeqCst) == 1;
            match accepted {
                Ok((stream, _)) => {
                    if was_last && let Err(e) = Self::add_thread(&self) {
                        tracing::warn!("cannot start another thread, clients wait: {e}");
                    }
                    self.activity.accepted.fetch_add(1, Ordering::Relaxed);
                    let open = self.activity.connections.fetch_add(1, Ordering::SeqCst);
                    // The guard counts down even where the service panics.
                    let _open = CountDown(&self.activity.connections);
                    self.serve(&Rc::new(stream), open >= MAX_CONNECTIONS);
                }
                // Out of descriptors or memory: let running clients finish.
                Err(e) => {
                    tracing::warn!("accept: {e}");
                    thread::sleep(Duration::from_millis(10));
                }
            }
            if self.waiting.fetch_add(1, Ordering::SeqCst) >= MAX_WAITING {
                self.waiting.fetch_sub(1, Ordering::SeqCst);
                return;
            }
        }
    }

    fn serve(&self, stream: &Rc<UnixStream>, full: bool) {
        let peer = match getsockopt(&**stream, sockopt::PeerCredentials) {
            Ok(peer) if peer.uid() == nix::unistd::geteuid().as_raw() => peer.pid(),
            Ok(peer) => return tracing::warn!("refused a connection of user {}", peer.uid()),
            Err(e) => return tracing::warn!("refused a connection without credentials: {e}"),
        };
        let Ok(mut incoming) = Incoming::new(stream) else { return };
        if full {
            return send_error(stream, code::LIMIT, format!("over {MAX_CONNECTIONS} connections"), None);
        }
        let mut session = self.service.open(peer);
        let mut bucket = Bucket::new(Instant::now());
        let crowded = || self.activity.connections() >= CROWDED;
        loop {
            match incoming.next(|| self.service.awaited(&session), crowded) {
                Ok(Some(json)) => {
                    let wait = bucket.take(Instant::now());
                    if !wait.is_zero() {
                        thread::sleep(wait);
                    }
                    if let Some(frame) = rpc::dispatch(&*self.service, &mut session, json, |id| pulse::working(stream, id))
                        && let Err(e) = (&mut &**stream).write_all(&frame)
                    {
                        tracing::debug!("a client did not take its answer: {e}");
                        break;
                    }
                    self.service.answered(&mut session);
                }
                Ok(None) | Err(FrameError::Closed) => break,
                Err(e @ FrameError::TooLong(_)) => {
                    send_error(stream, code::LIMIT, e.to_string(), None);
                    break;
                }
                Err(FrameError::Io(e)) => {
                    tracing::debug!("a connection broke: {e}");
                    break;
                }
            }
        }
        self.service.closed(session);
    }
}

struct CountDown<'a>(&'a AtomicUsize);

impl Drop for CountDown<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn send_error(mut stream: &UnixStream, code: i32, message: String, id: Option<u64>) {
    if let Ok(frame) = encode(&Reply::<()>::err(code, message, id)) {
        let _ = stream.write_all(&frame);
    }
}
