//! Whole builds: [`super::method::BUILD_OPEN`].

use serde::{Deserialize, Serialize};

use super::RestoreStep;
use crate::bytes::ByteText;
use crate::digest::Digest;
use crate::paths::{AbsPath, Roots};

/// [`super::method::BUILD_OPEN`]: Cargo is about to build into a target folder in which nothing was built before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BuildOpenParams {
    /// The caller's protocol version.
    pub protocol: u32,
    /// The session, 16 hex digits.
    pub session: String,
    /// Digest of what Cargo is asked to do: its arguments, its folder in the project, and the lock file.
    pub key: Digest,
    /// `NAME=value`: Cargo's variables, vrift's own left out.
    pub env: Vec<ByteText>,
    /// File creation mask.
    pub umask: u32,
    /// Where the known roots are.
    pub roots: Roots,
}

/// [`super::method::BUILD_OPEN`].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BuildOpenResult {
    /// What can be put in place before Cargo starts, dependencies before what depends on them.
    pub units: Vec<BuildUnit>,
    /// Cargo's files about the folder as a whole, to be put in place where there are units.
    pub files: Vec<BuildFile>,
    /// The folders that hold a `.fingerprint` each: `target/debug`, say.
    pub profiles: Vec<AbsPath>,
}

/// A unit of Cargo's whose inputs are as they were when it was built elsewhere.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BuildUnit {
    /// Folders that Cargo made for it.
    pub dirs: Vec<AbsPath>,
    /// Its outputs.
    pub steps: Vec<RestoreStep>,
    /// Those of them that get an inode and a time of their own, even where they could be links.
    pub dated: Vec<AbsPath>,
    /// Further names of its outputs, each with the output.
    pub links: Vec<(AbsPath, AbsPath)>,
    /// Cargo's files about it. The last ones make Cargo take the unit for done.
    pub files: Vec<BuildFile>,
}

/// A file of Cargo's own, ready to be written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BuildFile {
    /// Where.
    pub path: AbsPath,
    /// What.
    pub content: ByteText,
    /// It has the modification time of the store's blobs, as the outputs that Cargo compares it with.
    pub old: bool,
}
