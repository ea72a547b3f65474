//! **Bounded.** A ring holds no more than its maximum, but for a single segment, and no more than its minimum needs,
//! a place to join and what was published together last; a fan-out's copy holds what the ring held a moment ago; no more viewers are in than the
//! limits allow; and a viewer whose socket takes nothing keeps his place no longer than the stall limit.

use restreamer_core::{AdmissionLimits, Duration, Instant, Ring, RingLimits, SEGMENT_BYTES_MAX};

use super::{Checker, Verdict};

/// How much later than the limit a stalled viewer may be noticed.
pub const STALL_SLACK: Duration = Duration::from_secs(1);
/// The most segments in a ring.
const SEGMENTS_MAX: u64 = restreamer_core::ring::RING_SEGMENTS_MAX as u64;

/// A ring after a push.
pub fn check_ring(ring: &Ring, limits: RingLimits) -> Verdict {
    let segments = ring.next() - ring.first();
    let (bytes, bytes_max) = (ring.bytes(), limits.bytes_max);
    Checker::Bounded.demand(bytes <= bytes_max || segments <= 1, || {
        format!("the ring holds {bytes} bytes of at most {bytes_max}")
    })?;
    Checker::Bounded.demand(segments <= SEGMENTS_MAX, || format!("the ring holds {segments} segments"))?;
    Checker::Bounded.demand(segments < 2 || !is_superfluous(ring, limits), || {
        format!("the ring holds {segments} segments, and the first is not needed")
    })
}

/// Whether the ring would fulfil its minimum without its first segment.
fn is_superfluous(ring: &Ring, limits: RingLimits) -> bool {
    let second = ring.first() + 1;
    let (Some(first), Some(next)) = (ring.get(ring.first()), ring.get(second)) else { return false };
    let Some(newest) = ring.newest() else { return false };
    let packets = ring.packets_pushed() - ring.packets_before(second);
    let has_access = ring.latest_access().is_some_and(|access| access >= second);
    let had_access = ring.latest_access().is_some();
    packets >= limits.packets_min
        && newest.at.saturating_since(next.at) >= limits.span_min
        && newest.at > first.at
        && (has_access || !had_access)
}

/// Bytes of packets that one stream may keep in memory with `readers` copies of its ring.
///
/// The ring itself, the segment being filled with what a seam adds to it, and per copy what it has not let go yet:
/// a copy is brought up to date with every flush, so that is one ring more at the very worst.
pub fn stream_bytes_max(limits: RingLimits, readers: usize) -> usize {
    (limits.bytes_max + SEGMENT_BYTES_MAX) * (1 + readers) + 2 * SEGMENT_BYTES_MAX
}

/// Everything that one stream keeps in memory.
pub fn check_held(held: u64, limits: RingLimits, readers: usize) -> Verdict {
    let held_max = stream_bytes_max(limits, readers) as u64;
    Checker::Bounded.demand(held <= held_max, || format!("a stream holds {held} bytes of at most {held_max}"))
}

/// A fan-out's copy of the ring.
pub fn check_copy(copy: &Ring, limits: RingLimits) -> Verdict {
    let segments = copy.next() - copy.first();
    let bytes_max = limits.bytes_max;
    Checker::Bounded.demand(copy.bytes() <= bytes_max || segments <= 1, || {
        format!("a copy of the ring holds {} bytes of at most {bytes_max}", copy.bytes())
    })
}

/// The number of viewers that are in.
pub fn check_viewers(viewers: usize, limits: AdmissionLimits) -> Verdict {
    let hard = limits.hard as usize;
    Checker::Bounded
        .demand(hard == 0 || viewers <= hard, || format!("{viewers} viewers are in, {hard} may be"))
}

/// A viewer whose socket has taken nothing since `blocked_since`.
pub fn check_stall(now: Instant, blocked_since: Instant, limit: Option<Duration>) -> Verdict {
    let blocked = now.saturating_since(blocked_since);
    let is_kept = limit.is_none_or(|limit| blocked <= limit + STALL_SLACK);
    Checker::Bounded
        .demand(is_kept, || format!("a socket has taken nothing for {blocked:?}, and is still kept"))
}
