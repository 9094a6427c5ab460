//! Putting whatever kind of output in place, and all outputs of an action.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use vrift_core::action::OutputState;
use vrift_core::paths::{Roots, TemplateText};
use vrift_core::wire::RestoreStep;

use super::{RestoreError, Restored};
use crate::cas::{Blob, Cas};
use crate::fsio::{self, Temp};

/// The step of [`Cas::restore_all`] that failed.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct StepFailure {
    /// Its index in the list.
    pub step: usize,
    /// Why.
    #[source]
    pub error: RestoreError,
}

impl Cas {
    /// Does all steps: first what is to be gone, innermost first, then the rest in order. Nothing is touched where a folder is in
    /// the way, or holds more than what is to be gone. Stops at the first failure; what was restored until then stays, for the
    /// command that now runs for real writes it again.
    ///
    /// # Errors
    /// [`StepFailure`].
    pub fn restore_all(&self, steps: &[RestoreStep], roots: &Roots) -> Result<(), StepFailure> {
        let gone: HashSet<&Path> =
            steps.iter().filter(|step| step.state == OutputState::Removed).map(|step| step.path.as_path()).collect();
        for (index, step) in steps.iter().enumerate() {
            possible(step, &gone).map_err(|error| StepFailure { step: index, error })?;
        }
        let removals = steps.iter().enumerate().rev().filter(|(_, step)| step.state == OutputState::Removed);
        let others = steps.iter().enumerate().filter(|(_, step)| step.state != OutputState::Removed);
        for (index, step) in removals.chain(others) {
            self.restore_step(step, roots).map_err(|error| StepFailure { step: index, error })?;
        }
        Ok(())
    }

    /// Does one step. An optional one is skipped where anything is in its place.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn restore_step(&self, step: &RestoreStep, roots: &Roots) -> Result<Restored, RestoreError> {
        let dest = step.path.as_path();
        if step.optional && fs::symlink_metadata(dest).is_ok() {
            return Ok(Restored::Skipped);
        }
        match &step.state {
            OutputState::File { place, mode, .. } => match Blob::of_state(&step.state) {
                Some(blob) => self.restore_file(&blob, dest, *place, *mode, Some(roots)),
                None => Err(RestoreError::Invalid { path: dest.to_owned(), why: "it names no blob" }),
            },
            OutputState::Dir { mode } => restore_dir(dest, *mode & 0o7777),
            OutputState::Symlink { target } => restore_symlink(dest, target, roots),
            OutputState::Removed => remove(dest),
        }
    }
}

/// Finds out whether a folder stands in the way of a step: the command that then runs for real is to find all as it was.
fn possible(step: &RestoreStep, gone: &HashSet<&Path>) -> Result<(), RestoreError> {
    let dest = step.path.as_path();
    let meta = || fs::symlink_metadata(dest);
    match &step.state {
        OutputState::Dir { .. } if meta().is_ok_and(|meta| !meta.is_dir()) => {
            Err(RestoreError::Invalid { path: dest.to_owned(), why: "something that is no folder is in its place" })
        }
        OutputState::Removed if meta().is_ok_and(|meta| meta.is_dir()) => {
            let stays = |entry: fs::DirEntry| !gone.contains(entry.path().as_path());
            let stays = fs::read_dir(dest).is_ok_and(|entries| entries.flatten().any(stays));
            let why = "it holds what was not there when the command ran";
            if stays { Err(RestoreError::Invalid { path: dest.to_owned(), why }) } else { Ok(()) }
        }
        _ => Ok(()),
    }
}

/// A folder that is there keeps its content and gets the recorded mode.
fn restore_dir(dest: &Path, mode: u32) -> Result<Restored, RestoreError> {
    let create = || {
        crate::faults::point()?;
        fs::DirBuilder::new().mode(mode).create(dest)
    };
    let made = with_parents(dest, create);
    match made {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(RestoreError::io("create", dest)(e)),
    }
    let meta = fs::symlink_metadata(dest).map_err(RestoreError::io("look at", dest))?;
    if !meta.is_dir() {
        return Err(RestoreError::Invalid { path: dest.to_owned(), why: "something that is no folder is in its place" });
    }
    if meta.permissions().mode() & 0o7777 != mode {
        // The umask took bits away, or the folder was there with others.
        fsio::chmod_path(dest, mode).map_err(RestoreError::io("set the mode of", dest))?;
    }
    Ok(Restored::Dir)
}

fn restore_symlink(dest: &Path, target: &TemplateText, roots: &Roots) -> Result<Restored, RestoreError> {
    let target = roots.expand_text(&target.bytes).ok_or_else(|| RestoreError::UnknownRoot { path: dest.to_owned() })?;
    let target = Path::new(OsStr::from_bytes(&target));
    let make = |at: &Path| {
        crate::faults::point()?;
        std::os::unix::fs::symlink(target, at)
    };
    match with_parents(dest, || make(dest)) {
        Ok(()) => return Ok(Restored::Symlink),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(RestoreError::io("create", dest)(e)),
    }
    if fs::read_link(dest).is_ok_and(|there| there == target) {
        return Ok(Restored::Already);
    }
    let dir = dest.parent().unwrap_or(dest);
    let (temp, ()) = Temp::make(dir, make).map_err(RestoreError::io("create a link beside", dest))?;
    temp.rename(dest).map_err(RestoreError::io("replace", dest))?;
    Ok(Restored::Symlink)
}

/// Removes a file, or an empty folder. A folder that is not empty holds what the recorded run did not know of: it stays, and
/// the command runs for real.
fn remove(dest: &Path) -> Result<Restored, RestoreError> {
    let removed = crate::faults::point().and_then(|()| fs::remove_file(dest)).or_else(|e| match e.kind() {
        io::ErrorKind::IsADirectory => fs::remove_dir(dest),
        _ => Err(e),
    });
    match removed {
        Ok(()) => Ok(Restored::Removed),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Restored::Removed),
        Err(e) => Err(RestoreError::io("remove", dest)(e)),
    }
}

/// Tries again once the missing parent folders are there.
fn with_parents(dest: &Path, make: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match (make(), dest.parent()) {
        (Err(e), Some(dir)) if e.kind() == io::ErrorKind::NotFound => {
            fsio::create_dirs(dir)?;
            make()
        }
        (done, _) => done,
    }
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;
