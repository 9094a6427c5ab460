//! `action.record`: from what a client saw of a run to a stored action.
//!
//! In doubt nothing is stored. The client says which paths the command looked at; the worker finds out what is there, and
//! whether it was so when the command began, see [`super::evidence`].

use std::collections::HashSet;
use std::fs;

use vrift_core::action::{Access, ActionRecord, FileKind, Input, InputState, Output, OutputState, Place, Tool};
use vrift_core::paths::AbsPath;
use vrift_core::rules::ScriptRules;
use vrift_core::wire::{InputClaim, InsertParams, RecordParams, RecordResult};
use vrift_store::Blob;

use super::Worker;
use super::courier::Job;
use super::digests::{is_blob_like, is_volatile};
use super::evidence::Before;
use super::fresh;
use super::session::{Pending, Session};
use super::sight::{Sight, is_absent, is_barred, kind_name, look, look_itself};
use super::world::{link_digest, minds_modes};

/// Why a run is not stored: one sentence.
type Reason = String;

/// Inputs of one action.
const MAX_INPUTS: usize = 1_000_000;

/// Answers a record. The client goes on at once; the coordinator gets it later.
pub fn record(worker: &Worker, session: &mut Session, params: RecordParams) -> RecordResult {
    let pending = session.pending.take().filter(|pending| pending.key == params.plan.key);
    let (entry, lease, before, command) = match pending {
        Some(Pending { entry, lease, before, command, .. }) => (Some(entry), lease, before, command),
        // The look-up came over another connection; what was seen then is not known here.
        None => (None, None, Before::unknown(), None),
    };
    let (client, nested) = (params.session.clone(), session.nested.is_some());
    let refuse = |reason: String| {
        worker.not_stored(nested, &client, entry, &reason);
        RecordResult { stored: false, reason: Some(reason) }
    };
    let record = match build(worker, params, &before) {
        Ok(record) => record,
        Err(reason) => {
            if let Some(lease) = lease {
                worker.courier.take(Job::Release(lease));
            }
            return refuse(reason);
        }
    };
    let insert = Box::new(InsertParams { record: record.clone(), project: worker.id });
    let candidate = worker.candidates.add_own(record);
    worker.spares.want(&candidate.record, &worker.cas);
    if let Some(command) = command {
        worker.builds.note(*command, &candidate);
    }
    if !worker.courier.take(Job::Record(insert, lease)) {
        return refuse("too many records wait to be stored".to_owned());
    }
    if !worker.upstream.is_up() {
        // Good for this worker, and for others once a coordinator is there again; nobody vouches for that.
        return refuse("the coordinator is not running".to_owned());
    }
    worker.ledger.stored(&client);
    RecordResult { stored: true, reason: None }
}

fn build(worker: &Worker, params: RecordParams, before: &Before) -> Result<ActionRecord, Reason> {
    learn_outputs(worker, &params)?;
    let inputs = inputs(worker, &params, before)?;
    let RecordParams { plan, env, env_closed, outputs, stdio, bound, wall_us, cpu_us, .. } = params;
    Ok(ActionRecord {
        key: plan.key,
        label: plan.label,
        request: plan.request,
        inputs,
        env,
        env_closed,
        outputs,
        stdio,
        bound,
        wall_us,
        cpu_us,
    })
}

/// Makes sure that the outputs are in the store, and takes what the client knows of them: later runs read them.
fn learn_outputs(worker: &Worker, params: &RecordParams) -> Result<(), Reason> {
    for output in &params.outputs {
        if let Some(blob) = Blob::of_output(output).filter(|blob| blob.size > 0) {
            let meta = worker.cas.check(&blob).map_err(|fault| format!("an output is not in the store: {fault}"))?;
            worker.digests.learn_blob(&Sight::from(&meta), blob.digest);
        }
    }
    for seen in &params.stamps {
        let Ok(sight) = look(seen.path.as_bytes()) else { continue };
        if sight.stamp == seen.stamp {
            worker.digests.learn_file(&seen.path, seen.stamp, seen.digest);
        } else if is_blob_like(&sight) {
            worker.bindings.adopted(seen.path.as_bytes(), seen.digest, seen.stamp);
        }
    }
    Ok(())
}

fn inputs(worker: &Worker, params: &RecordParams, before: &Before) -> Result<Vec<Input>, Reason> {
    if params.inputs.len() > MAX_INPUTS {
        return Err(format!("it looked at more than {MAX_INPUTS} paths"));
    }
    let outputs: HashSet<AbsPath> = params.outputs.iter().filter_map(|output| params.roots.expand_path(&output.path)).collect();
    let (rules, started_ns) = (ScriptRules::parse(&params.script), params.started_ns.try_into().unwrap_or(i64::MAX));
    let finder = Finder { worker, params, before, outputs, rules, started_ns };
    if params.plan.request.tool == Tool::Script {
        worker.unknown.note(params.plan.key, finder.unknown());
    }
    let mut inputs = Vec::with_capacity(params.inputs.len());
    for claim in &params.inputs {
        let state = finder.state(claim)?;
        inputs.push(Input { path: params.roots.template_path(&claim.path), state });
    }
    // Stored paths share their beginnings with their neighbours.
    inputs.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(inputs)
}

struct Finder<'a> {
    worker: &'a Worker,
    params: &'a RecordParams,
    before: &'a Before,
    outputs: HashSet<AbsPath>,
    /// Of a script.
    rules: ScriptRules,
    started_ns: i64,
}

impl Finder<'_> {
    /// What the command changed and nobody had looked at before.
    fn unknown(&self) -> impl Iterator<Item = AbsPath> {
        let changed = self.params.inputs.iter().filter(|claim| claim.access == Access::Before);
        changed.filter(|claim| self.before.content(claim.path.as_bytes()).is_none()).map(|claim| claim.path.clone())
    }

    /// The state in which the command saw the path, or why that is not known.
    fn state(&self, claim: &InputClaim) -> Result<InputState, Reason> {
        let path = &claim.path;
        match claim.access {
            Access::Absent => match look(path.as_bytes()) {
                Err(e) if is_absent(&e) => Ok(InputState::Absent),
                Ok(_) if self.outputs.contains(path) => Ok(InputState::Absent),
                Ok(_) => Err(format!("{path} appeared while it ran")),
                Err(e) => Err(format!("cannot look at {path}: {e}")),
            },
            Access::Barred => match is_barred(path.as_bytes()) {
                Ok(true) => Ok(InputState::Barred),
                // A look for another purpose was refused.
                _ => self.kind(path),
            },
            Access::Kind => self.kind(path),
            Access::Link => self.link(path),
            Access::Itself => match self.link(path)? {
                InputState::Itself(FileKind::File) => self.content(path),
                state => Ok(state),
            },
            Access::Listing => self.listing(path),
            Access::Content => self.content(path),
            Access::Fresh => Ok(self.fresh(path)),
            Access::Names => self.names(path),
            Access::Before => match self.before.content(path.as_bytes()) {
                Some(digest) => Ok(InputState::Content(digest)),
                None => Err(format!("it changed a file that was there before: {path}")),
            },
        }
    }

    fn look(&self, path: &AbsPath) -> Result<Sight, Reason> {
        look(path.as_bytes()).map_err(|e| match is_absent(&e) {
            true => format!("{path} vanished while it ran"),
            false => format!("cannot look at {path}: {e}"),
        })
    }

    fn kind(&self, path: &AbsPath) -> Result<InputState, Reason> {
        let sight = self.look(path)?;
        let runnable = sight.is_file() && sight.is_runnable() && minds_modes(self.params.plan.request.tool);
        Ok(if runnable { InputState::Runnable } else { InputState::Kind(sight.kind) })
    }

    fn link(&self, path: &AbsPath) -> Result<InputState, Reason> {
        let sight = look_itself(path.as_bytes()).map_err(|e| format!("cannot look at {path}: {e}"))?;
        if sight.kind != FileKind::Symlink {
            return Ok(InputState::Itself(sight.kind));
        }
        let target = fs::read_link(path.as_path()).map_err(|e| format!("cannot read the link {path}: {e}"))?;
        let target = std::os::unix::ffi::OsStringExt::into_vec(target.into_os_string());
        Ok(InputState::Link(link_digest(&self.params.roots, &target)))
    }

    fn listing(&self, path: &AbsPath) -> Result<InputState, Reason> {
        let sight = self.look(path)?;
        if sight.kind != FileKind::Dir {
            return Ok(InputState::Kind(sight.kind));
        }
        let (stamp, known) =
            self.worker.digests.listing(path.as_bytes(), &sight).map_err(|e| format!("cannot list {path}: {e}"))?;
        if !self.worker.bindings.held_since(path.as_bytes(), &stamp, &known, self.before, self.started_ns) {
            return Err(format!("the folder {path} changed while it ran"));
        }
        if self.params.plan.request.tool == Tool::Script {
            // What is compared later are the names that no run of it decides.
            return fresh::names(path, |entry| self.is_own(entry), |_| Ok(())).map(InputState::Listing);
        }
        Ok(InputState::Listing(known.digest))
    }

    /// What the run removed and no earlier run has left must be there for the next one, too.
    fn fresh(&self, path: &AbsPath) -> InputState {
        let template = self.params.roots.template_path(path);
        let removed = |output: &&Output| output.path == template && output.state == OutputState::Removed;
        if self.before.was_left(path) || !self.params.outputs.iter().any(|output| removed(&output)) {
            return InputState::Fresh;
        }
        let holds = |claim: &InputClaim| claim.path.below(path).is_some_and(|rest| !rest.is_empty());
        if self.params.inputs.iter().any(holds) {
            // It was removed with all that was in it.
            return InputState::Listing(fresh::no_names());
        }
        InputState::Kind(FileKind::File)
    }

    /// The names in a folder in which the run itself made or removed some. Its times say nothing then: nothing that came since the
    /// start may be in it.
    fn names(&self, path: &AbsPath) -> Result<InputState, Reason> {
        let old = |entry: &AbsPath| match look_itself(entry.as_bytes()) {
            Ok(sight) if sight.kind == FileKind::Dir => match sight.birth_ns {
                Some(birth) if birth >= self.started_ns => Err(format!("{entry} appeared while it ran")),
                _ => Ok(()),
            },
            Ok(sight) if sight.stamp.ctime_ns >= self.started_ns => Err(format!("{entry} changed while it ran")),
            Ok(_) => Ok(()),
            Err(e) => Err(format!("cannot look at {entry}: {e}")),
        };
        fresh::names(path, |entry| self.is_own(entry), old).map(InputState::Listing)
    }

    fn is_own(&self, entry: &AbsPath) -> bool {
        self.outputs.contains(entry) || self.rules.is_cache(entry, &self.params.roots)
    }

    fn content(&self, path: &AbsPath) -> Result<InputState, Reason> {
        let sight = self.look(path)?;
        match sight.kind {
            FileKind::File => {}
            FileKind::Other if !is_constant(path.as_bytes()) => {
                return Err(format!("it read {path}, which is {}", kind_name(FileKind::Other)));
            }
            kind => return Ok(InputState::Kind(kind)),
        }
        if is_volatile(path.as_bytes()) && !is_settled(path.as_bytes()) {
            return Err(format!("it read {path}, which changes by itself"));
        }
        let (stamp, known) = self
            .worker
            .digests
            .content(path.as_bytes(), &sight, self.expected(path))
            .map_err(|e| format!("cannot read {path}: {e}"))?;
        let held = is_volatile(path.as_bytes())
            || self.worker.bindings.held_since(path.as_bytes(), &stamp, &known, self.before, self.started_ns);
        if !held {
            return Err(format!("{path} changed while it ran"));
        }
        let runnable = sight.is_runnable() && minds_modes(self.params.plan.request.tool);
        Ok(if runnable { InputState::Program(known.digest) } else { InputState::Content(known.digest) })
    }

    /// An input that the run left as an output with the same content, say.
    fn expected(&self, path: &AbsPath) -> Option<vrift_core::digest::Digest> {
        if !self.outputs.contains(path) {
            return None;
        }
        let own = self.params.outputs.iter().find(|o| self.params.roots.expand_path(&o.path).as_ref() == Some(path))?;
        match own.state {
            OutputState::File { blob, place: Place::Link | Place::Copy, .. } => Some(blob),
            _ => None,
        }
    }
}

/// Devices that give every reader the same.
fn is_constant(path: &[u8]) -> bool {
    [&b"/dev/null"[..], b"/dev/zero", b"/dev/full", b"/dev/tty"].contains(&path)
}

/// Files of the kernel that say the same until the machine or its set-up changes.
fn is_settled(path: &[u8]) -> bool {
    const SETTLED: [&[u8]; 5] = [b"/proc/sys/", b"/proc/cpuinfo", b"/proc/version", b"/proc/filesystems", b"/sys/"];
    SETTLED.iter().any(|prefix| path.starts_with(prefix))
}
