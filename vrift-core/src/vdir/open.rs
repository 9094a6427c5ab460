//! Opening a VDir file, for programs with std. The shim has its own way, without.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Mem, Reader, asked};
use crate::digest::Digest;
use crate::identity::ProjectId;

/// Where a project's VDir is, or will be. Where another user took the name, ours has the user's number behind it.
pub fn place(id: ProjectId, uid: u32) -> PathBuf {
    ours(&id.vdir_name(), uid)
}

/// Where the map of shared trees is, or will be, that the coordinator of the state folder `home` keeps.
pub fn base_place(home: &Path, uid: u32) -> PathBuf {
    ours(&format!("vrift_vdir_base_{}", &base_id(home).to_hex()[..16]), uid)
}

/// What tells the map of shared trees of one state folder from that of another.
pub fn base_id(home: &Path) -> Digest {
    Digest::of(home.as_os_str().as_bytes())
}

fn ours(name: &str, uid: u32) -> PathBuf {
    let plain = Path::new("/dev/shm").join(name);
    match std::fs::symlink_metadata(&plain) {
        Ok(meta) if meta.uid() != uid => plain.with_extension(uid.to_string()),
        _ => plain,
    }
}

/// Maps the VDir at `path`. `/dev/shm` is a public place: the file must be regular, of user `uid`, and nobody else's to write.
///
/// # Errors
/// What the kernel gives; `PermissionDenied` for a file of somebody else's, `InvalidData` for one that is no sound VDir.
pub fn open(path: &Path, uid: u32) -> io::Result<Reader> {
    let (file, len) = open_ours(path, uid, false)?;
    let map = Mem::new(file.as_raw_fd(), len as usize, false).ok_or_else(io::Error::last_os_error)?;
    let questions = open_ours(&questions_place(path), uid, true).ok().filter(|(_, len)| *len == asked::LEN as u64);
    let questions = questions.and_then(|(file, len)| Mem::new(file.as_raw_fd(), len as usize, true));
    Reader::new(map, questions, len).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, format!("{why:?}")))
}

/// Where the map of questions of the VDir at `place` is.
pub fn questions_place(place: &Path) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(asked::SUFFIX);
    name.into()
}

/// Removes the files of the VDir at `place`, as far as there are any.
pub fn remove(place: &Path) {
    let _ = std::fs::remove_file(place);
    let _ = std::fs::remove_file(questions_place(place));
}

fn open_ours(path: &Path, uid: u32, write: bool) -> io::Result<(File, u64)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = File::options().read(true).write(write).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    let ours = meta.is_file() && meta.uid() == uid && meta.mode() & 0o777 == 0o600;
    if ours { Ok((file, meta.len())) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}
