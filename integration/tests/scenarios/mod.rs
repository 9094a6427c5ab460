//! vrift's main job on real projects.

mod bad_input;
mod disk;
mod lifecycle;
mod second_checkout;
mod service;
mod traces;
