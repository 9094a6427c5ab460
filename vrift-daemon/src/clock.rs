//! Clocks.

use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock, nanoseconds since 1970. Finer than the clock that stamps files: an event of ours may be compared with
/// another of ours, never with a file's time.
pub fn now_ns() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos().try_into().unwrap_or(i64::MAX))
}

/// The wall clock, seconds since 1970.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
