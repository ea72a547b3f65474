//! Where segments are cut, packet by packet.

mod channel;

use restreamer_core::fuzz::program::Piece::{self, *};
use restreamer_core::fuzz::program::Program;
use restreamer_core::testing::Mark;
use restreamer_core::ts::Packet;
use restreamer_core::{AccessKind, CloseKind, Duration, SEGMENT_BYTES_MAX, Segment};

use channel::{Channel, config};

/// A channel and the program that its newest connection delivers.
struct Feed {
    channel: Channel,
    program: Program,
    number: u64,
}

impl Feed {
    fn new() -> Self {
        let mut feed = Feed { channel: Channel::new(config()), program: Program::default(), number: 0 };
        feed.begin();
        feed
    }

    /// A feed whose first segment has been published.
    fn flowing() -> Self {
        let mut feed = Feed::new();
        feed.send(&[Pat, Pmt, Key]);
        feed.wait(20);
        feed.channel.segments.clear();
        feed
    }

    /// Enough packets for the framer to be sure.
    fn begin(&mut self) {
        self.program = Program::default();
        self.send(&[Null; 8]);
    }

    /// Sends pieces and then a null packet: the framer gives a packet out when it has seen where the next begins.
    fn send(&mut self, pieces: &[Piece]) {
        let mut bytes = Vec::new();
        for &piece in pieces.iter().chain(&[Null]) {
            self.program.append(piece, self.number, &mut bytes);
            self.number += 1;
        }
        self.channel.data(&bytes);
    }

    fn wait(&mut self, millis: u64) {
        self.channel.wait(Duration::from_millis(millis));
    }

    /// The next connection begins.
    fn reconnect(&mut self) {
        self.channel.wait(Duration::from_secs(10));
        self.channel.close(CloseKind::Ended);
        self.begin();
    }

    fn segments(&self) -> &[Segment] {
        &self.channel.segments
    }
}

/// Numbers of the packets of a segment; marks have none.
fn numbers(segment: &Segment) -> Vec<u64> {
    Packet::all(&segment.data).filter_map(|packet| Some(Mark::read(packet.bytes())?.sequence)).collect()
}

/// The pieces that a segment is made of, by number.
fn access(segments: &[Segment]) -> Vec<(Vec<u64>, Option<AccessKind>)> {
    segments.iter().map(|segment| (numbers(segment), segment.access)).collect()
}

const INDICATOR: Option<AccessKind> = Some(AccessKind::Indicator);
const SNIFFED: Option<AccessKind> = Some(AccessKind::Sniffed);

#[test]
fn the_first_connection_begins_at_its_access_point_without_a_seam() {
    let mut feed = Feed::new();
    let first = feed.number;
    feed.send(&[Picture, Rest, Pat, Pmt, Rest, Key, Rest]);
    feed.wait(20);
    let [segment] = feed.segments() else { panic!("one segment") };
    assert_eq!(numbers(segment), [first + 5, first + 6]);
    assert!(!segment.seam && segment.access == INDICATOR);
    let psi: Vec<_> = Packet::all(&segment.psi).filter_map(|packet| Mark::read(packet.bytes())).collect();
    assert_eq!(psi.iter().map(|mark| mark.sequence).collect::<Vec<_>>(), [first + 2, first + 3]);
}

#[test]
fn an_access_point_begins_a_segment_and_all_that_waits_is_published_together() {
    let mut feed = Feed::flowing();
    let first = feed.number;
    feed.send(&[Rest]);
    feed.wait(10);
    feed.send(&[Key, Rest]);
    feed.wait(9);
    assert!(feed.segments().is_empty());
    feed.wait(1);
    let number = |pieces: &[u64]| pieces.iter().map(|piece| first + piece).collect::<Vec<_>>();
    // Null packets that push the last piece out come with the next one.
    let segments = [([vec![first - 1], number(&[0, 1])].concat(), None), (number(&[2, 3]), INDICATOR)];
    assert_eq!(access(feed.segments()), segments);
    assert_eq!(feed.segments()[0].at, feed.segments()[1].at, "nobody lags behind what came a moment ago");
}

#[test]
fn what_comes_before_a_candidate_does_not_wait_for_its_decision() {
    let mut feed = Feed::flowing();
    let first = feed.number;
    feed.send(&[Rest, Unknown, Audio]);
    feed.wait(20);
    assert_eq!(access(feed.segments()), [(vec![first - 1, first], None)]);
    feed.wait(100);
    feed.send(&[RestOfKey]);
    feed.wait(20);
    let candidate = (vec![first + 1, first + 2, first + 3, first + 4], SNIFFED);
    assert_eq!(access(&feed.segments()[1..]), [candidate]);
}

#[test]
fn a_candidate_is_not_waited_for_longer_than_200_ms() {
    let mut feed = Feed::flowing();
    feed.send(&[Unknown, Audio]);
    feed.wait(199);
    assert_eq!(feed.segments().len(), 1, "the null packet before it");
    feed.wait(1);
    assert_eq!(feed.segments().len(), 2);
    feed.send(&[RestOfKey]);
    feed.wait(20);
    assert!(feed.segments().iter().all(|segment| segment.access.is_none()), "too late");
}

#[test]
fn a_candidate_that_fills_a_whole_segment_before_the_first_access_point_is_dropped() {
    let mut feed = Feed::new();
    feed.send(&[&[Pat, Pmt, Unknown][..], &[Audio; 400], &[RestOfKey, Rest]].concat());
    feed.wait(300);
    assert!(feed.segments().is_empty());
    let first = feed.number;
    feed.send(&[Key, Rest]);
    feed.wait(20);
    assert_eq!(access(feed.segments()), [(vec![first, first + 1], INDICATOR)]);
}

#[test]
fn the_first_access_point_waits_for_others_whatever_came_before_it() {
    let mut feed = Feed::new();
    feed.send(&[Pat, Pmt, Unknown]);
    feed.wait(300);
    let first = feed.number;
    feed.send(&[Key]);
    feed.wait(10);
    feed.send(&[Rest; 3]);
    feed.wait(20);
    assert_eq!(feed.segments().len(), 1);
    assert_eq!(numbers(&feed.segments()[0])[0], first);
}

#[test]
fn a_full_segment_is_cut_before_its_candidate() {
    let mut feed = Feed::flowing();
    let first = feed.number;
    feed.send(&[vec![Rest; 200], vec![Unknown], vec![Audio; 150]].concat());
    assert_eq!(access(feed.segments()), [((first - 1..first + 200).collect(), None)]);
    feed.send(&[RestOfKey]);
    feed.wait(20);
    assert_eq!(feed.segments()[1].access, SNIFFED);
    assert_eq!(numbers(&feed.segments()[1])[0], first + 200);
}

#[test]
fn segments_are_closed_before_they_get_too_large() {
    let mut feed = Feed::flowing();
    feed.send(&[Rest; 2_000]);
    feed.wait(20);
    let bytes: Vec<_> = feed.segments().iter().map(|segment| segment.data.len()).collect();
    assert!(bytes.iter().all(|&bytes| bytes <= SEGMENT_BYTES_MAX), "{bytes:?}");
    assert!(bytes[..5].iter().all(|&bytes| bytes > SEGMENT_BYTES_MAX - 2 * 188), "{bytes:?}");
}

#[test]
fn after_a_seam_every_pid_is_told_once_before_its_first_packet() {
    let mut feed = Feed::flowing();
    feed.reconnect();
    feed.channel.segments.clear();
    // The first access unit is held back and turns out to be none: its marks were lost with it.
    feed.send(&[Pat, Pmt, Unknown, Audio, Rest, Key, Audio, Rest, Null, Audio]);
    feed.wait(20);
    let [seam] = feed.segments() else { panic!("one segment") };
    assert!(seam.seam && seam.psi.is_empty());
    let is_mark = |packet: &Packet<'_>| Mark::read(packet.bytes()).is_none();
    let shape = |packet: Packet<'_>| (packet.pid().value(), is_mark(&packet));
    let expected = [
        [(0, true), (0, false)],
        [(0x30, true), (0x30, false)],
        [(0x100, true), (0x100, false)],
        [(0x101, true), (0x101, false)],
        [(0x100, false), (0x1FFF, false)],
    ];
    let shapes: Vec<_> = Packet::all(&seam.data).map(shape).collect();
    assert_eq!(shapes[..10], *expected.as_flattened());
    assert_eq!(shapes[10..], [(0x101, false)]);
}

#[test]
fn a_pid_that_is_new_with_the_third_connection_is_told_once_too() {
    let mut feed = Feed::flowing();
    for (pieces, video) in [(&[Pat, Pmt, Key][..], 0x100), (&[Move, Pat, Pmt, Unknown, RestOfKey], 0x110)] {
        feed.reconnect();
        feed.channel.segments.clear();
        feed.send(pieces);
        feed.wait(20);
        let [seam] = feed.segments() else { panic!("one segment") };
        let marks = Packet::all(&seam.data).filter(|packet| Mark::read(packet.bytes()).is_none());
        assert_eq!(marks.map(|packet| packet.pid().value()).collect::<Vec<_>>(), [0, 0x30, video]);
    }
}

#[test]
fn counters_of_another_connection_are_no_errors() {
    let mut feed = Feed::flowing();
    feed.send(&[Rest, Rest, Rest]);
    feed.reconnect();
    feed.send(&[Pat, Pmt, Key, Rest, Rest]);
    assert_eq!(feed.channel.stream.quality().continuity_errors, 0);
    feed.send(&[Loss, Rest]);
    assert_eq!(feed.channel.stream.quality().continuity_errors, 1);
}

#[test]
fn a_new_connection_waits_for_its_own_access_point() {
    // Half a minute without one on the connection before is no reason to take anything on this one.
    let mut feed = Feed::flowing();
    for _ in 0..19 {
        feed.wait(1_000);
        feed.send(&[Picture]);
    }
    feed.reconnect();
    feed.channel.segments.clear();
    feed.send(&[Pat, Pmt, Picture, Rest, Picture]);
    feed.wait(1_000);
    feed.send(&[Picture, Rest]);
    assert_eq!(feed.segments().len(), 0);
}

#[test]
fn tables_that_serve_as_an_access_point_are_not_sent_twice() {
    // Where the tables name neither video nor audio, a viewer may begin at any payload unit, a PAT for example.
    let mut feed = Feed::new();
    for _ in 0..12 {
        feed.send(&[Pat]);
        feed.wait(1_000);
    }
    let [first, ..] = feed.segments() else { panic!("it begins at last") };
    assert_eq!(first.access, Some(AccessKind::Fallback));
    let packets = [&first.psi, &first.data].map(|bytes| Packet::all(bytes).map(|packet| *packet.bytes()));
    let mut packets: Vec<_> = packets.into_iter().flatten().collect();
    let count = packets.len();
    packets.sort();
    packets.dedup();
    assert_eq!(packets.len(), count);
}
