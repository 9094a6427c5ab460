//! What any vrift process may load.
//!
//! This crate holds the vocabulary that the other crates share: who a project is ([`identity`], [`root`]), how content is
//! named ([`digest`]), how paths lose and regain their checkout ([`paths`]), how a traced process reports what it did
//! ([`arena`], [`event`]), what an action is ([`action`]) and what travels over the sockets ([`wire`]).
//!
//! It has no async runtime and no database: the preload library links it. `unsafe` is confined to [`arena`].

#![deny(unsafe_code)]

pub mod action;
#[allow(unsafe_code)]
pub mod arena;
pub mod bytes;
pub mod context;
pub mod digest;
pub mod env;
pub mod event;
pub mod home;
pub mod identity;
pub mod paths;
pub mod root;
pub mod rules;
pub mod settings;
pub mod wire;

/// Version of everything that two vrift processes say to each other: wire methods, the context variable, the arena layout.
/// Two processes whose versions differ do not talk; the command then runs for real.
pub const PROTOCOL_VERSION: u32 = 1;
