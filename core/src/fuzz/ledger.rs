//! Every packet that came of every connection, and what must have been published of them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::access::AccessKind;
use crate::assembly::SEGMENT_BYTES_MAX;
use crate::framer::Framer;
use crate::fuzz::program::Program;
use crate::segment::Segment;
use crate::time::Instant;
use crate::ts::psi::tracker::RAW_BYTES_MAX;
use crate::ts::{PACKET_BYTES, Packet, Pid, PidSet, PsiTracker};
use crate::upstream::ConnId;

/// A connection and its packets.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) source: usize,
    pub(super) is_open: bool,
    pub(super) program: Program,
    /// Since when packets have come without a long pause, and when the last ones came.
    pub(super) healthy_since: Option<Instant>,
    pub(super) last_packet: Instant,
    framer: Framer,
    packets: Vec<Received>,
    /// The first of these that came while it was in use.
    used_from: Option<usize>,
    psi: PsiTracker,
}

#[derive(Debug)]
struct Received {
    bytes: [u8; PACKET_BYTES],
    /// The PSI before it.
    psi: Bytes,
    /// It begins a key frame and says so, and the tables name its PID.
    is_key: bool,
}

impl Conn {
    pub(super) fn new(now: Instant, source: usize) -> Self {
        Conn {
            source,
            is_open: true,
            program: Program::default(),
            healthy_since: None,
            last_packet: now,
            framer: Framer::new(),
            packets: Vec::new(),
            used_from: None,
            psi: PsiTracker::new(),
        }
    }

    pub(super) fn packets(&self) -> usize {
        self.packets.len()
    }

    /// Packets that came while it was in use.
    pub(super) fn packets_used(&self) -> usize {
        self.packets.len() - self.used_from.unwrap_or(self.packets.len())
    }

    pub(super) fn push(&mut self, bytes: &[u8], is_used: bool) {
        if is_used && self.used_from.is_none() {
            self.used_from = Some(self.packets.len());
            self.psi = PsiTracker::new();
        }
        let (packets, psi) = (&mut self.packets, &mut self.psi);
        self.framer.push(bytes, &mut |bytes| packets.push(Received::new(bytes, psi)));
    }

    /// The end of the connection lets the framer decide about what it held back, if anybody wants it.
    pub(super) fn finish(&mut self) {
        let (packets, psi) = (&mut self.packets, &mut self.psi);
        if self.used_from.is_some() {
            self.framer.finish(&mut |bytes| packets.push(Received::new(bytes, psi)));
        }
    }

    fn find(&self, packet: &[u8; PACKET_BYTES], psi: &[&[u8; PACKET_BYTES]]) -> Option<usize> {
        let from = self.used_from?;
        let is_it = |received: &Received| {
            received.bytes == *packet && Packet::all(&received.psi).map(|p| p.bytes()).eq(psi.iter().copied())
        };
        Some(from + self.packets[from..].iter().position(is_it)?)
    }
}

impl Received {
    fn new(bytes: &[u8; PACKET_BYTES], psi: &mut PsiTracker) -> Self {
        let before = psi.raw();
        let packet = Packet::new(bytes);
        psi.push(&packet);
        let is_video = psi.video().is_some_and(|(pid, _)| pid == packet.pid());
        let says_so = packet.adaptation().is_some_and(|field| field.random_access());
        Received { bytes: *bytes, psi: before, is_key: packet.payload_unit_start() && is_video && says_so }
    }
}

/// What has been published of them: from an access point of a connection on everything, without a gap, to its end.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Of which packet on a connection has been published, and which is next.
    published: BTreeMap<ConnId, (usize, usize)>,
    current: Option<ConnId>,
    pub(super) segments: u64,
    pub(super) packets: u64,
    last_at: Instant,
    /// PIDs that have been marked since the latest seam; `None` while there was no seam.
    told: Option<PidSet>,
}

impl Ledger {
    /// Checks the next segment, and tells whether it begins a connection.
    pub(super) fn publish(&mut self, conns: &BTreeMap<ConnId, Conn>, segment: &Segment) -> bool {
        let begins = segment.seam || self.current.is_none();
        assert!(
            segment.seam == (begins && self.current.is_some()),
            "a seam is where another connection begins"
        );
        self.segments += 1;
        self.packets += segment.packets();
        for bytes in [&segment.data, &segment.psi] {
            assert!(bytes.len().is_multiple_of(PACKET_BYTES), "packets are whole");
        }
        assert!(!segment.data.is_empty(), "a segment has packets");
        assert!(segment.seam || segment.data.len() <= SEGMENT_BYTES_MAX, "segments are bounded");
        assert!(segment.psi.len() <= RAW_BYTES_MAX, "the PSI before segments is bounded");
        assert!(segment.at >= self.last_at, "segments are in order of arrival");
        self.last_at = segment.at;

        let packets = self.take_marks(segment);
        let packets = if begins { self.begin(conns, segment, &packets) } else { &packets };

        let current = self.current.expect("a segment belongs to a connection");
        let (_, next) = self.published.get_mut(&current).expect("what is current has begun");
        let due = &conns[&current].packets[*next..];
        assert!(due.len() >= packets.len(), "what is published has been received");
        if !segment.seam {
            assert!(due[0].psi == segment.psi, "the PSI of a segment is the PSI before it");
        }
        assert!(
            (segment.access == Some(AccessKind::Indicator)) == due[0].is_key,
            "a segment knows how it begins"
        );
        for (index, (packet, received)) in packets.iter().zip(due).enumerate() {
            assert!(**packet == received.bytes, "packets are published in order, and as they were");
            assert!(index == 0 || !received.is_key, "key frames begin segments");
        }
        *next += packets.len();
        begins
    }

    /// Checks and leaves out the marks: one before the first packet of each PID after a seam, and no others.
    fn take_marks<'a>(&mut self, segment: &'a Segment) -> Vec<&'a [u8; PACKET_BYTES]> {
        if segment.seam {
            self.told = Some(PidSet::new());
        }
        let mut packets = Vec::new();
        let mut marked = None;
        for packet in Packet::all(&segment.data) {
            let is_told =
                self.told.as_mut().is_none_or(|told| packet.pid() == Pid::NULL || !told.insert(packet.pid()));
            if is_mark(&packet) {
                assert!(!is_told && marked.is_none(), "a PID is told once");
                marked = Some(packet.pid());
            } else {
                assert!(
                    is_told && marked.take().is_none_or(|pid| pid == packet.pid()),
                    "a PID is told of a seam"
                );
                packets.push(packet.bytes());
            }
        }
        assert!(marked.is_none(), "a mark and its packet are not parted");
        packets
    }

    /// Everything is published that must be.
    pub(super) fn check_end(&self, conns: &BTreeMap<ConnId, Conn>) {
        for (id, conn) in conns {
            self.check_end_of(*id, conn);
        }
    }

    fn check_end_of(&self, id: ConnId, conn: &Conn) {
        let Some(from) = conn.used_from else { return };
        let first_key = conn.packets[from..].iter().position(|packet| packet.is_key).map(|at| from + at);
        let published = self.published.get(&id);
        if let Some(&(_, next)) = published {
            assert!(next == conn.packets.len(), "what has begun is published to its end");
        }
        if let Some(first_key) = first_key {
            assert!(
                published.is_some_and(|&(begun, _)| begun <= first_key),
                "a connection begins at its first key frame at the latest"
            );
        }
    }

    /// The first segment of a connection: which one is it, and what of it is the tables that a seam puts before?
    fn begin<'a, 'b>(
        &mut self,
        conns: &BTreeMap<ConnId, Conn>,
        segment: &Segment,
        packets: &'a [&'b [u8; PACKET_BYTES]],
    ) -> &'a [&'b [u8; PACKET_BYTES]] {
        assert!(segment.access.is_some(), "a connection begins at an access point");
        if let Some(current) = self.current {
            self.check_end_of(current, &conns[&current]);
        }
        let psi: Vec<_> = Packet::all(&segment.psi).map(|packet| packet.bytes()).collect();
        assert!(!segment.seam || psi.is_empty(), "a seam brings its PSI itself");
        let tables_max = if segment.seam { packets.len() - 1 } else { 0 };
        let later = || conns.iter().filter(|(id, _)| self.current.is_none_or(|current| **id > current));
        let found = (0..=tables_max).rev().find_map(|tables| {
            let psi = if segment.seam { &packets[..tables] } else { &psi };
            later().find_map(|(id, conn)| Some((*id, tables, conn.find(packets[tables], psi)?)))
        });
        let (id, tables, at) = found.expect("a connection begins with its own packets behind its own PSI");
        self.current = Some(id);
        self.published.insert(id, (at, at));
        &packets[tables..]
    }
}

/// A packet which says that something jumps on its PID, and nothing else.
fn is_mark(packet: &Packet<'_>) -> bool {
    let is_empty = packet.bytes()[6..].iter().all(|&byte| byte == 0xFF);
    let announces = packet.adaptation().is_some_and(|field| field.discontinuity());
    announces && is_empty && !packet.has_payload() && packet.pid() != Pid::NULL
}
