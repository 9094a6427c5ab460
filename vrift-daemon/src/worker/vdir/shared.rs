//! The map as look-ups use it: what the worker would learn by `stat`, and digests, without asking the kernel or a table.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use vrift_core::action::FileKind;
use vrift_core::digest::Digest;
use vrift_core::paths::AbsPath;
use vrift_core::vdir::layout::flag;
use vrift_core::vdir::{Answer, Found, Reader};
use vrift_core::wire::{KnownFile, Stamp};

use super::super::sight::Sight;
use super::changes::{Changes, Moment};
use crate::sync::lock;

/// Digests that wait to be put into the map; what comes on top stays where it is.
const MAX_FACTS: usize = 10_000;

/// Trees that are remembered.
const MAX_TOPS: usize = 64;

/// What the keeper and look-ups tell each other.
#[derive(Default)]
pub struct Shared {
    reader: Mutex<Option<Arc<Reader>>>,
    facts: Mutex<Vec<Fact>>,
    /// What the keeper took back.
    changes: Arc<Changes>,
    tops: Mutex<Tops>,
}

/// Where shared trees begin.
#[derive(Default)]
struct Tops {
    all: Vec<Vec<u8>>,
    new: Vec<Vec<u8>>,
}

/// A file's digest.
pub struct Fact {
    /// Its path below the root.
    pub path: Box<[u8]>,
    /// What it was seen with.
    pub stamp: Stamp,
    /// What is in it.
    pub digest: Digest,
}

impl Fact {
    /// Of a file in a shared tree.
    pub fn of_shared(file: &KnownFile) -> Option<Self> {
        let path = file.path.as_bytes().strip_prefix(b"/")?.into();
        Some(Self { path, stamp: file.stamp, digest: file.digest })
    }
}

impl Shared {
    /// A map is served, or none any more.
    pub fn serve(&self, reader: Option<Reader>) {
        *lock(&self.reader) = reader.map(Arc::new);
    }

    /// What the keeper takes back is noted here.
    pub fn changes(&self) -> &Arc<Changes> {
        &self.changes
    }

    /// The digests that are to be put into the map.
    pub fn take_facts(&self) -> Vec<Fact> {
        std::mem::take(&mut *lock(&self.facts))
    }

    /// A tree that is to be in the map of shared ones.
    pub fn add_top(&self, path: &[u8]) {
        let mut tops = lock(&self.tops);
        if tops.all.len() < MAX_TOPS && !tops.all.iter().any(|known| known == path) {
            tops.all.push(path.to_vec());
            tops.new.push(path.to_vec());
        }
    }

    /// All of these.
    pub fn tops(&self) -> Vec<Vec<u8>> {
        let mut tops = lock(&self.tops);
        tops.new.clear();
        tops.all.clone()
    }

    /// Those that came since.
    pub fn take_new_tops(&self) -> Vec<Vec<u8>> {
        std::mem::take(&mut lock(&self.tops).new)
    }

    /// The map, for one look-up.
    pub fn view(self: &Arc<Self>, root: &AbsPath) -> Option<View> {
        let reader = lock(&self.reader).clone()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        (reader.root() == root.as_bytes()).then(|| View { shared: Some(Arc::clone(self)), reader, now })
    }

    /// Files of shared trees have these digests. Nobody listens where there is no map.
    pub fn learn_all(&self, files: &[KnownFile]) {
        if lock(&self.reader).is_none() {
            return;
        }
        let mut facts = lock(&self.facts);
        let room = MAX_FACTS.saturating_sub(facts.len());
        facts.extend(files.iter().take(room).filter_map(Fact::of_shared));
    }
}

/// The map as one look-up sees it.
pub struct View {
    /// Whom to tell digests; nobody, where another process keeps the map.
    shared: Option<Arc<Shared>>,
    reader: Arc<Reader>,
    now: u64,
}

impl View {
    /// Of a map that another process keeps.
    pub(super) fn of_others(reader: Arc<Reader>, now: u64) -> Self {
        Self { shared: None, reader, now }
    }

    /// What the map says of an absolute path, symbolic links not followed.
    fn find(&self, path: &[u8]) -> Answer<Found> {
        let Some(below) = path.strip_prefix(self.reader.root()).and_then(|rest| rest.strip_prefix(b"/")) else {
            return Answer::Unknown;
        };
        let plain = !below.split(|c| *c == b'/').any(|name| matches!(name, b"" | b"." | b".."));
        if plain { self.reader.look(below, self.now) } else { Answer::Unknown }
    }

    /// What this map says from now on holds until the keeper notes something else; `None` where it notes nothing.
    pub fn moment(&self) -> Option<Moment> {
        self.shared.as_ref()?.changes.now(self.reader.generation)
    }

    /// For each of some folders, by absolute paths, whether all that the map said of what is right in it since a moment is so still.
    pub fn untouched<'f>(&self, since: Moment, folders: impl Iterator<Item = &'f [u8]>) -> Option<Vec<bool>> {
        let shared = self.shared.as_ref()?;
        let root = self.reader.root();
        let below = |folder: &'f [u8]| folder.strip_prefix(root).map(|rest| rest.strip_prefix(b"/").unwrap_or(rest));
        let folders: Vec<&[u8]> = folders.map(below).collect::<Option<_>>()?;
        // The keeper notes what happened before it is at rest again.
        let mark = self.reader.mark(self.now)?;
        let untouched = shared.changes.untouched(since, folders.into_iter());
        self.reader.holds(mark, self.now).then_some(untouched)
    }

    /// What a look at a path would show; `None` where the kernel has to be asked.
    pub fn look(&self, path: &[u8], follow: bool) -> Option<io::Result<Sight>> {
        let found = match self.find(path) {
            Answer::Found(found) => found,
            Answer::Fails(error) => return Some(Err(io::Error::from_raw_os_error(error))),
            Answer::Unknown => return None,
        };
        let kind = kind_of(&found, follow)?;
        if found.flags & flag::STAT == 0 {
            self.reader.ask(found.number);
            return None;
        }
        let [_, mtime_ns, ctime_ns, birth] = found.times;
        let stamp = Stamp { dev: found.dev, ino: found.ino, size: found.size, mtime_ns, ctime_ns, mode: found.mode };
        Some(Ok(Sight { kind, stamp, birth_ns: Some(birth).filter(|ns| *ns > 0) }))
    }

    /// The kind of what is at a path; `None` as above.
    pub fn kind(&self, path: &[u8], follow: bool) -> Option<io::Result<FileKind>> {
        match self.find(path) {
            Answer::Found(found) => kind_of(&found, follow).map(Ok),
            Answer::Fails(error) => Some(Err(io::Error::from_raw_os_error(error))),
            Answer::Unknown => None,
        }
    }

    /// Whether nothing is at a path, for sure.
    pub fn lacks(&self, path: &[u8]) -> bool {
        matches!(self.find(path), Answer::Fails(_))
    }

    /// What is in the file at a path.
    pub fn digest(&self, path: &[u8]) -> Option<Digest> {
        match self.find(path) {
            Answer::Found(found) => self.reader.digest(&found, self.now).map(Digest::from_bytes),
            _ => None,
        }
    }

    /// The file at a path has this content.
    pub fn learn(&self, path: &[u8], sight: &Sight, digest: Digest) {
        if let Some(shared) = &self.shared
            && let Answer::Found(found) = self.find(path)
            && found.flags & (flag::STAT | flag::DIGEST) == flag::STAT
            && let Some(below) = path.get(self.reader.root().len() + 1..)
        {
            let mut facts = lock(&shared.facts);
            if facts.len() < MAX_FACTS {
                facts.push(Fact { path: below.into(), stamp: sight.stamp, digest });
            }
        }
    }
}

fn kind_of(found: &Found, follow: bool) -> Option<FileKind> {
    match found.kind() {
        flag::FILE => Some(FileKind::File),
        flag::DIR => Some(FileKind::Dir),
        flag::LINK if !follow => Some(FileKind::Symlink),
        _ => None,
    }
}
