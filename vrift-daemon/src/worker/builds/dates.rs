//! Which of a plan's outputs need a time of their own.
//!
//! Cargo holds a unit for stale whose newest artifact is older than that of something it depends on. Links to blobs have the
//! blobs' time, which is long past; whatever has an inode of its own is as new as the build, and then so must be whatever
//! depends on it.

use vrift_core::action::{ActionRecord, Output, OutputState, Place, Tool};
use vrift_core::paths::TemplatePath;

use super::plan::Unit;

/// Whether the unit's newest artifact is as new as the build.
pub fn is_recent(record: &ActionRecord, unit: &Unit) -> bool {
    if record.request.tool == Tool::BuildScript {
        // Cargo goes by its own file about the run.
        return unit.files.iter().any(|file| file.path.as_bytes().ends_with(b"/output") && !file.old);
    }
    artifacts(record).any(|output| !is_link(output))
}

/// The outputs that get an inode and a time of their own, of a unit that would be too old otherwise: a library's metadata, which
/// is its smallest artifact.
pub fn to_date(record: &ActionRecord) -> Vec<TemplatePath> {
    if record.request.tool == Tool::BuildScript || artifacts(record).any(|output| !is_link(output)) {
        return Vec::new();
    }
    let is_metadata = |output: &Output| output.path.as_bytes().ends_with(b".rmeta");
    let has_metadata = artifacts(record).any(is_metadata);
    artifacts(record).filter(|output| !has_metadata || is_metadata(output)).map(|output| output.path.clone()).collect()
}

/// The outputs whose times Cargo compares.
fn artifacts(record: &ActionRecord) -> impl Iterator<Item = &Output> {
    let is_artifact = |output: &&Output| {
        !output.optional && matches!(output.state, OutputState::File { .. }) && !output.path.as_bytes().ends_with(b".d")
    };
    record.outputs.iter().filter(is_artifact)
}

fn is_link(output: &Output) -> bool {
    matches!(output.state, OutputState::File { place: Place::Link, .. })
}
