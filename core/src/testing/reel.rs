//! Segments of numbered packets, and the account of what a viewer got of them.

use crate::access::AccessKind;
use crate::segment::Segment;
use crate::time::Instant;
use crate::ts::{PACKET_BYTES, SYNC_BYTE};
use alloc::vec::Vec;
use bytes::Bytes;

/// The PID of numbered packets.
const PID_NUMBERED: u8 = 0x30;

/// Makes segments and remembers all of them: the truth for tests of rings and viewers.
#[derive(Clone, Debug, Default)]
pub struct Reel {
    frames: Vec<Frame>,
    psi: Bytes,
    psi_version: u64,
    packets: u64,
}

/// What a [`Reel`] remembers of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Number of its first packet; packets count from 0 without a gap.
    pub first: u64,
    /// How many packets it has.
    pub packets: u64,
    /// Whether it begins with an access point.
    pub is_access: bool,
    /// When it arrived.
    pub at: Instant,
    /// Version and number of packets of the PSI before it.
    pub psi: (u64, u64),
}

/// What a packet of a [`Reel`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbered {
    /// A packet of the stream.
    Packet(u64),
    /// A packet of the PSI.
    Psi {
        /// Which PSI.
        version: u64,
        /// Which of its packets.
        index: u64,
    },
}

impl Reel {
    /// No segment yet, and no PSI before the first one.
    pub fn new() -> Self {
        Self::default()
    }

    /// The segments that follow have `packets` packets of new PSI before them.
    pub fn change_psi(&mut self, packets: u64) {
        self.psi_version += 1;
        let version = self.psi_version;
        let packets = (0..packets).map(|index| Numbered::Psi { version, index }.to_packet());
        self.psi = packets.flatten().collect();
    }

    /// The next segment; `packets` is at least 1, and `at` never goes back.
    pub fn segment(&mut self, at: Instant, packets: u64, is_access: bool) -> Segment {
        let first = self.packets;
        let psi = (self.psi_version, (self.psi.len() / PACKET_BYTES) as u64);
        self.frames.push(Frame { first, packets, is_access, at, psi });
        self.packets += packets;
        Segment {
            data: (first..self.packets).flat_map(|number| Numbered::Packet(number).to_packet()).collect(),
            psi: self.psi.clone(),
            access: is_access.then_some(AccessKind::Indicator),
            seam: false,
            at,
        }
    }

    /// Every segment made, in order: the index is the sequence number in a ring that got them all.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Packets made.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// The segment that this packet is in, if it has been made.
    pub fn frame_of(&self, packet: u64) -> Option<&Frame> {
        let index = self.frames.partition_point(|frame| frame.first + frame.packets <= packet);
        self.frames.get(index)
    }
}

impl Frame {
    /// Bytes of `frames`, which follow each other: of their packets, and of the PSI before them, counted once where
    /// they share it.
    pub fn bytes(frames: &[Frame]) -> usize {
        let mut psi = None;
        let packets = frames.iter().map(|frame| {
            let is_shared = psi.replace(frame.psi) == Some(frame.psi);
            frame.packets + if is_shared { 0 } else { frame.psi.1 }
        });
        packets.sum::<u64>() as usize * PACKET_BYTES
    }
}

impl Numbered {
    /// The packet with this number.
    pub fn to_packet(self) -> [u8; PACKET_BYTES] {
        let (pid, numbers) = match self {
            Numbered::Packet(number) => (PID_NUMBERED, [number, 0]),
            Numbered::Psi { version, index } => (0, [version, index]),
        };
        let mut packet = [pid; PACKET_BYTES];
        packet[..4].copy_from_slice(&[SYNC_BYTE, 0, pid, 0x10]);
        packet[4..20].copy_from_slice(numbers.map(u64::to_be_bytes).as_flattened());
        packet
    }

    /// What this packet is; `None` when it is not, byte for byte, one of a [`Reel`].
    pub fn read(packet: &[u8; PACKET_BYTES]) -> Option<Numbered> {
        let number = |at: usize| packet[at..].first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        let numbered = match packet[2] {
            PID_NUMBERED => Numbered::Packet(number(4)?),
            _ => Numbered::Psi { version: number(4)?, index: number(12)? },
        };
        (numbered.to_packet() == *packet).then_some(numbered)
    }
}

/// What one viewer gets of a [`Reel`], checked byte by byte: whole packets, in order, none twice; a gap only where
/// the viewer says so and as wide as it says; and behind a gap, as at the start, the PSI of a segment and then that
/// segment.
#[derive(Clone, Debug, Default)]
pub struct Transcript {
    /// Number of the packet at its first place.
    start: Option<u64>,
    /// Packets of the stream begun.
    sent: u64,
    /// Packets skipped, as far as known.
    skipped: u64,
    /// Packets of PSI begun since its last place was given; `None` when packets of the stream have followed.
    psi: Option<u64>,
    /// The packet that is being received, and how many bytes of it have come.
    torn: Option<([u8; PACKET_BYTES], usize)>,
    bytes: u64,
}

impl Transcript {
    /// Nothing received.
    pub fn new() -> Self {
        Self::default()
    }

    /// The viewer was given its first place, before the packet with this number.
    pub fn begin(&mut self, packet: u64) {
        self.start = Some(packet);
        self.psi = Some(0);
    }

    /// The viewer says that it has skipped so many packets since its start.
    pub fn skip(&mut self, skipped: u64) {
        assert!(skipped >= self.skipped, "counts only grow");
        if skipped > self.skipped {
            self.skipped = skipped;
            self.psi = Some(0);
        }
    }

    /// The viewer got `bytes`.
    ///
    /// # Panics
    /// When these are not the bytes that are due.
    pub fn take(&mut self, reel: &Reel, mut bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let (packet, come) = self.torn.take().unwrap_or_else(|| (self.next(reel).to_packet(), 0));
            let (part, rest) = bytes.split_at(bytes.len().min(PACKET_BYTES - come));
            let due = &packet[come..come + part.len()];
            assert!(
                part == due,
                "due are {:02x?}, not {:02x?}",
                &due[..due.len().min(24)],
                &part[..due.len().min(24)]
            );
            if come + part.len() < PACKET_BYTES {
                self.torn = Some((packet, come + part.len()));
            }
            bytes = rest;
        }
    }

    /// The number of the packet before which the viewer's place is; `None` before it was given one.
    pub fn place(&self) -> Option<u64> {
        Some(self.start? + self.sent + self.skipped)
    }

    /// Whether what has come ends with a whole packet.
    pub fn is_between_packets(&self) -> bool {
        self.torn.is_none()
    }

    /// Bytes that have come.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The packet that is due, which counts as begun.
    fn next(&mut self, reel: &Reel) -> Numbered {
        let place = self.place().expect("a viewer without a place gets nothing");
        if let Some(index) = self.psi {
            let frame = reel.frame_of(place).expect("a viewer gets what has been made");
            assert!(frame.first == place, "a new place is where a segment begins");
            let (version, packets) = frame.psi;
            if index < packets {
                self.psi = Some(index + 1);
                return Numbered::Psi { version, index };
            }
            self.psi = None;
        }
        assert!(place < reel.packets(), "a viewer gets what has been made");
        self.sent += 1;
        Numbered::Packet(place)
    }
}
