//! From events to what each path was to the run: an input, an output, both, or its own scratch.

use std::collections::{BTreeMap, HashMap, HashSet};

use vrift_core::action::{Access, Tool};
use vrift_core::arena::{Event, Trace};
use vrift_core::context::Field;
use vrift_core::event::{EventKind, flag};
use vrift_core::paths::AbsPath;
use vrift_core::rules;

use super::Reason;
use super::claims::seeks_above;
use super::resolve::Resolver;
use super::script;
use crate::command::Command;
use crate::flags;

/// What a path was to the run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PathFacts {
    /// How it was looked at before the run changed it.
    pub before: Option<Access>,
    /// Its content was read before the run changed it.
    pub read: bool,
    /// The run changed it, or tried to bring it about.
    pub changed: bool,
    /// It was there before the run changed it.
    pub existed: bool,
    /// Its old content lives on in what the run left.
    pub content_kept: bool,
    /// It was opened for writing, and not replaced since.
    pub opened: bool,
    /// All changes to it were foretold ([`flag::AHEAD`]) and may have failed, so that what was there before may still be there.
    pub unsure: bool,
    /// One of its changes was foretold.
    pub foretold: bool,
    /// The last of them removed it, or moved it away.
    pub foretold_gone: bool,
    /// It was opened for reading in vain before the run made it.
    pub missed: bool,
    /// The run made it in a way that would have kept what was there.
    pub grows: bool,
    /// The run removed what was there.
    pub removed: bool,
}

impl PathFacts {
    /// Something was there before the run changed it.
    pub fn was_there(&self) -> bool {
        self.existed || self.before.is_some_and(|before| before != Access::Absent)
    }

    /// What it held before may show in what the run left.
    fn uses_what_was_there(&self, updates: bool) -> bool {
        self.content_kept || self.read || (updates && self.was_there())
    }
}

/// Everything that the run touched.
#[derive(Debug, Default)]
pub struct Seen {
    pub paths: BTreeMap<AbsPath, PathFacts>,
    /// Libraries that its processes mapped.
    pub libraries: HashSet<Vec<u8>>,
    /// Folders in which the run made or removed something.
    pub stirred: HashSet<AbsPath>,
    /// Folders of the run's own that it listed before it was done with them.
    pub listed_early: HashSet<AbsPath>,
    /// Folders that the run made, and listed.
    listed: HashSet<AbsPath>,
    /// Folders that the run made, and files that it put in place by a rename.
    made: HashSet<AbsPath>,
    /// Those that it made as folders.
    made_folders: HashSet<AbsPath>,
    /// Where something could not be made for want of a folder, and whether a folder was to be made.
    nowhere: Vec<(AbsPath, bool)>,
    /// Folders above the checkout whose names count, all of them; see [`seeks_above`].
    pub listed_above: HashSet<AbsPath>,
    /// Folders whose listing does not matter to this tool.
    pub unlisted: HashSet<Vec<u8>>,
    /// rustc's incremental folder, and whether state from an earlier run was in it.
    pub incremental: Option<AbsPath>,
    pub incremental_loaded: bool,
}

pub fn collect(command: &Command, trace: &Trace) -> Result<Seen, Reason> {
    let mut seen = Seen {
        unlisted: unlisted_folders(command),
        incremental: flags::incremental_folder(command).and_then(|dir| AbsPath::resolve(&command.cwd, dir).ok()),
        ..Seen::default()
    };
    let mut resolver = Resolver::default();
    let context = command.context();
    let failed = failed_executions(&trace.events);
    let mut programs: HashMap<u32, &[u8]> = HashMap::new();
    for (index, event) in trace.events.iter().enumerate() {
        if event.kind == EventKind::SignIn {
            programs.insert(event.pid, &event.path);
        }
        // A script's interpreter is no part of the key, and nobody announces it.
        let program = event.kind == EventKind::SignIn && !command.tool.is_rust();
        if !(is_about_a_path(event.kind) || program) || event.path == context.get(Field::Shim) {
            continue;
        }
        let Some(path) = resolver.clean(&event.path) else {
            return Err(format!("it used a path that makes no sense: {}", String::from_utf8_lossy(&event.path)));
        };
        if rules::is_of_the_kernel(path.as_bytes()) {
            continue;
        }
        let errno = failed.get(&index).copied().unwrap_or(event.errno);
        // A package of a workspace is found through a link, and built by its own name.
        let path = if command.tool == Tool::Script { behind_links(&mut seen, &mut resolver, event.kind, path) } else { path };
        if let Some(parent) = path.parent().filter(|_| errno == 0 && changes_names(event)) {
            if seen.listed.contains(&parent) {
                seen.listed_early.insert(parent.clone());
            }
            seen.stirred.insert(parent);
        }
        if event.kind == EventKind::List && seen.is_made(&path) {
            seen.listed.insert(path.clone());
        }
        if event.kind == EventKind::List && !seeks_above(command.tool, programs.get(&event.pid).copied()) {
            seen.listed_above.insert(path.clone());
        }
        if command.tool == Tool::Script && command.script.is_cache(&path, &command.roots) {
            continue;
        }
        if event.kind == EventKind::Library {
            seen.libraries.insert(path.as_bytes().to_vec());
        }
        note(&mut seen, event, errno, path);
    }
    searched_by_loader(command, &mut seen);
    missing_folders(&mut seen);
    if command.tool == Tool::Script {
        script::adopt_emptied(command, &mut seen);
    }
    if seen.incremental_loaded {
        return Err("it built on the state of an earlier incremental compilation".to_owned());
    }
    Ok(seen)
}

/// The loader searches the folders of `LD_LIBRARY_PATH` before any other, unseen by the shim, which it is just loading: in
/// each folder before the one where a library was found there was none of that name.
fn searched_by_loader(command: &Command, seen: &mut Seen) {
    let Some(search) = command.var("LD_LIBRARY_PATH") else { return };
    let folders: Vec<AbsPath> =
        search.split(|c| matches!(c, b':' | b';')).filter_map(|dir| AbsPath::resolve(&command.cwd, dir).ok()).collect();
    for library in &seen.libraries {
        let Ok(library) = AbsPath::new(library) else { continue };
        let home = library.parent();
        for folder in folders.iter().take_while(|folder| Some(*folder) != home.as_ref()) {
            let Ok(candidate) = AbsPath::resolve(folder, library.file_name()) else { continue };
            let facts = seen.paths.entry(candidate).or_default();
            facts.before.get_or_insert(Access::Absent);
        }
    }
}

/// What could not be made for want of its folder could be made where that is. Whoever makes a folder with all above it tries it first,
/// and makes what is missing then: that comes to the same.
fn missing_folders(seen: &mut Seen) {
    for (path, is_folder) in std::mem::take(&mut seen.nowhere) {
        let Some(folder) = path.parent() else { continue };
        let access = match folder.as_path().metadata() {
            Ok(found) if !found.is_dir() => Access::Kind,
            // One that is there and that the run did not make was there all along: something else was missing.
            Ok(_) if !seen.made.contains(&folder) || is_folder => continue,
            _ => Access::Absent,
        };
        seen.paths.entry(folder).or_default().before.get_or_insert(access);
    }
}

fn is_about_a_path(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Env | EventKind::SignIn | EventKind::ExecFailed | EventKind::Spawned | EventKind::Untraced)
}

/// Which announced executions failed, by their place in the trace, and with what error.
fn failed_executions(events: &[Event]) -> HashMap<usize, u16> {
    let mut announced: HashMap<u32, usize> = HashMap::new();
    let mut failed = HashMap::new();
    for (index, event) in events.iter().enumerate() {
        match event.kind {
            EventKind::Exec => {
                announced.insert(event.pid, index);
            }
            EventKind::ExecFailed => {
                failed.extend(announced.remove(&event.pid).map(|index| (index, event.errno)));
            }
            _ => {}
        }
    }
    failed
}

/// The real path; the links on the way are inputs themselves.
fn behind_links(seen: &mut Seen, resolver: &mut Resolver, kind: EventKind, path: AbsPath) -> AbsPath {
    use EventKind::{Access as Asked, Exec, Library, List, OpenRead, OpenWrite, SignIn, Stat};
    let way = resolver.way(&path, matches!(kind, OpenRead | OpenWrite | Stat | Asked | List | Exec | SignIn | Library));
    for link in way.links {
        if !seen.is_made(&link) {
            let facts = seen.paths.entry(link).or_default();
            if !facts.changed {
                facts.before.get_or_insert(Access::Link);
            }
        }
    }
    way.real
}

/// Whether a call that succeeded may have changed the names in a folder.
fn changes_names(event: &Event) -> bool {
    match event.kind {
        EventKind::OpenWrite => event.flags & flag::EXISTED == 0,
        EventKind::Mkdir | EventKind::Remove | EventKind::RenameFrom | EventKind::RenameTo | EventKind::LinkTo => true,
        _ => false,
    }
}

fn note(seen: &mut Seen, event: &Event, errno: u16, path: AbsPath) {
    let incremental = seen.incremental.as_ref().is_some_and(|dir| path.below(dir).is_some());
    if matches!(i32::from(errno), libc::ENOENT | libc::ENOTDIR) && makes(event.kind) {
        seen.nowhere.push((path.clone(), event.kind == EventKind::Mkdir));
    }
    if let Some(access) = look(event.kind, errno).or_else(|| attempted(&path, errno)) {
        let known = seen.paths.get(&path).copied().unwrap_or_default();
        // Where a change that was foretold brought nothing about, what is missing was missing before.
        let missing = access == Access::Absent && known.foretold && !known.foretold_gone && !known.existed;
        if (known.changed && !known.unsure && !missing) || seen.is_made(&path) {
            return;
        }
        if incremental {
            // Without the graph, rustc still tidies up after what its list of work products names, and says where it cannot.
            let lists: [&[u8]; 2] = [b"dep-graph", b"work-products"];
            let loaded = access == Access::Content && lists.iter().any(|list| path.file_name().starts_with(list));
            seen.incremental_loaded |= loaded;
            return;
        }
        let facts = seen.paths.entry(path).or_default();
        let reads = matches!(event.kind, EventKind::OpenRead | EventKind::LinkFrom);
        let runs = matches!(event.kind, EventKind::Exec | EventKind::SignIn | EventKind::Library);
        facts.read |= errno == 0 && (reads || runs);
        facts.missed |= access == Access::Absent && reads;
        // Absence was seen first and is not undone by what somebody else does meanwhile: the worker finds that out.
        facts.before = match facts.before {
            Some(Access::Absent) => Some(Access::Absent),
            Some(before) => Some(stronger(before, access)),
            None => Some(access),
        };
        return;
    }
    let in_made = seen.is_made(&path);
    let facts = seen.paths.entry(path.clone()).or_default();
    let first = !facts.changed && !in_made;
    let ahead = event.flags & flag::AHEAD != 0;
    // A name that was free and is taken afterwards was taken by this run. One that was taken may hold what it held.
    let doubtful = ahead && event.flags & flag::EXISTED != 0;
    facts.unsure = doubtful && (first || facts.unsure);
    facts.foretold |= ahead;
    facts.foretold_gone = ahead && matches!(event.kind, EventKind::Remove | EventKind::RenameFrom);
    match event.kind {
        EventKind::OpenWrite => {
            facts.existed |= first && event.flags & flag::EXISTED != 0;
            facts.content_kept |= first && event.flags & (flag::EXISTED | flag::TRUNCATED) == flag::EXISTED && !incremental;
            facts.grows |= first && event.flags & (flag::EXISTED | flag::TRUNCATED) == 0 && !incremental;
            facts.opened = true;
        }
        EventKind::Mkdir if !doubtful => {
            facts.changed = true;
            seen.made_folders.insert(path.clone());
            seen.made.insert(path);
            return;
        }
        EventKind::Remove => {
            facts.existed |= first;
            facts.removed |= first;
            facts.opened = false;
        }
        EventKind::RenameFrom | EventKind::Modify => {
            facts.existed |= first;
            facts.content_kept |= first && !incremental;
            facts.opened &= event.kind == EventKind::Modify;
        }
        EventKind::RenameTo => {
            facts.opened = false;
            facts.existed |= first && event.flags & flag::EXISTED != 0;
            facts.changed = true;
            if !doubtful {
                seen.made.insert(path);
            }
            return;
        }
        _ => {}
    }
    facts.changed = true;
}

fn makes(kind: EventKind) -> bool {
    matches!(kind, EventKind::OpenWrite | EventKind::Mkdir | EventKind::LinkTo | EventKind::RenameTo)
}

/// What a change that failed for whatever reason tells of its path.
fn attempted(path: &AbsPath, errno: u16) -> Option<Access> {
    (errno != 0).then(|| if path.as_path().symlink_metadata().is_ok() { Access::Kind } else { Access::Absent })
}

/// The look that tells more. What was listed is a folder, of which a `stat` tells less.
fn stronger(a: Access, b: Access) -> Access {
    if a == Access::Listing || b == Access::Listing { Access::Listing } else { a.max(b) }
}

/// How an event looked at its path; `None` for those that change it.
fn look(kind: EventKind, errno: u16) -> Option<Access> {
    let errno = i32::from(errno);
    let looks = match kind {
        EventKind::OpenRead | EventKind::Library | EventKind::Exec | EventKind::SignIn | EventKind::LinkFrom => Access::Content,
        EventKind::Stat => Access::Content,
        EventKind::Access => Access::Kind,
        EventKind::Lstat => Access::Itself,
        EventKind::Readlink => Access::Link,
        EventKind::List => Access::Listing,
        // What a failed attempt to change tells of the path.
        EventKind::Mkdir if errno == libc::EEXIST => return Some(Access::Kind),
        EventKind::OpenWrite if errno == libc::EEXIST => return Some(Access::Kind),
        // A folder that is not empty, and may be so another time.
        EventKind::Remove if matches!(errno, libc::ENOTEMPTY | libc::EEXIST) => return Some(Access::Listing),
        EventKind::OpenWrite | EventKind::RenameFrom | EventKind::Remove | EventKind::Modify
            if matches!(errno, libc::ENOENT | libc::ENOTDIR) =>
        {
            return Some(Access::Absent);
        }
        _ => return None,
    };
    match errno {
        0 => Some(looks),
        libc::ENOENT | libc::ENOTDIR => Some(Access::Absent),
        libc::EACCES => Some(Access::Barred),
        // It is there, but not of the kind that the call wants.
        _ => Some(Access::Kind),
    }
}

/// rustc lists every `-L` folder to find crates by name; those that it then uses are inputs by themselves. Other crates'
/// artifacts appear in `-L dependency=` folders all the time.
fn unlisted_folders(command: &Command) -> HashSet<Vec<u8>> {
    let mut folders = HashSet::new();
    if !matches!(command.tool, Tool::Rustc | Tool::Clippy | Tool::Rustdoc) {
        return folders;
    }
    let mut args = command.argv.iter();
    while let Some(arg) = args.next() {
        let value = match &arg[..] {
            b"-L" => args.next().map(|next| &next[..]),
            other => other.strip_prefix(b"-L"),
        };
        if let Some(dir) =
            value.and_then(|v| v.strip_prefix(b"dependency=")).and_then(|dir| AbsPath::resolve(&command.cwd, dir).ok())
        {
            folders.insert(dir.as_bytes().to_vec());
        }
    }
    folders
}

impl Seen {
    /// Whether the run made the path or a folder that it is in.
    pub fn is_made(&self, path: &AbsPath) -> bool {
        if self.made.is_empty() {
            return false;
        }
        let mut folder = Some(path.clone());
        while let Some(at) = folder {
            if self.made.contains(&at) {
                return true;
            }
            folder = at.parent();
        }
        false
    }

    /// Whether the run made the path as a folder.
    pub fn is_made_folder(&self, path: &AbsPath) -> bool {
        self.made_folders.contains(path)
    }

    /// Whether the run of a compiler or the like changed a file of which it used the content, or may have. (Of other programs
    /// nobody knows what else the content steered.)
    pub fn is_updated(&self, command: &Command, facts: &PathFacts) -> bool {
        command.tool.is_native() && facts.changed && facts.uses_what_was_there(command.tool.updates())
    }
}
