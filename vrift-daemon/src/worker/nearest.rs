//! Why there is no hit: how a command differs from the stored result that is nearest to it.

use std::sync::Arc;

use vrift_core::action::Request;
use vrift_core::paths::TemplateText;
use vrift_core::wire::Change;

use super::Worker;
use super::candidates::Candidate;
use super::check;
use super::fresh::Leftovers;
use super::session::Unexplained;
use super::world::World;

/// Differences that are listed.
const MAX_CHANGES: usize = 16;

/// Files up to this size are read to tell whether they differ, for nothing but the message.
const MAX_READ: u64 = 4 << 20;

/// The newest stored result with this label, and what differs first.
pub fn by_label(worker: &Worker, label: &str, request: &Request, world: &World<'_>) -> Option<(Arc<Candidate>, Change)> {
    let candidate = worker.candidates.add_stored(worker.base.nearest(label)?);
    let first = request_changes(&candidate.record.request, request).next();
    let first = first.or_else(|| check::env_changes(&candidate.record, world).next()).unwrap_or_else(|| Change {
        kind: "env".to_owned(),
        name: "a variable of the key".to_owned(),
        old: "another value".to_owned(),
        new: "this value".to_owned(),
    });
    Some((candidate, first))
}

/// All differences, as far as they are worth telling.
pub fn changes(worker: &Worker, unexplained: &Unexplained) -> Vec<Change> {
    let Unexplained { candidate, request, roots, env, script, .. } = unexplained;
    let world = World::new(&worker.digests, roots, request.tool, env).with_script(script);
    world.set_leftovers(Leftovers::new(Arc::clone(&worker.cas), worker.candidates.get(&candidate.record.key)));
    let record = &candidate.record;
    let asked = request_changes(&record.request, request);
    let surroundings = check::bound_change(record, &world).into_iter().chain(check::env_changes(record, &world));
    let files = check::input_changes(candidate, &world, |size| size <= MAX_READ);
    asked.chain(surroundings).chain(files).take(MAX_CHANGES).collect()
}

fn request_changes<'r>(old: &'r Request, new: &'r Request) -> impl Iterator<Item = Change> + 'r {
    let differs = |kind: &str, name: &str, old: String, new: String| {
        (old != new).then(|| Change { kind: kind.to_owned(), name: name.to_owned(), old, new })
    };
    let fixed = [
        differs("program", "path", old.program.to_string(), new.program.to_string()),
        differs("program", &new.program.to_string(), old.program_digest.short(), new.program_digest.short()),
        differs("folder", "cwd", old.cwd.to_string(), new.cwd.to_string()),
        differs("umask", "umask", format!("{:03o}", old.umask), format!("{:03o}", new.umask)),
    ];
    fixed.into_iter().flatten().chain(argument_changes(&old.argv, &new.argv))
}

/// Arguments that only one side has. Those that merely moved are told last, by the first place that differs.
fn argument_changes(old: &[TemplateText], new: &[TemplateText]) -> Vec<Change> {
    let show = |arg: &TemplateText| format!("{arg:?}");
    let change = |old: String, new: String| Change { kind: "argument".to_owned(), name: "arguments".to_owned(), old, new };
    let gone: Vec<_> = old.iter().filter(|arg| !new.contains(arg)).collect();
    let added: Vec<_> = new.iter().filter(|arg| !old.contains(arg)).collect();
    let longest = gone.len().max(added.len());
    let mut changes: Vec<_> = (0..longest)
        .map(|i| {
            let side = |list: &[&TemplateText]| list.get(i).map_or_else(|| "not there".to_owned(), |arg| show(arg));
            change(side(&gone), side(&added))
        })
        .collect();
    if changes.is_empty()
        && let Some(i) = (0..old.len().max(new.len())).find(|i| old.get(*i) != new.get(*i))
    {
        let side = |list: &[TemplateText]| list.get(i).map_or_else(|| "not there".to_owned(), &show);
        changes.push(change(side(old), side(new)));
    }
    changes
}

/// A difference as one sentence.
pub fn sentence(change: &Change) -> String {
    let Change { kind, name, old, new } = change;
    match kind.as_str() {
        "file" if old == "absent" => format!("{name} is there now ({new})"),
        "file" if new == "absent" => format!("{name} is gone"),
        "file" => format!("{name} changed from {old} to {new}"),
        "env" => format!("the variable {name} changed from `{old}` to `{new}`"),
        "argument" => format!("an argument changed from {old} to {new}"),
        "program" => format!("the program changed from {old} to {new}"),
        "checkout" => format!("its result holds only where {name} is {old}"),
        "messages" => format!("its {name} were {old}"),
        "store" => format!("its result is no longer whole: {new}"),
        _ => format!("{name} changed from {old} to {new}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(text: &str) -> Vec<TemplateText> {
        text.split(' ').map(|word| TemplateText { bytes: word.into(), ..TemplateText::default() }).collect()
    }

    #[test]
    fn arguments_are_told_by_what_only_one_side_has() {
        let of = |old: &str, new: &str| {
            let changes = argument_changes(&argv(old), &argv(new));
            changes.into_iter().map(|c| format!("{} > {}", c.old, c.new)).collect::<Vec<_>>()
        };
        assert_eq!(of("cc -O2 -c a.c", "cc -O3 -c a.c"), [r#""-O2" > "-O3""#]);
        assert_eq!(of("cc a.c", "cc -g a.c"), [r#"not there > "-g""#]);
        assert_eq!(of("ld a.o b.o", "ld b.o a.o"), [r#""a.o" > "b.o""#]);
        assert!(of("cc a.c", "cc a.c").is_empty());
    }
}
