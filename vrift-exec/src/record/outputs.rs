//! What the run left behind, and bringing it into the store.

use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use vrift_core::action::{Access, Output, OutputState, Place, Tool};
use vrift_core::digest::Digest;
use vrift_core::paths::{AbsPath, Root};
use vrift_core::wire::OutputStamp;
use vrift_store::{Cas, Ingest};

use super::Reason;
use super::accesses::{PathFacts, Seen};
use super::content::{Content, Reader};
use super::native::{self, Form};
use crate::command::Command;
use crate::dates;

/// The outputs.
#[derive(Default)]
pub struct Left {
    pub outputs: Vec<Output>,
    pub stamps: Vec<OutputStamp>,
    /// One of them carries this checkout's path where it cannot be replaced.
    pub bound: bool,
}

/// More outputs than this make no action.
const MOST_OUTPUTS: usize = 100_000;

/// What matters of times.
#[derive(Clone, Copy)]
pub struct Times {
    /// See [`crate::tracer::Finished`].
    pub started_ns: u64,
    /// One artifact keeps its inode and time; see [`dates`].
    pub own: bool,
}

/// Collects the outputs.
pub fn collect(command: &Command, cas: &Cas, seen: &Seen, times: Times) -> Result<Left, Reason> {
    // rustc makes metadata for everything, and throws away what is no library's.
    let is_left = |path: &AbsPath| dates::is_metadata(path.file_name()) && path.as_path().exists();
    let has_metadata = seen.paths.iter().any(|(path, facts)| facts.changed && is_left(path));
    let reader = Reader::new(command.roots.per_checkout());
    let mut collector = Collector { command, cas, seen, reader, times, has_metadata, left: Left::default() };
    for (path, facts) in seen.paths.iter().filter(|(_, facts)| facts.changed) {
        collector.one(path, facts)?;
    }
    // Folders come before what is in them: the paths are sorted. A tree that was renamed into place is walked when its
    // folder comes up, and its files may have come up by themselves.
    collector.left.outputs.dedup_by(|a, b| a.path == b.path);
    if command.tool == Tool::Script {
        collector.sort_by_age();
    }
    Ok(collector.left)
}

struct Collector<'a> {
    command: &'a Command,
    cas: &'a Cas,
    seen: &'a Seen,
    reader: Reader,
    times: Times,
    has_metadata: bool,
    left: Left,
}

impl Collector<'_> {
    fn one(&mut self, path: &AbsPath, facts: &PathFacts) -> Result<(), Reason> {
        let meta = match fs::symlink_metadata(path.as_path()) {
            Ok(meta) => meta,
            Err(_) => return self.gone(path, facts),
        };
        if !self.is_inside(path) {
            return Err(format!("it wrote outside the project: {path}"));
        }
        if facts.foretold_gone || (facts.unsure && !self.was_touched(&meta)) {
            return Err(format!("it may have tried in vain to change what was there before: {path}"));
        }
        // Of a script the claims say what was there; see `script`.
        let told = self.command.tool == Tool::Script;
        let updated = told || (meta.is_file() && self.seen.is_updated(self.command, facts));
        if !updated && (facts.content_kept || (meta.is_file() && (facts.read || self.was_looked_at(facts)))) {
            return Err(format!("it changed a file that was there before: {path}"));
        }
        if facts.opened && meta.file_type().is_symlink() {
            return Err(format!("it wrote through a symbolic link: {path}"));
        }
        self.add(path, &meta)
    }

    /// Puts files in the order in which they were written last, behind all else. They come back in that order: what a script leaves may
    /// be a rule's input and its output, as `config.status` and `Makefile` are, and Make looks at their times.
    fn sort_by_age(&mut self) {
        let roots = &self.command.roots;
        let written: HashMap<_, _> =
            self.left.stamps.iter().map(|file| (roots.template_path(&file.path), file.stamp.mtime_ns)).collect();
        self.left.outputs.sort_by_key(|output| written.get(&output.path).copied());
    }

    /// Whether anything about the file changed since the run began. No program can set this time.
    fn was_touched(&self, meta: &fs::Metadata) -> bool {
        let changed = meta.ctime().saturating_mul(1_000_000_000).saturating_add(meta.ctime_nsec());
        u64::try_from(changed).is_ok_and(|changed| changed >= self.times.started_ns)
    }

    /// Compilers look at what they are about to replace. In any other program the look may have steered it.
    fn was_looked_at(&self, facts: &PathFacts) -> bool {
        let compiler = self.command.tool != Tool::BuildScript;
        !compiler && facts.before.is_some_and(|before| before != Access::Absent)
    }

    fn gone(&mut self, path: &AbsPath, facts: &PathFacts) -> Result<(), Reason> {
        if !facts.was_there() || self.is_optional(path) {
            return Ok(());
        }
        let told = self.command.tool == Tool::Script;
        if !told && (facts.content_kept || facts.read || self.was_looked_at(facts)) {
            return Err(format!("it removed or moved a file that it had used: {path}"));
        }
        if !self.is_inside(path) {
            return Err(format!("it removed something outside the project: {path}"));
        }
        self.push(path, OutputState::Removed)
    }

    fn add(&mut self, path: &AbsPath, meta: &fs::Metadata) -> Result<(), Reason> {
        let mode = meta.permissions().mode() & 0o7777;
        if meta.is_file() {
            return self.file(path, mode);
        }
        if meta.file_type().is_symlink() {
            let target = fs::read_link(path.as_path()).map_err(|e| format!("`{path}` could not be read: {e}"))?;
            let target = self.reader.roots().template_text(target.as_os_str().as_bytes());
            self.left.bound |= target.doubtful;
            return self.push(path, OutputState::Symlink { target });
        }
        if !meta.is_dir() {
            return Err(format!("it made something that is no file, folder or link: {path}"));
        }
        self.push(path, OutputState::Dir { mode })?;
        let entries = fs::read_dir(path.as_path()).map_err(|e| format!("`{path}` could not be listed: {e}"))?;
        let mut children: Vec<AbsPath> =
            entries.flatten().filter_map(|entry| AbsPath::try_from(entry.path().as_path()).ok()).collect();
        if self.command.tool == Tool::Script {
            children.retain(|child| !self.command.script.is_cache(child, &self.command.roots));
        }
        children.sort();
        for child in children.iter().filter(|child| !self.seen.paths.get(child).is_some_and(|facts| facts.changed)) {
            let meta = fs::symlink_metadata(child.as_path()).map_err(|e| format!("`{child}` could not be looked at: {e}"))?;
            self.add(child, &meta)?;
        }
        Ok(())
    }

    fn file(&mut self, path: &AbsPath, mode: u32) -> Result<(), Reason> {
        let content = self.reader.read(path)?;
        let optional = self.is_optional(path);
        let mut place = place_of(self.command, path, optional);
        let store = |e: vrift_store::CasError| e.to_string();
        let ingest = |how| self.cas.ingest_file(path.as_path(), how, content.digest, &content.stamp).map_err(store);
        let form = native::form(self.command, path, &content, self.times.started_ns)?;
        self.left.bound |= form == Form::Opaque;
        let template = match form {
            Form::Plain if content.names_root && !optional => self.template(path, &content)?,
            _ => {
                self.left.bound |= content.names_root && !optional;
                None
            }
        };
        let blob = match (template, place) {
            (Some(template), _) => {
                place = Place::Render;
                self.cas.insert_bytes(&template).map_err(store)?
            }
            (None, Place::Link) if self.times.own && !optional && dates::is_dated(path.file_name(), self.has_metadata) => {
                ingest(Ingest::Keep)?
            }
            (None, Place::Link) => ingest(Ingest::Link)?,
            (None, _) => ingest(Ingest::Copy)?,
        };
        self.left.stamps.push(OutputStamp { path: path.clone(), stamp: content.stamp, digest: content.digest });
        self.push(path, OutputState::File { blob: blob.digest, size: blob.size, mode, place })
    }

    /// The text of a file that carries this checkout's path, with the path replaced; `None` where it cannot be, so that the
    /// result is bound to this checkout.
    fn template(&mut self, path: &AbsPath, content: &Content) -> Result<Option<Vec<u8>>, Reason> {
        if content.is_text {
            let text = fs::read(path.as_path()).map_err(|e| format!("`{path}` could not be read: {e}"))?;
            if Digest::of(&text) != content.digest {
                return Err(format!("`{path}` was still being written"));
            }
            let template = self.reader.roots().template_text(&text);
            if !template.doubtful {
                return Ok(Some(template.bytes.0));
            }
        }
        self.left.bound = true;
        Ok(None)
    }

    fn push(&mut self, path: &AbsPath, state: OutputState) -> Result<(), Reason> {
        if self.left.outputs.len() >= MOST_OUTPUTS {
            return Err(format!("it made more than {MOST_OUTPUTS} files"));
        }
        self.left.outputs.push(Output { path: self.command.roots.template_path(path), state, optional: self.is_optional(path) });
        Ok(())
    }

    fn is_optional(&self, path: &AbsPath) -> bool {
        self.seen.incremental.as_ref().is_some_and(|dir| path.below(dir).is_some())
    }

    fn is_inside(&self, path: &AbsPath) -> bool {
        [Root::Project, Root::Target].iter().any(|root| self.command.roots.get(*root).is_some_and(|at| path.below(at).is_some()))
    }
}

/// Which outputs may share an inode with their blob: those that no tool rewrites in place.
fn place_of(command: &Command, path: &AbsPath, optional: bool) -> Place {
    let name = path.file_name();
    // Cargo dates the metadata that a check makes (source: `mode.is_check()` in Cargo's `core/compiler/mod.rs`), which rustc
    // may have linked from its incremental state: neither may have an inode that somebody else has.
    if dates::is_metadata(name) && !makes_code(command) {
        return Place::Copy;
    }
    if optional {
        // rustc replaces the files of its incremental state and never changes one, since it links them between sessions.
        return Place::Link;
    }
    if !command.is_rustc() {
        return Place::Copy;
    }
    let extension = name.iter().rposition(|c| *c == b'.').map(|at| &name[at + 1..]);
    let primary = command.var("CARGO_PRIMARY_PACKAGE").is_some();
    match extension {
        Some(b"rlib" | b"rmeta") => Place::Link,
        Some(b"so") if !primary => Place::Link,
        None if name.starts_with(b"build_script_") => Place::Link,
        _ => Place::Copy,
    }
}

/// Whether a compiler is asked for more than to check.
fn makes_code(command: &Command) -> bool {
    let kinds = command.flag("--emit").unwrap_or(b"link");
    kinds.split(|c| *c == b',').any(|kind| kind == b"link" || kind.starts_with(b"link="))
}
