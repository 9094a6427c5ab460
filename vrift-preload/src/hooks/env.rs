//! Reading the environment and the current folder.

use core::ffi::c_char;

use libc::size_t;

use crate::next::hooks;
use crate::state;

hooks! {
    fn getenv(name: *const c_char) -> *mut c_char { |next, trace| {
        let value = next(name);
        trace.variable(name, value);
        value
    } }
    fn secure_getenv(name: *const c_char) -> *mut c_char { |next, trace| {
        let value = next(name);
        trace.variable(name, value);
        value
    } }
    fn getcwd(buffer: *mut c_char, size: size_t) -> *mut c_char { |next, _trace| {
        const PORTABLE: &core::ffi::CStr = c"/proc/self/cwd";
        // A caller without a buffer wants one from `malloc`: not one that cares for portable debug information.
        if buffer.is_null() || size < PORTABLE.count_bytes() + 1 || !state::portable_cwd() {
            return next(buffer, size);
        }
        buffer.copy_from_nonoverlapping(PORTABLE.as_ptr(), PORTABLE.count_bytes() + 1);
        buffer
    } }
}
