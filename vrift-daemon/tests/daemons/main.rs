//! The real daemons in a state folder of their own, on real files.

mod bench;
mod cache;
mod crowd;
mod evidence;
mod faults;
mod nonsense;
mod protocol;
mod safety;
mod service;
mod sharing;
mod supervision;
