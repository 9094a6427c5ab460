//! The event arena: one shared memory file per traced action, appended to by all its processes at once.
//!
//! # Layout
//! A header of [`HEADER_LEN`] bytes, then records, each aligned to 8 bytes (drawn in docs/formats.md). All numbers are
//! little-endian.
//!
//! # Locking
//! None. A writer claims the record at the tail by a compare-and-swap of its first word from 0 to "pending, so many
//! bytes", and only then moves the tail; whoever finds a claimed record at the tail moves the tail for its writer. So the
//! length of each record is known before anything else about it, and a writer killed at any instruction costs its own
//! record alone: readers step over it and report it.
//!
//! # Failure
//! A full arena sets a flag and drops the event. Readers then know that the trace is not whole.

#[cfg(feature = "std")]
mod file;
mod layout;
#[cfg(feature = "std")]
mod reader;
mod shared;
mod writer;

#[cfg(feature = "std")]
pub use file::{ArenaFile, open_arena};
pub use layout::{DEFAULT_CAPACITY, HEADER_LEN, MAGIC};
#[cfg(feature = "std")]
pub use reader::{Event, Trace, TraceError, read_trace};
pub use shared::SharedMap;
pub use writer::{Writer, WriterError};
