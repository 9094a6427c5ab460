//! Build-script runs of this project, by the `OUT_DIR` that they were given.
//!
//! A compilation is told by its `OUT_DIR` which run Cargo holds it against; what else that run was given only the run's own
//! look-up shows.

use std::collections::HashMap;
use std::sync::Mutex;

use vrift_core::tool::Tool;
use vrift_core::wire::{BuildScriptRun, LookupParams};

use crate::sync::lock;

/// Runs that are remembered; then the memory starts anew, which costs some sharing of inodes and nothing else.
const MAX_RUNS: usize = 100_000;

/// What was looked up so far.
#[derive(Default)]
pub struct Scripts {
    runs: Mutex<HashMap<Vec<u8>, BuildScriptRun>>,
}

impl Scripts {
    /// Remembers the run of a build script; for a compilation, the run that made its `OUT_DIR`.
    pub fn note(&self, params: &LookupParams) -> Option<BuildScriptRun> {
        let out_dir = params.env.iter().find_map(|entry| entry.strip_prefix(b"OUT_DIR="))?;
        let mut runs = lock(&self.runs);
        if params.tool != Tool::BuildScript {
            return runs.get(out_dir).cloned();
        }
        if runs.len() >= MAX_RUNS {
            runs.clear();
        }
        let linked = params.env.iter().any(|entry| entry.starts_with(b"DEP_"));
        runs.insert(out_dir.to_vec(), BuildScriptRun { program: params.program.clone(), linked });
        None
    }
}
