//! The request to end, from whichever side it comes: a client, a signal, an idle hour.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use crate::sync::lock;

/// Shared by whoever may ask a daemon to end, and its main thread.
#[derive(Default)]
pub struct Stop {
    state: Mutex<State>,
    wake: Condvar,
    signalled: AtomicBool,
}

#[derive(Default)]
struct State {
    asked: bool,
    look: bool,
}

impl Stop {
    /// Asks the daemon to end.
    pub fn ask(&self) {
        lock(&self.state).asked = true;
        self.wake.notify_all();
    }

    /// Ends the main thread's present wait: there may be something to see.
    pub fn look_around(&self) {
        lock(&self.state).look = true;
        self.wake.notify_all();
    }

    /// Whether a signal asked, and not a client.
    pub fn was_signalled(&self) -> bool {
        self.signalled.load(Ordering::SeqCst)
    }

    /// Waits until it was asked, or is to look around, for at most `timeout`; tells whether it was asked.
    pub fn wait(&self, timeout: Duration) -> bool {
        let quiet = |state: &mut State| !state.asked && !state.look;
        let waited = self.wake.wait_timeout_while(lock(&self.state), timeout, quiet);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.look = false;
        state.asked
    }

    /// Turns SIGTERM, SIGINT and SIGHUP into a request. Must run before other threads start, so that they inherit the mask.
    pub fn on_signals(self: &Arc<Self>) {
        let set: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
        if set.thread_block().is_err() {
            return;
        }
        let stop = Arc::clone(self);
        let waiting = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            if set.wait().is_ok() {
                stop.signalled.store(true, Ordering::SeqCst);
                stop.ask();
            }
        });
        if waiting.is_err() {
            // Without the thread the signals would never arrive.
            let _ = set.thread_unblock();
        }
    }
}
