//! Parameters and results of the methods about actions: what a command is given, what is to be restored, what a run left.

use serde::{Deserialize, Serialize};

use super::methods::Stamp;
use crate::action::{Access, EnvInput, Output, OutputState, Request, StdioChunk, Stream, Tool};
use crate::bytes::ByteText;
use crate::digest::Digest;
use crate::paths::{AbsPath, Root, Roots};

/// [`super::method::ACTION_LOOKUP`]: everything that the command was given.
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
    /// Messages are for no terminal: a result whose messages are in colours is none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_text: bool,
    /// The command runs inside another action: a hit is to name its inputs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nested: bool,
}

/// [`super::method::ACTION_CONFIRM`]. The answer is whether all that the action depends on is as it was: true or false.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfirmParams {
    /// [`HitPlan::key`].
    pub key: Digest,
}

/// [`super::method::ACTION_LOOKUP`].
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
    /// Of a nested command: what the action looked at, in this checkout. Nothing where that cannot be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<Vec<InputClaim>>,
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

/// [`super::method::ACTION_RECORD`].
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

/// [`super::method::ACTION_RECORD`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordResult {
    /// Whether it was stored.
    pub stored: bool,
    /// Why not.
    pub reason: Option<String>,
}

/// [`super::method::ACTION_ABANDON`].
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
