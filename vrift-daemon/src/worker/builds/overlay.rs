//! Files that are about to be there.

use std::collections::HashMap;

use vrift_core::action::{FileKind, InputState, OutputState, Place};
use vrift_core::digest::Digest;
use vrift_core::paths::{AbsPath, Roots};
use vrift_core::wire::RestoreStep;
use vrift_store::{Blob, Cas};

use crate::worker::world::Verdict;

/// What the folders of a build will hold once all that is planned so far is in place. On disk they do not exist yet.
pub struct Overlay {
    folders: Vec<AbsPath>,
    there: HashMap<Vec<u8>, There, foldhash::fast::RandomState>,
}

#[derive(Clone, Copy)]
enum There {
    Dir,
    File(Digest),
    /// A link, or a file that cannot be made here.
    Unknown,
}

impl Overlay {
    /// Nothing but folders: `made` are to be there, and all of them are in one of `folders`, which are empty so far.
    pub fn new(folders: Vec<AbsPath>, made: Vec<AbsPath>) -> Self {
        let mut there: HashMap<_, _, _> = HashMap::default();
        for dir in folders.iter().chain(&made) {
            there.insert(dir.as_bytes().to_vec(), There::Dir);
        }
        // The target folder itself may not be there yet either.
        for folder in &folders {
            let mut above = folder.parent();
            while let Some(dir) = above {
                there.insert(dir.as_bytes().to_vec(), There::Dir);
                above = dir.parent();
            }
        }
        Self { folders, there }
    }

    /// An action's outputs are going to be there too.
    pub fn add(&mut self, steps: &[RestoreStep], cas: &Cas, roots: &Roots) {
        for step in steps {
            let there = match &step.state {
                OutputState::File { blob, place: Place::Link | Place::Copy, .. } => There::File(*blob),
                OutputState::File { place: Place::Render, .. } => match rendered(step, cas, roots) {
                    Some(digest) => There::File(digest),
                    None => There::Unknown,
                },
                OutputState::Dir { .. } => There::Dir,
                OutputState::Symlink { .. } => There::Unknown,
                OutputState::Removed => continue,
            };
            self.there.insert(step.path.as_bytes().to_vec(), there);
        }
    }

    /// `name` is going to be another name of `file`.
    pub fn link(&mut self, name: &AbsPath, file: &AbsPath) {
        if let Some(there) = self.there.get(file.as_bytes()).copied() {
            self.there.insert(name.as_bytes().to_vec(), there);
        }
    }

    /// The digest of a file that is going to be there.
    pub fn file(&self, path: &[u8]) -> Option<Digest> {
        match self.there.get(path) {
            Some(There::File(digest)) => Some(*digest),
            _ => None,
        }
    }

    /// Compares an input with what will be there; `None` where that is for the disk to say.
    pub fn compare(&self, path: &[u8], recorded: &InputState) -> Option<Verdict> {
        let in_it =
            |folder: &AbsPath| path.strip_prefix(folder.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
        let there = self.there.get(path);
        if !self.folders.iter().any(in_it) {
            let is_dir = matches!(recorded, InputState::Kind(FileKind::Dir) | InputState::Itself(FileKind::Dir));
            return (there.is_some() && is_dir).then_some(Verdict::Same);
        }
        let same = match (there, recorded) {
            (None, InputState::Absent) => true,
            (Some(There::File(digest)), InputState::Content(wanted) | InputState::Program(wanted)) => digest == wanted,
            (Some(There::File(_)), InputState::Kind(kind) | InputState::Itself(kind)) => *kind == FileKind::File,
            (Some(There::File(_)), InputState::Runnable) => true,
            (Some(There::Dir), InputState::Kind(kind) | InputState::Itself(kind)) => *kind == FileKind::Dir,
            _ => false,
        };
        Some(if same { Verdict::Same } else { Verdict::Differs("not to be there like that".to_owned()) })
    }
}

/// The digest of a file whose content names this checkout.
fn rendered(step: &RestoreStep, cas: &Cas, roots: &Roots) -> Option<Digest> {
    let template = cas.read(&Blob::of_state(&step.state)?).ok()?;
    Some(Digest::of(&roots.expand_text(&template)?))
}
