//! The next definition of a function, behind this library.

use core::ffi::{CStr, c_void};
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

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

/// Registers a [`Next`] for [`find_all`].
macro_rules! register {
    ($next:ident) => {
        const _: () = {
            #[used]
            #[unsafe(link_section = "vrift_next")]
            static ENTRY: &$crate::next::Next = &$next;
        };
    };
}
pub(crate) use register;

/// Looks up every registered function. To be called before a program with threads forks: finding takes the loader's lock,
/// which another thread may hold at that moment, and in the child that lock is never released.
pub fn find_all() {
    unsafe extern "C" {
        // The linker's names for a section's ends.
        #[link_name = "__start_vrift_next"]
        static FIRST: u8;
        #[link_name = "__stop_vrift_next"]
        static END: u8;
    }
    static SINGLE: Next = Next::new(c"__libc_single_threaded");
    static DONE: AtomicBool = AtomicBool::new(false);
    let single = SINGLE.get().cast::<u8>();
    // SAFETY: libc's `char` of that name, if it has one.
    if DONE.load(Ordering::Relaxed) || (!single.is_null() && unsafe { *single } != 0) {
        return;
    }
    let (mut at, end) = ((&raw const FIRST).cast::<&'static Next>(), (&raw const END).cast());
    while at < end {
        // SAFETY: the section holds such references and nothing else.
        unsafe {
            (*at).get();
            at = at.add(1);
        }
    }
    DONE.store(true, Ordering::Relaxed);
}

/// Sets `errno` to ENOSYS, for a function that nobody defines (a newer libc than the one the program was started with).
pub fn missing() {
    set_errno(libc::ENOSYS);
}

/// Sets the thread's `errno`.
pub fn set_errno(error: i32) {
    // SAFETY: `__errno_location` gives this thread's errno.
    unsafe { *libc::__errno_location() = error };
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
        $crate::next::always! {
            $(fn $name($($arg: $type),*) -> $result { |$next, trace| match trace {
                Some($trace) => $body,
                None => $next($($arg),*),
            } })*
        }
    };
}
pub(crate) use hooks;

/// Defines libc entry points whose body runs in each process; `trace` is `None` where it is not traced.
macro_rules! always {
    ($(fn $name:ident($($arg:ident: $type:ty),* $(,)?) -> $result:ty { |$next:ident, $trace:ident| $body:expr })*) => {
        $(
            #[unsafe(no_mangle)]
            pub unsafe extern "C" fn $name($($arg: $type),*) -> $result {
                static NEXT: $crate::next::Next = $crate::next::Next::new(match core::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                    Ok(name) => name,
                    Err(_) => c"",
                });
                $crate::next::register!(NEXT);
                let found = NEXT.get();
                if found.is_null() {
                    $crate::next::missing();
                    return $crate::next::Failure::FAILURE;
                }
                // SAFETY: the symbol of this name has this signature, by its man page.
                let $next: unsafe extern "C" fn($($type),*) -> $result = unsafe { core::mem::transmute(found) };
                let $trace = $crate::state::trace();
                #[allow(unused_unsafe)]
                // SAFETY: the program's own call, passed on as it is; its pointers are valid by the function's contract.
                unsafe { $body }
            }
        )*
    };
}
pub(crate) use always;

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

/// As functions fail that tell how much they wrote.
impl Failure for usize {
    const FAILURE: Self = 0;
}
