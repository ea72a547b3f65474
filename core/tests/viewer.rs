//! Viewers of a ring: stories for each promise.

mod room;

use restreamer_core::{Duration, Policy, Read, RingLimits, Slow, ViewerEnd};

use room::{Room, SPACIOUS};

const PACKET: usize = 188;

/// Holds the last two segments of [`Room::push`], or three when that is what it takes to hold an access point.
const TIGHT: RingLimits = RingLimits { packets_min: 20, span_min: Duration::ZERO, bytes_max: 30 * PACKET };

fn slowly(slow: Slow) -> Policy {
    Policy { slow, ..Policy::default() }
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
