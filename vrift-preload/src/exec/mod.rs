//! What happens to a program that is about to be executed.
//!
//! | program | becomes |
//! |---|---|
//! | worth an action, by [`vrift_core::rules::classify`] | `vrift-exec <kind> <program> <arguments>` |
//! | a configure script, or CMake where it makes build files ([`vrift_core::rules::configures`]) | the same, outside actions |
//! | named in the setting `exec.actions` | the same, outside actions |
//! | a C compiler inside a script that is an action | the same: an action of its own that tells the script's trace of all that it does |
//! | named in the setting `exec.never` | itself, without the preload; an enclosing action is not stored |
//! | a shell that no preload reaches ([`vrift_core::shells`]) | itself; an enclosing action is not stored |
//! | any other program that no preload reaches, inside an action | `vrift-exec trace <program> <arguments>`, which executes it where the kernel reports its calls |
//! | one that cannot be followed at all | itself, without the preload; the enclosing action is told |
//! | outside any action, from the target folder, and no script (a test, `cargo run`) | itself, without the preload: it is the user's own |
//! | a C compiler inside any other action | itself, with an option that keeps the checkout's path out of debug information |
//! | any other | itself, with preload and context |

mod build;
mod judge;
mod lists;

use core::ffi::{c_char, c_int};

use vrift_core::event::{EventKind, flag};

use build::Builder;
pub use build::{environment, environment_size};
pub use judge::program_error;
use judge::{Verdict, judge};
pub use lists::{Strings, find};

use crate::path;
use crate::state;
use crate::sys;
use crate::trace::Trace;

/// How a program is executed in the end.
pub struct Plan {
    pub path: *const c_char,
    pub argv: *const *const c_char,
    pub envp: *const *const c_char,
}

/// Plans the execution of `path`, which is not searched for, and calls `then` with the plan. Also reports it.
///
/// `then` returns the error's number, or 0. Where vrift's own program or variables are what could not be executed, it is
/// called again with the program's own. `elsewhere`: the program is started from another folder, so that a relative path
/// cannot be told.
///
/// # Safety
/// `path` must be NUL-terminated, `argv` and `envp` null or NULL-terminated lists of such strings.
pub unsafe fn plan(
    path: *const c_char,
    argv: Strings,
    envp: Strings,
    elsewhere: bool,
    mut then: impl FnMut(&Plan) -> c_int,
) -> c_int {
    let plain = Plan { path, argv, envp };
    let Some(context) = state::context() else { return then(&plain) };
    let trace = state::trace();
    // SAFETY: the caller vouches for all three.
    unsafe {
        let lost = elsewhere && !path::bytes(path).starts_with(b"/");
        if let Some(trace) = trace {
            announce(trace, path, lost);
        }
        let verdict = if lost { Verdict::Follow } else { judge(context, trace, &plain) };
        if matches!(verdict, Verdict::Leave) {
            return then(&plain);
        }
        let size = build::size_of_plan(context, path, argv, envp);
        let error = with_room(size, |room| {
            let plan = room.and_then(|room| Builder::new(room).build(context, &verdict, &plain))?;
            Some(then(&plan))
        });
        match (error, &verdict) {
            (Some(0), _) => 0,
            (Some(error), Verdict::Follow | Verdict::Leave) if error != libc::E2BIG => error,
            // Not signed in, the program makes the enclosing action one that is not stored.
            (_, verdict) => {
                if let (Verdict::Watch(reason), Some(trace)) = (verdict, trace) {
                    trace.untraced(*reason, path::bytes(path));
                }
                then(&plain)
            }
        }
    }
}

/// Reports that the program is about to be executed, which is a read of it.
unsafe fn announce(trace: &Trace, path: *const c_char, lost: bool) {
    // SAFETY: the caller vouches for the path.
    unsafe {
        if lost {
            trace.append(EventKind::Exec, flag::UNRESOLVED, 0, 0, &[path::bytes(path)]);
            return;
        }
        path::absolute(path::At::cwd(path), |pieces| match pieces {
            Some(pieces) => trace.append(EventKind::Exec, 0, 0, 0, pieces),
            None => trace.append(EventKind::Exec, flag::UNRESOLVED, 0, 0, &[path::bytes(path)]),
        });
    }
}

/// Calls `then` with `size` bytes of memory: on the stack, or mapped where that would be large. A `vfork` child's mapping
/// outlives it in its parent, which is why the stack comes first.
fn with_room<R>(size: usize, then: impl FnOnce(Option<&mut [u8]>) -> R) -> R {
    const TINY: usize = 8 << 10;
    const SMALL: usize = 24 << 10;
    const LARGE: usize = 192 << 10;
    if size <= TINY {
        return on_stack::<TINY, R>(then);
    }
    if size <= SMALL {
        return on_stack::<SMALL, R>(then);
    }
    if size <= LARGE {
        return on_stack::<LARGE, R>(then);
    }
    let Some(at) = sys::map_memory(size) else { return then(None) };
    // SAFETY: a fresh mapping of `size` zeroed bytes that nobody else knows.
    let result = then(Some(unsafe { core::slice::from_raw_parts_mut(at, size) }));
    // SAFETY: the slice is gone: `then` has returned, so nothing was executed in this process.
    unsafe { sys::unmap_memory(at, size) };
    result
}

/// A function of its own for each size: a thread's stack may be smaller than the largest.
#[inline(never)]
fn on_stack<const SIZE: usize, R>(then: impl FnOnce(Option<&mut [u8]>) -> R) -> R {
    then(Some(&mut [0; SIZE]))
}

/// Reports that the announced execution failed.
pub fn failed(errno: u16) {
    if let Some(trace) = state::trace() {
        trace.append(EventKind::ExecFailed, 0, errno, 0, &[]);
    }
}

/// Reports a spawned child.
pub fn spawned(pid: c_int) {
    if let Some(trace) = state::trace() {
        trace.append(EventKind::Spawned, 0, 0, pid as u64, &[]);
    }
}
