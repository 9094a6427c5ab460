//! The VDir's files in `/dev/shm`, which is a public place: names are taken by a rename, and only from ourselves.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use vrift_core::vdir::{Mem, asked, questions_place};

/// A file that nobody knows of yet, removed on drop unless it was published.
pub struct Draft {
    /// It, open for reading and writing.
    pub file: File,
    path: PathBuf,
    published: bool,
}

impl Draft {
    /// Makes one beside `place`.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn new(place: &Path) -> io::Result<Self> {
        let mut name = place.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let path = place.with_file_name(name);
        // One that an earlier process of this number left behind.
        let _ = fs::remove_file(&path);
        let mut options = File::options();
        let file = options.read(true).write(true).create_new(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW).open(&path)?;
        Ok(Self { file, path, published: false })
    }

    /// Puts it at `place`, over what was there. Returns it, still open.
    ///
    /// # Errors
    /// What the kernel gives.
    pub fn publish(mut self, place: &Path) -> io::Result<File> {
        let file = self.file.try_clone()?;
        fs::rename(&self.path, place)?;
        self.published = true;
        Ok(file)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The map of questions beside the VDir at `place`, made anew.
///
/// # Errors
/// What the kernel gives.
pub fn questions(place: &Path) -> io::Result<(Mem, File)> {
    let place = questions_place(place);
    let draft = Draft::new(&place)?;
    nix::fcntl::posix_fallocate(&draft.file, 0, asked::LEN as i64)?;
    let map = Mem::new(draft.file.as_raw_fd(), asked::LEN, true).ok_or_else(io::Error::last_os_error)?;
    Ok((map, draft.publish(&place)?))
}
