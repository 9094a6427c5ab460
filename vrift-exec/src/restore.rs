//! Putting a result in place.

use std::io::{self, Write};

use vrift_core::action::{OutputState, Place, Stream};
use vrift_core::wire::{HitPlan, RestoreStep};
use vrift_store::{Blob, Cas, RestoreError};

use crate::command::Command;
use crate::dates;

/// Restores every output. Optional ones come back all or none: only where nothing is in the place of the first.
///
/// # Errors
/// What could not be restored. What was restored until then stays: the command that runs now writes it again.
pub fn restore(cas: &Cas, plan: &HitPlan, command: &Command) -> Result<(), RestoreError> {
    let (needed, optional): (Vec<_>, Vec<_>) = plan.restore.iter().cloned().partition(|step| !step.optional);
    let has_metadata = needed.iter().any(|step| dates::is_metadata(step.path.file_name()));
    let dated = needed.iter().any(is_link) && dates::needs_own_time(command, plan.build_script.as_ref());
    let own = |step: &RestoreStep| dated && is_link(step) && dates::is_dated(step.path.file_name(), has_metadata);
    let (copies, rest): (Vec<_>, Vec<_>) = needed.into_iter().partition(own);
    cas.restore_all(&rest, &command.roots).map_err(|failure| failure.error)?;
    for step in &copies {
        copy(cas, step)?;
    }
    if optional.first().is_some_and(|first| !first.path.as_path().exists()) {
        // Without them the next compilation merely takes longer.
        let _ = cas.restore_all(&optional, &command.roots);
    }
    Ok(())
}

fn is_link(step: &RestoreStep) -> bool {
    matches!(step.state, OutputState::File { place: Place::Link, .. })
}

/// Restores what could be a link with an inode of its own.
fn copy(cas: &Cas, step: &RestoreStep) -> Result<(), RestoreError> {
    let (Some(blob), OutputState::File { mode, .. }) = (Blob::of_state(&step.state), &step.state) else { return Ok(()) };
    cas.restore_file(&blob, step.path.as_path(), Place::Copy, *mode, None).map(drop)
}

/// Says what the command said.
pub fn replay(plan: &HitPlan) -> u8 {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    for chunk in &plan.stdio {
        let written = match chunk.stream {
            Stream::Out => out.write_all(&chunk.text).and_then(|()| out.flush()),
            Stream::Err => err.write_all(&chunk.text),
        };
        if written.is_err() {
            // Whoever reads has gone. A compiler that cannot write its messages fails, too.
            return 1;
        }
    }
    0
}
