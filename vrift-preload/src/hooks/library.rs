//! Loading libraries.
//!
//! `dlopen` searches by the RUNPATH of its caller, which it knows by its return address: a hook that called it would be taken
//! for the caller. So these hooks only take note, and then jump to the next definition with every register as it was.

use core::ffi::{c_char, c_int, c_void};
use core::sync::atomic::{AtomicPtr, Ordering};

use vrift_core::event::{EventKind, Untraced};

use crate::libraries;
use crate::next::{Next, hooks};
use crate::path::{self, At};
use crate::state;

static DLOPEN: Next = Next::new(c"dlopen");
static DLMOPEN: Next = Next::new(c"dlmopen");

/// Where the jump goes: libc's function, or one that fails.
static TARGET_DLOPEN: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static TARGET_DLMOPEN: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());

extern "C" fn fails() -> *mut c_void {
    core::ptr::null_mut()
}

fn aim(target: &AtomicPtr<c_void>, next: &Next) {
    if target.load(Ordering::Relaxed).is_null() {
        let found = next.get();
        target.store(if found.is_null() { fails as *mut c_void } else { found }, Ordering::Relaxed);
    }
}

unsafe extern "C" fn note_dlopen(file: *const c_char, _flags: c_int) {
    aim(&TARGET_DLOPEN, &DLOPEN);
    // SAFETY: the program's own argument: null or a string.
    let name = unsafe { path::bytes(file) };
    if name.is_empty() {
        return;
    }
    state::library_loaded(name);
    if state::trace().is_some() {
        libraries::loads();
    }
    if let Some(trace) = state::trace().filter(|_| name.contains(&b'/')) {
        // SAFETY: as above.
        let (at, error) = unsafe { (At::cwd(file), crate::sys::access(libc::AT_FDCWD, file, libc::F_OK)) };
        // SAFETY: as above.
        unsafe { trace.path(EventKind::Library, 0, (-error) as u16, at) };
    }
}

unsafe extern "C" fn note_dlmopen(_namespace: c_int, _file: *const c_char) {
    aim(&TARGET_DLMOPEN, &DLMOPEN);
    if let Some(trace) = state::trace() {
        // Another namespace has a libc of its own, which this library does not hook.
        trace.untraced(Untraced::HiddenLibrary, b"dlmopen");
    }
}

macro_rules! noted {
    ($($name:ident, $note:ident, $target:ident;)*) => {
        $(
            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            pub unsafe extern "C" fn $name() {
                #[cfg(target_arch = "x86_64")]
                core::arch::naked_asm!(
                    "push rdi", "push rsi", "push rdx",
                    "call {note}",
                    "pop rdx", "pop rsi", "pop rdi",
                    "jmp qword ptr [rip + {target}]",
                    note = sym $note, target = sym $target
                );
                #[cfg(target_arch = "aarch64")]
                core::arch::naked_asm!(
                    "stp x29, x30, [sp, #-48]!", "stp x0, x1, [sp, #16]", "str x2, [sp, #32]",
                    "bl {note}",
                    "ldr x2, [sp, #32]", "ldp x0, x1, [sp, #16]", "ldp x29, x30, [sp], #48",
                    "adrp x16, {target}", "ldr x16, [x16, :lo12:{target}]", "br x16",
                    note = sym $note, target = sym $target
                );
            }
        )*
    };
}
noted! {
    dlopen, note_dlopen, TARGET_DLOPEN;
    dlmopen, note_dlmopen, TARGET_DLMOPEN;
}

hooks! {
    fn dlclose(handle: *mut c_void) -> c_int { |next, trace| {
        // A library opened by name is known by its file only while it is mapped.
        libraries::report_new(trace);
        next(handle)
    } }
}
