//! Putting one file in place.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use vrift_core::action::Place;
use vrift_core::paths::Roots;

use super::{RestoreError, Restored};
use crate::cas::{BLOB_MTIME, Blob, BlobFault, Cas, What, link_refused};
use crate::fsio::{self, Temp};

impl Cas {
    /// Puts the blob at `dest`, replacing what file is there, with the permission bits `mode` (a link has the blob's:
    /// read-only for its owner). Missing parent folders are created. `roots` expand the placeholders of [`Place::Render`] and are
    /// not looked at otherwise.
    ///
    /// A blob that fails its check goes into quarantine, and `dest` is left as it is.
    ///
    /// # Errors
    /// [`RestoreError`]. The caller runs the command for real.
    pub fn restore_file(
        &self,
        blob: &Blob,
        dest: &Path,
        place: Place,
        mode: u32,
        roots: Option<&Roots>,
    ) -> Result<Restored, RestoreError> {
        let Some(dir) = dest.parent() else {
            return Err(RestoreError::Invalid { path: dest.to_owned(), why: "it has no parent folder" });
        };
        let job = Job { cas: self, blob, dest, dir, place, mode: mode & 0o7777 };
        let done = match job.run(roots) {
            Err(RestoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound && !dir.exists() => {
                fsio::create_dirs(dir).map_err(RestoreError::io("create", dir))?;
                job.run(roots)
            }
            other => other,
        };
        if matches!(done, Err(RestoreError::Blob(BlobFault::Changed { .. }))) {
            // Best effort: where it cannot be moved, the next check finds it again.
            let _ = self.quarantine(blob);
        }
        done
    }
}

/// One file to put in place.
struct Job<'a> {
    cas: &'a Cas,
    blob: &'a Blob,
    dest: &'a Path,
    /// The folder of `dest`.
    dir: &'a Path,
    place: Place,
    mode: u32,
}

impl Job<'_> {
    fn run(&self, roots: Option<&Roots>) -> Result<Restored, RestoreError> {
        if self.blob.size == 0 {
            // Shared, an empty file would have every empty output of the machine as its link, for no gain.
            self.write(&[])?;
            return Ok(Restored::Empty);
        }
        match self.place {
            Place::Link => self.link(),
            Place::Copy => {
                self.cas.check(self.blob)?;
                self.copy()
            }
            Place::Render => self.render(roots),
        }
    }

    fn link(&self) -> Result<Restored, RestoreError> {
        let meta = self.cas.check(self.blob)?;
        if self.cas.can_clone()
            && let Some(done) = self.clone()?
        {
            return Ok(done);
        }
        let source = self.cas.path(self.blob);
        if self.cas.make_linkable(self.blob, &meta).is_err() {
            return self.copy();
        }
        match self.cas.link_out(self.blob, &source, |from| fsio::link(from, self.dest)) {
            Ok(()) => return Ok(Restored::Linked),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) if link_refused(&e) => return self.copy(),
            Err(e) => return Err(self.link_error(e)),
        }
        let there = fs::symlink_metadata(self.dest).map_err(RestoreError::io("look at", self.dest))?;
        if (there.dev(), there.ino()) == (meta.dev(), meta.ino()) {
            return Ok(Restored::Already);
        }
        let temp = match self.cas.link_out(self.blob, &source, |from| Temp::link(self.dir, from)) {
            Ok(temp) => temp,
            Err(e) if link_refused(&e) => return self.copy(),
            Err(e) => return Err(self.link_error(e)),
        };
        temp.rename_link(self.dest).map_err(RestoreError::io("replace", self.dest))?;
        Ok(Restored::Linked)
    }

    /// A link fails with "not found" for a missing blob too, when it was removed after the check.
    fn link_error(&self, error: io::Error) -> RestoreError {
        match self.cas.check(self.blob) {
            Err(fault) => fault.into(),
            Ok(_) => RestoreError::io("link a blob to", self.dest)(error),
        }
    }

    /// `None` where the file systems cannot share blocks.
    fn clone(&self) -> Result<Option<Restored>, RestoreError> {
        let from = self.open_blob()?;
        let (temp, to) = self.create()?;
        if let Err(e) = fsio::clone_blocks(&from, &to) {
            self.cas.note_clone_failure(&e);
            return Ok(None);
        }
        self.finish(temp, to)?;
        Ok(Some(Restored::Cloned))
    }

    fn copy(&self) -> Result<Restored, RestoreError> {
        if self.cas.can_clone()
            && let Some(done) = self.clone()?
        {
            return Ok(done);
        }
        // A copy that stands in for a link has the blobs' time.
        if self.place == Place::Copy
            && let Some(spare) = self.cas.take_spare(self.blob, self.dir)
        {
            fsio::chmod_path(spare.path(), self.mode).map_err(RestoreError::io("set the mode of", self.dest))?;
            spare.rename(self.dest).map_err(RestoreError::io("replace", self.dest))?;
            return Ok(Restored::Copied);
        }
        let mut from = self.open_blob()?;
        let (temp, mut to) = self.create()?;
        let copied = fsio::copy_blocks(&mut from, &mut to).map_err(RestoreError::io("write", self.dest))?;
        if copied != self.blob.size {
            return Err(BlobFault::Changed { path: self.cas.path(self.blob), what: What::Size }.into());
        }
        self.finish(temp, to)?;
        Ok(Restored::Copied)
    }

    fn render(&self, roots: Option<&Roots>) -> Result<Restored, RestoreError> {
        let Some(roots) = roots else {
            return Err(RestoreError::Invalid { path: self.dest.to_owned(), why: "its roots are not given" });
        };
        self.cas.check(self.blob)?;
        let template = self.cas.read(self.blob)?;
        let text = roots.expand_text(&template).ok_or_else(|| RestoreError::UnknownRoot { path: self.dest.to_owned() })?;
        self.write(&text)?;
        Ok(Restored::Rendered)
    }

    fn write(&self, content: &[u8]) -> Result<(), RestoreError> {
        let (temp, mut to) = self.create()?;
        if !content.is_empty() {
            fsio::write_all(&mut to, content).map_err(RestoreError::io("write", self.dest))?;
        }
        self.finish(temp, to)
    }

    fn open_blob(&self) -> Result<File, RestoreError> {
        let path = self.cas.path(self.blob);
        File::open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => BlobFault::Missing { path }.into(),
            _ => BlobFault::Unreadable { path, source: e }.into(),
        })
    }

    fn create(&self) -> Result<(Temp, File), RestoreError> {
        Temp::create(self.dir).map_err(RestoreError::io("create a file beside", self.dest))
    }

    fn finish(&self, temp: Temp, file: File) -> Result<(), RestoreError> {
        fsio::chmod_file(&file, self.mode).map_err(RestoreError::io("set the mode of", self.dest))?;
        if self.place == Place::Link {
            fsio::utime_file(&file, BLOB_MTIME).map_err(RestoreError::io("set the time of", self.dest))?;
        }
        drop(file);
        temp.rename(self.dest).map_err(RestoreError::io("replace", self.dest))
    }
}
