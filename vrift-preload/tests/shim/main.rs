//! The shim in small C programs: what they see of it, and what it sees of them.

mod harness;

mod ahead;
mod follow;
mod map;
mod survive;
