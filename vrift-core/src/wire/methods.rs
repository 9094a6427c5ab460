//! Parameters and results of every method.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::action::{Access, ActionRecord, EnvInput, Output, OutputState, Request, StdioChunk, Stream, Tool};
use crate::bytes::ByteText;
use crate::digest::Digest;
use crate::identity::ProjectId;
use crate::paths::{AbsPath, Root, Roots};

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

/// [`method::ACTION_LOOKUP`]: everything that the command was given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LookupParams {
    /// The caller's protocol version.
    pub protocol: u32,
    /// The session, 16 hex digits.
    pub session: String,
    /// The kind of program.
    pub tool: Tool,
    /// The program's absolute path.
    pub program: AbsPath,
    /// All arguments, the program's name first.
    pub argv: Vec<ByteText>,
    /// The working folder.
    pub cwd: AbsPath,
    /// `NAME=value`, vrift's own left out.
    pub env: Vec<ByteText>,
    /// File creation mask.
    pub umask: u32,
    /// Where the known roots are.
    pub roots: Roots,
    /// Do not look; answer with a miss that is to be recorded.
    #[serde(default)]
    pub recache: bool,
    /// Of the data on standard input, where the command may read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<Digest>,
    /// What else tells commands apart that are the same otherwise: whether output goes to a terminal, and to which kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub surroundings: Vec<String>,
    /// What settings say of a script's variables and caches; see [`crate::rules::ScriptRules`].
    #[serde(default, skip_serializing_if = "ByteText::is_empty")]
    pub script: ByteText,
}

/// [`method::ACTION_LOOKUP`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LookupResult {
    /// There is a result: restore it.
    Hit(Box<HitPlan>),
    /// There is none: run it, then record or abandon.
    Miss(Box<MissPlan>),
    /// It is not to be cached: run it, and say nothing.
    Uncached {
        /// Why.
        reason: String,
    },
}

/// How to restore a result.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HitPlan {
    /// The action's row in the base manifest.
    pub action: i64,
    /// The action's key.
    pub key: Digest,
    /// In this order.
    pub restore: Vec<RestoreStep>,
    /// To be written once all is restored, this checkout's paths in place.
    pub stdio: Vec<StdioText>,
    /// See [`BuildScriptRun`].
    #[serde(default)]
    pub build_script: Option<BuildScriptRun>,
}

/// The build-script run whose `OUT_DIR` a compilation was given, as the worker saw it looked up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildScriptRun {
    /// The build script.
    pub program: AbsPath,
    /// It was given metadata of other packages' build scripts (`DEP_…`): Cargo holds its result against theirs.
    pub linked: bool,
}

/// One output to restore.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RestoreStep {
    /// Where to.
    pub path: AbsPath,
    /// What.
    pub state: OutputState,
    /// See [`Output::optional`].
    #[serde(default)]
    pub optional: bool,
}

/// A piece of a standard stream, ready to be written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StdioText {
    /// To which stream.
    pub stream: Stream,
    /// What.
    pub text: ByteText,
}

/// What a run needs to know to be recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MissPlan {
    /// The action's key.
    pub key: Digest,
    /// What makes the key.
    pub request: Request,
    /// For people.
    pub label: String,
    /// Why there is no hit, one line.
    pub reason: String,
    /// See [`BuildScriptRun`].
    #[serde(default)]
    pub build_script: Option<BuildScriptRun>,
    /// The last run was not stored because of [`PAST_LIBC`]: this one is to be watched through the kernel.
    #[serde(default)]
    pub by_kernel: bool,
}

/// How the reason begins for which a run is not stored that a preload sees only in part.
pub const PAST_LIBC: &str = "it calls the kernel without libc";

/// [`method::ACTION_RECORD`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordParams {
    /// The session.
    pub session: String,
    /// What the look-up answered.
    pub plan: MissPlan,
    /// Where the known roots are.
    pub roots: Roots,
    /// Wall clock (`CLOCK_REALTIME_COARSE`, nanoseconds) before the command started: an input that changed later is no
    /// input to trust.
    pub started_ns: u64,
    /// What it looked at. A path that occurs twice has the stronger access.
    pub inputs: Vec<InputClaim>,
    /// The variables that it looked at, with the values that it was given.
    pub env: Vec<EnvInput>,
    /// See [`ActionRecord::env_closed`].
    pub env_closed: bool,
    /// What it left behind; blobs are in the store already.
    pub outputs: Vec<Output>,
    /// How `stat` showed the regular files among `outputs` when they were read, before the store adopted any. It proves to
    /// later runs that they read the same content, although adopting changes a file's stat, and saves hashing it again.
    #[serde(default)]
    pub stamps: Vec<OutputStamp>,
    /// What it said.
    pub stdio: Vec<StdioChunk>,
    /// See [`ActionRecord::bound`].
    pub bound: Vec<(Root, AbsPath)>,
    /// Wall time, microseconds.
    pub wall_us: u64,
    /// User and system time, microseconds.
    pub cpu_us: u64,
    /// As in the look-up.
    #[serde(default, skip_serializing_if = "ByteText::is_empty")]
    pub script: ByteText,
}

/// An output as it was while its content was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputStamp {
    /// Where.
    pub path: AbsPath,
    /// Its stat, the same before and after reading.
    pub stamp: Stamp,
    /// Digest of the file's bytes; for [`crate::action::Place::Render`] that is not the blob's.
    pub digest: Digest,
}

/// A path that an action looked at; the worker finds out what is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputClaim {
    /// Where.
    pub path: AbsPath,
    /// How.
    pub access: Access,
}

/// [`method::ACTION_RECORD`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordResult {
    /// Whether it was stored.
    pub stored: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// [`method::ACTION_ABANDON`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AbandonParams {
    /// The session.
    pub session: String,
    /// The action's key.
    pub key: Digest,
    /// The action's label.
    pub label: String,
    /// Why nothing is stored.
    pub reason: String,
    /// The hit that could not be restored, to be forgotten if its blobs are bad.
    pub failed_hit: Option<i64>,
}

/// [`method::SESSION_SUMMARY`] and [`method::BUILD_KEEP`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionParams {
    /// The session.
    pub session: String,
}

/// [`method::SESSION_SUMMARY`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSummary {
    /// Actions restored.
    pub hits: u64,
    /// Actions run and stored.
    pub misses: u64,
    /// Actions run and not stored.
    pub uncached: u64,
    /// Time that the restored actions took when they ran, microseconds of user and system time.
    pub saved_cpu_us: u64,
    /// Look-ups.
    #[serde(default)]
    pub lookups: u64,
    /// Time that the worker spent on them, microseconds.
    pub lookup_us: u64,
    /// Why actions were not stored, and how many for each reason.
    pub uncached_reasons: BTreeMap<String, u64>,
    /// One line that a person should see (a store that is off), if any.
    pub notice: Option<String>,
}

/// [`method::WHY`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WhyParams {
    /// Part of a label, or a path.
    pub query: String,
    /// At most so many answers, newest first.
    pub limit: usize,
}

/// [`method::WHY`]: one action that was looked up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WhyEntry {
    /// Which action.
    pub label: String,
    /// `hit`, `miss` or `uncached`.
    pub outcome: String,
    /// One sentence.
    pub reason: String,
    /// When, seconds since 1970.
    pub at: u64,
    /// How long the worker took to answer, microseconds.
    #[serde(default)]
    pub lookup_us: u64,
    /// What differed from the nearest stored result.
    pub changes: Vec<Change>,
}

/// One input that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `file`, `env`, `argument`, `program`, …
    pub kind: String,
    /// The path or name, known roots in braces.
    pub name: String,
    /// What it was: a digest, a value, `absent`.
    pub old: String,
    /// What it is.
    pub new: String,
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

/// [`method::STATUS`] of `vriftd`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CoordinatorStatus {
    /// Version and build.
    pub build: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// Live workers.
    pub workers: Vec<WorkerStatus>,
    /// Rows of the base manifest.
    pub actions: u64,
    /// Blobs in the store.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
    /// What is off, one line each.
    pub notices: Vec<String>,
}

/// One worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// The project.
    pub id: ProjectId,
    /// Its name for people.
    pub slug: String,
    /// Its root.
    pub root: AbsPath,
    /// The branch, where one is set.
    pub branch: Option<String>,
    /// Its process.
    pub pid: u32,
    /// Its socket.
    pub socket: ByteText,
    /// Seconds since it started.
    pub uptime_s: u64,
}

/// [`method::STATUS`] of `vdir_d`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProjectStatus {
    /// Version and build.
    pub build: String,
    /// The project.
    pub id: ProjectId,
    /// Its root.
    pub root: AbsPath,
    /// Its process.
    pub pid: u32,
    /// Connected clients.
    pub clients: u64,
    /// Since the worker started.
    pub total: SessionSummary,
    /// Since the project was first built, this worker included.
    #[serde(default)]
    pub lifetime: SessionSummary,
    /// Files whose digest it knows.
    pub known_files: u64,
    /// What is off, one line each.
    pub notices: Vec<String>,
}
