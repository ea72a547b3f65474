//! The packets that wait to be published: where they are looked at, once, and where segments are cut.
//!
//! All that waits is published together, when its first byte has waited for the flush interval or when it is as much
//! as a segment may hold; a random access point within begins a segment of its own. Whether a packet is an access
//! point may be known only a few packets later; until then that packet is a *candidate*, and nothing is cut behind it.
//!
//! The packets of a new connection are held back until its first access point, so that a viewer who was held
//! through the change of source goes on where a decoder can. At such a seam the PAT and PMT are put into the
//! stream itself, and each PID is told of the jump by a packet with nothing but the `discontinuity_indicator`
//! (ISO/IEC 13818-1 §2.4.3.5).

use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use crate::access::{AccessCounts, AccessDetector, AccessKind, Decision, FALLBACK_WAIT};
use crate::quality::{Quality, QualityCounts};
use crate::segment::Segment;
use crate::time::{Duration, Instant};
use crate::ts::{Continuity, PACKET_BYTES, Packet, Pid, PidSet, PsiTracker, SYNC_BYTE};

/// What waits is published before it would get larger than this, except for what a seam adds to it.
pub const SEGMENT_BYTES_MAX: usize = 64 << 10;
/// How long a packet that may be an access point is held back for the decision.
pub(crate) const CANDIDATE_WAIT: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(crate) struct Assembly {
    /// How long the first byte waits for others.
    flush_interval: Duration,
    access: AccessDetector,
    psi: PsiTracker,
    continuity: Continuity,
    quality: Quality,
    /// All that waits.
    buffer: BytesMut,
    /// When the first byte in it began to wait.
    waits_since: Instant,
    /// Where segments begin in it: at its first packet, and at access points.
    heads: Vec<Head>,
    candidate: Option<Head>,
    /// Nothing of this connection is published before its first access point.
    is_gated: bool,
    /// Something was published of an earlier connection.
    has_published: bool,
    /// PIDs that have been told of the latest seam; `None` while there was no seam.
    told: Option<PidSet>,
}

/// What is known about the first packet of a segment.
#[derive(Clone, Debug)]
struct Head {
    offset: usize,
    at: Instant,
    psi: Bytes,
    access: Option<AccessKind>,
    is_seam: bool,
}

impl Head {
    fn new(offset: usize, at: Instant, psi: Bytes) -> Self {
        Head { offset, at, psi, access: None, is_seam: false }
    }
}

impl Assembly {
    pub(crate) fn new(flush_interval: Duration) -> Self {
        Assembly {
            flush_interval,
            access: AccessDetector::new(FALLBACK_WAIT),
            psi: PsiTracker::new(),
            continuity: Continuity::new(),
            quality: Quality::new(),
            buffer: BytesMut::new(),
            waits_since: Instant::ORIGIN,
            heads: Vec::new(),
            candidate: None,
            is_gated: true,
            has_published: false,
            told: None,
        }
    }

    /// From now on the first byte waits for so long.
    pub(crate) fn set_flush_interval(&mut self, interval: Duration) {
        self.flush_interval = interval;
    }

    /// The packets that follow come from another connection than those before.
    pub(crate) fn begin_connection(&mut self, publish: &mut impl FnMut(Segment)) {
        self.end_connection(publish);
        self.is_gated = true;
        // What is held back behind the gate may be dropped: it is marked when it passes.
        self.told = None;
        self.access.reset();
        self.psi.reset();
        self.continuity.reset();
        self.quality.reset();
    }

    /// No more packets follow on this connection.
    pub(crate) fn end_connection(&mut self, publish: &mut impl FnMut(Segment)) {
        self.candidate = None;
        if self.is_gated {
            self.buffer.clear();
        }
        self.flush(publish);
    }

    pub(crate) fn push(
        &mut self,
        now: Instant,
        bytes: &[u8; PACKET_BYTES],
        publish: &mut impl FnMut(Segment),
    ) {
        let packet = Packet::new(bytes);
        if self.buffer.is_empty() {
            self.heads.clear();
            self.heads.push(Head::new(0, now, self.psi.raw()));
            self.waits_since = now;
        }
        // Candidates begin a payload unit; one that carries a table must not be sent once more before itself.
        let psi = if packet.payload_unit_start() { self.psi.raw() } else { Bytes::new() };
        let continuity = self.continuity.check(&packet);
        let change = self.psi.push(&packet);
        self.quality.push(now, &packet, continuity, change, &self.psi);
        let verdict = self.access.push(now, &packet, &self.psi);
        if verdict.candidate {
            if self.is_gated {
                self.buffer.clear();
            }
            self.candidate = Some(Head::new(self.buffer.len(), now, psi));
        }
        match verdict.decision {
            Decision::Access(kind) => self.start_at_candidate(kind),
            Decision::NotAccess => self.candidate = None,
            Decision::None | Decision::Pending => {}
        }
        if self.is_gated && self.candidate.is_none() {
            self.buffer.clear();
            return;
        }
        self.append(&packet);
        if self.buffer.len() + 2 * PACKET_BYTES > SEGMENT_BYTES_MAX {
            if self.is_gated {
                self.candidate = None;
                self.buffer.clear();
            } else {
                self.flush(publish);
            }
        }
    }

    pub(crate) fn flush_if_due(&mut self, now: Instant, publish: &mut impl FnMut(Segment)) {
        if self.poll_timeout().is_some_and(|due| due <= now) {
            self.flush(publish);
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let wait = match &self.candidate {
            Some(candidate) if candidate.offset == 0 => self.flush_interval.max(CANDIDATE_WAIT),
            _ => self.flush_interval,
        };
        (!self.is_gated && !self.buffer.is_empty()).then(|| self.waits_since + wait)
    }

    /// What was pushed last had been there since then.
    pub(crate) fn note_waited(&mut self, since: Instant) {
        self.waits_since = self.waits_since.min(since);
    }

    /// Access points found so far.
    pub(crate) fn access_counts(&self) -> AccessCounts {
        self.access.counts()
    }

    /// What a measuring receiver would complain about so far.
    pub(crate) fn quality(&self) -> QualityCounts {
        self.quality.counts()
    }

    /// The candidate is an access point: a segment starts with it.
    fn start_at_candidate(&mut self, kind: AccessKind) {
        let Some(candidate) = self.candidate.take() else { return };
        let at = candidate.at;
        self.heads.retain(|head| head.offset < candidate.offset);
        self.heads.push(Head { access: Some(kind), ..candidate });
        if self.is_gated {
            self.is_gated = false;
            self.waits_since = at;
            if core::mem::replace(&mut self.has_published, true) {
                self.told = Some(PidSet::new());
                self.write_seam();
            }
        }
    }

    /// Puts PSI and the marks of the discontinuity before the packets of the candidate, which are all that wait.
    fn write_seam(&mut self) {
        let since_candidate = self.buffer.split();
        let Some(head) = self.heads.first_mut() else { return };
        let psi = core::mem::take(&mut head.psi);
        head.is_seam = true;
        for packet in Packet::all(&psi).chain(Packet::all(&since_candidate)) {
            self.append(&packet);
        }
    }

    fn append(&mut self, packet: &Packet<'_>) {
        if self.buffer.capacity() - self.buffer.len() < 2 * PACKET_BYTES {
            self.buffer.reserve(SEGMENT_BYTES_MAX - self.buffer.len().min(SEGMENT_BYTES_MAX / 2));
        }
        if let Some(told) = &mut self.told
            && packet.pid() != Pid::NULL
            && told.insert(packet.pid())
        {
            self.buffer.extend_from_slice(&discontinuity_before(packet));
        }
        self.buffer.extend_from_slice(packet.bytes());
    }

    /// Publishes all that waits, except for a candidate and what follows it.
    fn flush(&mut self, publish: &mut impl FnMut(Segment)) {
        let candidate = self.candidate.take().filter(|candidate| candidate.offset > 0);
        let end = candidate.as_ref().map_or(self.buffer.len(), |candidate| candidate.offset);
        let mut start = 0;
        let at = self.heads.first().map_or(Instant::ORIGIN, |head| head.at);
        let mut heads = self.heads.drain(..).peekable();
        while let Some(Head { psi, access, is_seam: seam, .. }) = heads.next() {
            let next = heads.peek().map_or(end, |head| head.offset);
            let data = self.buffer.split_to(next - start).freeze();
            start = next;
            if !data.is_empty() {
                publish(Segment { data, psi, access, seam, at });
            }
        }
        drop(heads);
        self.candidate = candidate.map(|candidate| Head { offset: 0, ..candidate });
        if let Some(candidate) = &self.candidate {
            self.waits_since = candidate.at;
            self.heads.push(candidate.clone());
        }
    }
}

/// A packet without payload which says that the counter and the time base of `packet`'s PID jump before it.
fn discontinuity_before(packet: &Packet<'_>) -> [u8; PACKET_BYTES] {
    let mut mark = [0xFF; PACKET_BYTES];
    let [high, low] = packet.pid().value().to_be_bytes();
    // Packets without payload repeat the counter of the one before them (ISO/IEC 13818-1 §2.4.3.3).
    let counter = packet.continuity().wrapping_sub(u8::from(packet.has_payload())) & 0x0F;
    mark[..6].copy_from_slice(&[SYNC_BYTE, high, low, 0x20 | counter, 183, 0x80]);
    mark
}
