//! The two daemons of vrift.
//!
//! `vriftd` is the coordinator, one per user: it starts workers ([`coordinator`]), alone writes the base manifest, grants
//! leases so that nothing is computed twice at a time, and collects garbage. `vdir_d` is the worker, one per project
//! ([`worker`]): it answers look-ups, records results and alone writes the project's delta manifest. A fault in one project
//! ends one worker. Front ends talk to both through [`client`]; docs/protocol.md describes every method.
//!
//! Both are plain threads and blocking sockets. Clients live for milliseconds and come one connection each, so a thread
//! that waits in `accept` answers sooner than a task that an event loop must wake, and start-up costs nothing.

#![forbid(unsafe_code)]

mod args;
mod atomic;
mod build;
pub mod client;
mod clock;
pub mod coordinator;
mod log;
mod presence;
mod process;
pub mod processes;
mod server;
mod stop;
mod sync;
pub mod worker;

pub use coordinator::main as coordinator_main;
#[doc(hidden)]
pub use server::feed;
pub use worker::main as worker_main;
