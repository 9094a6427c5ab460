//! Looking up a plan's actions before Cargo asks for them.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use vrift_core::action::{OutputState, Place};
use vrift_core::wire::{BuildOpenResult, BuildUnit, LookupParams};

use super::overlay::Overlay;
use super::plan::{Plan, Unit, expand, outcome};
use super::{Build, Done};
use crate::worker::Worker;
use crate::worker::candidates::Candidate;
use crate::worker::check::Restoration;
use crate::worker::lookup::{self, Found};
use crate::worker::session::Session;
use crate::worker::staging::Staged;
use crate::worker::world::World;
use crate::worker::{key, ledger};

/// What of the plan holds here. Its actions count as hits, and as done.
pub fn project(worker: &Worker, plan: &Plan, build: &mut Build, session: &mut Session) -> BuildOpenResult {
    let roots = &build.params.roots;
    let profiles = expand(&plan.profiles, roots);
    let mut overlay = Overlay::new(profiles.clone(), expand(&plan.folders, roots));
    let mut units = Vec::with_capacity(plan.units.len());
    let params = &build.params;
    let mut staged = worker.staging.begin();
    let mut all_done = Vec::with_capacity(plan.units.len());
    thread::scope(|scope| {
        let (sender, commands) = channel();
        let ahead = move || {
            for unit in &plan.units {
                let command = unit.command.predict(params);
                if let Some(command) = &command {
                    fetch(worker, command);
                }
                if sender.send(command).is_err() {
                    return;
                }
            }
        };
        if thread::Builder::new().name("ahead".to_owned()).spawn_scoped(scope, ahead).is_err() {
            // No thread, no plan: Cargo asks for each action itself.
            return;
        }
        let mut holds = vec![false; plan.units.len()];
        for (index, (unit, command)) in plan.units.iter().zip(commands).enumerate() {
            let command = command.filter(|_| unit.deps.iter().all(|dep| holds.get(*dep) == Some(&true)));
            let Some((unit, done)) = command.and_then(|command| look_up(worker, unit, command, &mut overlay, &mut staged)) else {
                continue;
            };
            holds[index] = true;
            for step in unit.steps.iter().filter(|step| !unit.dated.contains(&step.path)) {
                if let OutputState::File { blob, place: Place::Link, .. } = step.state {
                    worker.bindings.will_restore(step.path.as_bytes(), blob);
                    session.restoring.push(step.path.clone());
                }
            }
            worker.spares.want(&done.result.record, &worker.cas);
            units.push(unit);
            all_done.push(done);
        }
    });
    let files = plan.files.iter().filter_map(|file| file.render(roots)).collect();
    build.done.extend(all_done);
    session.staged = Some(staged);
    BuildOpenResult { units, files, profiles }
}

/// Brings the stored results for a command into memory, for the look-up that is about to come. One whose program is yet to be
/// put in place has to wait for that.
fn fetch(worker: &Worker, command: &LookupParams) {
    let Ok(program) = lookup::refusal(worker, command) else { return };
    let key = key::key(&key::request(command, program), command);
    if worker.candidates.get(&key).is_empty() {
        for row in worker.base.candidate_ids(&key).into_iter().filter(|row| !worker.candidates.is_forgotten(*row)) {
            if let Some(stored) = worker.base.action(row) {
                worker.candidates.add_stored(stored);
            }
        }
    }
}

/// The unit, where its action holds.
fn look_up(
    worker: &Worker,
    unit: &Unit,
    command: LookupParams,
    overlay: &mut Overlay,
    staged: &mut Staged,
) -> Option<(BuildUnit, Done)> {
    let roots = &command.roots;
    let began = Instant::now();
    let files = unit.files.iter().map(|file| file.render(roots)).collect::<Option<_>>()?;
    let link = |(name, of): &(_, _)| Some((roots.expand_path(name)?, roots.expand_path(of)?));
    let links: Vec<_> = unit.links.iter().map(link).collect::<Option<_>>()?;
    // What the result says, Cargo says again from a file of its own, which is among these. So it has to be the same result,
    // and not just one that holds here.
    let (result, Restoration { steps, .. }) =
        hit(worker, &command, overlay).filter(|(result, _)| outcome(&result.record) == unit.outcome)?;
    staged.add(&steps).ok()?;
    overlay.add(&steps, &worker.cas, roots);
    for (name, of) in &links {
        overlay.link(name, of);
    }
    ledger_entry(worker, &command, &result, began);
    let (dirs, dated) = (expand(&unit.dirs, roots), expand(&unit.dated, roots));
    Some((BuildUnit { dirs, steps, dated, links, files }, Done { command, result }))
}

/// The stored result that holds for a command, its inputs being what the overlay says, or else what is on disk.
fn hit(worker: &Worker, command: &LookupParams, overlay: &Overlay) -> Option<(Arc<Candidate>, Restoration)> {
    worker.scripts.note(command);
    let program = match overlay.file(command.program.as_bytes()) {
        Some(digest) => digest,
        None => lookup::refusal(worker, command).ok()?,
    };
    let request = key::request(command, program);
    let key = key::key(&request, command);
    let world = World::new(&worker.digests, &command.roots, command.tool, &command.env).with_overlay(overlay);
    match lookup::search(worker, &key, &world) {
        Found::Hit(candidate, restoration) => Some((candidate, restoration)),
        Found::Nothing(near) => {
            if let Some((_, change)) = near {
                tracing::debug!("{:?} is left to Cargo: {change:?}", command.argv.first());
            }
            None
        }
    }
}

fn ledger_entry(worker: &Worker, command: &LookupParams, result: &Candidate, began: Instant) {
    let entry = ledger::NewEntry {
        label: result.record.label.clone(),
        outcome: ledger::Outcome::Hit,
        reason: "nothing that it depends on has changed".to_owned(),
        paths: lookup::named_paths(command),
        saved_cpu_us: result.record.cpu_us,
    };
    worker.ledger.looked_up(&command.session, began.elapsed(), entry);
}
