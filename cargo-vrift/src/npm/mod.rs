//! `vrift run <script>`: a script of a `package.json`, each of its steps one action.
//!
//! npm itself says what the steps are ([`plan`]); for other package managers the manager's own run is the one step
//! ([`manager`]). A step becomes an action like any other: `vrift-exec` looks it up, and runs it under the tracer where it has to.

mod group;
mod live;
mod manager;
mod options;
mod package;
mod parallel;
mod plan;
mod run;
mod workspace;

pub use options::Options;
pub use run::{is_script, run};
