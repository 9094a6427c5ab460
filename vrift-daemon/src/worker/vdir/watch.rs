//! The watches of a VDir, and the notices that they give.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// A notice.
pub struct Notice {
    /// The watch that it belongs to.
    pub watch: WatchDescriptor,
    /// What happened.
    pub what: AddWatchFlags,
    /// To which name in the folder; `None` for what is watched itself.
    pub name: Option<OsString>,
}

/// Names that come and go in a folder.
pub const NAMES: AddWatchFlags = AddWatchFlags::IN_CREATE
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_MOVED_FROM)
    .union(AddWatchFlags::IN_MOVED_TO);

/// What happens to a folder itself.
pub const ITSELF: AddWatchFlags =
    AddWatchFlags::IN_ATTRIB.union(AddWatchFlags::IN_DELETE_SELF).union(AddWatchFlags::IN_MOVE_SELF);

/// What happens to a file whose `stat` is told.
const FILE: AddWatchFlags = AddWatchFlags::IN_MODIFY.union(ITSELF);

/// More notices than the kernel keeps.
#[derive(Debug)]
pub struct Lost;

/// An inotify instance.
pub struct Watcher(Inotify);

impl Watcher {
    /// # Errors
    /// The user has as many as he may have.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?))
    }

    /// To be polled.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Watches an open folder. A folder has one watch, however often it is asked for.
    ///
    /// # Errors
    /// The user has as many as he may have.
    pub fn add_folder(&self, folder: BorrowedFd<'_>) -> io::Result<WatchDescriptor> {
        Ok(self.0.add_watch(&through(folder), NAMES | ITSELF | AddWatchFlags::IN_ONLYDIR)?)
    }

    /// Watches whether an open folder stays where it is, who may go through it, and what is removed from it: a folder that
    /// somebody has open does not tell itself that it was removed.
    ///
    /// # Errors
    /// The user has as many as he may have.
    pub fn add_way(&self, folder: BorrowedFd<'_>) -> io::Result<WatchDescriptor> {
        // What is watched for more already stays so.
        let and_more = AddWatchFlags::from_bits_retain(nix::libc::IN_MASK_ADD);
        let flags = ITSELF | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_ONLYDIR | and_more;
        Ok(self.0.add_watch(&through(folder), flags)?)
    }

    /// Watches an open file. A file has one watch, by whatever name.
    ///
    /// # Errors
    /// The user has as many as he may have.
    pub fn add_file(&self, file: BorrowedFd<'_>) -> io::Result<WatchDescriptor> {
        Ok(self.0.add_watch(&through(file), FILE)?)
    }

    /// Ends a watch. It may have ended by itself.
    pub fn remove(&self, watch: WatchDescriptor) {
        let _ = self.0.rm_watch(watch);
    }

    /// All notices that wait. Whoever changes files faster than they are read does not keep us for ever: his notices make the
    /// ring's flag stay.
    ///
    /// # Errors
    /// Some are lost.
    pub fn notices(&self) -> Result<Vec<Notice>, Lost> {
        /// Readings at a time: more than the kernel's queue holds by default.
        const MOST: usize = 4096;
        let mut all = Vec::new();
        for _ in 0..MOST {
            match self.0.read_events() {
                Ok(events) if events.is_empty() => return Ok(all),
                Ok(events) => {
                    if events.iter().any(|event| event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)) {
                        return Err(Lost);
                    }
                    all.extend(events.into_iter().map(|event| Notice { watch: event.wd, what: event.mask, name: event.name }));
                }
                Err(nix::errno::Errno::EAGAIN) => return Ok(all),
                Err(_) => return Err(Lost),
            }
        }
        Err(Lost)
    }
}

/// A path that leads to what a descriptor is open on, whatever its own path leads to by now.
pub fn through(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}
