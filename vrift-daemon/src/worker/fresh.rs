//! Is what lies where a script writes its own earlier output?
//!
//! An input that is [`InputState::Fresh`] holds where nothing is there, and where what is there was left by an earlier run of the
//! same command (any stored result of its key), and this result replaces or removes all of it. In a folder that goes for all that
//! is in it: one foreign file, and the result does not hold, since the real script would have seen it. See
//! `vrift_exec::record::script` for what makes an input so.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use vrift_core::action::{ActionRecord, FileKind, OutputState, Place};
use vrift_core::digest::{Digest, FieldHasher};
use vrift_core::paths::{AbsPath, TemplatePath};
use vrift_store::{Blob, Cas};

use super::candidates::Candidate;
use super::digests::{MAX_ENTRIES, is_own_entry};
use super::sight::{is_absent, kind_name, look_itself};
use super::world::{Verdict, World};

/// Folders in folders that are looked into.
const DEEPEST: usize = 64;

/// What all stored results of one key have left, by path.
pub struct Leftovers {
    cas: Arc<Cas>,
    candidates: Vec<Arc<Candidate>>,
    by_path: HashMap<TemplatePath, Vec<(usize, usize)>>,
}

impl Leftovers {
    /// Of these results; `cas` has what they left.
    pub fn new(cas: Arc<Cas>, candidates: Vec<Arc<Candidate>>) -> Self {
        let mut by_path: HashMap<TemplatePath, Vec<(usize, usize)>> = HashMap::new();
        for (at, candidate) in candidates.iter().enumerate() {
            for (index, output) in candidate.record.outputs.iter().enumerate() {
                by_path.entry(output.path.clone()).or_default().push((at, index));
            }
        }
        Self { cas, candidates, by_path }
    }

    /// What they left at `path`.
    fn at(&self, path: &TemplatePath) -> impl Iterator<Item = &OutputState> {
        let places = self.by_path.get(path).map_or(&[][..], Vec::as_slice);
        places.iter().map(|(at, index)| &self.candidates[*at].record.outputs[*index].state)
    }
}

/// One result, held against what lies there.
pub struct Fresh<'a> {
    world: &'a World<'a>,
    left: Option<&'a Leftovers>,
    record: &'a ActionRecord,
    /// Paths of the result's outputs.
    own: OnceCell<HashSet<&'a TemplatePath>>,
}

impl<'a> Fresh<'a> {
    /// The result `record`, held against `world`.
    pub fn new(world: &'a World<'a>, record: &'a ActionRecord) -> Self {
        Self { world, left: world.leftovers(), record, own: OnceCell::new() }
    }

    /// The result.
    pub fn record(&self) -> &'a ActionRecord {
        self.record
    }

    fn owns(&self, path: &TemplatePath) -> bool {
        self.own.get_or_init(|| self.record.outputs.iter().map(|output| &output.path).collect()).contains(path)
    }

    /// Compares a folder's names with those that the result was recorded with, its own left out.
    pub fn compare_names(&self, path: &[u8], wanted: &Digest) -> Verdict {
        let out = |entry: &AbsPath| self.world.is_cache(entry) || self.owns(&self.world.roots.template_path(entry));
        let found = AbsPath::new(path).map_err(|e| e.to_string()).and_then(|folder| names(&folder, out, |_| Ok(())));
        match found {
            Ok(digest) if digest == *wanted => Verdict::Same,
            Ok(digest) => Verdict::Differs(format!("entries {}", digest.short())),
            Err(e) => Verdict::Differs(e),
        }
    }

    /// Compares what is at `path`. Content that is not known is read: it is the script's own, and hashed once.
    pub fn compare(&self, path: &[u8]) -> Verdict {
        match AbsPath::new(path) {
            Ok(path) => self.look(&path, 0).map_or_else(Verdict::Differs, |()| Verdict::Same),
            Err(_) => Verdict::Differs("no path".to_owned()),
        }
    }

    fn look(&self, path: &AbsPath, depth: usize) -> Result<(), String> {
        let sight = match look_itself(path.as_bytes()) {
            Ok(sight) => sight,
            Err(e) if is_absent(&e) => return Ok(()),
            Err(e) => return Err(e.to_string()),
        };
        let template = self.world.roots.template_path(path);
        let foreign = || Err(format!("{template} ({}), which no run of it has left", kind_name(sight.kind)));
        let Some(left) = self.left.filter(|_| self.owns(&template)) else { return foreign() };
        match sight.kind {
            FileKind::File => {
                let (_, known) = self.world.digests.content(path.as_bytes(), &sight, None).map_err(|e| e.to_string())?;
                let same = left.at(&template).any(|state| self.content(state) == Some(known.digest));
                if same { Ok(()) } else { foreign() }
            }
            FileKind::Symlink => {
                let target = fs::read_link(path.as_path()).map_err(|e| e.to_string())?;
                let target = self.world.roots.template_text(target.as_os_str().as_bytes());
                let same = |state: &OutputState| matches!(state, OutputState::Symlink { target: left } if *left == target);
                if left.at(&template).any(same) { Ok(()) } else { foreign() }
            }
            FileKind::Dir if depth < DEEPEST && left.at(&template).any(|s| matches!(s, OutputState::Dir { .. })) => {
                let entries = fs::read_dir(path.as_path()).map_err(|e| e.to_string())?;
                for entry in entries {
                    let entry = entry.map_err(|e| e.to_string())?;
                    let entry = AbsPath::try_from(entry.path().as_path()).map_err(|e| e.to_string())?;
                    if !is_own_entry(entry.file_name()) && !self.world.is_cache(&entry) {
                        self.look(&entry, depth + 1)?;
                    }
                }
                Ok(())
            }
            _ => foreign(),
        }
    }

    /// The digest of a file that was left so, as it is in this checkout.
    fn content(&self, state: &OutputState) -> Option<Digest> {
        let OutputState::File { blob, place, .. } = state else { return None };
        if *place != Place::Render {
            return Some(*blob);
        }
        let template = self.left?.cas.read(&Blob::of_state(state)?).ok()?;
        Some(Digest::of(&self.world.roots.expand_text(&template)?))
    }
}

/// The names in a folder, without those that the run made or removed there and without caches: what is there whoever ran.
///
/// # Errors
/// The folder cannot be listed.
pub fn names(
    folder: &AbsPath,
    is_out: impl Fn(&AbsPath) -> bool,
    mut each: impl FnMut(&AbsPath) -> Result<(), String>,
) -> Result<Digest, String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder.as_path()).map_err(|e| e.to_string())? {
        let entry = entry.map_err(|e| e.to_string())?;
        let path = AbsPath::try_from(entry.path().as_path()).map_err(|e| e.to_string())?;
        if is_own_entry(path.file_name()) || is_out(&path) {
            continue;
        }
        each(&path)?;
        names.push(path.file_name().to_vec());
        if names.len() > MAX_ENTRIES {
            return Err("too many entries".to_owned());
        }
    }
    names.sort_unstable();
    Ok(digest(&names))
}

/// What [`names`] gives for a folder in which there is nothing else.
pub fn no_names() -> Digest {
    digest(&[])
}

fn digest(names: &[Vec<u8>]) -> Digest {
    let mut hasher = FieldHasher::new("vrift-listing-1");
    for name in names {
        hasher.field(name);
    }
    hasher.finish()
}
