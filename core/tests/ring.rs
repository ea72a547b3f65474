//! The ring beside a plain list of everything that was pushed.

use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;
use restreamer_core::ring::RING_SEGMENTS_MAX;
use restreamer_core::testing::{Frame, Reel};
use restreamer_core::{Duration, Instant, Ring, RingLimits};

const PACKET: usize = 188;

/// Evicts as soon as nothing must be held.
const LEAST: RingLimits = RingLimits { packets_min: 0, span_min: Duration::ZERO, bytes_max: usize::MAX };

/// A ring, and what makes its segments: ten packets each, one a second.
struct Track {
    reel: Reel,
    ring: Ring,
}

impl Track {
    fn new(limits: RingLimits) -> Self {
        Track { reel: Reel::new(), ring: Ring::new(limits) }
    }

    /// Pushes segments: `K` begins with an access point, `-` does not.
    fn play(&mut self, segments: &str) -> &mut Self {
        for kind in segments.chars() {
            let at = Instant::from_millis(self.reel.frames().len() as u64 * 1_000);
            self.ring.push(self.reel.segment(at, 10, kind == 'K'));
        }
        self
    }

    fn held(&self) -> Range<u64> {
        self.ring.first()..self.ring.next()
    }
}

#[test]
fn a_ring_holds_its_minimum_of_packets_and_no_segment_more() {
    for (packets_min, held) in [(0, 7..8), (10, 7..8), (11, 6..8), (20, 6..8), (35, 4..8), (1_000, 0..8)] {
        let mut track = Track::new(RingLimits { packets_min, ..LEAST });
        assert_eq!(track.play("--------").held(), held, "{packets_min} packets");
    }
}

#[test]
fn a_ring_holds_its_minimum_of_time_and_no_segment_more() {
    for (millis, held) in [(0, 7..8), (1, 6..8), (1_000, 6..8), (1_001, 5..8), (60_000, 0..8)] {
        let mut track = Track::new(RingLimits { span_min: Duration::from_millis(millis), ..LEAST });
        assert_eq!(track.play("--------").held(), held, "{millis} ms");
    }
}

/// A viewer looks at the ring when a flush has been pushed, not between its segments.
#[test]
fn what_is_published_together_is_held_together() {
    let (mut reel, mut ring) = (Reel::new(), Ring::new(LEAST));
    for (ms, first) in [(0, 0), (0, 0), (0, 0), (20, 3), (20, 3), (40, 5)] {
        ring.push(reel.segment(Instant::from_millis(ms), 10, true));
        assert_eq!(ring.first(), first, "at {ms} ms");
    }
}

#[test]
fn a_ring_reaches_back_to_an_access_point() {
    for (segments, held) in
        [("--K----", 2..7), ("--K---K", 6..7), ("--K-K--", 4..7), ("-------", 6..7), ("K------", 0..7)]
    {
        assert_eq!(Track::new(LEAST).play(segments).held(), held, "{segments}");
    }
}

#[test]
fn a_ring_never_holds_more_bytes_than_its_maximum_whatever_it_must_hold() {
    let limits = RingLimits { packets_min: 1_000, span_min: Duration::from_secs(60), bytes_max: 35 * PACKET };
    let mut track = Track::new(limits);
    assert_eq!(track.play("K------").held(), 4..7);
    assert_eq!(track.ring.latest_access(), None);
    assert_eq!((track.ring.bytes(), track.ring.packets()), (30 * PACKET, 30));
}

#[test]
fn a_segment_larger_than_the_maximum_is_held_alone() {
    let mut track = Track::new(RingLimits { bytes_max: 9 * PACKET, ..LEAST });
    assert_eq!(track.play("K").held(), 0..1);
    assert_eq!(track.play("-").held(), 1..2);
}

#[test]
fn the_psi_of_segments_is_held_to_the_maximum_too_and_counts_once_where_it_is_shared() {
    // A source that sent a PAT with every access point made segments of one packet with 12 KiB of PSI each.
    let limits = RingLimits { bytes_max: 100 * PACKET, ..RingLimits::default() };
    let mut track = Track::new(limits);
    track.reel.change_psi(40);
    assert_eq!(track.play("K-----").held(), 0..6);
    assert_eq!(track.ring.bytes(), 100 * PACKET);
    track.reel.change_psi(30);
    assert_eq!(track.play("-").held(), 4..7);
    assert_eq!(track.ring.bytes(), (30 + 40 + 30) * PACKET);
    assert_eq!(track.play("-").held(), 5..8);
    assert_eq!(track.play("-").held(), 6..9);
    assert_eq!(track.ring.bytes(), 60 * PACKET);
    track.ring.clear();
    assert_eq!(track.ring.bytes(), 0);
}

#[test]
fn a_ring_never_holds_more_segments_than_there_may_be() {
    let limits = RingLimits { packets_min: u64::MAX, span_min: Duration::MAX, bytes_max: usize::MAX };
    let mut track = Track::new(limits);
    for _ in 0..=RING_SEGMENTS_MAX {
        let segment = track.reel.segment(Instant::ORIGIN, 1, false);
        track.ring.push(segment);
    }
    assert_eq!(track.held(), 1..RING_SEGMENTS_MAX as u64 + 1);
}

#[test]
fn sequence_numbers_go_on_when_a_ring_is_emptied() {
    let mut track = Track::new(LEAST);
    track.play("K-").ring.clear();
    assert_eq!(track.held(), 2..2);
    assert_eq!((track.ring.bytes(), track.ring.packets(), track.ring.latest_access()), (0, 0, None));
    assert_eq!((track.ring.packets_pushed(), track.ring.packets_evicted()), (20, 20));
    assert!(track.ring.newest().is_none());
    assert_eq!(track.play("-").held(), 2..3);
    assert_eq!(track.ring.packets_before(2), 20);
}

/// What is done to a ring, or to its copy.
#[derive(Clone, Debug)]
enum Step {
    Push { wait_ms: u64, packets: u64, is_access: bool },
    ChangePsi(u64),
    Clear,
    ClearCopy,
    CatchUp,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..300u64, 1..6u64, prop::bool::weighted(0.3))
            .prop_map(|(wait_ms, packets, is_access)| Step::Push { wait_ms, packets, is_access }),
        2 => (0..4u64).prop_map(Step::ChangePsi),
        1 => Just(Step::Clear),
        1 => Just(Step::ClearCopy),
        3 => Just(Step::CatchUp),
    ]
}

fn limits() -> impl Strategy<Value = RingLimits> {
    (0..40u64, 0..2_000u64, 0..60usize).prop_map(|(packets_min, span_ms, packets_max)| RingLimits {
        packets_min,
        span_min: Duration::from_millis(span_ms),
        bytes_max: packets_max * PACKET,
    })
}

/// Everything that can be seen of a ring is what the list says about the segments it holds.
fn check(ring: &Ring, reel: &Reel) {
    let pushed = &reel.frames()[..ring.next() as usize];
    let held = &pushed[ring.first() as usize..];
    let first_packet = held.first().map_or_else(|| ring.packets_pushed(), |frame| frame.first);
    let last = held.last();
    for (sequence, frame) in (ring.first()..).zip(held) {
        let segment = ring.get(sequence).unwrap();
        assert_eq!((segment.at, segment.packets()), (frame.at, frame.packets));
        assert_eq!(segment.access.is_some(), frame.is_access);
        assert_eq!(ring.packets_before(sequence), frame.first);
    }
    for gone in [ring.first().wrapping_sub(1), ring.next(), u64::MAX] {
        assert!(ring.get(gone).is_none());
    }
    assert_eq!(ring.packets_pushed(), pushed.last().map_or(0, |frame| frame.first + frame.packets));
    assert_eq!(ring.packets_before(ring.next()), ring.packets_pushed());
    assert_eq!(ring.packets_evicted(), first_packet);
    assert_eq!(ring.packets(), ring.packets_pushed() - first_packet);
    assert_eq!(ring.bytes(), Frame::bytes(held));
    assert_eq!(ring.newest().map(|segment| segment.at), last.map(|frame| frame.at));
    let access = || (ring.first()..).zip(held).filter(|(_, frame)| frame.is_access);
    assert_eq!(ring.latest_access(), access().last().map(|(sequence, _)| sequence));
    for at in (0..20).map(|step| Instant::from_millis(step * 500)) {
        let before = access().filter(|(_, frame)| frame.at <= at).last().or(access().next());
        assert_eq!(ring.access_at_or_before(at), before.map(|(sequence, _)| sequence));
        let after = (ring.first()..).zip(held).find(|(_, frame)| frame.at >= at);
        assert_eq!(ring.first_at_or_after(at), after.map_or(ring.next(), |(sequence, _)| sequence));
    }
    for packets in [0, 1, 5, 17, 1_000] {
        let begin =
            (ring.first()..).zip(held).find(|(_, frame)| ring.packets_pushed() - frame.first <= packets);
        assert_eq!(ring.first_of_last(packets), begin.map_or(ring.next(), |(sequence, _)| sequence));
    }
}

/// Whether the oldest of these segments has to go: they are over the maximum, or enough without it.
fn can_shrink(frames: &[Frame], limits: &RingLimits) -> bool {
    let [oldest, left @ ..] = frames else { return false };
    let (Some(first), Some(last)) = (left.first(), left.last()) else { return false };
    let has_access = |frames: &[Frame]| frames.iter().any(|frame| frame.is_access);
    let is_enough = last.first + last.packets - first.first >= limits.packets_min
        && last.at.saturating_since(first.at) >= limits.span_min
        && oldest.at < last.at
        && (has_access(left) || !has_access(frames));
    is_enough || Frame::bytes(frames) > limits.bytes_max
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_ring_and_its_copy_hold_what_the_list_says(limits in limits(), steps in vec(step(), 1..100)) {
        let (mut reel, mut ring, mut copy) = (Reel::new(), Ring::new(limits), Ring::new(limits));
        let mut now = Instant::ORIGIN;
        for step in steps {
            match step {
                Step::Push { wait_ms, packets, is_access } => {
                    now += Duration::from_millis(wait_ms);
                    let before = ring.clone();
                    let sequence = ring.push(reel.segment(now, packets, is_access));
                    prop_assert_eq!(sequence, before.next());
                    let frames = |first: u64| &reel.frames()[first as usize..];
                    prop_assert!(!can_shrink(frames(ring.first()), &limits), "more is held than may be");
                    if ring.first() > before.first() {
                        prop_assert!(can_shrink(frames(ring.first() - 1), &limits), "too much was evicted");
                    }
                }
                Step::ChangePsi(packets) => reel.change_psi(packets),
                Step::Clear => ring.clear(),
                Step::ClearCopy => copy.clear(),
                Step::CatchUp => {
                    copy.catch_up(&ring);
                    prop_assert_eq!((copy.first(), copy.next()), (ring.first(), ring.next()));
                    check(&copy, &reel);
                }
            }
            check(&ring, &reel);
        }
    }
}
