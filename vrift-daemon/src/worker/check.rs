//! Does a stored action hold here and now?

use vrift_core::action::{ActionRecord, InputState, OutputState, Tool};
use vrift_core::rules;
use vrift_core::wire::{Change, RestoreStep, StdioText};
use vrift_store::{Blob, Cas};

use super::candidates::{Candidate, Step};
use super::fresh::Fresh;
use super::sight::{BARRED, Sight, kind_name, look};
use super::world::{Verdict, World, value_digest};

/// Why a stored action is not the answer.
#[derive(Debug)]
pub enum Refusal {
    /// Something that it depends on is different.
    Changed(Change),
    /// What it left behind is not in the store as it should be: nobody can use it any more.
    Lost {
        /// One sentence.
        reason: String,
        /// The blob, where it is there but damaged.
        damaged: Option<Blob>,
    },
}

/// What a hit puts in place.
pub struct Restoration {
    /// In this order.
    pub steps: Vec<RestoreStep>,
    /// What the action said, with this checkout's paths.
    pub stdio: Vec<StdioText>,
}

/// Checks everything that `candidate` depends on, cheapest first, and that its outputs are in the store.
///
/// # Errors
/// The first [`Refusal`].
pub fn check(candidate: &Candidate, world: &World<'_>, cas: &Cas) -> Result<Restoration, Refusal> {
    let record = &candidate.record;
    if let Some(change) = bound_change(record, world).or_else(|| env_changes(record, world).next()) {
        return Err(Refusal::Changed(change));
    }
    if let Some(change) = first_input_change(candidate, world) {
        return Err(Refusal::Changed(change));
    }
    restoration(record, world, cas)
}

/// A root that the action is bound to and that is elsewhere here.
pub fn bound_change(record: &ActionRecord, world: &World<'_>) -> Option<Change> {
    record.bound.iter().find_map(|(root, at)| {
        let here = world.roots.get(*root);
        (here != Some(at)).then(|| Change {
            kind: "checkout".to_owned(),
            name: root.name().to_owned(),
            old: at.to_string(),
            new: here.map_or_else(|| "unknown".to_owned(), ToString::to_string),
        })
    })
}

/// The variables that are not as they were.
pub fn env_changes<'r>(record: &'r ActionRecord, world: &'r World<'_>) -> impl Iterator<Item = Change> + 'r {
    let changed = record.env.iter().filter(|input| !world.env_holds(input)).map(|input| {
        let old = match (&input.shown, input.value) {
            (Some(shown), _) => shown.clone(),
            (None, Some(digest)) => digest.short(),
            (None, None) => "not set".to_owned(),
        };
        let new = world.var(&input.name).map_or_else(|| "not set".to_owned(), |value| shown(world, &input.name, value));
        Change { kind: "env".to_owned(), name: input.name.display().into_owned(), old, new }
    });
    // A program that may list all variables saw that the others were not there.
    let all = if record.env_closed { world.vars() } else { &[] };
    let added = all.iter().filter(move |(name, _)| {
        !world.is_noise(name) && !rules::key_env(world.tool, name) && !record.env.iter().any(|input| input.name[..] == **name)
    });
    changed.chain(added.map(|(name, value)| Change {
        kind: "env".to_owned(),
        name: String::from_utf8_lossy(name).into_owned(),
        old: "not set".to_owned(),
        new: shown(world, name, value),
    }))
}

/// A value for people: as it is where it is short and no secret, else its digest.
fn shown(world: &World<'_>, name: &[u8], value: &[u8]) -> String {
    const LONGEST: usize = 200;
    if value.len() > LONGEST || rules::sounds_secret(name) {
        return value_digest(world.roots, value).short();
    }
    String::from_utf8_lossy(value).into_owned()
}

/// Whether all files and folders are as they were.
pub fn inputs_hold(candidate: &Candidate, world: &World<'_>) -> bool {
    first_input_change(candidate, world).is_none()
}

fn first_input_change(candidate: &Candidate, world: &World<'_>) -> Option<Change> {
    let mut buffer = Vec::with_capacity(256);
    let mut unread = Vec::new();
    let fresh = Fresh::new(world, &candidate.record);
    let mut looking = candidate.memo.look(&candidate.record, world);
    for step in &candidate.order {
        if looking.as_ref().is_some_and(|looking| looking.holds(step.index)) {
            continue;
        }
        match compare(&fresh, *step, world, &mut buffer, false) {
            Ok(Verdict::Unread) => unread.push(*step),
            Ok(_) => {
                if let Some(looking) = &mut looking {
                    looking.found(step.index, world);
                }
            }
            Err(change) => return Some(change),
        }
    }
    let change = unread.into_iter().find_map(|step| compare(&fresh, step, world, &mut buffer, true).err());
    if let (Some(looking), None) = (looking, &change) {
        looking.remember(&candidate.record, world);
    }
    change
}

/// The files and folders that are not as they were; contents that would have to be read to tell only where `read` allows.
pub fn input_changes<'r>(
    candidate: &'r Candidate,
    world: &'r World<'_>,
    read: impl Fn(u64) -> bool + 'r,
) -> impl Iterator<Item = Change> + 'r {
    let mut buffer = Vec::with_capacity(256);
    let fresh = Fresh::new(world, &candidate.record);
    candidate.order.iter().filter_map(move |step| {
        match compare(&fresh, *step, world, &mut buffer, false) {
            Ok(Verdict::Unread) => {
                let size = look(&buffer).map_or(0, |sight| sight.stamp.size);
                if !read(size) {
                    return None;
                }
            }
            Ok(_) => return None,
            Err(change) => return Some(change),
        }
        compare(&fresh, *step, world, &mut buffer, true).err()
    })
}

/// Compares one input; the error says how it differs.
fn compare(fresh: &Fresh<'_>, step: Step, world: &World<'_>, buffer: &mut Vec<u8>, read: bool) -> Result<Verdict, Change> {
    let record = fresh.record();
    let Some(input) = record.inputs.get(step.index as usize) else { return Ok(Verdict::Same) };
    let change =
        |new: String| Change { kind: "file".to_owned(), name: input.path.to_string(), old: state_name(&input.state), new };
    let Some(path) = world.expand(&input.path, buffer) else {
        return Err(change("in a folder that is unknown here".to_owned()));
    };
    let verdict = match (&input.state, world.compare(path, step.shared, &input.state, read)) {
        (InputState::Fresh, _) => {
            world.not_by_map();
            fresh.compare(path)
        }
        // Names of outputs do not count, and looking closer takes longer.
        (InputState::Listing(wanted), Verdict::Differs(_)) if world.tool == Tool::Script || world.tool.is_native() => {
            world.not_by_map();
            fresh.compare_names(path, wanted)
        }
        (_, verdict) => verdict,
    };
    match verdict {
        Verdict::Differs(new) => Err(change(new)),
        other => Ok(other),
    }
}

/// A recorded state, for people.
pub fn state_name(state: &InputState) -> String {
    match state {
        InputState::Absent => "absent".to_owned(),
        InputState::Kind(kind) | InputState::Itself(kind) => kind_name(*kind).to_owned(),
        InputState::Link(digest) => format!("a link {}", digest.short()),
        InputState::Listing(digest) => format!("entries {}", digest.short()),
        InputState::Content(digest) => digest.short(),
        InputState::Program(digest) => format!("{}, which may be executed", digest.short()),
        InputState::Runnable => "a file that may be executed".to_owned(),
        InputState::Fresh => "absent or its own".to_owned(),
        InputState::Barred => BARRED.to_owned(),
    }
}

/// What is to be put in place, every blob checked.
fn restoration(record: &ActionRecord, world: &World<'_>, cas: &Cas) -> Result<Restoration, Refusal> {
    let elsewhere = || {
        Refusal::Changed(Change {
            kind: "checkout".to_owned(),
            name: "an output's folder".to_owned(),
            old: "known".to_owned(),
            new: "unknown".to_owned(),
        })
    };
    let mut steps = Vec::with_capacity(record.outputs.len());
    let (mut optional, mut whole) = (Vec::new(), true);
    for output in &record.outputs {
        let path = world.roots.expand_path(&output.path).ok_or_else(elsewhere)?;
        // An empty file is made, not fetched.
        if let Some(blob) = Blob::of_output(output).filter(|blob| blob.size > 0) {
            match cas.check(&blob) {
                Ok(meta) => world.digests.learn_blob(&Sight::from(&meta), blob.digest),
                Err(_) if output.optional => {
                    whole = false;
                    continue;
                }
                Err(fault) => {
                    let damaged = (!matches!(fault, vrift_store::BlobFault::Missing { .. })).then_some(blob);
                    return Err(Refusal::Lost { reason: fault.to_string(), damaged });
                }
            }
        }
        if let OutputState::Symlink { target } = &output.state
            && world.roots.expand_text(&target.bytes).is_none()
        {
            return Err(elsewhere());
        }
        let list = if output.optional { &mut optional } else { &mut steps };
        list.push(RestoreStep { path, state: output.state.clone(), optional: output.optional });
    }
    // All of rustc's incremental state or none: what its lists name and is not there, rustc complains of. They come last, so that
    // state of a client that is killed meanwhile has none and is passed over.
    if whole {
        optional.sort_by_key(|step| step.path.file_name().ends_with(b".bin"));
        steps.append(&mut optional);
    }
    let mut stdio = Vec::with_capacity(record.stdio.len());
    for chunk in &record.stdio {
        let text = world.roots.expand_text(&chunk.text.bytes).ok_or_else(elsewhere)?;
        stdio.push(StdioText { stream: chunk.stream, text: text.into() });
    }
    Ok(Restoration { steps, stdio })
}
