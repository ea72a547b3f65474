//! Durations counted in buckets that grow with them.

use restreamer_core::time::Duration;
use serde::Serialize;

/// Buckets per power of two: the error of a percentile is below 1/64.
const BUCKETS_PER_OCTAVE: u64 = 64;
const OCTAVE_SHIFT: u32 = BUCKETS_PER_OCTAVE.ilog2();
/// Anything longer than this many microseconds (about 19 hours) counts as this long.
const MICROS_MAX: u64 = (1 << 36) - 1;
const BUCKETS: usize = (bucket(MICROS_MAX) + 1) as usize;

/// Many durations, kept as counts: 16 KiB however many there are, a resolution of a microsecond or 1.6 %.
#[derive(Clone)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_micros: u64,
}

/// The usual percentiles of a [`Histogram`], milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many durations there were; the others are 0 when this is.
    pub count: u64,
    /// Half of them were not longer.
    pub p50_ms: f64,
    /// 90 % of them were not longer.
    pub p90_ms: f64,
    /// 99 % of them were not longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: vec![0; BUCKETS], total: 0, max_micros: 0 }
    }
}

impl Histogram {
    /// Counts `duration`.
    pub fn push(&mut self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).min(MICROS_MAX);
        self.counts[bucket(micros) as usize] += 1;
        self.total += 1;
        self.max_micros = self.max_micros.max(micros);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
        self.max_micros = 0;
    }

    /// The shortest duration that `percent` of all durations do not exceed, milliseconds; 0 when there are none.
    pub fn percentile_ms(&self, percent: f64) -> f64 {
        let rank = ((self.total as f64 * percent / 100.0).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return bucket_end(bucket as u64).min(self.max_micros) as f64 / 1000.0;
            }
        }
        0.0
    }

    /// The usual percentiles.
    pub fn percentiles(&self) -> Percentiles {
        Percentiles {
            count: self.total,
            p50_ms: self.percentile_ms(50.0),
            p90_ms: self.percentile_ms(90.0),
            p99_ms: self.percentile_ms(99.0),
            max_ms: self.max_micros as f64 / 1000.0,
        }
    }
}

/// Values below `BUCKETS_PER_OCTAVE` have a bucket each; above, every power of two has that many.
const fn bucket(micros: u64) -> u64 {
    if micros < BUCKETS_PER_OCTAVE {
        return micros;
    }
    let shift = micros.ilog2() - OCTAVE_SHIFT;
    (shift as u64) * BUCKETS_PER_OCTAVE + (micros >> shift)
}

/// The largest value in a bucket.
const fn bucket_end(bucket: u64) -> u64 {
    if bucket < 2 * BUCKETS_PER_OCTAVE {
        return bucket;
    }
    let shift = bucket / BUCKETS_PER_OCTAVE - 1;
    let start = (bucket - shift * BUCKETS_PER_OCTAVE) << shift;
    start + (1 << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bucket_begins_after_the_end_of_the_one_before() {
        let mut next = 0;
        for index in 0..BUCKETS as u64 {
            assert_eq!(bucket(next), index, "value {next}");
            let end = bucket_end(index);
            assert_eq!(bucket(end), index, "value {end}");
            next = end + 1;
        }
        assert_eq!(next, MICROS_MAX + 1);
    }

    #[test]
    fn percentiles_are_within_a_sixty_fourth_of_the_exact_ones() {
        let mut histogram = Histogram::default();
        for millis in 1..=1000 {
            histogram.push(Duration::from_millis(millis));
        }
        for (percent, exact) in [(50.0, 500.0), (90.0, 900.0), (99.0, 990.0), (100.0, 1000.0), (0.0, 1.0)] {
            let got = histogram.percentile_ms(percent);
            assert!(got >= exact && got <= exact * (1.0 + 1.0 / 64.0), "p{percent}: {got}, exact {exact}");
        }
        assert_eq!(histogram.percentiles().max_ms, 1000.0);
    }

    #[test]
    fn an_empty_histogram_has_percentiles_of_zero() {
        let mut histogram = Histogram::default();
        histogram.push(Duration::MAX);
        histogram.clear();
        assert_eq!(histogram.percentiles(), Percentiles::default());
    }
}
