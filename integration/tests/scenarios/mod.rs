//! vrift's main job on real projects.

mod bad_input;
mod chaos;
mod disk;
mod lifecycle;
mod native;
mod npm;
mod npm_package;
mod npm_traces;
mod npm_workspaces;
mod second_checkout;
mod service;
mod traces;
mod unhooked;
mod unhooked_odd;
mod vdir;
mod wrappers;
