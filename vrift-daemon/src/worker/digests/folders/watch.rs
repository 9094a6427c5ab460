//! Notices of what changes in folders that are watched, and in the mount table.
//!
//! The kernel queues a notice before the system call that made the change returns (inotify(7)): whoever looks into the queue
//! knows of everything that came before. The watch of a folder tells which names come and go; a file whose content is to be
//! believed is watched itself, since it may be written to by another name. What is written through a mapping is noticed when
//! the last who holds the file lets it go, and not before: until then it passes for what it was.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::ioctl_fionread;

/// A notice.
pub struct Notice {
    /// The watch that it belongs to.
    pub watch: WatchDescriptor,
    /// What happened.
    pub what: AddWatchFlags,
    /// To which name in the folder; `None` for the folder itself.
    pub name: Option<OsString>,
}

/// What came since the last time.
pub enum Notices {
    /// These.
    All(Vec<Notice>),
    /// More than the kernel keeps, or something was mounted: anything may have changed.
    Lost,
}

/// What one reading of notices takes at the least where there is more: a buffer's length (4096) without room for the longest
/// notice.
const LEAST_READ: u64 = 4096 - 16 - 256;

/// Watches folders and files.
pub struct Watcher {
    inotify: Inotify,
    mounts: File,
}

impl Watcher {
    /// `None` where the kernel gives no watches to this user.
    pub fn new() -> Option<Self> {
        let mounts = File::open("/proc/self/mountinfo").ok()?;
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK).ok()?;
        Some(Self { inotify, mounts })
    }

    /// Watches an open folder; the same folder has the same watch.
    pub fn add_folder(&self, folder: BorrowedFd<'_>) -> Option<WatchDescriptor> {
        let names = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE;
        let itself = AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
        self.add(folder, names | itself | AddWatchFlags::IN_ONLYDIR)
    }

    /// Watches the file `name` of an open folder; a file has the same watch by all its names.
    pub fn add_file(&self, folder: BorrowedFd<'_>, name: &[u8]) -> Option<WatchDescriptor> {
        let fd: OwnedFd = openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok()?;
        // A watched folder that has just taken the file's place would lose its own watch to this one.
        let is_file = fstat(&fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_file());
        if !is_file {
            return None;
        }
        self.add(fd.as_fd(), AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_CLOSE_WRITE)
    }

    fn add(&self, at: BorrowedFd<'_>, what: AddWatchFlags) -> Option<WatchDescriptor> {
        // Through the descriptor: the watch is on this very file, whatever its path leads to by now.
        let path = PathBuf::from(format!("/proc/self/fd/{}", at.as_raw_fd()));
        self.inotify.add_watch(&path, what).ok()
    }

    /// What came since the last time.
    pub fn notices(&self) -> Notices {
        let mut watched = [
            PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.mounts.as_fd(), PollFlags::POLLPRI | PollFlags::POLLERR),
        ];
        match poll(&mut watched, PollTimeout::ZERO) {
            Ok(0) => return Notices::All(Vec::new()),
            Ok(_) => {}
            Err(_) => return Notices::Lost,
        }
        if watched[1].any() != Some(false) {
            return Notices::Lost;
        }
        // No more than there is now: somebody may add notices faster than they are taken.
        let Ok(queued) = ioctl_fionread(&self.inotify) else { return Notices::Lost };
        let mut all = Vec::new();
        for _ in 0..=queued / LEAST_READ {
            match self.inotify.read_events() {
                Ok(events) if events.is_empty() => return Notices::All(all),
                Ok(events) => {
                    if events.iter().any(|event| event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW)) {
                        return Notices::Lost;
                    }
                    all.extend(events.into_iter().map(|event| Notice { watch: event.wd, what: event.mask, name: event.name }));
                }
                Err(nix::errno::Errno::EAGAIN) => return Notices::All(all),
                Err(_) => return Notices::Lost,
            }
        }
        Notices::All(all)
    }
}
