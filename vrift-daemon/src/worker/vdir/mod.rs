//! Keeping the project's VDir: the map in `/dev/shm` through which programs under the shim learn about the project's files
//! without asking the kernel. What makes its answers right is told in [`vrift_core::vdir`].
//!
//! A thread of its own does all of it ([`keeper`]): a first scan ([`list`]), then phases, each of which takes the kernel's
//! notices and brings the map ([`tree`]) up to date. What is in it without being asked for: which names there are, and of what
//! kind. A file's `stat` is put in once somebody asked for it ([`vrift_core::vdir::asked`]) and it has settled ([`settled`]):
//! from then on the file is watched itself, until its first change. So files that are written often cost nothing.

mod changes;
mod keeper;
mod list;
mod place;
mod settled;
mod shared;
#[cfg(test)]
mod tests;
mod tree;
mod trees;
mod watch;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::unistd::geteuid;
use vrift_core::identity::ProjectId;
use vrift_core::paths::AbsPath;
use vrift_core::settings::Settings;

use super::base::Base;
use super::notices::Notices;
use crate::server::Activity;
use crate::sync::lock;
pub use changes::Moment;
pub use shared::{Shared, View};
pub use trees::Trees;

/// How long the first scan waits: what starts with the daemon is worth more than a map.
const DELAY: Duration = Duration::from_millis(300);

/// How large a VDir may get.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of its file.
    pub size: u64,
    /// Files and folders in it.
    pub files: u64,
}

/// What the keeper is told.
pub struct Plan {
    /// Where the map is to be.
    pub place: PathBuf,
    /// First 8 bytes of the project's id, or of what tells the map of shared trees from others.
    pub project: u64,
    /// The project's root; empty for the map of shared trees.
    pub root: Vec<u8>,
    /// How large it may get.
    pub limits: Limits,
    /// Before the first scan: a build that has just begun needs its processors more.
    pub delay: Duration,
    /// Whether anybody is there to ask.
    pub activity: Arc<Activity>,
    /// Where people are told.
    pub notices: Arc<Notices>,
    /// Where look-ups find the map.
    pub shared: Arc<Shared>,
    /// Where digests of files are found that are told for the first time; for the map of shared trees.
    pub known: Option<Arc<Base>>,
}

impl Plan {
    /// For the map of a project.
    pub fn of_project(id: ProjectId, root: &AbsPath, settings: &Settings) -> Self {
        Self::new(place_of(id), first_bytes(&id.to_hex()), root.as_bytes().to_vec(), settings)
    }

    /// For the map of shared trees that goes with the state folder `home`.
    pub fn of_shared_trees(home: &Path, settings: &Settings) -> Self {
        let place = vrift_core::vdir::base_place(home, geteuid().as_raw());
        Self::new(place, first_bytes(&vrift_core::vdir::base_id(home).to_hex()), Vec::new(), settings)
    }

    fn new(place: PathBuf, project: u64, root: Vec<u8>, settings: &Settings) -> Self {
        Self {
            place,
            project,
            root,
            limits: Limits { size: settings.vdir_size, files: settings.vdir_files },
            delay: DELAY,
            activity: Arc::default(),
            notices: Arc::default(),
            shared: Arc::default(),
            known: None,
        }
    }
}

fn place_of(id: ProjectId) -> PathBuf {
    vrift_core::vdir::place(id, geteuid().as_raw())
}

fn first_bytes(hex: &str) -> u64 {
    u64::from_str_radix(&hex[..16], 16).unwrap_or_default()
}

/// A VDir that is kept, until it is dropped.
pub struct VDir {
    /// Closed, it wakes the keeper.
    wake: Option<OwnedFd>,
    stop: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl VDir {
    /// Starts to keep a VDir.
    ///
    /// # Errors
    /// There are no descriptors or threads left.
    pub fn start(plan: Plan) -> io::Result<Self> {
        let (woken, wake) = io::pipe()?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("vdir".to_owned())
            .spawn(move || keeper::keep(&plan, &keeper::Wake { woken: woken.into(), stop: asked }))?;
        Ok(Self { wake: Some(wake.into()), stop, thread: Mutex::new(Some(thread)) })
    }
}

impl Drop for VDir {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.wake = None;
        if let Some(thread) = lock(&self.thread).take() {
            let _ = thread.join();
        }
    }
}
