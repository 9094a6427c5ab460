//! What a client would see: files, folders and variables as they are now.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use vrift_core::action::{EnvInput, FileKind, InputState, Tool};
use vrift_core::bytes::ByteText;
use vrift_core::digest::Digest;
use vrift_core::paths::{AbsPath, Root, Roots, TemplatePath};
use vrift_core::rules::{self, ScriptRules};

use super::builds::Overlay;
use super::digests::{By, Digests, Need, Place, is_volatile};
use super::fresh::Leftovers;
use super::key::split;
use super::sight::{Sight, as_path, is_absent, is_barred, kind_name, look, look_itself};
use super::vdir::View;

/// One client's surroundings.
pub struct World<'a> {
    /// What is known about files.
    pub digests: &'a Digests,
    /// Where the known roots are.
    pub roots: &'a Roots,
    /// The kind of program.
    pub tool: Tool,
    /// Sorted by name.
    env: Vec<(&'a [u8], &'a [u8])>,
    /// Of the values in `env`, as far as they were needed.
    env_digests: RefCell<Vec<Option<Digest>>>,
    /// Folders, as this search finds them.
    places: RefCell<HashMap<Vec<u8>, Place, foldhash::fast::RandomState>>,
    /// Files that are about to be there.
    overlay: Option<&'a Overlay>,
    /// The project's VDir.
    map: Option<View>,
    /// That of shared trees.
    trees: Option<View>,
    /// Whether the last comparison came out as it did by the project's VDir alone.
    by_map: Cell<bool>,
    /// See [`LookupParams::plain_text`].
    ///
    /// [`LookupParams::plain_text`]: vrift_core::wire::LookupParams::plain_text
    pub plain_text: bool,
    /// Of a script: what counts of its surroundings.
    script: Option<ScriptRules>,
    /// Of a script: what it has left before.
    left: OnceCell<Leftovers>,
}

/// How an input compares with what was recorded.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it was.
    Same,
    /// It is not; this is what it is now.
    Differs(String),
    /// Its content has to be read to tell.
    Unread,
}

impl<'a> World<'a> {
    /// The surroundings of a client with these variables and roots.
    pub fn new(digests: &'a Digests, roots: &'a Roots, tool: Tool, env: &'a [ByteText]) -> Self {
        let mut env: Vec<_> = env.iter().filter_map(split).collect();
        // Where a name occurs twice, `getenv` finds the first.
        env.sort_by_key(|(name, _)| *name);
        env.dedup_by_key(|(name, _)| *name);
        let env_digests = RefCell::new(vec![None; env.len()]);
        Self {
            digests,
            roots,
            tool,
            env,
            env_digests,
            places: RefCell::default(),
            overlay: None,
            map: digests.view(),
            trees: digests.trees(),
            by_map: Cell::new(false),
            plain_text: false,
            script: None,
            left: OnceCell::new(),
        }
    }

    /// The same for a script, with what settings say of them.
    pub fn with_script(self, lines: &[u8]) -> Self {
        let script = (self.tool == Tool::Script).then(|| ScriptRules::parse(lines));
        Self { script, ..self }
    }

    /// The same, where messages are for no terminal.
    pub fn with_plain_text(self, plain_text: bool) -> Self {
        Self { plain_text, ..self }
    }

    /// Tells what the script has left before.
    pub fn set_leftovers(&self, left: Leftovers) {
        let _ = self.left.set(left);
    }

    /// The same.
    pub fn leftovers(&self) -> Option<&Leftovers> {
        self.left.get()
    }

    /// Whether a variable is no input merely because a program could see it.
    pub fn is_noise(&self, name: &[u8]) -> bool {
        self.script.as_ref().map_or_else(|| rules::is_session_noise(name), |script| script.is_noise(name))
    }

    /// Whether a path is a cache of a script's tools.
    pub fn is_cache(&self, path: &AbsPath) -> bool {
        self.script.as_ref().is_some_and(|script| script.is_cache(path, self.roots))
    }

    /// The same, with files that are about to be there.
    pub fn with_overlay(self, overlay: &'a Overlay) -> Self {
        Self { overlay: Some(overlay), ..self }
    }

    /// All variables, by name.
    pub fn vars(&self) -> &[(&'a [u8], &'a [u8])] {
        &self.env
    }

    /// The value of a variable.
    pub fn var(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.env.binary_search_by_key(&name, |(n, _)| *n).ok().map(|at| self.env[at].1)
    }

    /// Whether a variable is as it was: unset and empty are two things.
    pub fn env_holds(&self, input: &EnvInput) -> bool {
        match (self.env.binary_search_by_key(&&input.name[..], |(n, _)| *n), input.value) {
            (Err(_), None) => true,
            (Ok(at), Some(wanted)) => {
                let mut digests = self.env_digests.borrow_mut();
                *digests[at].get_or_insert_with(|| value_digest(self.roots, self.env[at].1)) == wanted
            }
            _ => false,
        }
    }

    /// Puts the path that a template stands for here into `buffer`; `None` where its root is not known here.
    pub fn expand<'b>(&self, path: &TemplatePath, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        buffer.clear();
        match path.as_bytes() {
            [0, letter, rest @ ..] => {
                let root = self.roots.get(Root::from_letter(*letter)?)?;
                buffer.extend_from_slice(root.as_bytes());
                buffer.extend_from_slice(rest);
            }
            plain => buffer.extend_from_slice(plain),
        }
        Some(buffer)
    }

    /// Forgets where folders were found: another search looks for itself.
    pub fn look_anew(&self) {
        self.digests.look_anew();
        self.places.borrow_mut().clear();
    }

    /// Compares the input at `path` with what was recorded of it. `shared` says that others are in the same folder, so that
    /// it pays to look from there. A content that is not known is read only if `read` says so.
    pub fn compare(&self, path: &[u8], shared: bool, recorded: &InputState, read: bool) -> Verdict {
        if let Some(verdict) = self.overlay.and_then(|overlay| overlay.compare(path, recorded)) {
            self.by_map.set(false);
            return verdict;
        }
        self.by_map.set(true);
        match recorded {
            InputState::Absent => match self.lacks(path, shared) {
                Ok(()) => Verdict::Same,
                Err(Ok(sight)) => Verdict::Differs(kind_name(sight.kind).to_owned()),
                Err(Err(e)) => Verdict::Differs(e.to_string()),
            },
            InputState::Kind(FileKind::File) if self.minds_modes() => self.compare_mode(path, shared, false),
            InputState::Runnable => self.compare_mode(path, shared, true),
            InputState::Kind(kind) => same_kind(self.kind(path, shared, true), *kind),
            InputState::Itself(kind) => same_kind(self.kind(path, shared, false), *kind),
            InputState::Link(wanted) => match self.read_link(path) {
                Ok(target) if link_digest(self.roots, target.as_os_str().as_bytes()) == *wanted => Verdict::Same,
                Ok(target) => Verdict::Differs(format!("a link to {}", target.display())),
                Err(e) if is_absent(&e) => Verdict::Differs("absent".to_owned()),
                Err(_) => Verdict::Differs("no link".to_owned()),
            },
            InputState::Listing(wanted) => self.compare_listing(path, shared, wanted),
            InputState::Content(wanted) | InputState::Program(wanted) => match self.compare_content(path, shared, wanted, read) {
                Verdict::Same if self.minds_modes() => {
                    self.compare_mode(path, shared, matches!(recorded, InputState::Program(_)))
                }
                verdict => verdict,
            },
            InputState::Barred => {
                self.by_map.set(false);
                match is_barred(path) {
                    Ok(true) => Verdict::Same,
                    Ok(false) => Verdict::Differs("readable".to_owned()),
                    Err(e) => differs(&e),
                }
            }
            // What the result's own outputs say of it; see `fresh`.
            InputState::Fresh => Verdict::Differs("not known".to_owned()),
        }
    }

    /// The project's VDir, where what is compared next may be known by it alone.
    pub fn map(&self) -> Option<&View> {
        self.map.as_ref().filter(|_| self.overlay.is_none())
    }

    /// Whether what was compared last holds for as long as the keeper of [`Self::map`] notes nothing else.
    pub fn was_by_map(&self) -> bool {
        self.by_map.get()
    }

    /// What came out was found out in another way.
    pub fn not_by_map(&self) {
        self.by_map.set(false);
    }

    fn read_link(&self, path: &[u8]) -> io::Result<PathBuf> {
        self.by_map.set(false);
        fs::read_link(as_path(path))
    }

    /// Whether this kind of program may carry a file's mode over to what it makes.
    fn minds_modes(&self) -> bool {
        minds_modes(self.tool)
    }

    fn compare_mode(&self, path: &[u8], shared: bool, runnable: bool) -> Verdict {
        match self.look(path, shared, true) {
            Ok(sight) if !sight.is_file() => Verdict::Differs(kind_name(sight.kind).to_owned()),
            Ok(sight) if sight.is_runnable() == runnable => Verdict::Same,
            Ok(_) if runnable => Verdict::Differs("a file that nobody may execute".to_owned()),
            Ok(_) => Verdict::Differs("a file that may be executed".to_owned()),
            Err(e) => differs(&e),
        }
    }

    fn compare_listing(&self, path: &[u8], shared: bool, wanted: &Digest) -> Verdict {
        let listed = self.look(path, shared, true).and_then(|sight| {
            let (stamp, known) = self.digests.listing(path, &sight)?;
            self.by_map.set(self.by_map.get() && stamp == sight.stamp && known.by != By::Reading);
            Ok((stamp, known))
        });
        match listed {
            Ok((_, known)) if known.digest == *wanted => Verdict::Same,
            Ok((_, known)) => Verdict::Differs(format!("entries {}", known.digest.short())),
            Err(e) => differs(&e),
        }
    }

    fn compare_content(&self, path: &[u8], shared: bool, wanted: &Digest, read: bool) -> Verdict {
        if let Some(digest) = self.by_maps(|map| map.digest(path)) {
            return if digest == *wanted { Verdict::Same } else { Verdict::Differs(digest.short()) };
        }
        let sight = match self.look(path, shared, true) {
            Ok(sight) if sight.is_file() => sight,
            Ok(sight) => return Verdict::Differs(kind_name(sight.kind).to_owned()),
            Err(e) => return differs(&e),
        };
        let known = match is_volatile(path) {
            true => None,
            false => self.digests.peek(path, &sight, Some(*wanted)),
        };
        let digest = match known {
            Some(known) => {
                // Only a digest that is kept by its stamp: there a later change is sure to show.
                if let (Some(map), By::Stamp { .. }) = (&self.map, known.by) {
                    map.learn(path, &sight, known.digest);
                }
                known.digest
            }
            None if !read => return Verdict::Unread,
            None => match self.digests.content(path, &sight, Some(*wanted)) {
                Ok((stamp, known)) => {
                    self.by_map.set(self.by_map.get() && stamp == sight.stamp && known.by != By::Reading);
                    known.digest
                }
                Err(e) => return Verdict::Differs(e.to_string()),
            },
        };
        if digest == *wanted { Verdict::Same } else { Verdict::Differs(digest.short()) }
    }

    /// What one of the maps says.
    fn by_maps<R>(&self, ask: impl Fn(&View) -> Option<R>) -> Option<R> {
        self.map.as_ref().and_then(&ask).or_else(|| {
            let found = self.trees.as_ref().and_then(&ask);
            self.by_map.set(self.by_map.get() && found.is_none());
            found
        })
    }

    fn look(&self, path: &[u8], shared: bool, follow: bool) -> io::Result<Sight> {
        if let Some(seen) = self.by_maps(|map| map.look(path, follow)) {
            return seen;
        }
        match self.place(path, shared) {
            Some((Place::Open { folder, .. }, name)) => folder.look(name, follow),
            Some((Place::Gone, _)) => Err(io::ErrorKind::NotFound.into()),
            _ if follow => look(path),
            _ => look_itself(path),
        }
    }

    fn kind(&self, path: &[u8], shared: bool, follow: bool) -> io::Result<FileKind> {
        if let Some(kind) = self.by_maps(|map| map.kind(path, follow)) {
            return kind;
        }
        match self.place(path, shared) {
            Some((Place::Open { folder, .. }, name)) => folder.kind(name, follow),
            _ => self.look(path, shared, follow).map(|sight| sight.kind),
        }
    }

    /// Whether nothing is at `path`; the error says what is, or why that is not known.
    fn lacks(&self, path: &[u8], shared: bool) -> Result<(), io::Result<Sight>> {
        if self.by_maps(|map| map.lacks(path).then_some(())).is_some() {
            return Ok(());
        }
        match self.place(path, shared) {
            Some((Place::Open { folder, stamp, sure }, name)) => folder.lacks(name, &stamp, sure),
            Some((Place::Gone, _)) => Ok(()),
            _ => match look(path) {
                Err(e) if is_absent(&e) => Ok(()),
                other => Err(other),
            },
        }
    }

    /// The folder of `path` and the name in it, for a look that no map spares.
    fn place<'p>(&self, path: &'p [u8], several: bool) -> Option<(Place, &'p [u8])> {
        self.by_map.set(false);
        let lasting = !self.is_passing(path);
        if !(several || lasting) || is_volatile(path) {
            return None;
        }
        let at = path.iter().rposition(|c| *c == b'/')?;
        let (folder, name) = (if at == 0 { b"/" } else { &path[..at] }, &path[at + 1..]);
        if name.is_empty() {
            return None;
        }
        let mut places = self.places.borrow_mut();
        if let Some(place) = places.get(folder) {
            return Some((place.clone(), name));
        }
        let place = self.digests.folder(folder, Need { several, lasting });
        places.insert(folder.to_vec(), place.clone());
        Some((place, name))
    }

    /// Whether `path` is a temporary file, where much happens that nobody asks about.
    fn is_passing(&self, path: &[u8]) -> bool {
        let innermost = self.roots.iter().find(|(_, at)| path.starts_with(at.as_bytes()));
        innermost.is_some_and(|(root, _)| matches!(root, Root::Tmp | Root::Scratch))
    }
}

/// See [`World::minds_modes`]. Compilers look at content alone.
pub fn minds_modes(tool: Tool) -> bool {
    matches!(tool, Tool::Script | Tool::BuildScript)
}

fn same_kind(found: io::Result<FileKind>, wanted: FileKind) -> Verdict {
    match found {
        Ok(kind) if kind == wanted => Verdict::Same,
        Ok(kind) => Verdict::Differs(kind_name(kind).to_owned()),
        Err(e) => differs(&e),
    }
}

fn differs(error: &io::Error) -> Verdict {
    Verdict::Differs(if is_absent(error) { "absent".to_owned() } else { error.to_string() })
}

/// The digest that stands for a variable's value: of its bytes with known roots replaced.
pub fn value_digest(roots: &Roots, value: &[u8]) -> Digest {
    Digest::of(&roots.template_text(value).bytes)
}

/// The digest that stands for a symbolic link's target: of its bytes with known roots replaced.
pub fn link_digest(roots: &Roots, target: &[u8]) -> Digest {
    Digest::of(&roots.template_text(target).bytes)
}
