//! `vrift-exec`: what a hooked exec starts instead of a program worth caching.
//!
//! It does without std's start-up (a handler for stack overflows, for which `/proc/self/maps` is read, and the like): that
//! took as long as the rest of its way to the first question.

#![no_main]

use std::ffi::{c_char, c_int};

/// Where the C runtime hands over. std finds the arguments and the environment by itself.
#[unsafe(no_mangle)]
extern "C" fn main(_argc: c_int, _argv: *const *const c_char) -> c_int {
    c_int::from(vrift_exec::run())
}
