//! How long bytes wait to be sent together.
//!
//! A write costs the same whatever it carries, so with many viewers the interval between flushes decides about the
//! load, and it is as long as the operator allows. With a few viewers it need not be: then it is a half or a quarter
//! of that, as long as flushing costs no more than a hundredth of a core. Where a flush takes longer than the interval,
//! nothing here is needed: the next one finds more to send.
//!
//! For the same reason viewers are served by as few threads as have time for them: a flush wakes every thread that
//! has viewers of its stream.

use crate::time::Duration;

/// The interval is at least so many times what a flush costs, as far as that is allowed.
pub const FLUSH_COST_PART: u32 = 100;
/// What is allowed is halved so many times at most.
pub const FLUSH_HALVINGS_MAX: u32 = 2;

/// A thread has time for more viewers while writing to everybody once takes no more than this part of `latency`.
pub const FLUSH_SPARE_PART: u32 = 4;
/// And no more than this: so long may everything else on the thread have to wait, other streams' sources included.
pub const FLUSH_TIME_MAX: Duration = Duration::from_millis(5);

/// The interval between flushes when bytes may wait for `latency` and writing to everybody once costs `cost`, on the
/// busiest of those who write. It is `latency` halved so many times, and therefore a multiple of the time between two
/// turns of a source that rests.
pub fn flush_interval(latency: Duration, cost: Duration) -> Duration {
    let mut intervals = (0..=FLUSH_HALVINGS_MAX).rev().map(|halvings| latency / (1 << halvings));
    intervals.find(|&interval| interval >= cost.saturating_mul(FLUSH_COST_PART)).unwrap_or(latency)
}

/// Whether a thread on which writing to everybody once costs `cost` has time for more viewers of a stream whose bytes
/// may wait for `latency`.
pub fn has_time(latency: Duration, cost: Duration) -> bool {
    cost <= (latency / FLUSH_SPARE_PART).min(FLUSH_TIME_MAX)
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

    #[test]
    fn a_thread_has_time_until_a_flush_takes_a_part_of_what_bytes_may_wait() {
        for (latency_ms, most_us) in [(5, 1_250), (20, 5_000), (1_000, 5_000)] {
            let latency = Duration::from_millis(latency_ms);
            assert!(has_time(latency, Duration::from_micros(most_us)), "{latency_ms} ms");
            assert!(!has_time(latency, Duration::from_micros(most_us + 1)), "{latency_ms} ms");
        }
        assert!(has_time(Duration::ZERO, Duration::ZERO));
    }
}
