//! Shells that libc starts by itself: they get the variables of libc's own `environ`, which holds preload and context while
//! such a function runs.
//!
//! Threads may do so at once, change the environment meanwhile, or fork. So the list that is put in place is never freed while
//! anybody may look at it, the first to come puts it there and the last to go takes it away, and whoever cannot get at these
//! notes in time, as in a child forked while another thread held them, goes on without: its shell does not sign in.

use core::cell::UnsafeCell;
use core::ffi::c_char;
use core::sync::atomic::{AtomicBool, Ordering};

use vrift_core::context::Context;

use crate::{exec, state, sys};

type Strings = *const *const c_char;

/// Attempts to get at the notes, which are held for microseconds.
const ATTEMPTS: usize = 10_000;

struct Notes {
    /// How many shells are running.
    running: usize,
    /// What `environ` was.
    old: Strings,
    /// What was put there.
    new: Strings,
    /// Memory for it, kept from one shell to the next.
    memory: *mut u8,
    len: usize,
}

struct Guarded {
    held: AtomicBool,
    notes: UnsafeCell<Notes>,
}

// SAFETY: the notes are reached by whoever has set `held` alone.
unsafe impl Sync for Guarded {}

static SHELLS: Guarded = Guarded {
    held: AtomicBool::new(false),
    notes: UnsafeCell::new(Notes {
        running: 0,
        old: core::ptr::null(),
        new: core::ptr::null(),
        memory: core::ptr::null_mut(),
        len: 0,
    }),
};

fn with_notes(change: impl FnOnce(&mut Notes)) -> bool {
    for _ in 0..ATTEMPTS {
        if SHELLS.held.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            // SAFETY: the exchange made this thread the only one here until `held` is cleared.
            change(unsafe { &mut *SHELLS.notes.get() });
            SHELLS.held.store(false, Ordering::Release);
            return true;
        }
        // SAFETY: takes no arguments.
        unsafe { sys::call(libc::SYS_sched_yield, [0; 6]) };
    }
    false
}

/// Calls `run` while libc's own `environ` holds preload and context.
pub fn with_environment<R>(run: impl FnOnce() -> R) -> R {
    let Some(context) = state::context() else { return run() };
    let entered = with_notes(|notes| notes.enter(context));
    let result = run();
    if entered {
        with_notes(Notes::leave);
    }
    result
}

impl Notes {
    fn enter(&mut self, context: &Context<'_>) {
        self.running += 1;
        if self.running > 1 {
            return;
        }
        let old: Strings = state::libc_environ().cast_const().cast();
        // SAFETY: `environ` is libc's list.
        let size = unsafe { exec::environment_size(context, old) };
        if size > self.len {
            // The smaller memory may still be looked at by a thread that was slow: it is not given back.
            let len = size.next_power_of_two();
            let Some(memory) = sys::map_memory(len) else { return };
            (self.memory, self.len) = (memory, len);
        }
        // SAFETY: the memory is `len` bytes that only these notes know, and `environ` is libc's list.
        let new = unsafe { exec::environment(context, old, core::slice::from_raw_parts_mut(self.memory, self.len)) };
        let Some(new) = new else { return };
        (self.old, self.new) = (old, new);
        // SAFETY: libc's pointer to its list.
        unsafe { *state::environ_place() = new.cast_mut().cast() };
    }

    fn leave(&mut self) {
        self.running = self.running.saturating_sub(1);
        if self.running > 0 || self.new.is_null() {
            return;
        }
        let place = state::environ_place();
        // SAFETY: libc's pointer to its list.
        unsafe {
            if *place == self.new.cast_mut().cast() {
                *place = self.old.cast_mut().cast();
            } else {
                // Somebody has changed a variable: libc's new list refers to this memory.
                (self.memory, self.len) = (core::ptr::null_mut(), 0);
            }
        }
        self.new = core::ptr::null();
    }
}
