//! Failing the Nth I/O, for tests.
//!
//! Every change that this crate makes to a file system passes a fault point. A test plans a failure for its own
//! thread with `fail_nth`; outside tests (and without the feature `faults`) a fault point is empty.

use std::io;

#[cfg(any(test, feature = "faults"))]
mod plan {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static PLAN: Cell<Option<(u64, i32)>> = const { Cell::new(None) };
    }

    /// Lets the `n`th I/O from now on (0: the next one) and every later one of this thread fail with `errno`, until
    /// [`clear`].
    pub fn fail_nth(n: u64, errno: i32) {
        PLAN.set(Some((n, errno)));
    }

    /// Ends the failing. Returns whether the planned I/O was reached.
    pub fn clear() -> bool {
        matches!(PLAN.take(), Some((0, _)))
    }

    pub(super) fn check() -> io::Result<()> {
        match PLAN.get() {
            None => Ok(()),
            Some((0, errno)) => Err(io::Error::from_raw_os_error(errno)),
            Some((n, errno)) => {
                PLAN.set(Some((n - 1, errno)));
                Ok(())
            }
        }
    }
}

#[cfg(any(test, feature = "faults"))]
pub use plan::{clear, fail_nth};

/// Passed before each I/O that changes something.
#[inline]
pub(crate) fn point() -> io::Result<()> {
    #[cfg(any(test, feature = "faults"))]
    plan::check()?;
    Ok(())
}
