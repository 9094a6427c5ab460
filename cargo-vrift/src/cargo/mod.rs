//! What vrift must know of a Cargo command: which project it builds, and where everything is.
//!
//! Cargo itself parses its arguments and settings. This module reads as little of them as it can: [`LowArgs`] is what was
//! typed, [`Places`] is what that comes to with settings files and environment.

mod config;
mod low;
mod roots;

pub use low::{Class, LowArgs};
pub use roots::Places;
