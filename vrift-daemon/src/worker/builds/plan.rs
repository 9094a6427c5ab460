//! The plan of a build, as it is stored: JSON in one blob.

use serde::{Deserialize, Serialize};
use vrift_core::PROTOCOL_VERSION;
use vrift_core::action::{ActionRecord, Tool};
use vrift_core::bytes::ByteText;
use vrift_core::digest::Digest;
use vrift_core::paths::{AbsPath, Roots, TemplatePath};
use vrift_core::wire::{BuildFile, BuildOpenParams, LookupParams};

use super::by_name;
use super::capture::file_digest;
use crate::worker::world::value_digest;

/// The format's version. A plan of another one is not used.
const VERSION: u32 = 1;

/// See [`super`].
#[derive(Serialize, Deserialize)]
pub struct Plan {
    version: u32,
    /// Cargo's own variables that it sets to something else for its units, with digests of their values.
    pub base: Vec<(ByteText, Option<Digest>)>,
    /// Manifests of the project's packages, which say what the units are.
    pub manifests: Vec<(TemplatePath, Digest)>,
    /// The folders that hold a `.fingerprint` each.
    pub profiles: Vec<TemplatePath>,
    /// Every folder that was made, for programs that look.
    pub folders: Vec<TemplatePath>,
    /// Dependencies first.
    pub units: Vec<Unit>,
    /// Files about the target folder as a whole.
    pub files: Vec<File>,
    /// Actions that Cargo does itself each time: their fingerprints hold times of this checkout's files.
    pub left: usize,
}

/// A unit of Cargo's.
#[derive(Serialize, Deserialize)]
pub struct Unit {
    /// The command that makes it.
    pub command: Command,
    /// Digest of what it left and said ([`outcome`]): Cargo's files tell of that.
    pub outcome: Digest,
    /// Units before it that Cargo says it depends on.
    pub deps: Vec<usize>,
    /// Folders that Cargo made for it.
    pub dirs: Vec<TemplatePath>,
    /// Outputs that have an inode and a time of their own.
    pub dated: Vec<TemplatePath>,
    /// Further names of outputs.
    pub links: Vec<(TemplatePath, TemplatePath)>,
    /// Cargo's files, in the order in which they are to be written.
    pub files: Vec<File>,
}

/// A command, known roots replaced.
#[derive(Serialize, Deserialize)]
pub struct Command {
    pub tool: Tool,
    pub program: TemplatePath,
    pub argv: Vec<ByteText>,
    pub cwd: TemplatePath,
    /// How its variables differ from Cargo's.
    pub env: Vec<(ByteText, Option<ByteText>)>,
}

/// A file of Cargo's.
#[derive(Serialize, Deserialize)]
pub struct File {
    pub path: TemplatePath,
    pub content: ByteText,
    /// Roots in the content are replaced.
    pub template: bool,
    /// It is as old as a blob.
    pub old: bool,
}

impl Plan {
    /// A plan of this version.
    pub fn new() -> Self {
        Self {
            version: VERSION,
            base: Vec::new(),
            manifests: Vec::new(),
            profiles: Vec::new(),
            folders: Vec::new(),
            units: Vec::new(),
            files: Vec::new(),
            left: 0,
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// `None` for what is no plan, or one of another version.
    pub fn decode(content: &[u8]) -> Option<Self> {
        serde_json::from_slice(content).ok().filter(|plan: &Self| plan.version == VERSION)
    }

    /// Whether the build that begins sets out from where the recorded one did, as far as predictions depend on it.
    pub fn applies_to(&self, params: &BuildOpenParams) -> bool {
        let env = by_name(&params.env);
        let is_there = |path: &TemplatePath, digest: &Digest| {
            params.roots.expand_path(path).and_then(|path| file_digest(&path)).as_ref() == Some(digest)
        };
        self.base.iter().all(|(name, value)| env.get(&name[..]).map(|now| value_digest(&params.roots, now)) == *value)
            && self.manifests.iter().all(|(path, digest)| is_there(path, digest))
    }
}

impl Command {
    /// The look-up that Cargo would cause.
    pub fn predict(&self, params: &BuildOpenParams) -> Option<LookupParams> {
        let roots = &params.roots;
        let text = |text: &ByteText| roots.expand_text(text).map(ByteText);
        let mut env: Vec<ByteText> = Vec::with_capacity(params.env.len() + self.env.len());
        let changed = |entry: &ByteText| {
            crate::worker::key::split(entry).is_some_and(|(name, _)| self.env.iter().any(|(other, _)| other[..] == *name))
        };
        env.extend(params.env.iter().filter(|entry| !changed(entry)).cloned());
        for (name, value) in &self.env {
            if let Some(value) = value {
                let mut entry = name.0.clone();
                entry.push(b'=');
                entry.extend_from_slice(&roots.expand_text(value)?);
                env.push(ByteText(entry));
            }
        }
        Some(LookupParams {
            protocol: PROTOCOL_VERSION,
            session: params.session.clone(),
            tool: self.tool,
            program: roots.expand_path(&self.program)?,
            argv: self.argv.iter().map(text).collect::<Option<_>>()?,
            cwd: roots.expand_path(&self.cwd)?,
            env,
            umask: params.umask,
            roots: roots.clone(),
            recache: false,
            stdin: None,
            surroundings: Vec::new(),
            script: ByteText::default(),
            plain_text: false,
            nested: false,
        })
    }
}

impl File {
    /// The file for this checkout.
    pub fn render(&self, roots: &Roots) -> Option<BuildFile> {
        let content = if self.template { ByteText(roots.expand_text(&self.content)?) } else { self.content.clone() };
        Some(BuildFile { path: roots.expand_path(&self.path)?, content, old: self.old })
    }
}

/// What stands for all that an action left and said.
pub fn outcome(record: &ActionRecord) -> Digest {
    Digest::of(&serde_json::to_vec(&(&record.outputs, &record.stdio)).unwrap_or_default())
}

/// Each path of a list, where its root is known.
pub fn expand(paths: &[TemplatePath], roots: &Roots) -> Vec<AbsPath> {
    paths.iter().filter_map(|path| roots.expand_path(path)).collect()
}
