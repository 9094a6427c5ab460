//! Parameters and results of the methods that tell people what happened.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bytes::ByteText;
use crate::identity::ProjectId;
use crate::paths::AbsPath;

/// [`super::method::SESSION_SUMMARY`] and [`super::method::BUILD_KEEP`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SessionParams {
    /// The session.
    pub session: String,
}

/// [`super::method::SESSION_SUMMARY`].
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

/// [`super::method::WHY`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WhyParams {
    /// Part of a label, or a path.
    pub query: String,
    /// At most so many answers, newest first.
    pub limit: usize,
}

/// [`super::method::WHY`]: one action that was looked up.
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

/// [`super::method::STATUS`] of `vriftd`.
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

/// [`super::method::STATUS`] of `vdir_d`.
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
