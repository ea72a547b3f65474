//! One ring, one viewer, and a clock.

use std::fmt::Write;

use restreamer_core::testing::{Numbered, Reel};
use restreamer_core::{Duration, Instant, Policy, Read, Ring, RingLimits, Viewer};

pub(crate) const SPACIOUS: RingLimits =
    RingLimits { packets_min: u64::MAX, span_min: Duration::MAX, bytes_max: usize::MAX };

pub(crate) struct Room {
    pub(crate) reel: Reel,
    pub(crate) ring: Ring,
    pub(crate) viewer: Viewer,
    pub(crate) policy: Policy,
    now: Instant,
    bytes: Vec<u8>,
}

impl Room {
    pub(crate) fn new(limits: RingLimits, policy: Policy) -> Self {
        Room {
            reel: Reel::new(),
            ring: Ring::new(limits),
            viewer: Viewer::new(),
            policy,
            now: Instant::ORIGIN,
            bytes: Vec::new(),
        }
    }

    /// Publishes segments of ten packets, one a second: `K` begins with an access point, `-` does not.
    pub(crate) fn play(&mut self, segments: &str) {
        for kind in segments.chars() {
            self.push(Duration::from_secs(1), 10, kind == 'K');
        }
    }

    pub(crate) fn push(&mut self, wait: Duration, packets: u64, is_access: bool) {
        self.now += wait;
        self.ring.push(self.reel.segment(self.now, packets, is_access));
    }

    pub(crate) fn read(&mut self) -> Read {
        self.viewer.read(&self.ring, &self.policy)
    }

    /// Reads, and takes up to `bytes` of what is offered. Answers how much that was.
    pub(crate) fn take(&mut self, bytes: usize) -> usize {
        if self.read() != Read::Ready {
            return 0;
        }
        let offered: Vec<u8> = self.viewer.pieces(&self.ring).flatten().copied().collect();
        let taken = bytes.min(offered.len());
        self.viewer.advance(taken, &self.ring);
        self.bytes.extend_from_slice(&offered[..taken]);
        taken
    }

    pub(crate) fn take_all(&mut self) -> usize {
        self.take(usize::MAX)
    }

    /// What the viewer got so far: runs of packets of the stream, and `psi` with its version and packets. Bytes of
    /// a packet that has not ended are `+` and their number.
    pub(crate) fn got(&self) -> String {
        let (packets, torn) = self.bytes.as_chunks::<188>();
        let mut got = String::new();
        let mut numbered = packets.iter().map(|packet| Numbered::read(packet).unwrap()).peekable();
        while let Some(first) = numbered.next() {
            match first {
                Numbered::Packet(first) => {
                    let mut end = first + 1;
                    while numbered.next_if_eq(&Numbered::Packet(end)).is_some() {
                        end += 1;
                    }
                    write!(got, "{first}..{end} ").unwrap();
                }
                Numbered::Psi { version, index } => {
                    let mut end = index + 1;
                    while numbered.next_if_eq(&Numbered::Psi { version, index: end }).is_some() {
                        end += 1;
                    }
                    write!(got, "psi{version}[{index}..{end}] ").unwrap();
                }
            }
        }
        if !torn.is_empty() {
            write!(got, "+{}", torn.len()).unwrap();
        }
        got.trim_end().to_owned()
    }
}
