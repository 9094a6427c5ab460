//! What a child does between being spawned and its program: `posix_spawn_file_actions_…`. It happens inside libc, so that it is
//! reported when it is planned.

use core::ffi::{c_char, c_int, c_void};
use core::sync::atomic::{AtomicBool, Ordering};

use libc::mode_t;
use vrift_core::event::Untraced;

use super::ahead;
use crate::next::{Next, hooks};
use crate::path::{self, At};

/// A child was planned that changes its folder first.
static MOVES: AtomicBool = AtomicBool::new(false);

/// Whether a child with these actions may start in another folder than this process's.
pub fn elsewhere(actions: *const c_void) -> bool {
    !actions.is_null() && MOVES.load(Ordering::Relaxed)
}

/// Outside actions, too: what a program's name stands for must be known there.
macro_rules! moves {
    ($($name:ident, $text:literal, $folder:ty;)*) => {
        $(
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name(actions: *mut c_void, folder: $folder) -> c_int {
                static NEXT: Next = Next::new($text);
                MOVES.store(true, Ordering::Relaxed);
                let found = NEXT.get();
                if found.is_null() {
                    return libc::ENOSYS;
                }
                // SAFETY: the signature by glibc's manual; the program's own arguments.
                unsafe { core::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void, $folder) -> c_int>(found)(actions, folder) }
            }
        )*
    };
}
moves! {
    posix_spawn_file_actions_addchdir_np, c"posix_spawn_file_actions_addchdir_np", *const c_char;
    posix_spawn_file_actions_addfchdir_np, c"posix_spawn_file_actions_addfchdir_np", c_int;
    posix_spawn_file_actions_addchdir, c"posix_spawn_file_actions_addchdir", *const c_char;
    posix_spawn_file_actions_addfchdir, c"posix_spawn_file_actions_addfchdir", c_int;
}

hooks! {
    fn posix_spawn_file_actions_addopen(actions: *mut c_void, fd: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int { |next, trace| {
        if elsewhere(actions) && !path::bytes(path).starts_with(b"/") {
            trace.untraced(Untraced::LostPath, path::bytes(path));
        } else {
            ahead::planned(trace, At::cwd(path), flags);
        }
        next(actions, fd, path, flags, mode)
    } }
}
