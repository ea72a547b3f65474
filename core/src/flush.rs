//! How long bytes wait to be sent together.
//!
//! A write costs the same whatever it carries, so with many viewers the interval between flushes decides about the
//! load, and it is as long as the operator allows. With a few viewers it need not be: then the interval shrinks until
//! flushing costs a hundredth of a core, or to a quarter of what is allowed.
//!
//! Where a flush takes longer than the interval, nothing here is needed: the next one finds more to send.

use crate::time::Duration;

/// The interval is so many times what a flush costs, as long as that is less than what is allowed.
pub const FLUSH_COST_PART: u32 = 100;
/// The interval is never shorter than what is allowed divided by this.
pub const FLUSH_PARTS_MAX: u32 = 4;

/// The interval between flushes when bytes may wait for `latency` and writing to everybody once costs `cost`, on the
/// busiest of those who write.
pub fn flush_interval(latency: Duration, cost: Duration) -> Duration {
    cost.saturating_mul(FLUSH_COST_PART).clamp(latency / FLUSH_PARTS_MAX, latency)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_widens_with_the_cost_within_its_bounds() {
        let latency = Duration::from_millis(20);
        for (cost_us, interval_ms) in [(0, 5), (50, 5), (80, 8), (150, 15), (200, 20), (30_000, 20)] {
            let interval = flush_interval(latency, Duration::from_micros(cost_us));
            assert_eq!(interval, Duration::from_millis(interval_ms), "{cost_us} µs");
        }
        assert_eq!(flush_interval(Duration::ZERO, Duration::MAX), Duration::ZERO);
    }
}
