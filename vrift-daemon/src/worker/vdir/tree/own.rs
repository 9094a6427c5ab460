//! The map's own files in `/dev/shm`: nobody but its keeper is to change them.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

use super::{Ended, Tree};

impl Tree {
    /// Ends the map where somebody removes, replaces or changes a file of it: whoever comes to doubt (see [`vrift_core::vdir::asked`])
    /// finds the questions by their name, as new readers find the map. What is written through a mapping goes unnoticed.
    ///
    /// # Errors
    /// That has happened already, or the user has no watches left.
    pub fn watch_own(&mut self, file: File) -> Result<(), Ended> {
        let watch = self.watcher.add_file(file.as_fd())?;
        self.own.push((file, watch));
        self.check_own()
    }

    pub(super) fn check_own(&self) -> Result<(), Ended> {
        for (file, _) in &self.own {
            let meta = file.metadata()?;
            if meta.nlink() != 1 || meta.mode() & 0o7777 != 0o600 {
                return Err(Ended::Meddled);
            }
        }
        Ok(())
    }
}
