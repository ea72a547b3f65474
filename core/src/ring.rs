//! The last seconds of one stream.

use alloc::collections::VecDeque;

use crate::segment::Segment;
use crate::time::{Duration, Instant};

/// The most segments a ring holds, whatever its other limits say: 20 s of one segment per millisecond.
pub const RING_SEGMENTS_MAX: usize = 20_000;

/// What a ring must hold and what it may hold.
///
/// A segment is evicted when the ring is over a maximum, or when everything that must be held is held without it:
/// what is below, an access point, and what was published together with the newest segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLimits {
    /// At least this many packets (`inputbuffer`).
    pub packets_min: u64,
    /// At least packets of this much arrival time.
    pub span_min: Duration,
    /// Never more bytes than this, except for a single segment (`ringlimit`).
    pub bytes_max: usize,
}

impl Default for RingLimits {
    fn default() -> Self {
        RingLimits { packets_min: 1000, span_min: Duration::from_secs(5), bytes_max: 16 << 20 }
    }
}

/// Segments in order of arrival, each with a sequence number that is never used again; one writer pushes, readers
/// look up. It does not know how it is shared.
///
/// Besides its minimum it reaches back to a random access point when its maximum allows, so that a viewer who
/// joins has a place to start.
#[derive(Clone, Debug)]
pub struct Ring {
    limits: RingLimits,
    segments: VecDeque<Held>,
    /// Sequence number of the first segment held, or of the next one when none is held.
    first: u64,
    /// Sequence numbers of the held segments that begin with an access point, in order.
    access: VecDeque<u64>,
    bytes: usize,
    /// Packets pushed since the ring was made.
    packets_pushed: u64,
}

#[derive(Clone, Debug)]
struct Held {
    segment: Segment,
    /// Packets pushed before this segment.
    packets_before: u64,
}

impl Ring {
    /// An empty ring.
    pub fn new(limits: RingLimits) -> Self {
        Ring {
            limits,
            segments: VecDeque::new(),
            first: 0,
            access: VecDeque::new(),
            bytes: 0,
            packets_pushed: 0,
        }
    }

    /// Appends a segment, evicts what is no longer needed, and answers the segment's sequence number. Amortised
    /// constant cost.
    pub fn push(&mut self, segment: Segment) -> u64 {
        let sequence = self.append(segment);
        while self.segments.len() > 1 && (self.is_over() || self.can_spare_first()) {
            self.evict_first();
        }
        sequence
    }

    /// Makes this ring hold what `other` holds, by reference: takes what is new and evicts what `other` evicted.
    /// Costs as much as there is new, so that one lock per flush serves any number of readers of the copy.
    pub fn catch_up(&mut self, other: &Ring) {
        if self.first > other.first || self.next() < other.first || self.next() > other.next() {
            self.clear();
            self.first = other.first;
            self.packets_pushed = other.packets_evicted();
        }
        for sequence in self.next()..other.next() {
            if let Some(segment) = other.get(sequence) {
                self.append(segment.clone());
            }
        }
        while self.first < other.first {
            self.evict_first();
        }
    }

    /// Evicts everything; sequence numbers go on.
    pub fn clear(&mut self) {
        while !self.segments.is_empty() {
            self.evict_first();
        }
    }

    /// Sequence number of the oldest segment held; equals [`Ring::next`] when none is.
    #[inline]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The sequence number that the next segment will get.
    #[inline]
    pub fn next(&self) -> u64 {
        self.first + self.segments.len() as u64
    }

    /// The segment with this sequence number, if it is held.
    #[inline]
    pub fn get(&self, sequence: u64) -> Option<&Segment> {
        let index = usize::try_from(sequence.checked_sub(self.first)?).ok()?;
        self.segments.get(index).map(|held| &held.segment)
    }

    /// Packets that were pushed before the segment with this sequence number, which is held or the next.
    pub fn packets_before(&self, sequence: u64) -> u64 {
        let index = usize::try_from(sequence.saturating_sub(self.first)).ok();
        index
            .and_then(|index| self.segments.get(index))
            .map_or(self.packets_pushed, |held| held.packets_before)
    }

    /// The newest segment.
    #[inline]
    pub fn newest(&self) -> Option<&Segment> {
        self.segments.back().map(|held| &held.segment)
    }

    /// The latest access point held.
    pub fn latest_access(&self) -> Option<u64> {
        self.access.back().copied()
    }

    /// The youngest access point that arrived at `latest` or before, or else the oldest one held. Logarithmic.
    pub fn access_at_or_before(&self, latest: Instant) -> Option<u64> {
        let at = |sequence: &u64| self.get(*sequence).map_or(Instant::ORIGIN, |segment| segment.at);
        let index = self.access.partition_point(|sequence| at(sequence) <= latest);
        self.access.get(index.saturating_sub(1)).copied()
    }

    /// The oldest segment held that arrived at `earliest` or later; [`Ring::next`] when none did. Logarithmic.
    pub fn first_at_or_after(&self, earliest: Instant) -> u64 {
        self.first + self.segments.partition_point(|held| held.segment.at < earliest) as u64
    }

    /// The oldest segment held with which no more than the last `packets` packets begin; [`Ring::next`] when
    /// even the newest one is longer. Logarithmic.
    pub fn first_of_last(&self, packets: u64) -> u64 {
        let begins_before = self.packets_pushed.saturating_sub(packets);
        self.first + self.segments.partition_point(|held| held.packets_before < begins_before) as u64
    }

    /// Bytes held: packets, and the PSI before them, counted once where segments share it.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Packets held.
    pub fn packets(&self) -> u64 {
        self.packets_pushed - self.packets_evicted()
    }

    /// Packets pushed since the ring was made, evicted ones included.
    #[inline]
    pub fn packets_pushed(&self) -> u64 {
        self.packets_pushed
    }

    /// Packets evicted since the ring was made.
    pub fn packets_evicted(&self) -> u64 {
        self.packets_before(self.first)
    }

    /// The limits it was made with.
    pub fn limits(&self) -> &RingLimits {
        &self.limits
    }

    fn append(&mut self, segment: Segment) -> u64 {
        let sequence = self.next();
        if segment.access.is_some() {
            self.access.push_back(sequence);
        }
        let is_shared = self.newest().is_some_and(|before| shares_psi(before, &segment));
        self.bytes += segment.data.len() + if is_shared { 0 } else { segment.psi.len() };
        let packets_before = self.packets_pushed;
        self.packets_pushed += segment.packets();
        self.segments.push_back(Held { segment, packets_before });
        sequence
    }

    fn is_over(&self) -> bool {
        self.bytes > self.limits.bytes_max || self.segments.len() > RING_SEGMENTS_MAX
    }

    /// Whether all that must be held would still be held without the first segment.
    fn can_spare_first(&self) -> bool {
        let (Some(first), Some(second), Some(last)) =
            (self.segments.front(), self.segments.get(1), self.segments.back())
        else {
            return false;
        };
        let access_left = self.access.len() - usize::from(first.segment.access.is_some());
        self.packets_pushed - second.packets_before >= self.limits.packets_min
            && last.segment.at.saturating_since(second.segment.at) >= self.limits.span_min
            && first.segment.at < last.segment.at
            && (access_left > 0 || self.access.is_empty())
    }

    fn evict_first(&mut self) {
        if let Some(held) = self.segments.pop_front() {
            if self.access.front() == Some(&self.first) {
                self.access.pop_front();
            }
            let next = self.segments.front().map(|next| &next.segment);
            let is_shared = next.is_some_and(|next| shares_psi(&held.segment, next));
            self.bytes -= held.segment.data.len() + if is_shared { 0 } else { held.segment.psi.len() };
            self.first += 1;
        }
    }
}

/// Whether the PSI of both is the same memory, which is so until a packet of it arrives.
fn shares_psi(one: &Segment, other: &Segment) -> bool {
    core::ptr::eq(&*one.psi, &*other.psi)
}
