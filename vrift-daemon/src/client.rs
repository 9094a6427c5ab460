//! Talking to the daemons: blocking, without a runtime.
//!
//! A front end calls [`ensure_coordinator`], then [`open_project`]; what it gets names the worker's socket. Whatever fails
//! here means one thing to a build: go on without vrift.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use vrift_core::PROTOCOL_VERSION;
use vrift_core::bytes::ByteText;
use vrift_core::home::Home;
use vrift_core::root::Project;
use vrift_core::wire::{
    self, FrameError, HelloParams, HelloResult, ProjectOpenParams, ProjectOpenResult, Reply, Request, RpcError, ShutdownParams,
    ShutdownResult, method,
};

use crate::build;
use crate::process::clean_command;

/// Why a daemon did not answer as wanted.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens at the socket.
    #[error("no daemon answers at {}: {source}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The connection failed, or the other side was silent for too long.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The daemon answered with an error.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The answer is none to what was asked.
    #[error("the daemon's answer to `{method}` makes no sense: {what}")]
    Nonsense {
        /// What was asked.
        method: String,
        /// What is wrong.
        what: String,
    },
    /// The coordinator speaks another protocol and stays.
    #[error("the running vriftd speaks protocol {theirs}, this program {PROTOCOL_VERSION}")]
    Version {
        /// Its protocol version.
        theirs: u32,
    },
    /// The coordinator could not be started.
    #[error("cannot start {}: {what}", program.display())]
    Start {
        /// Its program.
        program: PathBuf,
        /// What it or the kernel said.
        what: String,
    },
}

/// The longest that anything may take that is asked of a daemon, however much it says that it is at work.
const LONGEST: Duration = Duration::from_secs(600);

impl ClientError {
    /// Whether the daemon is there and says nothing.
    pub fn is_silence(&self) -> bool {
        let (Self::Unreachable { source, .. } | Self::Frame(FrameError::Io(source))) = self else { return false };
        matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
    }
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    next_id: u64,
}

impl Connection {
    /// Connects to the daemon at `socket`, which may not be silent for longer than `timeout` when something is asked of it.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub fn connect(socket: &Path, timeout: Duration) -> Result<Self, ClientError> {
        match wire::connect(socket, timeout) {
            Ok(stream) => Ok(Self { stream, next_id: 1 }),
            Err(source) => Err(ClientError::Unreachable { path: socket.to_owned(), source }),
        }
    }

    /// Sets how long silence may last from now on.
    ///
    /// # Errors
    /// What the socket gives.
    pub fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(timeout.max(Duration::from_millis(1))))
    }

    /// Calls `method` and waits for its answer.
    ///
    /// # Errors
    /// See [`ClientError`]; after any but [`ClientError::Rpc`] the connection is of no more use.
    pub fn call<P: Serialize, R: DeserializeOwned>(&mut self, method: &str, params: &P) -> Result<R, ClientError> {
        self.call_within(LONGEST, || (), method, params)
    }

    /// The same for at most `longest`; `alive` is told each time that the daemon says that it is at work.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn call_within<P: Serialize, R: DeserializeOwned>(
        &mut self,
        longest: Duration,
        alive: impl FnMut(),
        method: &str,
        params: &P,
    ) -> Result<R, ClientError> {
        let id = self.next_id;
        self.next_id += 1;
        wire::write_frame(&mut self.stream, &Request::new(method, params, id))?;
        let json = wire::read_answer(&mut self.stream, longest, alive)?;
        let nonsense = |what: String| ClientError::Nonsense { method: method.to_owned(), what };
        let reply: Reply<R> = serde_json::from_slice(&json).map_err(|e| nonsense(e.to_string()))?;
        match reply {
            Reply { error: Some(e), .. } => Err(e.into()),
            Reply { id: got, .. } if got != Some(id) => Err(nonsense(format!("it answers request {got:?}, not {id}"))),
            Reply { result: Some(result), .. } => Ok(result),
            Reply { .. } => Err(nonsense("neither result nor error".to_owned())),
        }
    }

    /// Calls `method` without waiting.
    ///
    /// # Errors
    /// [`ClientError::Frame`].
    pub fn notify<P: Serialize>(&mut self, method: &str, params: &P) -> Result<(), ClientError> {
        Ok(wire::write_frame(&mut self.stream, &Request::notification(method, params))?)
    }

    /// Says who is calling and learns who answers.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn hello(&mut self, build: &str) -> Result<HelloResult, ClientError> {
        self.call(method::HELLO, &HelloParams { protocol: PROTOCOL_VERSION, build: build.to_owned() })
    }

    /// Asks the daemon to end.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub fn shutdown(&mut self, only_if_idle: bool) -> Result<ShutdownResult, ClientError> {
        self.call(method::SHUTDOWN, &ShutdownParams { only_if_idle })
    }
}

/// Connects to this user's coordinator, which is started from the program `vriftd` where none answers. A coordinator of
/// another build makes room for this one: at once where its protocol differs, else when it serves nobody.
///
/// # Errors
/// [`ClientError::Start`] where it cannot be started or does not answer within `timeout`, and as [`Connection::call`].
pub fn ensure_coordinator(home: &Home, vriftd: &Path, timeout: Duration) -> Result<Connection, ClientError> {
    let deadline = Instant::now() + timeout;
    let socket = home.coordinator_socket();
    let wanted = build::of_program(vriftd);
    let mut started = false;
    let mut asked = None;
    loop {
        match greet(&socket, &wanted, timeout) {
            Ok((connection, theirs)) if theirs.protocol == PROTOCOL_VERSION && (theirs.build == wanted || started) => {
                return Ok(connection);
            }
            // One was asked to make room, and systemd or another program started this one: it would do so again.
            Ok((connection, theirs)) if asked.is_some_and(|pid| pid != theirs.pid) => {
                let same_protocol = theirs.protocol == PROTOCOL_VERSION;
                return if same_protocol { Ok(connection) } else { Err(ClientError::Version { theirs: theirs.protocol }) };
            }
            Ok((mut connection, theirs)) => {
                let same_protocol = theirs.protocol == PROTOCOL_VERSION;
                let leaves = connection.shutdown(same_protocol).is_ok_and(|answer| answer.stopping);
                if !leaves && same_protocol {
                    return Ok(connection);
                }
                if !leaves || Instant::now() >= deadline {
                    return Err(ClientError::Version { theirs: theirs.protocol });
                }
                asked = Some(theirs.pid);
                thread::sleep(Duration::from_millis(2));
            }
            Err(ClientError::Unreachable { .. }) if !started => {
                start(home, vriftd)?;
                started = true;
            }
            Err(e @ (ClientError::Unreachable { .. } | ClientError::Frame(_))) => {
                if Instant::now() >= deadline {
                    return Err(ClientError::Start { program: vriftd.to_owned(), what: e.to_string() });
                }
                thread::sleep(Duration::from_micros(500));
            }
            Err(e) => return Err(e),
        }
    }
}

/// The coordinator of `home`, only if it runs.
///
/// # Errors
/// As [`Connection::call`].
pub fn running_coordinator(home: &Home, timeout: Duration) -> Result<Connection, ClientError> {
    greet(&home.coordinator_socket(), env!("CARGO_PKG_VERSION"), timeout).map(|(connection, _)| connection)
}

fn greet(socket: &Path, build: &str, timeout: Duration) -> Result<(Connection, HelloResult), ClientError> {
    let mut connection = Connection::connect(socket, timeout)?;
    let hello = connection.hello(build)?;
    Ok((connection, hello))
}

/// Starts the coordinator. Its program returns as soon as the daemon, nobody's child, is on its way.
fn start(home: &Home, vriftd: &Path) -> Result<(), ClientError> {
    let fail = |what: String| ClientError::Start { program: vriftd.to_owned(), what };
    let mut command = clean_command(vriftd);
    command.arg("--home").arg(home.dir()).arg("--source").arg(home.the_source()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| fail(e.to_string()))?;
    let mut said = String::new();
    if let Some(stderr) = &mut child.stderr {
        let _ = stderr.take(4096).read_to_string(&mut said);
    }
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) if said.trim().is_empty() => Err(fail(status.to_string())),
        Ok(_) => Err(fail(said.trim().to_owned())),
        Err(e) => Err(fail(e.to_string())),
    }
}

/// Where this user's toolchains and packages are: what is in these folders is the same for all projects.
fn shared_trees() -> Vec<ByteText> {
    let var = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = |name, folder| var(name).or_else(|| var("HOME").map(|home| home.join(folder)));
    let below = |home: Option<PathBuf>, names: &[&str]| -> Vec<PathBuf> {
        home.into_iter().flat_map(|home| names.iter().map(move |name| home.join(name)).collect::<Vec<_>>()).collect()
    };
    let mut all = below(home("CARGO_HOME", ".cargo"), &["registry", "git", "bin"]);
    all.extend(below(home("RUSTUP_HOME", ".rustup"), &["toolchains"]));
    all.into_iter().map(ByteText::from).collect()
}

/// Finds or starts the worker of `project`.
///
/// # Errors
/// As [`Connection::call`].
pub fn open_project(coordinator: &mut Connection, project: &Project) -> Result<ProjectOpenResult, ClientError> {
    let params = ProjectOpenParams {
        protocol: PROTOCOL_VERSION,
        root: project.root.clone(),
        branch: project.branch.clone(),
        name: project.name.clone(),
        shared: shared_trees(),
    };
    coordinator.call(method::PROJECT_OPEN, &params)
}
