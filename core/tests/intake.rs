//! When a source is read again: rests that nobody notices, and holds that nobody can abuse.

use proptest::prelude::*;
use restreamer_core::intake::{HELD_RATE_MIN, HOLD_MAX, REST_BYTES_MAX, REST_MAX, is_rushed};
use restreamer_core::testing::Reel;
use restreamer_core::{
    Demand, Duration, Instant, Intake, Patience, Pause, Policy, Read, Ring, RingLimits, Viewer,
};

const LATENCY: Duration = Duration::from_millis(20);
const PACKET: usize = 188;
/// Packets of a segment in these tests, near to what a full one has.
const SEGMENT_PACKETS: usize = 340;

fn millis(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// An intake that has read a source of `rate` bytes per second for two seconds, once per millisecond; the last read
/// was at 2 s.
fn intake_of(rate: usize) -> Intake {
    let mut intake = Intake::new(LATENCY, 0);
    (0..=2_000).for_each(|ms| intake.handle_read(millis(ms), rate / 1_000));
    intake
}

/// How long a source of `rate` bytes per second rests, in milliseconds, when nobody watches.
fn rest_of(rate: usize, patience: Patience) -> Option<u128> {
    let ring = Ring::new(RingLimits::default());
    let pause = intake_of(rate).rest(millis(2_000), &ring, Demand::Nobody, patience)?;
    assert!(matches!(pause, Pause::Turn(_)));
    Some(pause.until().saturating_since(millis(2_000)).as_millis())
}

/// Somebody watches; writing to all of them costs so much.
fn watched(flush_cost: Duration) -> Demand {
    Demand::Viewers { wanted: None, flush_cost }
}

#[test]
fn nobodys_source_rests_for_the_flush_interval_or_less_if_much_would_pile_up() {
    let piles_up_in = |ms: usize| REST_BYTES_MAX * 1_000 / ms;
    for (rate, rest) in [
        (500_000, Some(20)),
        (piles_up_in(20), Some(20)),
        (piles_up_in(19), Some(10)),
        (piles_up_in(9), Some(5)),
        (piles_up_in(4), None),
        (1_000_000_000, None),
    ] {
        assert_eq!(rest_of(rate, Patience::Waits), rest, "{rate} bytes per second");
    }
}

#[test]
fn a_rest_is_a_part_of_the_flush_interval_and_neither_too_short_nor_too_long() {
    let ring = Ring::new(RingLimits::default());
    for (interval, rests) in [(0, false), (3, false), (4, true), (20, true), (50, true), (1_000, true)] {
        let mut intake = Intake::new(Duration::from_millis(interval), 0);
        (0..=20).for_each(|ms| intake.handle_read(millis(ms * 100), 50_000));
        let pause = intake.rest(millis(2_000), &ring, Demand::Nobody, Patience::Waits);
        let found = pause.map(|pause| pause.until().saturating_since(millis(2_000)));
        assert_eq!(found.is_some(), rests, "flushes every {interval} ms");
        assert!(found.is_none_or(|found| found <= REST_MAX), "flushes every {interval} ms");
    }
}

#[test]
fn datagrams_never_fill_more_than_a_part_of_the_kernels_buffer_during_a_rest() {
    for (buffer, rest) in
        [(200_000, Some(20)), (80_000, Some(20)), (79_000, Some(10)), (15_000, None), (0, None)]
    {
        assert_eq!(rest_of(500_000, Patience::Buffered(buffer)), rest, "{buffer} bytes");
    }
}

#[test]
fn a_source_whose_rate_is_not_known_yet_does_not_rest() {
    let (mut intake, ring) = (Intake::new(LATENCY, 0), Ring::new(RingLimits::default()));
    for ms in 0..200 {
        let rest = intake.rest(millis(ms), &ring, Demand::Nobody, Patience::Waits);
        assert_eq!(rest, None, "after {ms} ms");
        intake.handle_read(millis(ms), 500);
    }
}

#[test]
fn sources_of_one_rhythm_are_read_at_the_same_moments_while_nobody_watches() {
    let ring = Ring::new(RingLimits::default());
    for (seed, nanos) in [2_000_000_000, 2_000_000_001, 2_013_456_789, 2_019_999_999].into_iter().enumerate()
    {
        let mut intake = Intake::new(LATENCY, seed as u64 * 1_234_567);
        (0..=20).for_each(|ms| intake.handle_read(millis(ms * 100), 50_000));
        let now = Instant::from_nanos(nanos);
        intake.handle_read(now, 100);
        let turn = Some(Pause::Turn(millis(2_020)));
        assert_eq!(intake.rest(now, &ring, Demand::Nobody, Patience::Waits), turn);
    }
}

#[test]
fn what_one_read_does_not_take_is_read_before_the_source_rests() {
    assert!(rest_of(500_000, Patience::Waits).is_some());
    assert_eq!(rest_of(500_000, Patience::Backlog), None);
}

#[test]
fn after_a_pause_a_source_does_not_rest_until_its_rate_is_known() {
    let (mut intake, ring) = (intake_of(500_000), Ring::new(RingLimits::default()));
    intake.handle_read(millis(9_000), 1_316);
    assert_eq!(intake.rest(millis(9_000), &ring, Demand::Nobody, Patience::Waits), None);
}

/// A ring of 128 MiB would take 1.75 s to fill at the least rate; a read timeout may be a second.
#[test]
fn no_hold_is_as_long_as_a_read_timeout() {
    let limits = RingLimits { bytes_max: 128 << 20, ..RingLimits::default() };
    let (mut ring, mut reel) = (Ring::new(limits), Reel::new());
    while ring.first() == 0 {
        ring.push(reel.segment(millis(1), SEGMENT_PACKETS as u64, false));
    }
    let demand = Demand::Viewers { wanted: Some(ring.first()), flush_cost: Duration::ZERO };
    let pause = intake_of(500_000).rest(millis(2), &ring, demand, Patience::Waits);
    assert_eq!(pause, Some(Pause::Hold(millis(1) + HOLD_MAX)));
    const { assert!(HOLD_MAX.as_millis() < 1_000) };
}

#[test]
fn a_watched_source_rests_for_a_flush_interval_or_a_part_of_it() {
    let ring = Ring::new(RingLimits::default());
    for (flush_cost_us, rest_ms) in [(0, 5), (51, 10), (101, 20), (5_000, 20)] {
        let demand = watched(Duration::from_micros(flush_cost_us));
        let pause = intake_of(500_000).rest(millis(2_000), &ring, demand, Patience::Waits);
        assert_eq!(pause, Some(Pause::Turn(millis(2_000 + rest_ms))), "a flush costs {flush_cost_us} µs");
    }
}

#[test]
fn watched_datagrams_and_pipes_do_not_rest() {
    let (intake, ring) = (intake_of(500_000), Ring::new(RingLimits::default()));
    for patience in [Patience::Buffered(1 << 20), Patience::Backlog] {
        assert_eq!(intake.rest(millis(2_000), &ring, watched(Duration::MAX), patience), None);
    }
}

#[test]
fn streams_that_are_watched_have_their_turns_at_moments_of_their_own() {
    let ring = Ring::new(RingLimits::default());
    let turn = |seed: u64, flush_cost: Duration| {
        let mut intake = Intake::new(LATENCY, seed);
        (0..=20).for_each(|ms| intake.handle_read(millis(ms * 100), 5_000));
        let pause = intake.rest(millis(2_000), &ring, watched(flush_cost), Patience::Waits);
        pause.unwrap().until().saturating_since(millis(2_000)).as_micros()
    };
    let rare: Vec<_> = (0..5).map(|seed| turn(seed * 7_000_000, Duration::MAX)).collect();
    assert_eq!(rare, [20_000, 7_000, 14_000, 1_000, 8_000]);
    // The same moments, and others between them.
    let often: Vec<_> = (0..5).map(|seed| turn(seed * 7_000_000, Duration::ZERO)).collect();
    assert_eq!(often, [5_000, 2_000, 4_000, 1_000, 3_000]);
}

/// A source without a pace of its own, a small ring, and viewers who read at some rate.
struct Stage {
    reel: Reel,
    ring: Ring,
    intake: Intake,
    now: Instant,
    viewers: Vec<Player>,
}

struct Player {
    viewer: Viewer,
    /// Bytes per second that its socket takes.
    rate: u64,
    allowance: u64,
}

impl Stage {
    fn new(rates: &[u64]) -> Self {
        let limits = RingLimits { bytes_max: 1 << 20, ..RingLimits::default() };
        let viewers = rates.iter().map(|&rate| Player { viewer: Viewer::new(), rate, allowance: 0 });
        Stage {
            reel: Reel::new(),
            ring: Ring::new(limits),
            intake: Intake::new(LATENCY, 0),
            now: Instant::ORIGIN,
            viewers: viewers.collect(),
        }
    }

    /// For so long, in steps of 0.1 ms: the source delivers up to `rate` bytes per second as far as it is read, and
    /// the viewers take what they can. Answers how many bytes were read.
    fn run(&mut self, duration: Duration, rate: u64) -> u64 {
        let (mut read, mut due) = (0, 0);
        let step = Duration::from_micros(100);
        for _ in 0..duration.as_micros() / step.as_micros() {
            self.now += step;
            due += rate * 100 / 1_000_000;
            while read + (SEGMENT_PACKETS * PACKET) as u64 <= due && !self.is_held() {
                let is_access = self.reel.frames().len().is_multiple_of(8);
                self.ring.push(self.reel.segment(self.now, SEGMENT_PACKETS as u64, is_access));
                read += (SEGMENT_PACKETS * PACKET) as u64;
                self.play(step / 20);
            }
            self.play(step);
        }
        read
    }

    fn play(&mut self, time: Duration) {
        for player in &mut self.viewers {
            player.allowance += player.rate * time.as_nanos() as u64 / 1_000_000_000;
            if player.viewer.read(&self.ring, &Policy::default()) == Read::Ready {
                let offered: usize = player.viewer.pieces(&self.ring).map(<[u8]>::len).sum();
                let taken = player.allowance.min(offered as u64);
                player.viewer.advance(taken as usize, &self.ring);
                player.allowance -= taken;
            }
            player.allowance = player.allowance.min(1 << 20);
        }
    }

    fn is_held(&self) -> bool {
        let wanted = self.viewers.iter().filter_map(|player| player.viewer.wanted());
        let wanted = wanted.filter(|&wanted| wanted >= self.ring.first()).min();
        let wanted = wanted.filter(|_| is_rushed(&self.ring));
        let demand = Demand::Viewers { wanted, flush_cost: Duration::ZERO };
        self.intake.rest(self.now, &self.ring, demand, Patience::Waits).is_some()
    }

    fn skips(&self, viewer: usize) -> u32 {
        self.viewers[viewer].viewer.stats().skips
    }
}

const SECOND: Duration = Duration::from_secs(1);
const UNPACED: u64 = 1_000_000_000;

#[test]
fn a_viewer_who_is_slower_than_the_source_but_quick_loses_nothing() {
    let mut stage = Stage::new(&[2 * HELD_RATE_MIN]);
    let read = stage.run(SECOND, UNPACED);
    assert_eq!(stage.skips(0), 0);
    assert!(read > HELD_RATE_MIN * 3 / 2, "{read} bytes");
}

#[test]
fn a_stuck_viewer_holds_a_source_once_and_not_again() {
    let mut stage = Stage::new(&[0]);
    let read = stage.run(SECOND, UNPACED);
    assert!(read > UNPACED * 95 / 100, "{read} bytes");
}

#[test]
fn slow_viewers_hold_a_source_no_lower_than_the_least_rate() {
    for rate in [1 << 10, 1 << 20, 16 << 20, HELD_RATE_MIN - 1] {
        let mut stage = Stage::new(&[rate; 20]);
        let read = stage.run(SECOND, UNPACED);
        assert!(read > HELD_RATE_MIN * 9 / 10, "{read} bytes with viewers of {rate} bytes per second");
    }
}

#[test]
fn a_viewer_who_had_to_skip_holds_nobody_up_until_he_has_caught_up() {
    let mut stage = Stage::new(&[HELD_RATE_MIN / 4]);
    stage.run(SECOND, UNPACED);
    assert!(stage.skips(0) > 0);
    assert_eq!(stage.viewers[0].viewer.wanted(), None);
    stage.run(SECOND, HELD_RATE_MIN / 8);
    assert!(stage.viewers[0].viewer.wanted().is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Whatever viewers do: what is slower than the least rate comes in as if they were not there.
    #[test]
    fn a_live_source_is_never_held(
        rate in HELD_RATE_MIN / 64..HELD_RATE_MIN * 9 / 10,
        viewers in prop::collection::vec(0..2 * HELD_RATE_MIN, 0..6),
    ) {
        let alone = Stage::new(&[]).run(SECOND, rate);
        prop_assert_eq!(Stage::new(&viewers).run(SECOND, rate), alone);
    }
}
