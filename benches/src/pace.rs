//! The synthetic stream, packet by packet at its time or as fast as it is wanted.

use restreamer_core::testing::{Mark, StreamSpec, SyntheticStream};
use restreamer_core::time::{Duration, Instant};
use restreamer_core::ts::{PACKET_BYTES, PIDS, Packet};

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

    /// When the next packet is due.
    pub fn next_at(&self) -> Instant {
        self.stream.next_at()
    }

    /// The longest time that a packet was made after it was due: what the machine's scheduler did to the pace.
    pub fn late_max(&self) -> Duration {
        self.late_max
    }
}

/// The same packets again and again, with marks and continuity counters that go on: what a source sends that has
/// no pace. Making a packet of the [`PacedStream`] costs about 90 ns, which would be most of a core at 1 GB/s; here
/// it costs a copy. Its clocks begin again with every turn.
pub struct LoopedStream {
    packets: Vec<[u8; PACKET_BYTES]>,
    next: usize,
    sequence: u64,
    /// By PID: how far its continuity counter moves in a turn.
    counter_steps: Vec<u8>,
}

impl LoopedStream {
    /// Two seconds of a stream of `bitrate` bits per second, without end.
    pub fn new(bitrate: u64) -> LoopedStream {
        let stream = SyntheticStream::new(StreamSpec::new(SEED, bitrate));
        let length = usize::try_from(bitrate / 4 / PACKET_BYTES as u64).unwrap_or(usize::MAX);
        let packets: Vec<_> = stream.take(length).map(|packet| packet.bytes).collect();
        let mut counter_steps = vec![0; PIDS];
        for packet in packets.iter().map(Packet::new).filter(Packet::has_payload) {
            let step: &mut u8 = &mut counter_steps[packet.pid().index()];
            *step = (*step + 1) % 16;
        }
        LoopedStream { packets, next: 0, sequence: 0, counter_steps }
    }

    /// Appends the next `count` packets, stamped with `now`.
    pub fn take(&mut self, now: Instant, count: usize, out: &mut Vec<u8>) {
        out.reserve(count * PACKET_BYTES);
        for _ in 0..count {
            let packet = &mut self.packets[self.next];
            if Mark::read(packet).is_some() {
                Mark { sequence: self.sequence, sent_ns: now.as_nanos() }.write(packet);
                self.sequence += 1;
            }
            out.extend_from_slice(packet);
            let step = self.counter_steps[Packet::new(packet).pid().index()];
            packet[3] = packet[3] & 0xF0 | (packet[3] + step) & 0x0F;
            self.next = (self.next + 1) % self.packets.len();
        }
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
    use crate::checker::Checker;

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

    #[test]
    fn a_loop_has_no_seam_but_in_its_clocks() {
        let mut stream = LoopedStream::new(400_000);
        let (mut bytes, turns) = (Vec::new(), 20);
        stream.take(Instant::ORIGIN, turns * stream.packets.len(), &mut bytes);
        let mut checker = Checker::default();
        checker.push(Instant::ORIGIN, &bytes, None);
        let counts = checker.counts();
        assert_eq!(counts.packets, (bytes.len() / PACKET_BYTES) as u64);
        assert_eq!((counts.lost, counts.repeated, counts.discontinuities), (0, 0, 0));
    }
}
