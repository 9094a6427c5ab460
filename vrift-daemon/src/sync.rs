//! Locks that outlive a panic.
//!
//! A thread that panics while it holds a lock loses its own connection; whatever it guarded is kept consistent by short
//! critical sections, so the others go on.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whether or not another holder panicked.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
