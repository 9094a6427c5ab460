//! How fast one connection may ask.
//!
//! A build asks once or twice on a connection, a worker sends its coordinator a few hundred records a second in a burst.
//! Whoever asks much faster is not refused but slowed down: each request beyond the burst waits for its turn, in the thread of
//! its own connection, so that nobody else notices and an honest client loses nothing but time.

use std::time::{Duration, Instant};

/// Requests a second that a connection may go on making.
pub const RATE: u32 = 1000;

/// Requests that it may make at once after it was quiet.
pub const BURST: u32 = 2000;

/// A bucket of tokens, one for each request.
pub struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full one.
    pub fn new(now: Instant) -> Self {
        Self { tokens: f64::from(BURST), filled: now }
    }

    /// Takes a token; how long to wait until it is there.
    pub fn take(&mut self, now: Instant) -> Duration {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * f64::from(RATE);
        self.tokens = (self.tokens + gained).min(f64::from(BURST)) - 1.0;
        self.filled = now;
        Duration::from_secs_f64((-self.tokens).max(0.0) / f64::from(RATE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_a_flood_is_slowed_down() {
        let mut now = Instant::now();
        let mut bucket = Bucket::new(now);
        assert!((0..BURST).all(|_| bucket.take(now).is_zero()));
        let flood = now;
        for _ in 0..3 * RATE {
            now += bucket.take(now);
        }
        let took = now - flood;
        assert!((2.9..3.1).contains(&took.as_secs_f64()), "{took:?}");
        now += Duration::from_secs(60);
        assert!((0..BURST).all(|_| bucket.take(now).is_zero()), "it filled up again");
        assert!(!bucket.take(now).is_zero(), "and no further");
    }
}
