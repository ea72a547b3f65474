//! How long bytes wait to be sent together.
//!
//! A write costs the same whatever it carries, so with many viewers the interval between flushes decides about the
//! load, and it is as long as the operator allows. With a few viewers it need not be: then it is a half or a quarter
//! of that, as long as flushing costs no more than a hundredth of a core.
//!
//! Where a flush takes longer than the interval, nothing here is needed: the next one finds more to send.

use crate::time::Duration;

/// The interval is at least so many times what a flush costs, as far as that is allowed.
pub const FLUSH_COST_PART: u32 = 100;
/// What is allowed is halved so many times at most.
pub const FLUSH_HALVINGS_MAX: u32 = 2;

/// The interval between flushes when bytes may wait for `latency` and writing to everybody once costs `cost`, on the
/// busiest of those who write. It is `latency` halved so many times, and therefore a multiple of the time between two turns of a source that rests.
pub fn flush_interval(latency: Duration, cost: Duration) -> Duration {
    let mut intervals = (0..=FLUSH_HALVINGS_MAX).rev().map(|halvings| latency / (1 << halvings));
    intervals.find(|&interval| interval >= cost.saturating_mul(FLUSH_COST_PART)).unwrap_or(latency)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_widens_with_the_cost_within_its_bounds() {
        let latency = Duration::from_millis(20);
        for (cost_us, interval_ms) in [(0, 5), (50, 5), (51, 10), (100, 10), (101, 20), (30_000, 20)] {
            let interval = flush_interval(latency, Duration::from_micros(cost_us));
            assert_eq!(interval, Duration::from_millis(interval_ms), "{cost_us} µs");
        }
        assert_eq!(flush_interval(Duration::ZERO, Duration::MAX), Duration::ZERO);
    }
}
