//! The synthetic stream, packet by packet at its time or as fast as it is wanted.

use restreamer_core::testing::{Mark, StreamSpec, SyntheticStream};
use restreamer_core::time::{Duration, Instant};
use restreamer_core::ts::PACKET_BYTES;

/// Most bytes that one call makes: after a long sleep the rest comes with the next calls.
const STEP_BYTES_MAX: usize = 4 << 20;
/// Makes the synthetic stream of every run the same.
const SEED: u64 = 5;

/// A synthetic stream that knows what time it is.
pub struct PacedStream {
    stream: SyntheticStream,
    late_max: Duration,
}

impl PacedStream {
    /// A stream of `bitrate` bits per second whose first packet is due at `start`.
    pub fn new(bitrate: u64, start: Instant) -> PacedStream {
        let spec = StreamSpec { start, ..StreamSpec::new(SEED, bitrate) };
        PacedStream { stream: SyntheticStream::new(spec), late_max: Duration::ZERO }
    }

    /// Appends the packets that are due at `now`. Their marks say when they were due, or, with `restamp`, that
    /// they were sent now.
    pub fn take_due(&mut self, now: Instant, restamp: bool, out: &mut Vec<u8>) {
        let before = out.len();
        self.late_max = self.late_max.max(now.saturating_since(self.stream.next_at()));
        while self.stream.next_at() <= now && out.len() - before < STEP_BYTES_MAX {
            out.extend_from_slice(&self.stream.next_packet().bytes);
        }
        if restamp {
            stamp(&mut out[before..], now);
        }
    }

    /// Appends the next `packets` packets whenever they are due, stamped with `now`.
    pub fn take(&mut self, now: Instant, packets: usize, out: &mut Vec<u8>) {
        let before = out.len();
        self.stream.append(packets, out);
        stamp(&mut out[before..], now);
    }

    /// When the next packet is due.
    pub fn next_at(&self) -> Instant {
        self.stream.next_at()
    }

    /// Packets made so far.
    pub fn packets(&self) -> u64 {
        self.stream.packets()
    }

    /// The longest time that a packet was made after it was due: what the machine's scheduler did to the pace.
    pub fn late_max(&self) -> Duration {
        self.late_max
    }
}

fn stamp(bytes: &mut [u8], now: Instant) {
    for packet in bytes.as_chunks_mut::<PACKET_BYTES>().0 {
        Mark::restamp(packet, now.as_nanos());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_comes_once_and_nothing_earlier() {
        let start = Instant::from_millis(1_000);
        let mut stream = PacedStream::new(1_504_000, start);
        let mut out = Vec::new();
        stream.take_due(Instant::from_millis(999), false, &mut out);
        assert!(out.is_empty());
        // A packet per millisecond: those of 1000 ms … 1010 ms.
        stream.take_due(Instant::from_millis(1_010), false, &mut out);
        assert_eq!(out.len(), 11 * PACKET_BYTES);
        stream.take_due(Instant::from_millis(1_010), false, &mut out);
        assert_eq!(out.len(), 11 * PACKET_BYTES);
        assert_eq!(stream.next_at(), Instant::from_millis(1_011));
    }

    #[test]
    fn a_restamped_packet_was_sent_now() {
        let mut stream = PacedStream::new(1_504_000, Instant::ORIGIN);
        let mut out = Vec::new();
        let now = Instant::from_millis(50);
        stream.take_due(now, true, &mut out);
        let marks: Vec<Mark> = out.as_chunks().0.iter().filter_map(Mark::read).collect();
        assert!(!marks.is_empty() && marks.iter().all(|mark| mark.sent_ns == now.as_nanos()));
        assert!(marks.windows(2).all(|pair| pair[1].sequence == pair[0].sequence + 1));
    }
}
