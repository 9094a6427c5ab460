//! What a script's own earlier output is to it.
//!
//! A script finds what its last run left: it looks at `dist`, lists it, empties it, writes it again. If that counted as an input
//! no second run would ever be a hit. So a path that a script looked at and then replaced or removed is recorded as
//! [`Access::Fresh`]: the result holds where nothing is there, and where what is there was left by an earlier run of the same
//! command. It holds nowhere else: a file in `dist` that a person put there is looked at by the real script.
//!
//! That supposes that a script that only looked (`stat`, a listing) did not carry anything over. These did more than look, and
//! count as they were:
//!
//! - what was read before it was changed (a counter, a cache): its content before, which the worker must have known;
//! - what would have been kept, had it been there: opened for appending or updating, or opened for reading in vain. Its absence
//!   counts;
//! - a single file that a script looks for, or lists the folder of, and then makes there: its absence counts, and in the next run,
//!   which sees it there and replaces it, that it is there;
//! - a folder that it lists before it has put everything in it: the names that were there may have gone anywhere;
//! - what it removes, and no earlier run had left: the next run would not find it.
//!
//! What a tool left alone because it was right already, it has looked at: so it is an input. A result recorded beside old output
//! therefore names all of the old output that it relies on.

use std::collections::{BTreeSet, HashSet};
use std::fs;

use vrift_core::action::Access;
use vrift_core::arena::Trace;
use vrift_core::event::EventKind;
use vrift_core::paths::{AbsPath, Root};
use vrift_core::rules;
use vrift_core::wire::InputClaim;

use super::Reason;
use super::accesses::{PathFacts, Seen};
use super::claims::{above_a_checkout, sought_above};
use crate::command::Command;

/// What must hold before the run for its result to be the same.
pub fn claims(command: &Command, seen: &Seen) -> Vec<InputClaim> {
    let mut claims = Vec::with_capacity(seen.paths.len());
    for (path, facts) in &seen.paths {
        let access = if facts.changed { of_changed(seen, path, facts) } else { of_seen(seen, path, facts) };
        let Some(access) = access else { continue };
        if access == Access::Absent || !above_a_checkout(command, path) {
            claims.push(InputClaim { path: path.clone(), access });
        } else if matches!(access, Access::Listing | Access::Names) {
            claims.extend(sought_above(seen, path, access));
        }
    }
    claims
}

/// Programs that leave something as it is because of its time.
const DATERS: [&[u8]; 7] = [b"make", b"gmake", b"bmake", b"pmake", b"ninja", b"ninja-build", b"samu"];

/// Refuses a run in which Make or its like may have taken a file for old enough. Times are no inputs, so that what such a run left out
/// would be left out where it is needed.
pub fn check_dates(command: &Command, trace: &Trace, seen: &Seen) -> Result<(), Reason> {
    let is_dater = |path: &[u8]| path.rsplit(|c| *c == b'/').next().is_some_and(|name| DATERS.contains(&name));
    let Some(project) = command.roots.get(Root::Project) else { return Ok(()) };
    let (mut daters, mut dated) = (HashSet::new(), BTreeSet::new());
    for event in &trace.events {
        match event.kind {
            EventKind::SignIn if is_dater(&event.path) => {
                daters.insert(event.pid);
            }
            EventKind::SignIn => {
                daters.remove(&event.pid);
            }
            EventKind::Stat | EventKind::Lstat if event.errno == 0 && daters.contains(&event.pid) => {
                dated.extend(AbsPath::resolve(&command.cwd, &event.path).ok());
            }
            _ => {}
        }
    }
    let is_dated = |path: &&AbsPath| {
        let untouched = seen.paths.get(path).is_some_and(|facts| !facts.read && !facts.changed);
        untouched && path.below(project).is_some() && path.as_path().is_file()
    };
    match dated.iter().find(is_dated) {
        Some(path) => Err(format!("it may have left something as it is because of the time of {path}")),
        None => Ok(()),
    }
}

fn of_seen(seen: &Seen, path: &AbsPath, facts: &PathFacts) -> Option<Access> {
    match facts.before? {
        Access::Listing if seen.stirred.contains(path) => Some(Access::Names),
        access => Some(access),
    }
}

fn of_changed(seen: &Seen, path: &AbsPath, facts: &PathFacts) -> Option<Access> {
    let listed =
        path.parent().and_then(|parent| seen.paths.get(&parent)).is_some_and(|above| above.before == Some(Access::Listing));
    // Who removes something or makes a folder, and succeeds, has seen what was there.
    let looked = facts.before.is_some() || listed || facts.removed || seen.is_made_folder(path);
    if facts.was_there() {
        if facts.content_kept || facts.read {
            return Some(Access::Before);
        }
        // Its name was seen, and it was not swept away with others.
        if !facts.removed && (listed || (facts.before.is_some() && is_single(seen, path))) {
            return Some(Access::Kind);
        }
    } else {
        let steers = facts.missed && !rules::is_build_info(path.file_name());
        if facts.grows || steers || seen.listed_early.contains(path) || (looked && is_single(seen, path)) {
            return Some(Access::Absent);
        }
    }
    looked.then_some(Access::Fresh)
}

/// Whether the path is neither a folder that the run made, nor in one. A file that a rename put there is a file.
fn is_single(seen: &Seen, path: &AbsPath) -> bool {
    let in_made = path.parent().is_some_and(|folder| seen.is_made(&folder));
    let is_made_folder = || seen.is_made(path) && path.as_path().is_dir();
    !rules::is_build_info(path.file_name()) && !in_made && !is_made_folder()
}

/// Folders of the project that were there, and of whose content nothing is left as it was. They are the run's own: it would make
/// them where they are missing.
pub fn adopt_emptied(command: &Command, seen: &mut Seen) {
    let Some(project) = command.roots.get(Root::Project) else { return };
    let inside = |path: &AbsPath| path.below(project).is_some_and(|rest| !rest.is_empty());
    let listed = |facts: &PathFacts| facts.before == Some(Access::Listing) && !facts.changed;
    let folders: BTreeSet<AbsPath> =
        seen.paths.iter().filter(|(path, facts)| listed(facts) && inside(path)).map(|(path, _)| path.clone()).collect();
    // Innermost first: one that is adopted may be all that is in the next.
    for folder in folders.iter().rev() {
        if seen.stirred.contains(folder)
            && is_replaced(command, seen, folder)
            && let Some(facts) = seen.paths.get_mut(folder)
        {
            facts.changed = true;
            facts.existed = true;
        }
    }
}

fn is_replaced(command: &Command, seen: &Seen, folder: &AbsPath) -> bool {
    let Ok(entries) = fs::read_dir(folder.as_path()) else { return false };
    let mut own = 0;
    for entry in entries {
        let Some(path) = entry.ok().and_then(|entry| AbsPath::try_from(entry.path().as_path()).ok()) else { return false };
        if command.script.is_cache(&path, &command.roots) {
            continue;
        }
        let replaced = |facts: &PathFacts| facts.changed && !facts.content_kept && (facts.removed || !facts.was_there());
        if !seen.paths.get(&path).is_some_and(replaced) {
            return false;
        }
        own += 1;
    }
    own > 0
}
