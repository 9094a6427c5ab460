//! VDirs in `/dev/shm`, as tests leave them: workers that are killed take nothing along.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::geteuid;
use vrift_core::vdir;

use crate::user;

/// Removes the VDirs of projects below `folder` and that of shared trees of the state folder `home`, with their questions.
pub fn remove_below(folder: &Path, home: &Path) {
    for uid in [geteuid().as_raw(), user::ID] {
        vdir::remove(&vdir::base_place(home, uid));
    }
    for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_map = name.as_bytes().starts_with(b"vrift_vdir_") && !name.as_bytes().ends_with(vdir::asked::SUFFIX.as_bytes());
        let Some(uid) = entry.metadata().ok().filter(|meta| is_map && meta.is_file()).map(|meta| meta.uid()) else { continue };
        if vdir::open(&path, uid).is_ok_and(|reader| reader.root().starts_with(folder.as_os_str().as_bytes())) {
            vdir::remove(&path);
        }
    }
}
