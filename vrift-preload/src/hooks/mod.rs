//! The hooked families, a file each. glibc calls itself without going through its public entries, so that each public entry
//! that ends in a call of interest is hooked by itself.

mod actions;
mod ahead;
mod attribute;
mod change;
mod database;
mod dir;
mod env;
mod fill;
mod identity;
mod library;
mod network;
mod open;
mod process;
mod raw;
mod stat;
mod temporary;
mod walk;
