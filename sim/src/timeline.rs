//! What the segments of one stream mean to somebody who watches: how long they play, and where a picture begins.

use std::collections::VecDeque;

use restreamer_core::Instant;

/// A step of the source's clock by more than this is a new beginning, not time that passes.
const STEP_NS_MAX: u64 = 1_000_000_000;

/// One published segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Playing time from the beginning of the stream to the beginning of this segment, nanoseconds.
    pub begin_ns: u64,
    /// The same to its end.
    pub end_ns: u64,
    /// When it was published.
    pub at: Instant,
    /// A decoder can begin with it.
    pub is_access: bool,
    /// Packets were lost on the way from the source, in it or since the last access point: pictures are broken.
    pub is_damaged: bool,
}

/// So many moments are kept: at fifty a second, the last twenty minutes.
const MOMENTS_MAX: usize = 1 << 16;

/// The moments of the latest segments.
#[derive(Debug, Default)]
pub struct Timeline {
    first: u64,
    moments: VecDeque<Moment>,
    /// Playing time so far.
    end_ns: u64,
    /// Where the source's clock stood at the end of the last segment; `None` at a change of source.
    source_ns: Option<u64>,
    is_damaged: bool,
}

impl Timeline {
    /// The next segment. `span_ns`: when the source played its first packet and its last, or the one after that.
    /// `has_loss`: packets of the source are missing in it or before it.
    pub fn push(&mut self, at: Instant, span_ns: Option<(u64, u64)>, is_access: bool, has_loss: bool) {
        self.is_damaged = has_loss || self.is_damaged && !is_access;
        let (begin_ns, end_ns) = span_ns.unwrap_or_default();
        let gap = match self.source_ns {
            Some(last) if begin_ns > last && begin_ns - last < STEP_NS_MAX => begin_ns - last,
            _ => 0,
        };
        let begin = self.end_ns;
        // The time from the last packet before it is played, too.
        self.end_ns = begin + gap + end_ns.saturating_sub(begin_ns);
        if span_ns.is_some() {
            self.source_ns = Some(end_ns);
        }
        self.moments.push_back(Moment {
            begin_ns: begin,
            end_ns: self.end_ns,
            at,
            is_access,
            is_damaged: self.is_damaged,
        });
        if self.moments.len() > MOMENTS_MAX {
            self.moments.pop_front();
            self.first += 1;
        }
    }

    /// What follows comes from another source, or another connection.
    pub fn cut(&mut self) {
        self.source_ns = None;
    }

    /// The segment with this sequence number.
    #[inline]
    pub fn get(&self, sequence: u64) -> Option<&Moment> {
        self.moments.get(usize::try_from(sequence.checked_sub(self.first)?).ok()?)
    }

    /// Playing time of everything that was published.
    pub fn end_ns(&self) -> u64 {
        self.end_ns
    }
}
