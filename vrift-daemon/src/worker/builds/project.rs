//! Looking up a plan's actions before Cargo asks for them.

use std::sync::Arc;
use std::time::Instant;

use vrift_core::action::{OutputState, Place};
use vrift_core::paths::AbsPath;
use vrift_core::wire::{BuildOpenResult, BuildUnit, LookupParams};

use super::overlay::Overlay;
use super::plan::{Plan, Unit, expand};
use super::{Build, Done};
use crate::worker::Worker;
use crate::worker::candidates::Candidate;
use crate::worker::check::Restoration;
use crate::worker::lookup::{self, Found};
use crate::worker::world::World;
use crate::worker::{key, ledger};

/// What of the plan holds here. Its actions count as hits, and as done.
pub fn project(worker: &Worker, plan: &Plan, build: &mut Build, restoring: &mut Vec<AbsPath>) -> BuildOpenResult {
    let roots = &build.params.roots;
    let profiles = expand(&plan.profiles, roots);
    let mut overlay = Overlay::new(profiles.clone(), expand(&plan.folders, roots));
    let mut units = Vec::with_capacity(plan.units.len());
    for unit in &plan.units {
        if let Some((unit, done)) = look_up(worker, unit, build, &mut overlay) {
            for step in unit.steps.iter().filter(|step| !unit.dated.contains(&step.path)) {
                if let OutputState::File { blob, place: Place::Link, .. } = step.state {
                    worker.bindings.will_restore(step.path.as_bytes(), blob);
                    restoring.push(step.path.clone());
                }
            }
            units.push(unit);
            build.done.push(done);
        }
    }
    let files = plan.files.iter().filter_map(|file| file.render(&build.params.roots)).collect();
    BuildOpenResult { units, files, profiles }
}

/// The unit, where its action holds.
fn look_up(worker: &Worker, unit: &Unit, build: &Build, overlay: &mut Overlay) -> Option<(BuildUnit, Done)> {
    let roots = &build.params.roots;
    let began = Instant::now();
    let command = unit.command.predict(&build.params)?;
    let files = unit.files.iter().map(|file| file.render(roots)).collect::<Option<_>>()?;
    let link = |(name, of): &(_, _)| Some((roots.expand_path(name)?, roots.expand_path(of)?));
    let links: Vec<_> = unit.links.iter().map(link).collect::<Option<_>>()?;
    // What the result says, Cargo says again from a file of its own, which is among these.
    let (result, Restoration { steps, .. }) = hit(worker, &command, overlay)?;
    overlay.add(&steps, &worker.cas, roots);
    for (name, of) in &links {
        overlay.link(name, of);
    }
    ledger_entry(worker, &command, &result, began);
    let unit = BuildUnit { dirs: expand(&unit.dirs, roots), steps, dated: expand(&unit.dated, roots), links, files };
    Some((unit, Done { command: Arc::new(command), result }))
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
