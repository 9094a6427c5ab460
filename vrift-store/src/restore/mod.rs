//! Putting an action's outputs in place.
//!
//! # Atomicity
//! Every file appears under its name in one step, complete: a link, or a temporary file beside it (`.vrift-<pid>-<n>.tmp`)
//! and a rename. A process that dies in between leaves at most a temporary file, which nothing takes for an output.
//!
//! # Times
//! What comes back with [`Link`](Place::Link) has the blobs' modification time, also where it had to be copied: Cargo compares the
//! times of artifacts with each other. [`Copy`](Place::Copy) and [`Render`](Place::Render) get the time of now, as Make needs.
//!
//! # Performance
//! A hit restores a handful of files and has well under a millisecond for it: two calls for a linked file (`lstat` of the
//! blob, `link`), no sync, no look at what need not be looked at.

mod error;
mod file;
mod step;

pub use error::RestoreError;
pub use step::StepFailure;
#[cfg(doc)]
use vrift_core::action::Place;

/// How an output came back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Restored {
    /// A hard link to the blob.
    Linked,
    /// It was a link to that blob already.
    Already,
    /// Its own inode, blocks shared with the blob.
    Cloned,
    /// A copy.
    Copied,
    /// Text, written with this checkout's paths.
    Rendered,
    /// An empty file.
    Empty,
    /// A folder.
    Dir,
    /// A symbolic link.
    Symlink,
    /// What was there is gone.
    Removed,
    /// An optional output whose place is taken.
    Skipped,
}

#[cfg(test)]
mod tests;
