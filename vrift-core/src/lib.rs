//! What any vrift process may load.
//!
//! This crate holds the vocabulary that the other crates share: who a project is ([`identity`], [`root`]), how content is
//! named ([`digest`]), how paths lose and regain their checkout ([`paths`]), how a traced process reports what it did
//! ([`arena`], [`event`]), how it learns about files without asking the kernel ([`vdir`]), what an action is ([`action`]) and what travels over the sockets ([`wire`]).
//!
//! It has no async runtime and no database. Without the feature `std` it has what the preload library needs, and nothing that
//! allocates or unwinds. `unsafe` is confined to [`arena`] and [`vdir`].

#![cfg_attr(not(feature = "std"), no_std)]
#![deny(unsafe_code)]

#[cfg(feature = "std")]
pub mod action;
#[allow(unsafe_code)]
pub mod arena;
#[cfg(feature = "std")]
pub mod bytes;
pub mod context;
#[cfg(feature = "std")]
pub mod digest;
pub mod elf;
pub mod env;
pub mod event;
#[cfg(feature = "std")]
pub mod home;
#[cfg(feature = "std")]
pub mod identity;
pub mod open;
#[cfg(feature = "std")]
pub mod paths;
pub mod proc;
#[cfg(feature = "std")]
pub mod root;
pub mod rules;
#[cfg(feature = "std")]
pub mod settings;
pub mod shells;
pub mod tool;
#[allow(unsafe_code)]
pub mod vdir;
#[cfg(feature = "std")]
pub mod wire;

/// Version of everything that two vrift processes say to each other: wire methods, the context variable, the arena layout.
/// Two processes whose versions differ do not talk; the command then runs for real.
pub const PROTOCOL_VERSION: u32 = 2;
