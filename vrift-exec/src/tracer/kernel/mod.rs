//! Programs that no preload reaches: the kernel reports their calls.
//!
//! Static programs, those of another libc, and Go's have no place for the shim. They run behind a seccomp filter that lets calls
//! go which say nothing about files, and reports all others to a listener (seccomp_unotify(2)). Children inherit the filter,
//! whatever they execute; so what is below such a program is traced by the kernel alone, and finds nothing of vrift in its
//! environment.
//!
//! - [`launch`]: `vrift-exec trace …`, which the shim executes in such a program's place: it hands the listener over and becomes
//!   the program;
//! - [`filter`], [`calls`]: what is reported;
//! - [`notify`]: the kernel's interface;
//! - [`supervisor`]: the thread that answers, in the process that runs the action;
//! - [`report`], [`changes`], [`executed`], [`others`]: from calls to events;
//! - [`tracee`]: reading what a call points to.
//!
//! # Soundness
//! An event is in the arena before its call is made, so no call of a process that is gone is missing. What a call will give is
//! foretold from what is there now, and marked so ([`vrift_core::event::flag::AHEAD`]): a failure that is foretold is certain as far
//! as the run itself goes, a success is not, and whoever reads the trace does not rely on it.
//!
//! The path of a call is read from the program's memory before the kernel reads it once more. A program with threads could change
//! it in between; one that does so on purpose is not a build tool. (Two runs of a program whose threads race for a path's bytes
//! would differ without vrift too.)
//!
//! # Failure
//! Every call is let go, whatever happens here. What could not be read or understood makes the action one that is not stored.
//! While this process lives somebody answers: where processes outlive the program, a copy of it stays behind. If it is killed,
//! their reported calls fail with ENOSYS; the program itself dies with it.

mod calls;
mod changes;
mod executed;
mod filter;
pub mod launch;
mod notify;
mod others;
mod report;
mod supervisor;
mod tracee;

pub use executed::{Seen, seen_by};
pub use supervisor::Supervisor;
