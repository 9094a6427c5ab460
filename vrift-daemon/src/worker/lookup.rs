//! `action.lookup`: from a command to the result that it would have, if there is one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use vrift_core::action::{OutputState, Place, Tool};
use vrift_core::bytes::ByteText;
use vrift_core::digest::{Digest, FieldHasher};
use vrift_core::paths::{AbsPath, Root, TemplateText};
use vrift_core::rules;
use vrift_core::wire::{Change, HitPlan, LeaseResult, LookupParams, LookupResult, MissPlan};

use super::Worker;
use super::candidates::Candidate;
use super::check::{self, Refusal, Restoration};
use super::evidence::Before;
use super::fresh::Leftovers;
use super::key;
use super::ledger::{EntryId, NewEntry, Outcome};
use super::nearest;
use super::nested;
use super::session::{Pending, Session, Unexplained, Used};
use super::sight::{Sight, look};
use super::world::World;
use crate::clock::now_ns;

/// How long a client waits for another one that computes the same.
const LEASE_WAIT: Duration = Duration::from_secs(60);

/// Named files up to this size tell pieces of work apart that have the same key.
const MAX_NAMED_FILE: u64 = 1 << 20;

/// The same for programs that change a named file where it lies: there is no other time to read it.
const MAX_UPDATED_FILE: u64 = 256 << 20;

/// What the search for a result gave.
pub enum Found {
    Hit(Arc<Candidate>, Restoration),
    /// The newest stored result, and how it differs first.
    Nothing(Option<(Arc<Candidate>, Change)>),
}

/// Answers a look-up.
pub fn lookup(worker: &Worker, session: &mut Session, params: LookupParams) -> LookupResult {
    let began = Instant::now();
    session.nested = params.nested.then(|| Box::new(params.clone()));
    let label = rules::label(params.tool, &params.argv, &params.env);
    let ledger = |outcome, reason: &str, saved_cpu_us| -> EntryId {
        // Of a hit they are named once the answer is sent.
        let paths = if outcome == Outcome::Hit { String::new() } else { named_paths(&params) };
        let outcome = if params.nested && outcome == Outcome::Uncached { Outcome::Part } else { outcome };
        let entry = NewEntry { label: label.clone(), outcome, reason: reason.to_owned(), paths, saved_cpu_us };
        worker.ledger.looked_up(&params.session, began.elapsed(), entry)
    };
    for root in [Root::Target, Root::Tmp] {
        if let Some(folder) = params.roots.get(root) {
            worker.digests.keep_private(folder);
        }
    }
    let build_script = worker.scripts.note(&params);
    let program = match refusal(worker, &params) {
        Ok(program) => program,
        Err(reason) => {
            ledger(Outcome::Uncached, &reason, 0);
            return LookupResult::Uncached { reason };
        }
    };
    let mut request = key::request(&params, program);
    request.argv.extend(of_configure(worker, &params));
    let key = key::key(&request, &params);
    let world = World::new(&worker.digests, &params.roots, params.tool, &params.env)
        .with_script(&params.script)
        .with_plain_text(params.plain_text);
    let mut found = match params.recache {
        true => Found::Nothing(None),
        false => search(worker, &key, &world),
    };
    let mut before = Before::default();
    let mut lease = None;
    if let Found::Nothing(_) = found {
        let work = look_at_named_files(worker, &params, &key, &mut before);
        if !params.recache {
            (lease, found) = take_turn(worker, &key, &world, work, found);
        }
        before.forget_changed();
    }
    match found {
        Found::Hit(candidate, restoration) => {
            let staged = session.staged.insert(worker.staging.begin());
            if let Err(reason) = staged.add(&restoration.steps) {
                ledger(Outcome::Uncached, &reason, 0);
                return LookupResult::Uncached { reason };
            }
            if worker.builds.is_open(&params.session) {
                worker.builds.note(params.clone(), &candidate);
            }
            let inputs = if params.nested { nested::looks(&candidate.record, &params.roots) } else { None };
            let plan = HitPlan { build_script, inputs, ..hit(worker, session, &candidate, restoration) };
            let entry = ledger(Outcome::Hit, "nothing that it depends on has changed", candidate.record.cpu_us);
            session.used = Some(Used { candidate, entry, command: params });
            LookupResult::Hit(Box::new(plan))
        }
        Found::Nothing(near) => {
            let near = near.or_else(|| nearest::by_label(worker, &label, &request, &world));
            let reason = match (&near, params.recache) {
                (_, true) => "told to run everything".to_owned(),
                (Some((_, change)), _) => nearest::sentence(change),
                (None, _) => "never built before".to_owned(),
            };
            let entry = ledger(Outcome::Miss, &reason, 0);
            let command = worker.builds.is_open(&params.session).then(|| Box::new(params.clone()));
            session.pending = Some(Pending { key, session: params.session.clone(), entry, lease, before, command });
            session.unexplained = near.map(|(candidate, _)| Unexplained {
                entry,
                candidate,
                request: request.clone(),
                roots: params.roots,
                env: params.env,
                script: params.script,
            });
            // The last thing before the answer: whatever the command does comes later.
            if let Some(pending) = &mut session.pending {
                pending.before.sent_ns = now_ns();
            }
            // Of other tools nobody looks through the kernel: they would run without what the shim does for them.
            let by_kernel = params.tool == Tool::Script && worker.past_libc.holds(&key);
            LookupResult::Miss(Box::new(MissPlan { key, request, label, reason, build_script, by_kernel }))
        }
    }
}

/// The program's digest, or why the command is not to be cached.
pub fn refusal(worker: &Worker, params: &LookupParams) -> Result<Digest, String> {
    if let Some(why) = worker.base.off() {
        return Err(why);
    }
    let fail = |e: std::io::Error| format!("cannot read the program {}: {e}", params.program);
    let sight = look(params.program.as_bytes()).map_err(fail)?;
    if !sight.is_file() {
        return Err(format!("the program {} is no file", params.program));
    }
    let (_, known) = worker.digests.content(params.program.as_bytes(), &sight, None).map_err(fail)?;
    Ok(known.digest)
}

/// Looks for a stored result that holds: those that are remembered first, then the base manifest.
pub fn search(worker: &Worker, key: &Digest, world: &World<'_>) -> Found {
    world.look_anew();
    let mut near = None;
    let mut tried = worker.candidates.get(key);
    if tried.is_empty()
        && let Some(newest) = worker.base.newest(key)
        && !worker.candidates.is_forgotten(newest.id)
    {
        tried.push(worker.candidates.add_stored(newest));
    }
    if world.tool == Tool::Script {
        tried = all(worker, key, tried);
        world.set_leftovers(Leftovers::new(Arc::clone(&worker.cas), tried.clone()));
    }
    for candidate in &tried {
        if let Some(hit) = attempt(worker, candidate, world, &mut near) {
            return hit;
        }
    }
    for row in worker.base.candidate_ids(key) {
        if worker.candidates.is_forgotten(row) || tried.iter().any(|candidate| candidate.id() == row) {
            continue;
        }
        let Some(stored) = worker.base.action(row) else { continue };
        let candidate = worker.candidates.add_stored(stored);
        // One that this worker recorded itself is no other for being in the manifest by now.
        if tried.iter().any(|other| Arc::ptr_eq(other, &candidate)) {
            continue;
        }
        if let Some(hit) = attempt(worker, &candidate, world, &mut near) {
            return hit;
        }
        tried.push(candidate);
    }
    Found::Nothing(near)
}

/// All stored results of a key. A script's earlier output may be any one's.
fn all(worker: &Worker, key: &Digest, mut known: Vec<Arc<Candidate>>) -> Vec<Arc<Candidate>> {
    for row in worker.base.candidate_ids(key) {
        if worker.candidates.is_forgotten(row) || known.iter().any(|candidate| candidate.id() == row) {
            continue;
        }
        let Some(stored) = worker.base.action(row) else { continue };
        let candidate = worker.candidates.add_stored(stored);
        if !known.iter().any(|other| Arc::ptr_eq(other, &candidate)) {
            known.push(candidate);
        }
    }
    known
}

fn attempt(
    worker: &Worker,
    candidate: &Arc<Candidate>,
    world: &World<'_>,
    near: &mut Option<(Arc<Candidate>, Change)>,
) -> Option<Found> {
    if world.plain_text && candidate.is_coloured() {
        near.get_or_insert_with(|| {
            let [kind, name, old, new] = ["messages", "messages", "for a terminal", "for none"].map(str::to_owned);
            (Arc::clone(candidate), Change { kind, name, old, new })
        });
        return None;
    }
    match check::check(candidate, world, &worker.cas) {
        Ok(restoration) => return Some(Found::Hit(Arc::clone(candidate), restoration)),
        Err(Refusal::Changed(change)) => {
            near.get_or_insert_with(|| (Arc::clone(candidate), change));
        }
        Err(Refusal::Lost { reason, damaged }) => {
            tracing::warn!("`{}` cannot be restored: {reason}", candidate.record.label);
            if let Some(blob) = damaged
                && let Err(e) = worker.cas.quarantine(&blob)
            {
                tracing::warn!("{e}");
            }
            worker.forget(candidate);
            let change = Change { kind: "store".into(), name: "an output".into(), old: "stored".into(), new: reason };
            near.get_or_insert_with(|| (Arc::clone(candidate), change));
        }
    }
    None
}

/// Sees to it that one client computes this at a time: waits for another's result and looks again, once.
fn take_turn(
    worker: &Worker,
    key: &Digest,
    world: &World<'_>,
    work: Digest,
    found: Found,
) -> (Option<super::upstream::Lease>, Found) {
    match worker.upstream.lease(work, LEASE_WAIT) {
        Ok((LeaseResult::Granted, lease)) => (lease, found),
        Ok((LeaseResult::Released, _)) => (None, search(worker, key, world)),
        // Rather computed twice than waited for.
        Ok((LeaseResult::TimedOut, _)) | Err(_) => (None, found),
    }
}

/// Looks at the files that the command names, which proves later that they were so before it ran, and gives what tells this
/// piece of work from others with the same key: two checkouts with different sources must not wait for each other.
fn look_at_named_files(worker: &Worker, params: &LookupParams, key: &Digest, before: &mut Before) -> Digest {
    let mut work = FieldHasher::new("vrift-work-1");
    work.field(key.as_bytes());
    look_at_earlier_outputs(worker, params, key, before);
    let updates = params.tool.updates();
    let largest = if updates { MAX_UPDATED_FILE } else { MAX_NAMED_FILE };
    // `strip prog`: a word that does not look like a path may be one, too.
    let named = |arg| named_path(arg, &params.cwd).or_else(|| AbsPath::resolve(&params.cwd, arg).ok().filter(|_| updates));
    for path in params.argv.iter().skip(1).filter_map(named) {
        let Some(sight) = before.look(path.as_bytes(), &worker.digests).filter(Sight::is_file) else { continue };
        let known = match worker.digests.peek(path.as_bytes(), &sight, None) {
            Some(known) => Some(known),
            None if sight.stamp.size <= largest => worker.digests.content(path.as_bytes(), &sight, None).ok().map(|(_, k)| k),
            None => None,
        };
        if let Some(known) = known {
            before.learn(path.as_bytes(), known.digest);
            work.field(params.roots.template_path(&path).as_bytes()).field(known.digest.as_bytes());
        }
    }
    work.finish()
}

/// Looks at what a script has left before, and at what it is known to change: where it reads such a file and then changes it, what was
/// in it counts, and afterwards nobody can look.
fn look_at_earlier_outputs(worker: &Worker, params: &LookupParams, key: &Digest, before: &mut Before) {
    const MOST_READ: usize = 512;
    if params.tool != Tool::Script {
        return;
    }
    let mut read = 0;
    let mut learn = |before: &mut Before, path: &AbsPath| {
        if read < MOST_READ
            && let Some(sight) = before.look(path.as_bytes(), &worker.digests).filter(Sight::is_file)
            && let Ok((_, known)) = worker.digests.content(path.as_bytes(), &sight, None)
        {
            read += 1;
            before.learn(path.as_bytes(), known.digest);
        }
    };
    for candidate in worker.candidates.get(key) {
        for output in candidate.record.outputs.iter().filter(|output| output.state != OutputState::Removed) {
            let Some(path) = params.roots.expand_path(&output.path) else { continue };
            if matches!(output.state, OutputState::File { .. }) && !before.was_left(&path) {
                learn(before, &path);
            }
            before.add_left(path);
        }
    }
    for path in worker.unknown.of(key) {
        if !before.was_left(&path) {
            learn(before, &path);
        }
    }
}

/// What tells commands of a configure script apart that have the same arguments: their sources. As mere inputs they would make so
/// many results of one key that some are lost.
fn of_configure(worker: &Worker, params: &LookupParams) -> Vec<TemplateText> {
    if !params.tool.is_native() {
        return Vec::new();
    }
    let output = |at: usize| at.checked_sub(1).is_some_and(|before| *params.argv[before] == *b"-o");
    let named = params.argv.iter().enumerate().skip(1).filter(|(at, arg)| rules::is_of_configure(arg) && !output(*at));
    let digest = |arg: &ByteText| {
        let path = AbsPath::resolve(&params.cwd, arg).ok()?;
        let sight = look(path.as_bytes()).ok().filter(|sight| sight.is_file() && sight.stamp.size <= MAX_NAMED_FILE)?;
        let (_, known) = worker.digests.content(path.as_bytes(), &sight, None).ok()?;
        // Not the argument, which may hold the checkout's path, and is in the key already.
        Some(format!("<{} {}>", String::from_utf8_lossy(path.file_name()), known.digest))
    };
    let text = |text: String| TemplateText { bytes: text.as_str().into(), ..TemplateText::default() };
    named.filter_map(|(_, arg)| digest(arg)).map(text).collect()
}

/// The path that an argument is or carries: `src/lib.rs`, `--extern=serde=/t/libserde.rmeta`, `-Wl,--version-script=x.map`.
fn named_path(arg: &ByteText, cwd: &AbsPath) -> Option<AbsPath> {
    let value = arg.rsplit(|c| matches!(c, b'=' | b',')).next()?;
    let value = value.strip_prefix(b"@").unwrap_or(value);
    if value.is_empty() || value.starts_with(b"-") || !value.iter().any(|c| matches!(c, b'/' | b'.')) {
        return None;
    }
    AbsPath::resolve(cwd, value).ok()
}

/// The same for people who search by path.
pub fn named_paths(params: &LookupParams) -> String {
    const LONGEST: usize = 512;
    let mut paths = String::new();
    for path in params.argv.iter().skip(1).filter_map(|arg| named_path(arg, &params.cwd)) {
        let path = params.roots.template_path(&path).to_string();
        if paths.len() + path.len() < LONGEST {
            paths.push_str(&path);
            paths.push('\n');
        }
    }
    paths
}

fn hit(worker: &Worker, session: &mut Session, candidate: &Arc<Candidate>, restoration: Restoration) -> HitPlan {
    let Restoration { steps, stdio } = restoration;
    for step in &steps {
        if let OutputState::File { blob, place: Place::Link, .. } = step.state {
            worker.bindings.will_restore(step.path.as_bytes(), blob);
            session.restoring.push(step.path.clone());
        }
    }
    session.hit = Some(Arc::clone(candidate));
    HitPlan { action: candidate.id(), key: candidate.record.key, restore: steps, stdio, build_script: None, inputs: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_files() {
        let cwd = AbsPath::new(b"/w").expect("absolute");
        let of = |arg: &str| named_path(&ByteText::from(arg), &cwd).map(|path| path.to_string());
        assert_eq!(of("src/lib.rs").as_deref(), Some("/w/src/lib.rs"));
        assert_eq!(of("serde=/t/libserde.rmeta").as_deref(), Some("/t/libserde.rmeta"));
        assert_eq!(of("-Wl,--version-script=x.map").as_deref(), Some("/w/x.map"));
        assert_eq!(of("@args.rsp").as_deref(), Some("/w/args.rsp"));
        assert_eq!(of("--crate-name"), None);
        assert_eq!(of("opt-level=3"), None);
    }
}
