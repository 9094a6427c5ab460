//! The InceptionLayer: `libvrift_preload.so`.
//!
//! It lives in other people's processes. Hence, everywhere in this crate:
//!
//! - nothing allocates, panics, prints or takes a lock;
//! - its own I/O is raw system calls ([`sys`]), which leave `errno` alone and cannot run into its own hooks;
//! - it keeps no descriptor open; its mappings (arena, VDir) are private to it;
//! - every hook ends in the next definition of the function (`RTLD_NEXT`), so that other preloads keep working;
//! - without a context in the environment it does nothing at all.
//!
//! Code map: [`state`] reads the context and hides it; [`trace`] appends events; [`exec`] decides what happens to a program
//! about to be executed, [`shell`] what one gets that libc starts by itself; `hooks/` has one file per family of calls, each hook a few lines.

#![allow(clippy::missing_safety_doc)] // every public item is a libc entry point whose contract is its man page
#![cfg_attr(feature = "bare", no_std)]

mod below;
mod cwd;
mod elf;
mod exec;
mod hooks;
mod libraries;
mod listing;
mod next;
mod path;
mod search;
mod shell;
mod state;
mod sys;
mod trace;
mod vdir;

/// Nothing here panics on purpose. Should a check fail all the same, the process must not go on with half a hook.
#[cfg(feature = "bare")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::abort() }
}
