//! Putting a result in place.

use std::io::{self, Write};
use std::process::ExitCode;

use vrift_core::action::Stream;
use vrift_core::paths::Roots;
use vrift_core::wire::HitPlan;
use vrift_store::{Cas, RestoreError};

/// Restores every output. Optional ones come back all or none: only where nothing is in the place of the first.
///
/// # Errors
/// What could not be restored. What was restored until then stays: the command that runs now writes it again.
pub fn restore(cas: &Cas, plan: &HitPlan, roots: &Roots) -> Result<(), RestoreError> {
    let optional = plan.restore.iter().find(|step| step.optional).is_some_and(|first| !first.path.as_path().exists());
    let (needed, extra): (Vec<_>, Vec<_>) = plan.restore.iter().cloned().partition(|step| !step.optional);
    cas.restore_all(&needed, roots).map_err(|failure| failure.error)?;
    if optional {
        // Without them the next compilation merely takes longer.
        let _ = cas.restore_all(&extra, roots);
    }
    Ok(())
}

/// Says what the command said.
pub fn replay(plan: &HitPlan) -> ExitCode {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    for chunk in &plan.stdio {
        let written = match chunk.stream {
            Stream::Out => out.write_all(&chunk.text).and_then(|()| out.flush()),
            Stream::Err => err.write_all(&chunk.text),
        };
        if written.is_err() {
            // Whoever reads has gone. A compiler that cannot write its messages fails, too.
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
