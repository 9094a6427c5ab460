//! From what was seen of a run to what is stored of it.
//!
//! In doubt nothing is stored: every function here that cannot vouch for its part returns the reason as an error.

mod accesses;
mod claims;
mod content;
pub mod direct;
mod environment;
mod native;
mod outputs;
pub mod programs;
mod resolve;
mod rust_symbols;
mod said;
mod script;
mod whole;

use vrift_core::action::Tool;
use vrift_core::context::Field;
use vrift_core::paths::{AbsPath, Root};
use vrift_core::wire::{MissPlan, RecordParams};
use vrift_store::Cas;

use crate::command::Command;
use crate::tracer::Finished;
use crate::{dates, dump, nested};
use outputs::Times;

/// Why a run is not stored: one sentence for `vrift why`.
pub type Reason = String;

/// Turns a finished run into a record; its outputs are in the store afterwards.
///
/// # Errors
/// The [`Reason`] where the run is not to be stored.
pub fn record(command: &Command, plan: MissPlan, finished: &Finished) -> Result<RecordParams, Reason> {
    let trace = finished.trace.as_ref().map_err(ToString::to_string)?;
    if let Some(dir) = &command.trace_dir {
        dump::dump(dir, &plan.label, trace);
    }
    whole::check(finished, trace)?;
    native::check_clock(trace)?;
    let seen = accesses::collect(command, trace)?;
    if command.tool == Tool::Script {
        script::check_dates(command, trace, &seen)?;
    }
    // Of what was restored inside of it nobody heard which variables it asked for.
    let env_closed = programs::examine(command, trace, &seen)? || nested::is_around_others(command);
    let env = environment::inputs(command, trace, env_closed);
    let cas = Cas::open(command.source.as_path());
    let times = Times { started_ns: finished.started_ns, own: dates::needs_own_time(command, plan.build_script.as_ref()) };
    let left = outputs::collect(command, &cas, &seen, times)?;
    let said = said::chunks(command, finished)?;
    let bound = if left.bound || said.bound { per_checkout(command) } else { Vec::new() };
    Ok(RecordParams {
        session: command.session.clone(),
        plan,
        roots: command.roots.clone(),
        started_ns: finished.started_ns,
        inputs: claims::claims(command, &seen),
        env,
        env_closed,
        outputs: left.outputs,
        stamps: left.stamps,
        stdio: said.chunks,
        bound,
        wall_us: finished.wall_us,
        cpu_us: finished.cpu_us,
        script: command.context().get(Field::Script).into(),
    })
}

fn per_checkout(command: &Command) -> Vec<(Root, AbsPath)> {
    command.roots.per_checkout().iter().cloned().collect()
}
