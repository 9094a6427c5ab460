//! All VDirs of this user together: how many there may be, how large, and what a dead worker left.
//!
//! A worker ends after an hour without clients, and takes its VDir along. Before that, the least recently used ones without
//! clients go when there are too many. In `/dev/shm` there are also those of other state folders of this user: of these only
//! what nobody keeps any more is removed.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::unistd::geteuid;
use vrift_core::identity::ProjectId;
use vrift_core::settings::Settings;
use vrift_core::vdir;

use super::projects::Projects;
use crate::client::Connection;
use crate::sync::lock;

/// How often all this is looked at.
const EVERY: Duration = Duration::from_secs(600);

/// How long a worker may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// What the names of VDir files start with, those of their drafts and questions too.
const PREFIX: &str = "vrift_vdir_";

/// See the module.
pub struct VDirs {
    most: usize,
    most_bytes: u64,
    state: Mutex<State>,
}

struct State {
    due: Instant,
    /// Files that nobody kept the last time.
    silent: HashSet<(PathBuf, u64)>,
}

impl VDirs {
    /// With the limits that the settings say.
    pub fn new(settings: &Settings) -> Self {
        let state = State { due: Instant::now(), silent: HashSet::new() };
        Self { most: settings.vdirs, most_bytes: settings.vdirs_size, state: Mutex::new(state) }
    }

    /// Does what is due.
    pub fn tick(&self, projects: &Projects) {
        let mut state = lock(&self.state);
        if Instant::now() < state.due {
            return;
        }
        state.due = Instant::now() + EVERY;
        state.silent = sweep(Path::new("/dev/shm"), &state.silent);
        drop(state);
        self.shrink(projects);
    }

    fn shrink(&self, projects: &Projects) {
        let size = |id| fs::symlink_metadata(vdir::place(id, geteuid().as_raw())).ok().map(|meta| meta.len());
        let mut kept: Vec<(Instant, u64, PathBuf)> = Vec::new();
        for (instance, opened) in projects.by_use() {
            kept.extend(size(instance.id).map(|bytes| (opened, bytes, instance.socket.as_path().to_owned())));
        }
        kept.sort();
        for socket in surplus(&kept, self.most, self.most_bytes) {
            // One with clients stays: it says no.
            if let Ok(mut worker) = Connection::connect(socket, ANSWER) {
                let _ = worker.shutdown(true);
            }
        }
    }
}

/// The workers, sorted by use, that have to end so that no more than `most` VDirs of `most_bytes` stay.
fn surplus<T>(kept: &[(T, u64, PathBuf)], most: usize, most_bytes: u64) -> impl Iterator<Item = &Path> {
    let (mut count, mut bytes) = (kept.len(), kept.iter().map(|(_, bytes, _)| bytes).sum::<u64>());
    kept.iter().map_while(move |(_, size, socket)| {
        if count <= most && bytes <= most_bytes {
            return None;
        }
        (count, bytes) = (count - 1, bytes - size);
        Some(socket.as_path())
    })
}

/// Removes the VDir of a worker that is dead.
pub fn remove(id: ProjectId) {
    vdir::remove(&vdir::place(id, geteuid().as_raw()));
}

/// Removes the files that were silent the last time and still are; those that are silent now.
fn sweep(shm: &Path, before: &HashSet<(PathBuf, u64)>) -> HashSet<(PathBuf, u64)> {
    let mut silent = HashSet::new();
    for entry in fs::read_dir(shm).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = entry.metadata().is_ok_and(|meta| meta.is_file() && meta.uid() == geteuid().as_raw());
        if !ours || !name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let path = entry.path();
        let generation = match kept(&path) {
            Kept::Yes => continue,
            Kept::No(generation) => generation,
        };
        if before.contains(&(path.clone(), generation)) {
            let _ = fs::remove_file(&path);
        } else {
            silent.insert((path, generation));
        }
    }
    silent
}

enum Kept {
    /// Somebody does.
    Yes,
    /// Nobody seems to; the generation of what is there.
    No(u64),
}

/// Whether somebody keeps the file: one that a worker keeps says something, but for the moments in which it is written.
fn kept(path: &Path) -> Kept {
    let text = path.as_os_str().as_encoded_bytes();
    if let Some(main) = text.strip_suffix(vdir::asked::SUFFIX.as_bytes()) {
        // Questions go with what they are about.
        return if Path::new(OsStr::from_bytes(main)).exists() { Kept::Yes } else { Kept::No(0) };
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match vdir::open(path, geteuid().as_raw()) {
        Ok(reader) if reader.mark(now).is_some() => Kept::Yes,
        Ok(reader) => Kept::No(reader.generation),
        Err(_) => Kept::No(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_go_first() {
        let kept: Vec<(u32, u64, PathBuf)> = (0..5).map(|n| (n, 10, n.to_string().into())).collect();
        let gone = |most, bytes| surplus(&kept, most, bytes).map(|path| path.display().to_string()).collect::<Vec<_>>();
        assert_eq!(gone(5, 50), Vec::<String>::new());
        assert_eq!(gone(3, 50), ["0", "1"]);
        assert_eq!(gone(5, 15), ["0", "1", "2", "3"]);
        assert_eq!(gone(0, 0), ["0", "1", "2", "3", "4"]);
    }

    #[test]
    fn what_nobody_keeps_is_removed_the_second_time() {
        let shm = tempfile::tempdir().expect("tempdir");
        for name in ["vrift_vdir_0011", "vrift_vdir_0011.asked", "vrift_vdir_22.7.tmp", "another"] {
            fs::write(shm.path().join(name), "rest").expect("writes");
        }
        let left = || {
            let mut names: Vec<_> = fs::read_dir(shm.path()).expect("lists").map(|e| e.expect("entry").file_name()).collect();
            names.sort();
            names
        };
        let first = sweep(shm.path(), &HashSet::new());
        assert_eq!(left().len(), 4);
        let second = sweep(shm.path(), &first);
        sweep(shm.path(), &second);
        sweep(shm.path(), &sweep(shm.path(), &HashSet::new()));
        assert_eq!(left(), ["another"]);
    }
}
