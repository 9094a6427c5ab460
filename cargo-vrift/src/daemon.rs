//! Reaching the daemons.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vrift_core::home::Home;
use vrift_core::root::Project;
use vrift_core::wire::{CoordinatorStatus, ProjectOpenResult, SessionParams, SessionSummary, method};
use vrift_daemon::client::{self, ClientError, Connection};
use vrift_daemon::processes;

use crate::commands::daemon::Units;
use crate::error::Error;

/// How long `vriftd` may take to start and to answer.
const START: Duration = Duration::from_secs(3);

/// How long a daemon that runs may take to answer after a build.
const ANSWER: Duration = Duration::from_secs(1);

/// How long the commands of `vrift` wait for an answer.
const COMMAND: Duration = Duration::from_secs(60);

/// The coordinator's program, installed beside this one.
///
/// # Errors
/// [`Error::Daemon`] where it is not there.
pub fn vriftd() -> Result<PathBuf, Error> {
    let own = env::current_exe().or_else(|e| env::args_os().next().map(PathBuf::from).ok_or(e));
    let own = own.map_err(|e| Error::Daemon(format!("cannot tell where this program is: {e}")))?;
    let beside = own.with_file_name("vriftd");
    if beside.is_file() {
        return Ok(beside);
    }
    crate::program::find("vriftd".as_ref(), env::var_os("PATH").as_deref())
        .ok_or_else(|| Error::Daemon(format!("`{}` is missing: install vrift again", beside.display())))
}

/// Daemons that run.
#[derive(Debug)]
pub struct Opened {
    /// The project's worker.
    pub worker: ProjectOpenResult,
    /// The coordinator did not run before. What it found and repaired when it started is news then, and only then.
    pub fresh: bool,
}

/// Makes sure that the coordinator and the project's worker run.
///
/// # Errors
/// [`Error::Daemon`].
pub fn open(home: &Home, vriftd: &Path, project: &Project) -> Result<Opened, Error> {
    let fresh = is_asleep(home) || Connection::connect(&home.coordinator_socket(), ANSWER).is_err();
    let mut coordinator = client::ensure_coordinator(home, vriftd, START)?;
    Ok(Opened { worker: client::open_project(&mut coordinator, project)?, fresh })
}

/// What the worker at `socket` says about a session.
///
/// # Errors
/// [`Error::Daemon`].
pub fn summary(socket: &Path, session: &str) -> Result<SessionSummary, Error> {
    let mut worker = Connection::connect(socket, ANSWER)?;
    Ok(worker.call(method::SESSION_SUMMARY, &SessionParams { session: session.to_owned() })?)
}

/// What the coordinator says is off.
///
/// # Errors
/// [`Error::Daemon`].
pub fn notices(home: &Home) -> Result<Vec<String>, Error> {
    let mut coordinator = client::running_coordinator(home, ANSWER)?;
    let status: CoordinatorStatus = coordinator.call(method::STATUS, &serde_json::json!({}))?;
    Ok(status.notices)
}

/// The coordinator, started if need be.
///
/// # Errors
/// [`Error::Daemon`].
pub fn coordinator(home: &Home) -> Result<Connection, Error> {
    let mut connection = client::ensure_coordinator(home, &vriftd()?, START)?;
    patient(&mut connection)?;
    Ok(connection)
}

/// Whether systemd listens for a coordinator that does not run: to connect is to start it then.
pub fn is_asleep(home: &Home) -> bool {
    Units::find().is_ok_and(|units| units.are_installed()) && processes::coordinator_of(home).is_none()
}

/// The coordinator, only if it runs.
///
/// # Errors
/// [`Error::Daemon`] where it runs and does not answer.
pub fn running(home: &Home) -> Result<Option<Connection>, Error> {
    if is_asleep(home) {
        return Ok(None);
    }
    match client::running_coordinator(home, ANSWER) {
        Ok(mut connection) => {
            patient(&mut connection)?;
            Ok(Some(connection))
        }
        Err(ClientError::Unreachable { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The worker of `project`, started if need be.
///
/// # Errors
/// [`Error::Daemon`].
pub fn worker(home: &Home, project: &Project) -> Result<Connection, Error> {
    let opened = open(home, &vriftd()?, project)?;
    Ok(Connection::connect(opened.worker.socket.as_path(), COMMAND)?)
}

fn patient(connection: &mut Connection) -> Result<(), Error> {
    connection.set_timeout(COMMAND).map_err(|e| Error::Daemon(format!("cannot use the connection to vriftd: {e}")))
}

impl From<ClientError> for Error {
    fn from(error: ClientError) -> Self {
        Self::Daemon(error.to_string())
    }
}
