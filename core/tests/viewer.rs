//! Viewers of a ring: stories for each promise, and a model of every policy beside random histories.

mod room;

use proptest::collection::vec;
use proptest::prelude::*;
use restreamer_core::fuzz::stage::{Stage, Step};
use restreamer_core::{Duration, Join, Policy, Read, RingLimits, Slow, ViewerEnd, ViewerStats};

use room::{Room, SPACIOUS};

const PACKET: usize = 188;

/// Holds the last two segments of [`Room::play`], or three when that is what it takes to hold an access point.
const TIGHT: RingLimits = RingLimits { packets_min: 20, span_min: Duration::ZERO, bytes_max: 33 * PACKET };

fn joining(join: Join) -> Policy {
    Policy { join, ..Policy::default() }
}

fn slowly(slow: Slow) -> Policy {
    Policy { slow, ..Policy::default() }
}

fn lagging(slow: Slow, lag_max_s: u64) -> Policy {
    Policy { slow, lag_max: Some(Duration::from_secs(lag_max_s)), lag_packets_min: 0, ..Policy::default() }
}

#[test]
fn a_viewer_joins_at_the_latest_access_point_behind_its_psi_and_gets_all_that_follows() {
    let mut room = Room::new(SPACIOUS, Policy::default());
    room.reel.change_psi(2);
    room.play("K--K--");
    room.take_all();
    room.play("-K");
    room.take_all();
    assert_eq!(room.got(), "psi1[0..2] 30..80");
    assert_eq!(room.read(), Read::Idle);
    assert_eq!(room.viewer.stats(), ViewerStats { bytes_sent: 52 * 188, ..ViewerStats::default() });
}

#[test]
fn without_an_access_point_a_viewer_waits_for_the_first() {
    for join in [Join::Keyframe, Join::Behind(Duration::from_secs(1))] {
        let mut room = Room::new(SPACIOUS, joining(join));
        assert_eq!(room.read(), Read::Idle);
        room.play("---");
        assert_eq!(room.read(), Read::Idle);
        assert!(!room.viewer.has_joined());
        room.play("K");
        room.take_all();
        assert_eq!(room.got(), "30..40");
    }
}

#[test]
fn a_viewer_that_joins_live_gets_the_next_segment_whatever_it_is() {
    let mut room = Room::new(SPACIOUS, joining(Join::Live));
    room.reel.change_psi(2);
    room.play("K-");
    assert_eq!(room.read(), Read::Idle);
    room.play("-");
    room.take_all();
    assert_eq!(room.got(), "psi1[0..2] 20..30");
}

#[test]
fn a_viewer_that_joins_behind_gets_the_nearest_access_point_that_is_old_enough() {
    // Access points are 9, 6, 3 and 0 seconds behind live.
    let table = [(0, 90), (1, 60), (3, 60), (4, 30), (6, 30), (9, 0), (10, 0), (10_000, 0)];
    for (seconds, expected) in table {
        let mut room = Room::new(SPACIOUS, joining(Join::Behind(Duration::from_secs(seconds))));
        room.play("K--K--K--K");
        room.take_all();
        assert_eq!(room.got(), format!("{expected}..100"), "{seconds} s behind");
    }
}

#[test]
fn before_the_ring_reaches_back_far_enough_its_oldest_access_point_is_the_place_to_join_behind() {
    let mut room = Room::new(SPACIOUS, joining(Join::Behind(Duration::from_secs(60))));
    room.play("--K-K");
    room.take_all();
    assert_eq!(room.got(), "20..50");
}

#[test]
fn wherever_a_socket_stops_the_bytes_are_the_same() {
    for cut in 0..=(2 + 20) * PACKET {
        let mut room = Room::new(SPACIOUS, Policy::default());
        room.reel.change_psi(2);
        room.play("K-");
        room.take(cut);
        assert_eq!(room.viewer.is_between_packets(), cut % PACKET == 0, "{cut} bytes taken");
        room.take(1);
        room.take_all();
        assert_eq!(room.got(), "psi1[0..2] 0..20", "{cut} bytes taken");
    }
}

#[test]
fn a_packet_begun_is_finished_even_when_its_segment_is_gone() {
    let table = [
        (Slow::Keyframe, "psi1[0..1] 0..1 psi1[0..1] 40..70"),
        (Slow::Oldest, "psi1[0..1] 0..1 psi1[0..1] 40..70"),
        (Slow::Live, "psi1[0..1] 0..1 psi1[0..1] 60..70"),
        (Slow::Disconnect, "psi1[0..1] 0..1"),
    ];
    for (slow, expected) in table {
        for cut in 1..PACKET {
            let mut room = Room::new(TIGHT, slowly(slow));
            room.reel.change_psi(1);
            room.play("K-");
            room.take(PACKET + cut);
            room.play("--K-");
            assert_eq!(room.ring.first(), 4);
            room.take(1);
            room.take_all();
            room.play("-");
            room.take_all();
            assert_eq!(room.got(), expected, "{slow:?}, {cut} bytes taken");
        }
    }
}

#[test]
fn a_viewer_that_is_disconnected_within_a_packet_is_offered_nothing_behind_it() {
    // It was offered the rest of its packet and then, without PSI, the oldest packets held.
    let mut room = Room::new(TIGHT, slowly(Slow::Disconnect));
    room.play("K-");
    room.take(100);
    room.play("--K-");
    assert_eq!(room.take_all(), 88);
    assert_eq!(room.read(), Read::Ended(ViewerEnd::TooSlow));
    assert_eq!(room.got(), "0..1");
}

#[test]
fn an_evicted_viewer_goes_on_where_its_policy_says() {
    let table = [
        (Slow::Keyframe, "psi1[0..2] 0..5 psi1[0..2] 80..90", Read::Idle),
        (Slow::Oldest, "psi1[0..2] 0..5 psi1[0..2] 70..90", Read::Idle),
        (Slow::Live, "psi1[0..2] 0..5", Read::Idle),
        (Slow::Disconnect, "psi1[0..2] 0..5", Read::Ended(ViewerEnd::TooSlow)),
    ];
    for (slow, expected, end) in table {
        let mut room = Room::new(TIGHT, slowly(slow));
        room.reel.change_psi(2);
        room.play("K-");
        room.take(7 * PACKET);
        room.play("------K");
        room.take_all();
        assert_eq!(room.got(), expected, "{slow:?}");
        assert_eq!(room.read(), end, "{slow:?}");
    }
}

#[test]
fn an_evicted_viewer_without_an_access_point_waits_for_the_next() {
    let mut room = Room::new(TIGHT, Policy::default());
    room.play("K");
    room.take(PACKET);
    room.play("-----");
    assert_eq!(room.read(), Read::Idle);
    room.play("--");
    assert_eq!(room.read(), Read::Idle);
    room.play("K");
    room.take_all();
    assert_eq!(room.got(), "0..1 80..90");
    let stats = room.viewer.stats();
    assert_eq!((stats.skips, stats.packets_skipped), (1, 79));
}

#[test]
fn a_viewer_that_lags_goes_on_where_its_policy_says() {
    // It is in the segment of second 1; the newest one arrived in second 8.
    let ended = Read::Ended(ViewerEnd::TooSlow);
    let table = [
        (Slow::Keyframe, 7, "0..80", Read::Idle),
        (Slow::Keyframe, 6, "0..1 50..80", Read::Idle),
        (Slow::Oldest, 7, "0..80", Read::Idle),
        (Slow::Oldest, 6, "0..1 10..80", Read::Idle),
        (Slow::Oldest, 2, "0..1 50..80", Read::Idle),
        (Slow::Oldest, 0, "0..1 70..80", Read::Idle),
        (Slow::Live, 7, "0..80", Read::Idle),
        (Slow::Live, 6, "0..1", Read::Idle),
        (Slow::Disconnect, 7, "0..80", Read::Idle),
        (Slow::Disconnect, 6, "0..1", ended),
    ];
    for (slow, lag_max_s, expected, end) in table {
        let mut room = Room::new(SPACIOUS, lagging(slow, lag_max_s));
        room.play("K");
        room.take(PACKET);
        room.play("-K--K--");
        room.take_all();
        assert_eq!(room.got(), expected, "{slow:?}, {lag_max_s} s");
        assert_eq!(room.read(), end, "{slow:?}, {lag_max_s} s");
    }
}

#[test]
fn a_viewer_that_lags_with_no_access_point_ahead_stays_where_it_is() {
    let mut room = Room::new(SPACIOUS, lagging(Slow::Keyframe, 1));
    room.play("K");
    room.take(PACKET);
    room.play("------");
    room.take_all();
    assert_eq!(room.got(), "0..70");
    assert_eq!(room.viewer.stats().skips, 0);
}

#[test]
fn a_lag_of_few_packets_is_allowed_however_long_it_is() {
    for (lag_packets_min, expected) in [(68, "0..1 60..70"), (69, "0..70")] {
        let mut room = Room::new(SPACIOUS, Policy { lag_packets_min, ..lagging(Slow::Keyframe, 1) });
        room.play("K");
        room.take(PACKET);
        room.play("-----K");
        room.take_all();
        assert_eq!(room.got(), expected, "{lag_packets_min} packets");
    }
}

#[test]
fn going_on_at_the_oldest_leaves_out_no_packet_that_may_be_late() {
    // Two seconds are allowed, and so are the last 45 packets: four and a half segments.
    let mut room = Room::new(SPACIOUS, Policy { lag_packets_min: 45, ..lagging(Slow::Oldest, 2) });
    room.play("K");
    room.take(PACKET);
    room.play("------");
    room.take_all();
    assert_eq!(room.got(), "0..1 30..70");
}

#[test]
fn the_lag_that_comes_with_a_join_is_not_held_against_a_viewer() {
    // The access point to join at may be older than `maxlag`: a viewer was made to skip it, or ended, before its
    // first byte.
    for slow in [Slow::Oldest, Slow::Live, Slow::Disconnect] {
        for join in [Join::Keyframe, Join::Behind(Duration::from_secs(2))] {
            let mut room = Room::new(SPACIOUS, Policy { join, ..lagging(slow, 2) });
            room.play("K-----");
            room.take(PACKET);
            room.play("--");
            room.take_all();
            assert_eq!(room.got(), "0..80", "{slow:?} {join:?}");
        }
    }
}

#[test]
fn once_a_viewer_has_caught_up_the_lag_of_its_join_is_no_excuse() {
    for (join, lag_max_s) in [(Join::Keyframe, 2), (Join::Behind(Duration::from_secs(1)), 1)] {
        for (more, end) in [("---", Read::Ready), ("----", Read::Ended(ViewerEnd::TooSlow))] {
            let mut room = Room::new(SPACIOUS, Policy { join, ..lagging(Slow::Disconnect, lag_max_s) });
            room.play("K-----");
            room.take_all();
            room.read();
            room.play(more);
            assert_eq!(room.read(), end, "{join:?} {more}");
        }
    }
}

#[test]
fn a_viewer_that_falls_back_behind_its_join_is_too_slow() {
    let mut room = Room::new(SPACIOUS, lagging(Slow::Disconnect, 2));
    room.play("K-----");
    room.take(PACKET);
    room.play("--");
    assert_eq!(room.read(), Read::Ready);
    room.play("-");
    assert_eq!(room.read(), Read::Ended(ViewerEnd::TooSlow));
}

#[test]
fn a_viewer_goes_on_with_what_comes_after_the_ring_was_emptied() {
    for slow in [Slow::Keyframe, Slow::Oldest, Slow::Live] {
        let mut room = Room::new(SPACIOUS, slowly(slow));
        room.play("K-");
        room.take(PACKET + 1);
        room.ring.clear();
        room.take_all();
        assert_eq!(room.read(), Read::Idle);
        room.play("K");
        room.take_all();
        assert_eq!(room.got(), "0..2 20..30", "{slow:?}");
        assert_eq!(room.viewer.stats().packets_skipped, 18, "{slow:?}");
    }
}

#[test]
fn one_that_had_everything_loses_nothing_when_the_ring_is_emptied() {
    for slow in [Slow::Keyframe, Slow::Oldest, Slow::Live, Slow::Disconnect] {
        let mut room = Room::new(SPACIOUS, lagging(slow, 0));
        room.play("K-");
        room.take_all();
        room.ring.clear();
        assert_eq!(room.read(), Read::Idle);
        room.play("-");
        room.take_all();
        assert_eq!(room.got(), "0..30", "{slow:?}");
    }
}

#[test]
fn psi_that_was_begun_is_begun_again_after_a_skip() {
    let mut room = Room::new(TIGHT, Policy::default());
    room.reel.change_psi(3);
    room.play("K");
    room.take(PACKET + 1);
    room.reel.change_psi(2);
    room.play("--K");
    room.take_all();
    assert_eq!(room.got(), "psi1[0..2] psi2[0..2] 30..40");
}

#[test]
fn a_viewer_that_is_ended_gets_the_rest_of_its_packet_only() {
    for (taken, rest) in [(0, 0), (1, 187), (187, 1), (188, 0)] {
        let mut room = Room::new(SPACIOUS, Policy::default());
        room.play("K-");
        room.take(taken);
        room.viewer.end();
        assert_eq!(room.take_all(), rest);
        room.play("K");
        assert_eq!(room.read(), Read::Ended(ViewerEnd::Asked));
        assert!(room.viewer.is_between_packets());
    }
}

#[test]
fn a_viewer_that_is_ended_before_it_has_a_place_never_gets_one() {
    let mut room = Room::new(SPACIOUS, Policy::default());
    room.viewer.end();
    room.play("K");
    assert_eq!(room.read(), Read::Ended(ViewerEnd::Asked));
}

#[test]
#[should_panic(expected = "a viewer advances only over what it was offered")]
fn a_driver_that_takes_more_than_was_offered_is_found_out() {
    let mut room = Room::new(SPACIOUS, Policy::default());
    room.play("K");
    assert_eq!(room.read(), Read::Ready);
    room.viewer.advance(10 * PACKET + 1, &room.ring);
}

fn millis(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

fn limits() -> impl Strategy<Value = RingLimits> {
    (0..40u64, millis(0..2_000), 0..60usize).prop_map(|(packets_min, span_min, packets_max)| RingLimits {
        packets_min,
        span_min,
        bytes_max: packets_max * PACKET,
    })
}

fn policy() -> impl Strategy<Value = Policy> {
    let join = prop_oneof![Just(Join::Keyframe), Just(Join::Live), millis(0..3_000).prop_map(Join::Behind),];
    let slow =
        prop_oneof![Just(Slow::Keyframe), Just(Slow::Oldest), Just(Slow::Live), Just(Slow::Disconnect)];
    (join, slow, prop::option::of(millis(0..1_500)), 0..20u32)
        .prop_map(|(join, slow, lag_max, lag_packets_min)| Policy { join, slow, lag_max, lag_packets_min })
}

fn step() -> impl Strategy<Value = Step> {
    let taken = prop_oneof![Just(usize::MAX), 0..1_000usize, any::<usize>()];
    prop_oneof![
        8 => (millis(0..300), 1..6u64, prop::bool::weighted(0.3))
            .prop_map(|(wait, packets, is_access)| Step::Push { wait, packets, is_access }),
        1 => (0..4u64).prop_map(Step::ChangePsi),
        1 => Just(Step::Clear),
        3 => Just(Step::CatchUp),
        2 => (policy(), any::<bool>()).prop_map(|(policy, on_copy)| Step::Enter { policy, on_copy }),
        12 => (0..8usize, taken).prop_map(|(viewer, taken)| Step::Read { viewer, taken }),
        1 => (0..8usize).prop_map(|viewer| Step::End { viewer }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_viewer_gets_what_its_policies_say_and_nothing_else(limits in limits(), steps in vec(step(), 1..150)) {
        let mut stage = Stage::new(limits);
        steps.into_iter().for_each(|step| stage.step(step));
        stage.drain();
    }
}
