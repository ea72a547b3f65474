//! What one viewer has received, as far as the checkers need to know.

use restreamer_core::ts::PACKET_BYTES;
use restreamer_core::{Policy, Ring, Segment};

use super::fresh::Freshness;
use super::whole::Alignment;
use super::{Verdict, fresh, legal, whole};

/// The ring as it was when the viewer read it, and the rules that he is under.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    /// The fan-out's copy.
    pub ring: &'a Ring,
    /// His policy.
    pub policy: &'a Policy,
}

/// A run of bytes that a socket took, and where they come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Run<'a> {
    /// The rest of a packet, copied out earlier.
    Rest(&'a [u8]),
    /// Of the tables before a segment.
    Tables { all: &'a [u8], from: usize, to: usize },
    /// Of a segment.
    Packets { sequence: u64, segment: &'a Segment, from: usize, to: usize },
}

/// Where a viewer is in his stream, and how he got there.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// The segment that goes on where he is.
    pub(crate) sequence: u64,
    /// Packets of the stream before his place.
    pub(crate) packet: u64,
    /// Bytes of that segment which he has, whole packets.
    pub(crate) offset: u32,
    /// He is between two packets and has nothing to wait for: what follows is the next segment.
    is_plain: bool,
    details: Option<Box<Details>>,
}

#[derive(Debug, Default)]
pub(crate) struct Details {
    pub(crate) alignment: Alignment,
    pub(crate) freshness: Freshness,
    pub(crate) packets_skipped: u64,
    pub(crate) gaps: u64,
    /// While he waits for packets at a new place: the segment in which his last one was.
    before: Option<u64>,
}

impl Record {
    /// He was given a place: his next bytes come from there.
    pub(crate) fn join(&mut self, scene: Scene<'_>) {
        self.place(scene, fresh::join_place(scene));
    }

    /// The drop policy acted: his next bytes come from another place.
    pub(crate) fn skip(&mut self, scene: Scene<'_>) -> Verdict {
        legal::check_skip(self, scene)?;
        let place = fresh::skip_place(scene).unwrap_or(self.sequence);
        let skipped = scene.ring.packets_before(place).saturating_sub(self.packet);
        let details = self.details_mut();
        details.gaps += 1;
        details.packets_skipped += skipped;
        self.place(scene, place);
        Ok(())
    }

    /// Whether his next bytes are the first ones of this segment, after a whole packet, with nothing before them.
    #[inline]
    pub(crate) fn is_due(&self, sequence: u64) -> bool {
        self.is_plain && self.sequence == sequence
    }

    /// The simplest case, in which nothing can be wrong: he got the segment that was due, whole. `packets` of the
    /// stream lie before its end.
    #[inline]
    pub(crate) fn pass_segment(&mut self, packets: u64) {
        self.sequence += 1;
        self.packet = packets;
    }

    /// The same when `piece` is the newest segment, whole, and due. Answers whether it is that.
    #[inline]
    pub(crate) fn go_on(&mut self, ring: &Ring, piece: &[u8]) -> bool {
        let is_whole = |newest: &Segment| std::ptr::eq(&*newest.data, piece);
        let is_newest = ring.next().checked_sub(1).is_some_and(|newest| self.is_due(newest))
            && ring.newest().is_some_and(is_whole);
        if is_newest {
            self.pass_segment(ring.packets_pushed());
        }
        is_newest
    }

    /// His socket took `piece`; answers where it comes from.
    pub(crate) fn receive<'a>(&mut self, ring: &'a Ring, piece: &'a [u8]) -> Result<Run<'a>, super::Breach> {
        let run = self.locate(ring, piece);
        self.check(&run)?;
        Ok(run)
    }

    /// The segment in which his last packet was.
    pub(crate) fn last_segment(&self) -> Option<u64> {
        let details = self.details.as_ref()?;
        if details.freshness.is_waiting() {
            return details.before;
        }
        Some(if self.offset == 0 { self.sequence.saturating_sub(1) } else { self.sequence })
    }

    /// The response ended at the server's will.
    pub(crate) fn end(&self) -> Verdict {
        self.details.as_ref().map_or(Ok(()), |details| details.alignment.end())
    }

    /// Packets that were left out for him.
    pub(crate) fn packets_skipped(&self) -> u64 {
        self.details.as_ref().map_or(0, |details| details.packets_skipped)
    }

    /// How often.
    pub(crate) fn gaps(&self) -> u64 {
        self.details.as_ref().map_or(0, |details| details.gaps)
    }

    fn place(&mut self, scene: Scene<'_>, place: u64) {
        let before = self.last_segment();
        self.sequence = place;
        self.packet = scene.ring.packets_before(place);
        self.offset = 0;
        let details = self.details_mut();
        details.before = before;
        details.freshness.expect(place);
    }

    fn check(&mut self, run: &Run<'_>) -> Verdict {
        let mut details = self.details.take().unwrap_or_default();
        let verdict = whole::check(&mut details.alignment, run)
            .and_then(|()| fresh::check(&mut details.freshness, run))
            .and_then(|()| legal::check(self, run));
        if let Run::Packets { sequence, segment, from, to } = *run {
            self.pass(sequence, from, to, segment.data.len());
        }
        let is_between = details.alignment.is_between_packets() && self.offset == 0;
        self.is_plain = is_between && !details.freshness.is_waiting();
        self.details = Some(details);
        verdict
    }

    /// Moves the place behind the bytes `..to` of a segment; a packet begun is a packet passed.
    fn pass(&mut self, sequence: u64, from: usize, to: usize, length: usize) {
        let end = to.next_multiple_of(PACKET_BYTES);
        self.packet += ((end - from) / PACKET_BYTES) as u64;
        (self.sequence, self.offset) = if end >= length { (sequence + 1, 0) } else { (sequence, end as u32) };
    }

    fn details_mut(&mut self) -> &mut Details {
        self.is_plain = false;
        self.details.get_or_insert_default()
    }

    /// Finds out by its address what a piece is a part of.
    fn locate<'a>(&self, ring: &'a Ring, piece: &'a [u8]) -> Run<'a> {
        let likely = [self.sequence, self.sequence + 1, ring.latest_access().unwrap_or_default()];
        let all = likely.into_iter().chain((ring.first()..ring.next()).rev());
        for sequence in all {
            let Some(segment) = ring.get(sequence) else { continue };
            if let Some(from) = offset_in(piece, &segment.data) {
                return Run::Packets { sequence, segment, from, to: from + piece.len() };
            }
            if let Some(from) = offset_in(piece, &segment.psi) {
                return Run::Tables { all: &segment.psi, from, to: from + piece.len() };
            }
        }
        Run::Rest(piece)
    }
}

/// Where `piece` lies in `whole`, if it does: by address, which is not looked at in any other way.
fn offset_in(piece: &[u8], whole: &[u8]) -> Option<usize> {
    let offset = (piece.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    (offset + piece.len() <= whole.len()).then_some(offset)
}
