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
//! - a single file that a script looks for, or lists the folder of, and then makes there: its absence counts. The next run then
//!   sees it there, and if that merely looks again, what it leaves holds from then on;
//! - a folder that it lists before it has put everything in it: the names that were there may have gone anywhere;
//! - what it removes, and no earlier run had left: the next run would not find it.
//!
//! What a tool left alone because it was right already, it has looked at: so it is an input. A result recorded beside old output
//! therefore names all of the old output that it relies on.

use std::collections::BTreeSet;
use std::fs;

use vrift_core::action::Access;
use vrift_core::paths::{AbsPath, Root};
use vrift_core::rules;
use vrift_core::wire::InputClaim;

use super::accesses::{PathFacts, Seen, above_a_checkout};
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
            claims.extend(seen.sought_above(path));
        }
    }
    claims
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
    let looked = facts.before.is_some() || listed;
    if facts.was_there() {
        if facts.content_kept || facts.read {
            return Some(Access::Before);
        }
        // Its name was seen beside others, and it was not swept away with them.
        if listed && !facts.removed && facts.opened {
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

/// Whether the path is neither a folder that the run made, nor in one.
fn is_single(seen: &Seen, path: &AbsPath) -> bool {
    !rules::is_build_info(path.file_name()) && !seen.is_made(path)
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
