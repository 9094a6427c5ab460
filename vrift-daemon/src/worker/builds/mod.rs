//! Whole builds: what Cargo makes in an empty target folder, put in place before Cargo starts.
//!
//! With every action a hit, a build still takes Cargo a process and a dozen small files for each of its units. So when a run of
//! Cargo that began with an empty folder has ended well, the worker keeps a **plan** of it ([`plan`], made by [`capture`]): the
//! commands that were its actions, and what Cargo itself wrote about each. In the next checkout the actions are looked up
//! before Cargo starts ([`project`]), each against the files of that checkout and what the actions before it will put there
//! ([`overlay`]). Those that hold are restored, with Cargo's files about them, and Cargo finds them done.
//!
//! # Why this is right
//! An action that is restored in this way has passed the same look-up as one that Cargo asked for, but its command was
//! predicted. Where Cargo would have asked for something else (another feature, flag or compiler), its own fingerprint differs
//! from the one put in place, and it asks. Cargo takes sources for unchanged that are no newer than its files; these get the
//! time before the look-ups, so that whatever is edited later is newer. What the plan does not know, or what does not hold, is
//! simply not there, and Cargo builds it.

mod capture;
mod dates;
mod overlay;
mod plan;
mod project;

pub use overlay::Overlay;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use vrift_core::action::{ActionRecord, Output, OutputState, Place, Request, Tool};
use vrift_core::digest::Digest;
use vrift_core::paths::TemplatePath;
use vrift_core::wire::{BuildOpenParams, BuildOpenResult, InsertParams, LookupParams};
use vrift_store::Blob;

use super::Worker;
use super::candidates::Candidate;
use super::courier::Job;
use super::session::Session;
use crate::clock::now_ns;
use crate::sync::lock;
use plan::Plan;

/// Builds that are followed at a time; of more, the oldest are given up.
const MAX_OPEN: usize = 4;

/// Where a plan's record says that the plan lies. It is never put there.
const PLAN_PATH: &[u8] = b"/plan";

/// Builds that are under way.
#[derive(Default)]
pub struct Builds(Mutex<Vec<(String, Build)>>);

/// A build that is under way.
pub struct Build {
    params: BuildOpenParams,
    /// Its actions, in the order in which they were done.
    done: Vec<Done>,
    /// Actions that Cargo asked for itself. With a plan, no more than it leaves to Cargo are expected.
    unforeseen: usize,
    /// Actions that the plan that was used leaves to Cargo.
    left: usize,
    planned: bool,
    /// When Cargo had ended, nanoseconds since 1970.
    ended_ns: i64,
}

/// An action that is done.
struct Done {
    command: LookupParams,
    result: Arc<Candidate>,
}

impl Builds {
    /// Whether actions of this session are to be noted.
    pub fn is_open(&self, session: &str) -> bool {
        lock(&self.0).iter().any(|(name, _)| name == session)
    }

    /// An action of a session is done.
    pub fn note(&self, command: LookupParams, result: &Arc<Candidate>) {
        let mut builds = lock(&self.0);
        if let Some((_, build)) = builds.iter_mut().find(|(name, _)| *name == command.session) {
            build.unforeseen += 1;
            build.done.push(Done { command, result: Arc::clone(result) });
        }
    }

    fn open(&self, build: Build) {
        let mut builds = lock(&self.0);
        if builds.len() >= MAX_OPEN {
            builds.remove(0);
        }
        builds.push((build.params.session.clone(), build));
    }

    /// The build of a session, which is over now.
    pub fn take(&self, session: &str) -> Option<Build> {
        let mut builds = lock(&self.0);
        let at = builds.iter().position(|(name, _)| name == session)?;
        Some(Build { ended_ns: now_ns(), ..builds.remove(at).1 })
    }
}

/// Answers `build.open`: follows the build, and says what can be put in place at once. The caller does that before it lets go
/// of the connection; `restoring` receives the places of links to blobs.
pub fn open(worker: &Worker, params: BuildOpenParams, session: &mut Session) -> BuildOpenResult {
    let mut build = Build { params, done: Vec::new(), unforeseen: 0, left: 0, planned: false, ended_ns: 0 };
    let mut result = BuildOpenResult::default();
    if let Some(plan) = stored(worker, &build.params.key).filter(|plan| plan.applies_to(&build.params)) {
        (build.planned, build.left) = (true, plan.left);
        result = project::project(worker, &plan, &mut build, session);
    }
    worker.builds.open(build);
    result
}

/// The newest plan under a key.
fn stored(worker: &Worker, key: &Digest) -> Option<Plan> {
    let row = worker.base.candidate_ids(key).into_iter().find(|row| !worker.candidates.is_forgotten(*row))?;
    let record = worker.base.action(row)?.record;
    let blob = record.outputs.first().and_then(Blob::of_output)?;
    match worker.cas.read(&blob) {
        Ok(content) => {
            worker.courier.take(Job::Hit(row));
            Plan::decode(&content)
        }
        Err(fault) => {
            tracing::warn!("the plan of a build cannot be read: {fault}");
            worker.courier.take(Job::Forget(row));
            None
        }
    }
}

/// Keeps the plan of a build that ended well. Where a plan was used and served it well, that one stays.
pub fn keep(worker: &Worker, build: Build) {
    if build.planned && build.unforeseen <= build.left {
        return;
    }
    let key = build.params.key;
    let Some(plan) = capture::capture(&build) else { return };
    let units = plan.units.len();
    let content = plan.encode();
    let blob = match worker.cas.insert_bytes(&content) {
        Ok(blob) => blob,
        Err(e) => return tracing::warn!("the plan of a build cannot be stored: {e}"),
    };
    let state = OutputState::File { blob: blob.digest, size: blob.size, mode: 0o444, place: Place::Copy };
    let nowhere = TemplatePath::from_stored(PLAN_PATH);
    let request = Request {
        tool: Tool::Build,
        program: nowhere.clone(),
        program_digest: key,
        argv: Vec::new(),
        cwd: nowhere.clone(),
        umask: build.params.umask,
    };
    let record = ActionRecord {
        key,
        label: format!("a build of {units} units"),
        request,
        inputs: Vec::new(),
        env: Vec::new(),
        env_closed: false,
        outputs: vec![Output { path: nowhere, state, optional: false }],
        stdio: Vec::new(),
        bound: Vec::new(),
        wall_us: 0,
        cpu_us: 0,
    };
    worker.courier.take(Job::Record(Box::new(InsertParams { record, project: worker.id }), None));
}

/// The variables of an environment, by name.
fn by_name(env: &[vrift_core::bytes::ByteText]) -> HashMap<&[u8], &[u8]> {
    env.iter().rev().filter_map(super::key::split).collect()
}
