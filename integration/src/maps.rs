//! VDirs in `/dev/shm`, as tests leave them: workers that are killed take nothing along.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use vrift_core::vdir;

/// Removes the VDirs of projects below `folder`, with their questions.
pub fn remove_below(folder: &Path) {
    for entry in fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_map = name.as_bytes().starts_with(b"vrift_vdir_") && !name.as_bytes().ends_with(vdir::asked::SUFFIX.as_bytes());
        let Some(uid) = entry.metadata().ok().filter(|meta| is_map && meta.is_file()).map(|meta| meta.uid()) else { continue };
        if vdir::open(&path, uid).is_ok_and(|reader| reader.root().starts_with(folder.as_os_str().as_bytes())) {
            let mut questions = path.clone().into_os_string();
            questions.push(vdir::asked::SUFFIX);
            let _ = fs::remove_file(&path);
            let _ = fs::remove_file(questions);
        }
    }
}
