//! Signals that are meant for the program.

use std::sync::atomic::{AtomicI32, Ordering};

use libc::{c_int, c_void, siginfo_t};

static CHILD: AtomicI32 = AtomicI32::new(0);

const FORWARDED: [c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// Terminates of these that somebody sends to this process go to the child; those that a terminal sends to the whole group
/// have reached it already. This process waits for the child in either case.
pub fn forward_to(child: u32) {
    CHILD.store(child as i32, Ordering::Relaxed);
    for signal in FORWARDED {
        // SAFETY: all zeroes are a valid `struct sigaction`, which the call fills or reads.
        unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &raw mut old);
            if old.sa_sigaction == libc::SIG_IGN {
                continue;
            }
            let mut new: libc::sigaction = std::mem::zeroed();
            new.sa_sigaction = forward as *const () as usize;
            new.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            libc::sigaction(signal, &raw const new, std::ptr::null_mut());
        }
    }
}

extern "C" fn forward(signal: c_int, info: *mut siginfo_t, _: *mut c_void) {
    // SAFETY: the kernel passes a valid record; `kill` is async-signal-safe.
    unsafe {
        let child = CHILD.load(Ordering::Relaxed);
        if child > 0 && (*info).si_code == libc::SI_USER {
            libc::kill(child, signal);
        }
    }
}

/// The child has ended, and is about to be waited for: its number will be somebody else's. This process is nearly done, and goes on.
pub fn stop_forwarding() {
    CHILD.store(0, Ordering::Relaxed);
}

/// Makes a copy of this process, which stays for others: the signals mean it alone, and end it, from its first moment on. Those that a
/// terminal sends are none of its business, just as they are none of a process's that has left its group. Returns what `fork` does.
///
/// # Safety
///
/// As for `fork`: the copy has the calling thread alone, and must not need what another one may hold.
pub unsafe fn fork_to_stay() -> libc::pid_t {
    // SAFETY: the sets are of the type that the calls fill; the rest is the caller's promise.
    unsafe {
        let mut meant: libc::sigset_t = std::mem::zeroed();
        let mut before: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut meant);
        for signal in FORWARDED {
            libc::sigaddset(&raw mut meant, signal);
        }
        // Whoever knows the copy may end it before it has said that it wants to be ended.
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const meant, &raw mut before);
        let copy = libc::fork();
        if copy == 0 {
            answer_for_itself();
        }
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
        copy
    }
}

fn answer_for_itself() {
    stop_forwarding();
    // SAFETY: takes no arguments.
    unsafe { libc::setsid() };
    for signal in FORWARDED {
        // SAFETY: all zeroes are a valid `struct sigaction`, which the call fills.
        unsafe {
            let mut old: libc::sigaction = std::mem::zeroed();
            libc::sigaction(signal, std::ptr::null(), &raw mut old);
            if old.sa_sigaction != libc::SIG_IGN {
                libc::signal(signal, libc::SIG_DFL);
            }
        }
    }
}

/// Dies of `signal`. Returns where the signal does not end a process.
pub fn die_of(signal: c_int) {
    // SAFETY: takes numbers alone; the default action has no handler to be wrong about. No core file of this process: the
    // child has left its own.
    unsafe {
        let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::setrlimit(libc::RLIMIT_CORE, &raw const limit);
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}
