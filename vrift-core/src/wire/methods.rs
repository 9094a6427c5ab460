//! The methods' names; parameters and results of those between the daemons, and of those about a whole daemon.

use serde::{Deserialize, Serialize};

use crate::action::ActionRecord;
use crate::bytes::ByteText;
use crate::digest::Digest;
use crate::identity::ProjectId;
use crate::paths::AbsPath;

/// Method names.
pub mod method {
    /// Both daemons: versions, and what the other side serves.
    pub const HELLO: &str = "hello";
    /// `vriftd`: find or start the worker of a project.
    pub const PROJECT_OPEN: &str = "project.open";
    /// `vriftd`, from workers: may I compute this key, or does somebody?
    pub const LEASE_ACQUIRE: &str = "lease.acquire";
    /// `vriftd`, from workers: the key's computation ended.
    pub const LEASE_RELEASE: &str = "lease.release";
    /// `vriftd`, from workers: add an action to the base manifest.
    pub const ACTION_INSERT: &str = "action.insert";
    /// `vriftd`, from workers: actions that were hit, for least-recently-used eviction, and an action to forget.
    pub const ACTION_TOUCH: &str = "action.touch";
    /// `vriftd`, from workers: digests of files in shared trees.
    pub const FILES_INSERT: &str = "files.insert";
    /// `vriftd`: collect garbage.
    pub const GC: &str = "gc";
    /// `vdir_d`: is there a result for this command?
    pub const ACTION_LOOKUP: &str = "action.lookup";
    /// `vdir_d`: does the result that was given last still hold?
    pub const ACTION_CONFIRM: &str = "action.confirm";
    /// `vdir_d`: here is the result of a run.
    pub const ACTION_RECORD: &str = "action.record";
    /// `vdir_d`: a run ended without a result to store, or a hit could not be restored.
    pub const ACTION_ABANDON: &str = "action.abandon";
    /// `vdir_d`: Cargo is about to build into an empty folder; what of that is known already?
    pub const BUILD_OPEN: &str = "build.open";
    /// `vdir_d`: Cargo is done, and everything that it made is in place.
    pub const BUILD_KEEP: &str = "build.keep";
    /// `vdir_d`: what happened in a session so far.
    pub const SESSION_SUMMARY: &str = "session.summary";
    /// `vdir_d`: why the actions whose label or path matches were run.
    pub const WHY: &str = "why";
    /// Both daemons: state in numbers.
    pub const STATUS: &str = "status";
    /// Both daemons: end.
    pub const SHUTDOWN: &str = "shutdown";
    /// From both daemons, as a notification: a request is still worked on.
    pub const WORKING: &str = "working";
}

/// [`method::HELLO`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HelloParams {
    /// [`crate::PROTOCOL_VERSION`] of the caller.
    pub protocol: u32,
    /// Version and build of the caller, for messages.
    pub build: String,
}

/// [`method::HELLO`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HelloResult {
    /// [`crate::PROTOCOL_VERSION`] of the daemon.
    pub protocol: u32,
    /// Version and build of the daemon. A coordinator of another build makes room for the caller's when asked to shut down.
    pub build: String,
    /// Its process.
    pub pid: u32,
}

/// [`method::PROJECT_OPEN`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProjectOpenParams {
    /// The caller's protocol version.
    pub protocol: u32,
    /// The canonical root.
    pub root: AbsPath,
    /// The branch, where one is set.
    pub branch: Option<String>,
    /// The name for people.
    pub name: String,
    /// Folders that are shared by all projects: toolchains, the registry. A hint.
    #[serde(default)]
    pub shared: Vec<ByteText>,
}

/// [`method::PROJECT_OPEN`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProjectOpenResult {
    /// The project.
    pub id: ProjectId,
    /// Its name for people.
    pub slug: String,
    /// The worker's socket.
    pub socket: ByteText,
    /// The worker's process.
    pub pid: u32,
    /// Where the project's VDir is or will be.
    pub vdir: ByteText,
    /// The VDir's generation, 0 where there is none yet.
    pub generation: u64,
    /// Whether the worker answers already.
    pub ready: bool,
}

/// [`method::LEASE_ACQUIRE`] and [`method::LEASE_RELEASE`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LeaseParams {
    /// What is to be computed: the action's key and the inputs that its arguments name.
    pub key: Digest,
    /// How long to wait for another holder, milliseconds; a minute at most, which is the default.
    #[serde(default)]
    pub wait_ms: Option<u64>,
}

/// [`method::LEASE_ACQUIRE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseResult {
    /// The caller computes it, and releases it.
    Granted,
    /// Somebody else computed it meanwhile: look again.
    Released,
    /// It takes too long: the caller computes it too.
    TimedOut,
}

/// [`method::ACTION_INSERT`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InsertParams {
    /// The action.
    pub record: ActionRecord,
    /// The project that made it.
    pub project: ProjectId,
}

/// [`method::ACTION_TOUCH`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TouchParams {
    /// Rows that were hit.
    pub hit: Vec<i64>,
    /// Rows that proved useless (blobs gone or damaged).
    pub forget: Vec<i64>,
}

/// [`method::FILES_INSERT`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FilesParams {
    /// The files.
    pub files: Vec<KnownFile>,
}

/// A file whose digest is known as long as its stat stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFile {
    /// Where.
    pub path: AbsPath,
    /// How `stat` showed it when it was hashed.
    pub stamp: Stamp,
    /// Its content.
    pub digest: Digest,
}

/// What of a `stat` tells that a file has not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Stamp {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub ino: u64,
    /// Size, bytes.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Change time, nanoseconds since 1970.
    pub ctime_ns: i64,
    /// `st_mode`.
    pub mode: u32,
}

/// [`method::SHUTDOWN`].
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct ShutdownParams {
    /// Only where nobody is being served; otherwise go on.
    #[serde(default)]
    pub only_if_idle: bool,
}

/// [`method::SHUTDOWN`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct ShutdownResult {
    /// Whether the daemon ends.
    pub stopping: bool,
}

/// [`method::GC`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GcParams {
    /// Bytes to come down to; `None` takes the setting.
    pub max_bytes: Option<u64>,
    /// Say what would go, remove nothing.
    pub dry_run: bool,
}

/// [`method::GC`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcResult {
    /// Bytes of blobs before.
    pub bytes_before: u64,
    /// Bytes of blobs after.
    pub bytes_after: u64,
    /// Blobs removed.
    pub blobs_removed: u64,
    /// Actions removed.
    pub actions_removed: u64,
    /// Blobs over the cap that stay because something uses them.
    pub blobs_in_use: u64,
}
