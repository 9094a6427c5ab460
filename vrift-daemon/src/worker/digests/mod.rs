//! What is in a file, mostly without reading it.
//!
//! | file | its content is known as long as |
//! |---|---|
//! | hard link of a blob | its inode is the blob's and has a blob's attributes, see [`inodes`] |
//! | any other | its stamp (device, inode, size, mode, both times) is the one that it had when it was hashed |
//! | folder, for its names | the same |
//! | on `/proc`, `/sys`, `/dev` | never: stamps there say nothing |
//!
//! A digest is kept only where a later change is sure to show, see [`grain`]. Digests of project files outlive the worker in
//! the delta manifest, those of shared trees (toolchains, the registry, the system) in the base manifest, so that the worker
//! of another checkout does not hash a compiler again.

mod folders;
mod grain;
mod hash;
mod inodes;
mod table;

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use vrift_core::digest::Digest;
use vrift_core::paths::AbsPath;
use vrift_core::rules;
use vrift_core::wire::{self, KnownFile, Stamp};
use vrift_store::Cas;

use super::sight::{Sight, as_path};
use super::vdir::{Shared, Trees, View};
use crate::clock::now_ns;
use crate::server::pulse;
use crate::sync::lock;
use folders::Folders;
pub use folders::{Need, Place};
use grain::Grain;
pub use hash::{MAX_ENTRIES, is_own_entry};
use inodes::Inodes;
pub use inodes::is_blob_like;
pub use table::Table;

/// Files at least this long are hashed by one thread while the others that need them wait.
const LONG_FILE: u64 = 2 << 20;

/// Bytes that are read of a file whose size says nothing.
const MAX_STREAM: u64 = 1 << 20;

/// Digests that wait to be saved; what comes on top is hashed again by the next worker.
const MAX_UNSAVED: usize = 100_000;

/// A known content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its digest.
    pub digest: Digest,
    /// How it is known.
    pub by: By,
}

/// How a content is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// The file has the stamp that it had when it was hashed, at the latest at `since` ([`now_ns`]).
    Stamp {
        /// See there.
        since: i64,
    },
    /// The file is a blob.
    Blob,
    /// It was read just now, and will have to be read again.
    Reading,
}

/// Where digests of files in shared trees are kept.
pub trait SharedFiles: Send + Sync {
    /// What is known below `folder`.
    fn under(&self, folder: &Path) -> Vec<KnownFile>;
}

/// Digests that the next worker should know.
#[derive(Default)]
pub struct Unsaved {
    /// Files of the project.
    pub project: Vec<KnownFile>,
    /// Files of shared trees.
    pub shared: Vec<KnownFile>,
}

#[derive(Clone, Copy)]
struct Entry {
    stamp: Stamp,
    digest: Digest,
    since: i64,
}

/// The digest cache.
pub struct Digests {
    cas: Arc<Cas>,
    root: AbsPath,
    shared: Arc<dyn SharedFiles>,
    grain: Grain,
    inodes: Inodes,
    files: Table<Entry>,
    listings: Table<Entry>,
    /// Folders outside the project that are this user's own business: their files are not saved for other projects.
    private: Mutex<Vec<AbsPath>>,
    asked: Mutex<HashSet<Box<[u8]>>>,
    folders: Folders,
    hashing: Mutex<HashSet<Box<[u8]>>>,
    hashed: Condvar,
    unsaved: Mutex<Unsaved>,
    map: Arc<Shared>,
    trees: Option<Trees>,
}

impl Digests {
    /// An empty cache for the project at `root`.
    pub fn new(cas: Arc<Cas>, root: AbsPath, shared: Arc<dyn SharedFiles>) -> Self {
        Self {
            cas,
            root,
            shared,
            grain: Grain::new(),
            inodes: Inodes::default(),
            files: Table::default(),
            listings: Table::default(),
            private: Mutex::default(),
            asked: Mutex::default(),
            folders: Folders::default(),
            hashing: Mutex::default(),
            hashed: Condvar::new(),
            unsaved: Mutex::default(),
            map: Arc::default(),
            trees: None,
        }
    }

    /// The same, with the map of shared trees.
    pub fn with_trees(self, trees: Option<Trees>) -> Self {
        Self { trees, ..self }
    }

    /// Where the project's VDir is told of.
    pub fn map(&self) -> &Arc<Shared> {
        &self.map
    }

    /// The project's VDir, for one look-up.
    pub fn view(&self) -> Option<View> {
        self.map.view(&self.root)
    }

    /// The map of shared trees, for one look-up.
    pub fn trees(&self) -> Option<View> {
        self.trees.as_ref()?.view()
    }

    /// The folder at `path`, for looking at many files in it.
    pub fn folder(&self, path: &[u8], need: Need) -> Place {
        self.folders.find(path, need, &self.grain)
    }

    /// What is found in folders from here on is as it is now or later.
    pub fn look_anew(&self) {
        self.folders.settle();
    }

    /// Nobody has asked for a while: what is held open is let go.
    pub fn rest(&self) {
        self.folders.let_go();
    }

    /// How many files are known.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Takes what an earlier worker saved.
    pub fn load(&self, files: impl IntoIterator<Item = KnownFile>) {
        let since = now_ns();
        for KnownFile { path, stamp, digest } in files {
            self.files.insert_new(path.as_bytes(), Entry { stamp, digest, since });
        }
    }

    /// Takes what is to be saved.
    pub fn take_unsaved(&self) -> Unsaved {
        std::mem::take(&mut *lock(&self.unsaved))
    }

    /// Files below `folder` are not to be saved for other projects.
    pub fn keep_private(&self, folder: &AbsPath) {
        let mut private = lock(&self.private);
        if !private.contains(folder) && private.len() < 64 {
            private.push(folder.clone());
        }
    }

    /// The file with `sight`, just checked in the store, is the blob `digest`.
    pub fn learn_blob(&self, sight: &Sight, digest: Digest) {
        self.inodes.learn(sight, digest);
    }

    /// A client read the file at `path` while it had `stamp`.
    pub fn learn_file(&self, path: &AbsPath, stamp: Stamp, digest: Digest) {
        if self.will_show_change(path.as_path(), &stamp, now_ns()) && !is_volatile(path.as_bytes()) {
            self.remember(path.as_bytes(), Entry { stamp, digest, since: now_ns() });
        }
    }

    /// What is in the regular file at `path`, whose `stat` is `sight`, if that is known without reading it. `expected` is a
    /// content that it may well have.
    pub fn peek(&self, path: &[u8], sight: &Sight, expected: Option<Digest>) -> Option<Known> {
        if is_blob_like(sight) {
            if let Some(digest) = self.inodes.recall(sight) {
                return Some(Known { digest, by: By::Blob });
            }
            if let Some(digest) = expected
                && self.inodes.confirm(&self.cas, sight, digest)
            {
                return Some(Known { digest, by: By::Blob });
            }
        }
        let stamp = sight.stamp;
        let entry = self.files.get(path).or_else(|| {
            self.ask_shared(path);
            self.files.get(path)
        })?;
        if entry.stamp == stamp {
            return Some(Known { digest: entry.digest, by: By::Stamp { since: entry.since } });
        }
        // Adopted by the store, or linked elsewhere, since it was hashed: it may be the blob of what it was.
        (is_blob_like(sight) && self.inodes.confirm(&self.cas, sight, entry.digest))
            .then_some(Known { digest: entry.digest, by: By::Blob })
    }

    /// What is in the regular file at `path`, and the stamp that goes with it.
    ///
    /// # Errors
    /// Where it cannot be read, or does not stop changing.
    pub fn content(&self, path: &[u8], sight: &Sight, expected: Option<Digest>) -> io::Result<(Stamp, Known)> {
        if is_volatile(path) {
            let digest = hash::stream(as_path(path), MAX_STREAM)?;
            return Ok((sight.stamp, Known { digest, by: By::Reading }));
        }
        if let Some(known) = self.peek(path, sight, expected) {
            return Ok((sight.stamp, known));
        }
        let _turn = (sight.stamp.size >= LONG_FILE).then(|| self.wait_turn(path));
        if _turn.is_some()
            && let Some(known) = self.peek(path, sight, expected)
        {
            return Ok((sight.stamp, known));
        }
        let began = now_ns();
        let (stamp, digest) = hash::file(as_path(path))?;
        if is_blob_like(sight) && self.inodes.confirm(&self.cas, sight, digest) {
            return Ok((stamp, Known { digest, by: By::Blob }));
        }
        if !self.will_show_change(as_path(path), &stamp, began) {
            return Ok((stamp, Known { digest, by: By::Reading }));
        }
        let since = now_ns();
        self.remember(path, Entry { stamp, digest, since });
        Ok((stamp, Known { digest, by: By::Stamp { since } }))
    }

    /// The digest of the names in the folder at `path`, whose `stat` is `sight`, and the stamp that goes with it.
    ///
    /// # Errors
    /// Where it cannot be listed, or does not stop changing.
    pub fn listing(&self, path: &[u8], sight: &Sight) -> io::Result<(Stamp, Known)> {
        let stamp = sight.stamp;
        if let Some(entry) = self.listings.get(path).filter(|entry| entry.stamp == stamp) {
            return Ok((stamp, Known { digest: entry.digest, by: By::Stamp { since: entry.since } }));
        }
        let began = now_ns();
        let (stamp, digest) = hash::listing(as_path(path))?;
        if is_volatile(path) || !self.will_show_change(as_path(path), &stamp, began) {
            return Ok((stamp, Known { digest, by: By::Reading }));
        }
        let since = now_ns();
        self.listings.insert(path, Entry { stamp, digest, since });
        Ok((stamp, Known { digest, by: By::Stamp { since } }))
    }

    /// Whether any change to a file that had `stamp` at the time `seen` gives it another stamp.
    pub fn will_show_change(&self, path: &Path, stamp: &Stamp, seen: i64) -> bool {
        self.grain.will_show_change(path, stamp, seen)
    }

    fn remember(&self, path: &[u8], entry: Entry) {
        self.files.insert(path, entry);
        let Ok(at) = AbsPath::new(path) else { return };
        let in_project = at.below(&self.root).is_some();
        if !in_project && lock(&self.private).iter().any(|folder| at.below(folder).is_some()) {
            return;
        }
        let mut unsaved = lock(&self.unsaved);
        let list = if in_project { &mut unsaved.project } else { &mut unsaved.shared };
        if list.len() < MAX_UNSAVED {
            list.push(KnownFile { path: at, stamp: entry.stamp, digest: entry.digest });
        }
    }

    /// Fetches what is known about the neighbours of `path`, once.
    pub fn ask_shared(&self, path: &[u8]) {
        if path.starts_with(self.root.as_bytes()) {
            return;
        }
        let folder = neighbourhood(path);
        if folder.is_empty() || !lock(&self.asked).insert(folder.into()) {
            return;
        }
        self.load(self.shared.under(as_path(folder)));
    }

    fn wait_turn(&self, path: &[u8]) -> Turn<'_> {
        let mut hashing = lock(&self.hashing);
        while !hashing.insert(path.into()) {
            hashing = self.hashed.wait_timeout(hashing, wire::BEAT).unwrap_or_else(PoisonError::into_inner).0;
            pulse::beat();
        }
        Turn { digests: self, path: path.into() }
    }
}

/// One thread's turn to hash a long file.
struct Turn<'a> {
    digests: &'a Digests,
    path: Box<[u8]>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.digests.hashing).remove(&self.path);
        self.digests.hashed.notify_all();
    }
}

/// Whether files at `path` have stamps that say nothing about their content.
pub fn is_volatile(path: &[u8]) -> bool {
    rules::is_of_the_kernel(path)
}

/// The folder whose files are likely to be needed together with `path`: a package of the registry or of git, else the
/// parent. Empty where that is too near the root to be asked for.
fn neighbourhood(path: &[u8]) -> &[u8] {
    const PACKAGES: [(&[u8], usize); 2] = [(b"/registry/src/", 2), (b"/git/checkouts/", 2)];
    for (marker, parts) in PACKAGES {
        let found = path.windows(marker.len()).position(|w| w == marker);
        if let Some(start) = found.map(|at| at + marker.len())
            && let Some((end, _)) = path.iter().enumerate().skip(start).filter(|(_, c)| **c == b'/').nth(parts - 1)
        {
            return &path[..end];
        }
    }
    let parent = path.iter().rposition(|c| *c == b'/').map_or(&b""[..], |at| &path[..at]);
    if parent.iter().filter(|c| **c == b'/').count() < 2 { b"" } else { parent }
}

#[cfg(test)]
mod tests;
