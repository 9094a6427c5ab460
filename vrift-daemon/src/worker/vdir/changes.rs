//! Which folders of the project something has changed below since a look-up saw them: what a look-up found out about thousands of files
//! through the map holds for as long as their folders are not named here.
//!
//! The keeper notes, inside its phases, whatever it takes out of the map or puts under a new name. So whoever finds the map at rest
//! ([`vrift_core::vdir::Reader::mark`]) and a folder without a note knows that everything that the map said of it is as it was.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::sync::lock;

/// Notes that are kept; beyond that everything counts as changed, once.
const MAX_NOTES: usize = 200_000;

/// The notes.
#[derive(Default)]
pub struct Changes {
    /// Somebody has asked for the time: without that nobody can ask what came later.
    wanted: AtomicBool,
    notes: Mutex<Notes>,
}

/// When a look-up looked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    /// [`vrift_core::vdir::Reader::generation`].
    map: u64,
    number: u64,
}

type Numbers = HashMap<Box<[u8]>, u64, foldhash::fast::RandomState>;

#[derive(Default)]
struct Notes {
    /// The map that they are about; 0 for none.
    map: u64,
    /// The last change.
    number: u64,
    /// The last change of everything.
    all: u64,
    /// By folder: the last change of anything below.
    below: Numbers,
    /// By path: the last change after which nothing below it is what it was.
    whole: Numbers,
}

impl Changes {
    /// A map is about to be served, whose keeper notes everything from here on.
    pub fn begin(&self, map: u64) {
        *lock(&self.notes) = Notes { map, ..Notes::default() };
    }

    /// Whether anybody will ask.
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire)
    }

    /// What the map said of a path, below the root, does not hold any more. `whole`: nor does what it said of anything below.
    pub fn note(&self, path: &[u8], whole: bool) {
        let mut notes = lock(&self.notes);
        notes.number += 1;
        let number = notes.number;
        if notes.below.len() + notes.whole.len() > MAX_NOTES {
            notes.forget_all();
        }
        for folder in folders(path) {
            set(&mut notes.below, folder, number);
        }
        if whole {
            set(&mut notes.whole, path, number);
        }
    }

    /// Nothing that the map said holds any more.
    pub fn note_all(&self) {
        let mut notes = lock(&self.notes);
        notes.number += 1;
        notes.forget_all();
    }

    /// Now, of the map with this number; `None` where the notes are about another one.
    pub fn now(&self, map: u64) -> Option<Moment> {
        // A change that goes without a note for want of this is over before the map says anything to whoever asks now.
        self.wanted.store(true, Ordering::Release);
        let notes = lock(&self.notes);
        (notes.map == map && map != 0).then_some(Moment { map, number: notes.number })
    }

    /// For each of some folders whether all that is in it, but not in folders in it, is as it was.
    pub fn untouched<'f>(&self, since: Moment, folders: impl Iterator<Item = &'f [u8]>) -> Vec<bool> {
        let notes = lock(&self.notes);
        if notes.map != since.map || notes.all > since.number {
            return folders.map(|_| false).collect();
        }
        folders.map(|folder| notes.is_untouched(since.number, folder)).collect()
    }
}

impl Notes {
    fn forget_all(&mut self) {
        self.all = self.number;
        self.below.clear();
        self.whole.clear();
    }

    fn is_untouched(&self, since: u64, folder: &[u8]) -> bool {
        let later = |numbers: &Numbers, path: &[u8]| numbers.get(path).is_some_and(|number| *number > since);
        for at in folders(folder).chain([folder]) {
            if later(&self.whole, at) {
                return false;
            }
            if !later(&self.below, at) {
                return true;
            }
        }
        false
    }
}

fn set(numbers: &mut Numbers, path: &[u8], number: u64) {
    match numbers.get_mut(path) {
        Some(known) => *known = number,
        None => {
            numbers.insert(path.into(), number);
        }
    }
}

/// The folders that a path is in, the root first; none for the root.
fn folders(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let root = (!path.is_empty()).then_some(&path[..0]);
    root.into_iter().chain(path.iter().enumerate().filter(|(_, c)| **c == b'/').map(|(at, _)| &path[..at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_of_all_folders_around_it_and_of_all_below() {
        let changes = Changes::default();
        assert_eq!(changes.now(0), None);
        changes.begin(7);
        assert_eq!(changes.now(8), None);
        let untouched = |since, folder: &str| changes.untouched(since, [folder.as_bytes()].into_iter())[0];
        let first = changes.now(7).expect("begun");
        for folder in ["", "a", "a/b/c"] {
            assert!(untouched(first, folder));
        }
        changes.note(b"a/b/file", false);
        for (folder, is) in
            [("", false), ("a", false), ("a/b", false), ("a/b/c", true), ("a/c", true), ("ab", true), ("x/y", true)]
        {
            assert_eq!(untouched(first, folder), is, "{folder}");
        }
        let second = changes.now(7).expect("begun");
        assert!(untouched(second, "a/b") && !untouched(first, "a/b"));
        // A folder that came or went: what is anywhere below it came or went, too.
        changes.note(b"a/b", true);
        for (folder, is) in [("a", false), ("a/b", false), ("a/b/c/d", false), ("a/c", true), ("a/bb", true)] {
            assert_eq!(untouched(second, folder), is, "{folder}");
        }
        changes.note(b"", true);
        assert!(!untouched(second, "a/c"));
        let third = changes.now(7).expect("begun");
        changes.note_all();
        assert!(!untouched(third, "x"));
        let fourth = changes.now(7).expect("begun");
        assert!(untouched(fourth, "x"));
        changes.begin(9);
        assert!(!untouched(fourth, "x"), "of another map");
    }

    #[test]
    fn too_many_changes_are_a_change_of_everything() {
        let changes = Changes::default();
        changes.begin(1);
        let first = changes.now(1).expect("begun");
        for n in 0..=MAX_NOTES {
            changes.note(format!("f{n}/x").as_bytes(), true);
        }
        let untouched = changes.untouched(first, [&b"g"[..]].into_iter());
        assert_eq!(untouched, [false]);
    }
}
