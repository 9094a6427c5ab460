//! What a look-up found out about the inputs of an action with very many of them, remembered for the next one.
//!
//! A script that was given `node_modules` depends on tens of thousands of files. Those of which the project's VDir alone told that they are
//! as recorded stay so until its keeper notes something about their folders ([`super::vdir::Moment`]): the next look-up asks for their
//! folders, and looks at the rest.

use std::collections::HashMap;
use std::sync::Mutex;

use vrift_core::action::{ActionRecord, InputState};
use vrift_core::paths::Root;

use super::vdir::Moment;
use super::world::World;
use crate::sync::lock;

/// Of so many inputs on it pays.
const LEAST: usize = 1000;

/// The memory of one action.
#[derive(Default)]
pub struct Memo(Mutex<Option<Known>>);

struct Known {
    since: Moment,
    /// Folders, by absolute paths.
    folders: Vec<Box<[u8]>>,
    /// For each input: one more than its folder's place in `folders`, or 0 where it has to be looked at.
    places: Vec<u32>,
}

/// One look-up's dealings with it.
pub struct Looking<'m> {
    memo: &'m Memo,
    /// Since when what is found out now holds.
    now: Moment,
    /// For each input: whether it is as recorded, or found out to be so by the map.
    holds: Vec<bool>,
    /// The map told of some that were not known to hold.
    news: bool,
}

impl Memo {
    /// Begins a look-up; nothing where there is no map that could tell, or too little to remember.
    pub fn look(&self, record: &ActionRecord, world: &World<'_>) -> Option<Looking<'_>> {
        if record.inputs.len() < LEAST {
            return None;
        }
        let map = world.map()?;
        let now = map.moment()?;
        let mut holds = vec![false; record.inputs.len()];
        if let Some(known) = &*lock(&self.0)
            && let Some(untouched) = map.untouched(known.since, known.folders.iter().map(|folder| &**folder))
        {
            for (holds, place) in holds.iter_mut().zip(&known.places) {
                *holds = place.checked_sub(1).and_then(|place| untouched.get(place as usize)).is_some_and(|is| *is);
            }
        }
        Some(Looking { memo: self, now, holds, news: false })
    }
}

impl Looking<'_> {
    /// Whether an input is known to be as recorded.
    pub fn holds(&self, index: u32) -> bool {
        self.holds.get(index as usize).is_some_and(|holds| *holds)
    }

    /// An input was compared, and is as recorded.
    pub fn found(&mut self, index: u32, world: &World<'_>) {
        if let Some(holds) = self.holds.get_mut(index as usize) {
            *holds = world.was_by_map();
            self.news |= *holds;
        }
    }

    /// All inputs are as recorded.
    pub fn remember(self, record: &ActionRecord, world: &World<'_>) {
        let Some(project) = world.roots.get(Root::Project).filter(|_| self.news) else { return };
        let mut numbers: HashMap<Vec<u8>, u32, foldhash::fast::RandomState> = HashMap::default();
        let mut folders = Vec::new();
        let mut buffer = Vec::new();
        let mut places = Vec::with_capacity(record.inputs.len());
        for (input, holds) in record.inputs.iter().zip(self.holds) {
            let folder = (holds && input.path.root() == Some(Root::Project) && input.state != InputState::Fresh)
                .then(|| world.expand(&input.path, &mut buffer))
                .flatten()
                .and_then(|path| path.get(..path.iter().rposition(|c| *c == b'/')?))
                .filter(|folder| folder.starts_with(project.as_bytes()));
            places.push(folder.map_or(0, |folder| match numbers.get(folder) {
                Some(number) => *number,
                None => {
                    folders.push(Box::from(folder));
                    let number = folders.len() as u32;
                    numbers.insert(folder.to_vec(), number);
                    number
                }
            }));
        }
        *lock(&self.memo.0) = Some(Known { since: self.now, folders, places });
    }
}
