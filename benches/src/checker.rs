//! What one viewer got: whole packets? in order? complete? how late?

use std::ops::AddAssign;

use restreamer_core::testing::{Mark, Probe};
use restreamer_core::time::{Duration, Instant};
use restreamer_core::ts::continuity::Verdict;
use restreamer_core::ts::{Continuity, PACKET_BYTES, Packet, Pid, SYNC_BYTE};
use serde::Serialize;

use crate::histogram::Histogram;

/// Reads a body of marked packets, in any pieces, and keeps account of it.
pub struct Checker {
    torn: Vec<u8>,
    continuity: Continuity,
    probe: Probe,
    start: Start,
    counts: Counts,
}

/// What is wrong with a stream, or with several of them together; all but `packets` should be zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Packets received.
    pub packets: u64,
    /// Bytes that belong to no packet: the body was not aligned.
    pub stray_bytes: u64,
    /// Marked packets that are missing since the first one.
    pub lost: u64,
    /// Places where packets are missing.
    pub gaps: u64,
    /// Marked packets that came again or too late.
    pub repeated: u64,
    /// Packets whose continuity counter does not follow (ISO/IEC 13818-1 §2.4.3.3).
    pub discontinuities: u64,
    /// Bodies whose first packets are not PAT, PMT and a packet with `random_access_indicator`.
    pub unclean_starts: u64,
}

/// How far the beginning of the body has been seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Pat,
    Pmt,
    Access,
    /// It began otherwise, and no access point has come yet.
    Unclean,
    Done,
}

impl Default for Checker {
    fn default() -> Self {
        Checker {
            torn: Vec::with_capacity(PACKET_BYTES),
            continuity: Continuity::new(),
            probe: Probe::new(),
            start: Start::Pat,
            counts: Counts::default(),
        }
    }
}

impl Checker {
    /// Takes body bytes that were received at `now`; adds the delay of each marked packet to `delays`, where it is
    /// wanted.
    pub fn push(&mut self, now: Instant, mut bytes: &[u8], mut delays: Option<&mut Histogram>) {
        if !self.torn.is_empty() {
            let take = bytes.len().min(PACKET_BYTES - self.torn.len());
            self.torn.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            let Ok(packet) = <[u8; PACKET_BYTES]>::try_from(self.torn.as_slice()) else { return };
            self.torn.clear();
            self.packet(now, &packet, delays.as_deref_mut());
        }
        while let Some(&first) = bytes.first() {
            if first != SYNC_BYTE {
                self.counts.stray_bytes += 1;
                bytes = &bytes[1..];
                continue;
            }
            let Some((packet, rest)) = bytes.split_first_chunk() else { break };
            self.packet(now, packet, delays.as_deref_mut());
            bytes = rest;
        }
        self.torn.extend_from_slice(bytes);
    }

    /// Whether an access point has been seen.
    pub fn has_access(&self) -> bool {
        self.start == Start::Done
    }

    /// The account so far.
    pub fn counts(&self) -> Counts {
        Counts {
            packets: self.probe.packets,
            lost: self.probe.lost,
            gaps: self.probe.gaps,
            repeated: self.probe.backwards,
            ..self.counts
        }
    }

    fn packet(&mut self, now: Instant, bytes: &[u8; PACKET_BYTES], delays: Option<&mut Histogram>) {
        self.probe.observe(now.as_nanos(), bytes);
        if let (Some(delays), Some(mark)) = (delays, Mark::read(bytes)) {
            delays.push(Duration::from_nanos(now.as_nanos().saturating_sub(mark.sent_ns)));
        }
        let packet = Packet::new(bytes);
        if matches!(self.continuity.check(&packet), Verdict::Gap { .. } | Verdict::Duplicate) {
            self.counts.discontinuities += 1;
        }
        if self.start != Start::Done {
            self.start(&packet);
        }
    }

    fn start(&mut self, packet: &Packet<'_>) {
        let access = packet.adaptation().is_some_and(|field| field.random_access());
        let pat = packet.pid() == Pid::PAT;
        self.start = match self.start {
            Start::Pat if pat => Start::Pmt,
            // Whatever follows the PAT is taken for the PMT: it names the PIDs that the tests use.
            Start::Pmt if !access => Start::Access,
            Start::Access if access => Start::Done,
            // A PMT of more than one packet, or several programs.
            Start::Access if !packet.has_adaptation() && Mark::read(packet.bytes()).is_none() => {
                Start::Access
            }
            before => {
                if before != Start::Unclean {
                    self.counts.unclean_starts += 1;
                }
                if access { Start::Done } else { Start::Unclean }
            }
        };
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Counts) {
        self.packets += other.packets;
        self.stray_bytes += other.stray_bytes;
        self.lost += other.lost;
        self.gaps += other.gaps;
        self.repeated += other.repeated;
        self.discontinuities += other.discontinuities;
        self.unclean_starts += other.unclean_starts;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use restreamer_core::testing::{Content, StreamSpec, SyntheticPacket, SyntheticStream};

    /// A second of packets that begins as a server should begin: PAT, PMT, access point.
    fn second() -> Vec<SyntheticPacket> {
        let packets: Vec<_> = SyntheticStream::new(StreamSpec::new(7, 2_000_000)).take(4000).collect();
        let mut keys = packets.iter().enumerate().filter(|(_, packet)| packet.content == Content::Key);
        let (access, _) = keys.nth(1).unwrap();
        let last_before = |content| {
            let packet = packets[..access].iter().rev().find(|packet| packet.content == content);
            *packet.unwrap()
        };
        let mut second = vec![last_before(Content::Pat), last_before(Content::Pmt)];
        second.extend_from_slice(&packets[access..]);
        second
    }

    fn check(packets: &[SyntheticPacket]) -> Counts {
        let mut checker = Checker::default();
        for packet in packets {
            checker.push(Instant::ORIGIN, &packet.bytes, None);
        }
        checker.counts()
    }

    #[test]
    fn a_clean_stream_is_clean_however_it_is_cut() {
        let packets = second();
        let clean = Counts { packets: packets.len() as u64, ..Counts::default() };
        let bytes: Vec<u8> = packets.iter().flat_map(|packet| packet.bytes).collect();
        for size in [1, 7, 187, 188, 189, 1316, bytes.len()] {
            let mut checker = Checker::default();
            for piece in bytes.chunks(size) {
                checker.push(Instant::ORIGIN, piece, None);
            }
            assert_eq!(checker.counts(), clean, "pieces of {size}");
            assert!(checker.has_access());
        }
    }

    #[test]
    fn lost_and_repeated_packets_are_counted() {
        let packets = second();
        let video: Vec<usize> =
            (0..packets.len()).filter(|&i| packets[i].content == Content::Video).collect();
        let mut lossy = packets.clone();
        lossy.remove(video[20]);
        let counts = check(&lossy);
        assert_eq!((counts.lost, counts.gaps, counts.discontinuities), (1, 1, 1));
        let mut repeating = packets.clone();
        repeating.insert(video[20], packets[video[20]]);
        let counts = check(&repeating);
        assert_eq!((counts.repeated, counts.lost, counts.discontinuities), (1, 0, 1));
    }

    #[test]
    fn stray_bytes_are_counted_and_the_packets_behind_them_found() {
        let packets = second();
        let mut checker = Checker::default();
        checker.push(Instant::ORIGIN, &packets[0].bytes, None);
        checker.push(Instant::ORIGIN, b"junk", None);
        checker.push(Instant::ORIGIN, &packets[1].bytes, None);
        assert_eq!(checker.counts(), Counts { packets: 2, stray_bytes: 4, ..Counts::default() });
    }

    #[test]
    fn a_body_that_starts_elsewhere_is_unclean_once() {
        for missing in 0..3 {
            let mut packets = second();
            packets.remove(missing);
            assert_eq!(check(&packets).unclean_starts, 1, "without packet {missing}");
        }
    }

    #[test]
    fn a_delay_is_the_time_since_the_mark() {
        let packet = &second()[2];
        let mut delays = Histogram::default();
        Checker::default().push(packet.at + Duration::from_millis(20), &packet.bytes, Some(&mut delays));
        assert_eq!(delays.percentiles().max_ms, 20.0);
    }
}
