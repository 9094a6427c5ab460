//! What the worker knows of one connected client.

use std::sync::Arc;

use vrift_core::action::Request;
use vrift_core::bytes::ByteText;
use vrift_core::digest::Digest;
use vrift_core::paths::{AbsPath, Roots};
use vrift_core::wire::LookupParams;

use super::builds::Build;
use super::candidates::Candidate;
use super::evidence::Before;
use super::ledger::EntryId;
use super::staging::Staged;
use super::upstream::Lease;

/// One connection.
#[derive(Default)]
pub struct Session {
    /// The client's process.
    pub peer: i32,
    /// The command that the client runs now.
    pub pending: Option<Pending>,
    /// The result that it was given last.
    pub hit: Option<Arc<Candidate>>,
    /// What it asked for last, where that is a part of another action.
    pub nested: Option<Box<LookupParams>>,
    /// A result whose use is yet to be noted.
    pub used: Option<Used>,
    /// Where that puts links to blobs.
    pub restoring: Vec<AbsPath>,
    /// What the client is putting in place.
    pub staged: Option<Staged>,
    /// A miss whose differences are yet to be listed.
    pub unexplained: Option<Unexplained>,
    /// A build whose plan is yet to be kept.
    pub ended: Option<Build>,
    /// It asked the worker to end, which comes after the answer.
    pub ending: bool,
}

/// A result that was handed out.
pub struct Used {
    /// It.
    pub candidate: Arc<Candidate>,
    /// Its look-up.
    pub entry: EntryId,
    /// For what.
    pub command: LookupParams,
}

/// A command that is being run for want of a result.
pub struct Pending {
    /// Its key.
    pub key: Digest,
    /// The session that it belongs to.
    pub session: String,
    /// Its look-up.
    pub entry: EntryId,
    /// The right to compute it.
    pub lease: Option<Lease>,
    /// What was seen before it began.
    pub before: Before,
    /// All of it, where it is part of a build that is followed.
    pub command: Option<Box<LookupParams>>,
}

/// What it takes to list how a command differs from the nearest stored result.
pub struct Unexplained {
    /// Its look-up.
    pub entry: EntryId,
    /// The nearest stored result.
    pub candidate: Arc<Candidate>,
    /// What was asked.
    pub request: Request,
    /// The client's roots.
    pub roots: Roots,
    /// The client's variables.
    pub env: Vec<ByteText>,
    /// See [`LookupParams::script`].
    pub script: ByteText,
}
