//! The one test binary: all end-to-end tests, so that they link once and share what is built and fetched.
//!
//! * `harness`: what holds without vrift, so that the tests' own measures are known to work;
//! * `scenarios`: vrift's main job on real projects;
//! * `torture`: wrong and broken results that users of build caches met, see TORTURE.md.

mod harness;
mod scenarios;
mod torture;
