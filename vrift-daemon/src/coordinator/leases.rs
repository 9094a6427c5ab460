//! Who computes what right now, in all projects.
//!
//! A lease names a piece of work. Whoever asks for one that is held waits until its holder is done, and then looks for the
//! holder's result. A lease ends with the connection that took it, so a dead worker holds nobody up.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use vrift_core::digest::Digest;
use vrift_core::wire::{self, LeaseResult};

use crate::server::pulse;
use crate::sync::lock;

/// Leases held at a time; a coordinator that has more grants everything.
const MAX_LEASES: usize = 65_536;

/// The table of leases.
#[derive(Default)]
pub struct Leases {
    /// Which connection holds each.
    held: Mutex<HashMap<Digest, u64>>,
    ended: Condvar,
}

impl Leases {
    /// Grants `work` to the connection `owner`, or waits for at most `timeout` until its holder is done; the client hears all
    /// the while that it waits.
    pub fn acquire(&self, work: Digest, owner: u64, timeout: Duration) -> LeaseResult {
        let deadline = Instant::now() + timeout;
        let mut held = lock(&self.held);
        let mut waited = false;
        loop {
            match held.get(&work) {
                None if waited => return LeaseResult::Released,
                None => {
                    if held.len() < MAX_LEASES {
                        held.insert(work, owner);
                    }
                    return LeaseResult::Granted;
                }
                Some(_) => {}
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return LeaseResult::TimedOut;
            }
            waited = true;
            held = self.ended.wait_timeout(held, left.min(wire::BEAT)).unwrap_or_else(PoisonError::into_inner).0;
            pulse::beat();
        }
    }

    /// Ends the lease on `work` if `owner` holds it.
    pub fn release(&self, work: Digest, owner: u64) {
        let mut held = lock(&self.held);
        if held.get(&work) == Some(&owner) {
            held.remove(&work);
            self.ended.notify_all();
        }
    }

    /// Ends all leases of a connection that is gone.
    pub fn release_all(&self, owner: u64) {
        let mut held = lock(&self.held);
        let before = held.len();
        held.retain(|_, o| *o != owner);
        if held.len() != before {
            self.ended.notify_all();
        }
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        lock(&self.held).len()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn one_computes_and_the_others_wait_for_it() {
        let leases = Arc::new(Leases::default());
        let work = Digest::of(b"work");
        assert_eq!(leases.acquire(work, 1, LONG), LeaseResult::Granted);
        assert_eq!(leases.acquire(Digest::of(b"other"), 2, LONG), LeaseResult::Granted);
        let waiting: Vec<_> = (2..5)
            .map(|owner| {
                let leases = Arc::clone(&leases);
                thread::spawn(move || leases.acquire(work, owner, LONG))
            })
            .collect();
        thread::sleep(Duration::from_millis(30));
        leases.release(work, 9);
        assert_eq!(leases.len(), 2, "only the holder releases");
        leases.release(work, 1);
        for thread in waiting {
            assert_eq!(thread.join().expect("joins"), LeaseResult::Released);
        }
        assert_eq!(leases.acquire(work, 2, LONG), LeaseResult::Granted);
    }

    #[test]
    fn the_dead_hold_nobody_up_and_the_slow_only_for_a_while() {
        let leases = Arc::new(Leases::default());
        let work = Digest::of(b"work");
        assert_eq!(leases.acquire(work, 1, LONG), LeaseResult::Granted);
        assert_eq!(leases.acquire(work, 2, Duration::from_millis(10)), LeaseResult::TimedOut);
        let waiter = thread::spawn({
            let leases = Arc::clone(&leases);
            move || leases.acquire(work, 2, LONG)
        });
        thread::sleep(Duration::from_millis(10));
        leases.release_all(1);
        assert_eq!(waiter.join().expect("joins"), LeaseResult::Released);
        assert_eq!(leases.len(), 0);
    }
}
