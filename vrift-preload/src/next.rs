//! The next definition of a function, behind this library.

use core::ffi::{CStr, c_void};
use core::sync::atomic::{AtomicPtr, Ordering};

/// A function's next definition, looked up once.
pub struct Next {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Next {
    pub const fn new(name: &'static CStr) -> Self {
        Self { name, found: AtomicPtr::new(core::ptr::null_mut()) }
    }

    /// Its address; null where no library behind this one defines it.
    pub fn get(&self) -> *mut c_void {
        let found = self.found.load(Ordering::Relaxed);
        if !found.is_null() {
            return found;
        }
        // SAFETY: the name is NUL-terminated; RTLD_NEXT searches behind the library that holds this call.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        self.found.store(found, Ordering::Relaxed);
        found
    }
}

/// Sets `errno` to ENOSYS, for a function that nobody defines (a newer libc than the one the program was started with).
pub fn missing() {
    // SAFETY: `__errno_location` gives this thread's errno.
    unsafe { *libc::__errno_location() = libc::ENOSYS };
}

/// The thread's `errno` as an event stores it.
pub fn errno() -> u16 {
    // SAFETY: as above.
    (unsafe { *libc::__errno_location() }) as u16
}

/// Defines libc entry points. In the body, `next` is the next definition and the arguments are as named; the body runs only
/// while the process is traced, any other process goes straight on to `next`.
macro_rules! hooks {
    ($(fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $result:ty { |$next:ident, $trace:ident| $body:expr })*) => {
        $(
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($arg: $type),*) -> $result {
                static NEXT: $crate::next::Next = $crate::next::Next::new(match core::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => c"",
                });
                let found = NEXT.get();
                if found.is_null() {
                    $crate::next::missing();
                    return $crate::next::Failure::FAILURE;
                }
                // SAFETY: the symbol of this name has this signature, by its man page.
                let $next: unsafe extern "C" fn($($type),*) -> $result = unsafe { core::mem::transmute(found) };
                let Some($trace) = $crate::state::trace() else {
                    // SAFETY: the program's own call, passed on as it is.
                    return unsafe { $next($($arg),*) };
                };
                #[allow(unused_unsafe)]
                // SAFETY: the program's own call, passed on as it is; its pointers are valid by the function's contract.
                unsafe { $body }
            }
        )*
    };
}
pub(crate) use hooks;

/// What a function returns when it fails.
pub trait Failure {
    const FAILURE: Self;
}

impl Failure for i32 {
    const FAILURE: Self = -1;
}

impl Failure for isize {
    const FAILURE: Self = -1;
}

impl Failure for i64 {
    const FAILURE: Self = -1;
}

impl<T> Failure for *mut T {
    const FAILURE: Self = core::ptr::null_mut();
}
