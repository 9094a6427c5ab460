//! Lists of arguments and variables, as C has them: NULL-terminated.

use core::ffi::c_char;

use crate::path;

/// Null, or a NULL-terminated list of strings.
pub type Strings = *const *const c_char;

/// The arguments behind the first, which is a name.
///
/// # Safety
/// `argv` must be null or a NULL-terminated list of strings that outlives what is returned.
pub unsafe fn arguments<'a>(argv: Strings) -> impl Iterator<Item = &'a [u8]> + Clone {
    // SAFETY: the caller vouches for the list; the walk ends at its NULL.
    let next = |at: Strings| unsafe { (!at.is_null() && !(*at).is_null()).then(|| at.add(1)) };
    let mut at = next(argv);
    core::iter::from_fn(move || {
        let here = at?;
        at = next(here);
        // SAFETY: as above; an entry that is followed by another place is not the NULL.
        at.map(|_| unsafe { path::bytes(*here) })
    })
}

/// The value of a variable in a list.
///
/// # Safety
/// `envp` must be null or a NULL-terminated list of strings.
pub unsafe fn find<'a>(envp: Strings, name: &[u8]) -> Option<&'a [u8]> {
    let mut at = envp;
    // SAFETY: the caller vouches for the list.
    unsafe {
        while !at.is_null() && !(*at).is_null() {
            if is_variable(*at, name) {
                return path::bytes(*at).get(name.len() + 1..);
            }
            at = at.add(1);
        }
    }
    None
}

/// Whether an entry of an environment is of this variable.
///
/// # Safety
/// `entry` must be NUL-terminated.
pub unsafe fn is_variable(entry: *const c_char, name: &[u8]) -> bool {
    // SAFETY: the caller vouches for the entry.
    unsafe { path::bytes(entry) }.strip_prefix(name).is_some_and(|rest| rest.starts_with(b"="))
}

/// How many entries a list has.
///
/// # Safety
/// `list` must be null or NULL-terminated.
pub unsafe fn count(list: Strings) -> usize {
    let mut n = 0;
    // SAFETY: the caller vouches for the list.
    unsafe {
        while !list.is_null() && !(*list.add(n)).is_null() {
            n += 1;
        }
    }
    n
}
