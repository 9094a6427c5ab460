//! Searching a program as `execvp` does: see exec(3).

use core::ffi::{c_char, c_int};

use vrift_core::event::EventKind;

use crate::exec::{failed, find, program_error};
use crate::{path, state};

/// Finds `file` in `PATH` as `execvp` does and calls `then` with where it is, again and again until one is executed: `then`
/// returns the error's number, or 0. A name that is found nowhere is left to `unfound`, which searches by itself. `elsewhere`: the
/// program is started from another folder, and searched for from there; where the search depends on that, `then` is called with the
/// name as it is, for libc to search.
///
/// # Safety
/// `file` must be NUL-terminated.
pub unsafe fn search(
    file: *const c_char,
    elsewhere: bool,
    mut then: impl FnMut(*const c_char) -> c_int,
    unfound: impl FnOnce() -> c_int,
) -> c_int {
    // SAFETY: the caller vouches for `file`; `environ` is libc's list.
    let (name, search) = unsafe { (path::bytes(file), find(state::libc_environ().cast(), b"PATH").unwrap_or(b"/bin:/usr/bin")) };
    let depends = || elsewhere && search.split(|c| *c == b':').any(|dir| !dir.starts_with(b"/"));
    if name.is_empty() || name.contains(&b'/') || state::context().is_none() || depends() {
        return then(file);
    }
    for dir in search.split(|c| *c == b':') {
        // SAFETY: the name comes from a string.
        if let Some(error) = unsafe { candidate(dir, name, &mut then) }
            && !goes_on(error)
        {
            return error;
        }
    }
    let Some(trace) = state::trace() else { return unfound() };
    // Should it be found all the same, it is one that does not sign in.
    trace.append(EventKind::Exec, 0, 0, 0, &[b"/dev/null"]);
    let error = unfound();
    if error != 0 {
        failed(error as u16);
    }
    error
}

/// Tries one folder; nothing where the program is not there.
#[inline(never)]
unsafe fn candidate(dir: &[u8], name: &[u8], then: &mut impl FnMut(*const c_char) -> c_int) -> Option<c_int> {
    let mut room = [0_u8; path::ROOM];
    let slash: &[u8] = if dir.is_empty() { b"" } else { b"/" };
    let mut used = 0;
    for piece in [dir, slash, name] {
        room.get_mut(used..used + piece.len())?.copy_from_slice(piece);
        used += piece.len();
    }
    if used >= room.len() {
        return None;
    }
    let path: *const c_char = room.as_ptr().cast();
    // SAFETY: zeroes follow the name in the room.
    let error = unsafe { program_error(path) };
    if error == 0 {
        return Some(then(path));
    }
    if let Some(trace) = state::trace() {
        // SAFETY: as above.
        unsafe { trace.path(EventKind::Access, 0, error as u16, path::At::cwd(path)) };
    }
    None
}

/// Errors after which `execvp` looks further; see exec(3).
fn goes_on(error: c_int) -> bool {
    matches!(error, libc::EACCES | libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT)
}
