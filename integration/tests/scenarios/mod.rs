//! vrift's main job on real projects.

mod bad_input;
mod disk;
mod second_checkout;
mod traces;
