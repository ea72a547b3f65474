//! Real captures, re-cut and with indicators removed; and the fallback, in virtual time.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::ts::PACKET_BYTES;
use crate::ts::adaptation::write_random_access;

struct Capture {
    name: &'static str,
    file: &'static [u8],
    /// Which packets begin a key frame (of the radio: an audio frame), by ffprobe:
    /// `ffprobe -v error -select_streams v -show_entries packet=pos,flags -of csv=p=0 FILE | grep K`, positions
    /// divided by 188 (192); for the radio `-select_streams a` and every position once.
    access: &'static [usize],
}

macro_rules! capture {
    ($name:literal, $access:expr) => {
        Capture { name: $name, file: include_bytes!(concat!("../../testdata/", $name)), access: &$access }
    };
}

const TELEVISION: [Capture; 7] = [
    capture!("mpeg2_mp2.ts", [3, 40, 86, 133, 188, 235, 282, 337, 384]),
    capture!("mpeg2_ac3.m2ts", [3, 40, 86, 133, 188, 235, 282, 337, 384]),
    capture!("h264_idr_aac.ts", [3, 75, 159, 245]),
    capture!("h264_open_gop_aac.ts", [3, 74, 157, 230]),
    capture!("h264_intra_refresh_ac3.ts", [3, 73, 156, 229]),
    capture!("hevc_idr_aac.ts", [3, 79, 165, 251]),
    capture!("hevc_cra_eac3.ts", [3, 73, 156, 232]),
];

const RADIO: [Capture; 2] = [
    capture!("radio_mp2.ts", [3, 13, 24, 34, 45, 55, 66, 76, 87, 97, 108, 118]),
    capture!("radio_aac.ts", [3, 14, 26, 37, 49, 60, 72, 83, 95, 106, 118, 129]),
];

type Owned = [u8; PACKET_BYTES];

impl Capture {
    fn packets(&self) -> Vec<Owned> {
        let stride = if self.name.ends_with(".m2ts") { 192 } else { PACKET_BYTES };
        let packet = |chunk: &[u8]| *chunk.last_chunk().expect("a stride is at least a packet");
        self.file.chunks_exact(stride).map(packet).collect()
    }
}

/// Runs packets through a detector, one each `step`, and returns the indices of the access points it cut at.
fn cuts(packets: &[Owned], wait: Duration, step: Duration) -> Vec<(usize, AccessKind)> {
    let mut detector = AccessDetector::new(wait);
    let mut psi = PsiTracker::new();
    let mut now = Instant::ORIGIN;
    let mut candidate = None;
    let mut found = Vec::new();
    for (index, packet) in packets.iter().enumerate() {
        let packet = Packet::new(packet);
        psi.push(&packet);
        let verdict = detector.push(now, &packet, &psi);
        if verdict.candidate {
            candidate = Some(index);
        }
        match verdict.decision {
            Decision::Access(kind) => {
                found.push((candidate.take().expect("a decision is about a candidate"), kind))
            }
            Decision::NotAccess => assert!(candidate.take().is_some(), "a decision is about a candidate"),
            Decision::Pending => assert!(candidate.is_some(), "only a candidate can be pending"),
            Decision::None => {}
        }
        now += step;
    }
    found
}

fn cuts_at_once(packets: &[Owned]) -> Vec<(usize, AccessKind)> {
    cuts(packets, FALLBACK_WAIT, Duration::ZERO)
}

fn all(access: &[usize], kind: AccessKind) -> Vec<(usize, AccessKind)> {
    access.iter().map(|&index| (index, kind)).collect()
}

fn without_indicators(mut packets: Vec<Owned>) -> Vec<Owned> {
    for packet in &mut packets {
        write_random_access(packet, false);
    }
    packets
}

/// Cuts the payload of the video packets into packets with `payload_bytes` each, and says where each packet went.
fn recut(packets: &[Owned], video: Pid, payload_bytes: usize) -> (Vec<Owned>, Vec<usize>) {
    let (mut out, mut moved_to) = (Vec::new(), Vec::new());
    let mut counter = 0;
    for bytes in packets {
        moved_to.push(out.len());
        let packet = Packet::new(bytes);
        let (true, Some(payload)) = (packet.pid() == video, packet.payload()) else {
            out.push(*bytes);
            continue;
        };
        for (index, piece) in payload.chunks(payload_bytes).enumerate() {
            let mut new = [0xFF; PACKET_BYTES];
            let start = if index == 0 { bytes[1] & 0x40 } else { 0 };
            new[..4].copy_from_slice(&[0x47, start | bytes[1] & 0x1F, bytes[2], 0x30 | counter]);
            counter = (counter + 1) & 0x0F;
            let field_bytes = PACKET_BYTES - 5 - piece.len();
            new[4] = field_bytes as u8;
            if field_bytes > 0 {
                new[5] = 0;
            }
            new[5 + field_bytes..].copy_from_slice(piece);
            out.push(new);
        }
    }
    (out, moved_to)
}

fn video_pid(packets: &[Owned]) -> Pid {
    let mut psi = PsiTracker::new();
    for packet in packets {
        psi.push(&Packet::new(packet));
    }
    psi.video().expect("the capture has video").0
}

#[test]
fn indicators_are_found_where_ffprobe_sees_key_frames() {
    for capture in &TELEVISION {
        let expected = all(capture.access, AccessKind::Indicator);
        assert_eq!(cuts_at_once(&capture.packets()), expected, "{}", capture.name);
    }
}

#[test]
fn without_indicators_the_content_gives_the_same_access_points() {
    for capture in &TELEVISION {
        let found = cuts_at_once(&without_indicators(capture.packets()));
        assert_eq!(found, all(capture.access, AccessKind::Sniffed), "{}", capture.name);
    }
}

#[test]
fn radio_can_be_entered_at_any_audio_pes_packet() {
    for capture in &RADIO {
        let found = cuts_at_once(&without_indicators(capture.packets()));
        assert_eq!(found, all(capture.access, AccessKind::Sniffed), "{}", capture.name);
    }
}

#[test]
fn start_codes_are_found_however_they_are_cut_into_packets() {
    for capture in &TELEVISION {
        let packets = without_indicators(capture.packets());
        let video = video_pid(&packets);
        // Not less: the SEI message in which x265 describes itself is two kilobytes long.
        for payload_bytes in 100..=183 {
            let (packets, moved_to) = recut(&packets, video, payload_bytes);
            let access: Vec<_> = capture.access.iter().map(|&index| moved_to[index]).collect();
            let expected = all(&access, AccessKind::Sniffed);
            assert_eq!(cuts_at_once(&packets), expected, "{} in {payload_bytes}", capture.name);
        }
    }
}

// What follows is H.264 on the video PID of this capture's tables, with a packet per access unit.
const TABLES: &Capture = &TELEVISION[2];
const VIDEO: Pid = Pid::new(0x100);
const AUDIO: Pid = Pid::new(0x101);

const SPS: &[u8] = &[0, 0, 1, 0x67, 0x42];
const PPS: &[u8] = &[0, 0, 1, 0x68, 0xCE];
const IDR: &[u8] = &[0, 0, 1, 0x65, 0x88];
const P_SLICE: &[u8] = &[0, 0, 1, 0x41, 0x9A];
const FRAME: Duration = Duration::from_millis(40);

struct Channel {
    packets: Vec<Owned>,
    counters: [u8; 2],
}

impl Channel {
    fn new() -> Self {
        Self { packets: TABLES.packets()[..3].to_vec(), counters: [0; 2] }
    }

    fn without_tables() -> Self {
        Self { packets: Vec::new(), counters: [0; 2] }
    }

    /// Appends a packet in which a PES packet with these units begins, or goes on.
    fn packet(mut self, pid: Pid, start: bool, units: &[&[u8]]) -> Self {
        let mut payload = Vec::new();
        if start {
            payload.extend([0, 0, 1, 0xE0, 0, 0, 0x80, 0, 0]);
        }
        payload.extend(units.concat());
        let mut packet = [0xFF; PACKET_BYTES];
        let counter = &mut self.counters[usize::from(pid == AUDIO)];
        let [high, low] = pid.value().to_be_bytes();
        packet[..4].copy_from_slice(&[0x47, u8::from(start) << 6 | high, low, 0x30 | *counter]);
        *counter = (*counter + 1) & 0x0F;
        packet[4] = (PACKET_BYTES - 5 - payload.len()) as u8;
        packet[5] = 0;
        packet[PACKET_BYTES - payload.len()..].copy_from_slice(&payload);
        self.packets.push(packet);
        self
    }

    fn frame(self, units: &[&[u8]]) -> Self {
        self.packet(VIDEO, true, units)
    }

    fn frames(self, count: usize, units: &[&[u8]]) -> Self {
        (0..count).fold(self, |channel, _| channel.frame(units))
    }

    fn scrambled(mut self) -> Self {
        for packet in &mut self.packets[3..] {
            packet[3] |= 0x80;
            let bytes = packet[4] as usize + 5;
            packet[bytes..].fill(0x5A);
        }
        self
    }

    fn cuts(&self, step: Duration) -> Vec<(usize, AccessKind)> {
        cuts(&self.packets, FALLBACK_WAIT, step)
    }
}

/// When the packets came, in milliseconds, at a packet per frame.
fn millis(cuts: &[(usize, AccessKind)]) -> Vec<u128> {
    cuts.iter().map(|&(index, _)| (FRAME * index as u32).as_millis()).collect()
}

#[test]
fn a_decision_may_come_packets_after_the_candidate() {
    let channel = Channel::new().frame(&[SPS]).packet(VIDEO, false, &[PPS]).packet(VIDEO, false, &[IDR]);
    assert_eq!(channel.cuts(FRAME), [(3, AccessKind::Sniffed)]);
}

#[test]
fn a_candidate_that_stays_undecided_is_given_up() {
    let filler: &[u8] = &[0x55; 100];
    for (continuations, expected) in [(30, 1), (31, 0)] {
        let mut channel = Channel::new().frame(&[SPS, PPS]);
        for _ in 0..continuations {
            channel = channel.packet(VIDEO, false, &[filler]);
        }
        let found = channel.packet(VIDEO, false, &[IDR]).cuts(Duration::ZERO);
        assert_eq!(found.len(), expected, "key frame after {continuations} packets");
    }
}

#[test]
fn the_next_payload_unit_decides_against_the_one_before() {
    let channel = Channel::new().frame(&[SPS, PPS]).frame(&[IDR]);
    assert_eq!(channel.cuts(FRAME), []);
}

#[test]
fn a_lost_packet_decides_against_the_candidate_and_a_repeated_one_does_not() {
    let channel =
        Channel::new().frame(&[SPS, PPS]).packet(VIDEO, false, &[&[0x55]]).packet(VIDEO, false, &[IDR]);
    let (mut lost, mut repeated) = (channel.packets.clone(), channel.packets);
    lost.remove(4);
    repeated.insert(5, repeated[4]);
    assert_eq!(cuts_at_once(&lost), []);
    assert_eq!(cuts_at_once(&repeated), [(3, AccessKind::Sniffed)]);
}

#[test]
fn packets_of_other_pids_do_not_disturb_a_pending_candidate() {
    let channel =
        Channel::new().frame(&[SPS]).packet(AUDIO, true, &[b"sound"]).packet(VIDEO, false, &[PPS, IDR]);
    assert_eq!(channel.cuts(FRAME), [(3, AccessKind::Sniffed)]);
}

#[test]
fn damaged_packets_are_no_candidates() {
    let mut packets = Channel::new().frame(&[SPS, PPS, IDR]).packets;
    packets[3][1] |= 0x80;
    assert_eq!(cuts_at_once(&packets), []);
}

#[test]
fn parameter_sets_are_enough_after_the_wait_and_are_taken_once_a_second() {
    let mut channel = Channel::new();
    for _ in 0..13 {
        channel = channel.frame(&[SPS, P_SLICE]).frames(24, &[P_SLICE]);
    }
    let found = channel.cuts(FRAME);
    assert!(found.iter().all(|&(_, kind)| kind == AccessKind::Fallback));
    assert_eq!(millis(&found), [10_120, 11_120, 12_120]);
}

#[test]
fn any_pes_packet_is_enough_after_twice_the_wait() {
    let found = Channel::new().frames(25 * 22, &[P_SLICE]).cuts(FRAME);
    assert_eq!(millis(&found), [20_000, 21_000, 22_000]);
}

#[test]
fn pes_packets_too_short_to_be_decided_do_not_stop_the_fallback() {
    let found = Channel::new().frames(25 * 21, &[&[0x55]]).cuts(FRAME);
    assert_eq!(millis(&found), [20_000, 21_000]);
}

#[test]
fn a_real_access_point_ends_the_fallback() {
    let channel =
        Channel::new().frames(25 * 25, &[P_SLICE]).frame(&[SPS, PPS, IDR]).frames(25 * 19, &[P_SLICE]);
    let found = channel.cuts(FRAME);
    assert_eq!(millis(&found), [20_000, 21_000, 22_000, 23_000, 24_000, 25_000, 25_120]);
    assert_eq!(found.last().map(|&(_, kind)| kind), Some(AccessKind::Sniffed));
}

#[test]
fn a_pause_is_not_time_without_access_points() {
    let frames = Channel::new().frame(&[SPS, PPS, IDR]).frames(3, &[P_SLICE]);
    let found = cuts(&frames.packets, FALLBACK_WAIT, Duration::from_secs(60));
    assert_eq!(found, [(3, AccessKind::Sniffed)]);
}

#[test]
fn without_tables_any_payload_unit_is_enough_after_the_wait() {
    let found = Channel::without_tables().frames(25 * 11, &[SPS, PPS, IDR]).cuts(FRAME);
    assert!(found.iter().all(|&(_, kind)| kind == AccessKind::Fallback));
    assert_eq!(millis(&found), [10_000]);
}

#[test]
fn when_the_video_pid_is_silent_audio_is_enough_after_twice_the_wait() {
    let sound = |channel: Channel, _| channel.packet(AUDIO, true, &[b"sound"]);
    let found = (0..25 * 21).fold(Channel::new(), sound).cuts(FRAME);
    assert_eq!(millis(&found), [20_000, 21_000]);
}

#[test]
fn scrambled_video_is_entered_at_its_indicators() {
    let mut channel = Channel::new().frames(25, &[SPS, PPS, IDR]).scrambled();
    assert_eq!(channel.cuts(FRAME), []);
    write_random_access(&mut channel.packets[10], true);
    assert_eq!(channel.cuts(FRAME), [(10, AccessKind::Indicator)]);
}

#[test]
fn scrambled_video_without_indicators_is_entered_after_twice_the_wait() {
    let found = Channel::new().frames(25 * 21, &[SPS, PPS, IDR]).scrambled().cuts(FRAME);
    assert_eq!(millis(&found), [20_000, 21_000]);
}

#[test]
fn access_points_are_counted_by_kind() {
    let packets = TABLES.packets();
    let mut detector = AccessDetector::new(FALLBACK_WAIT);
    let mut psi = PsiTracker::new();
    for packet in Packet::all(packets.as_flattened()) {
        psi.push(&packet);
        detector.push(Instant::ORIGIN, &packet, &psi);
    }
    assert_eq!(detector.counts(), AccessCounts { indicator: 4, ..AccessCounts::default() });
}

proptest! {
    #[test]
    fn no_bytes_panic(
        mut packets in proptest::collection::vec(proptest::array::uniform32(any::<u8>()), 0..64),
        wait_ms in 0u64..2_000,
        step_ms in 0u64..2_000,
    ) {
        // Random heads and payload beginnings on the PIDs that matter, after tables that name them.
        let mut all = TABLES.packets()[..3].to_vec();
        all.extend(packets.iter_mut().map(|head| {
            head[1] &= 0xC1;
            head[2] &= 0x01;
            let mut packet = [0; PACKET_BYTES];
            packet[..32].copy_from_slice(head);
            packet
        }));
        let found = cuts(&all, Duration::from_millis(wait_ms), Duration::from_millis(step_ms));
        prop_assert!(found.is_sorted());
    }

    #[test]
    fn damage_never_makes_more_cuts_than_candidates(
        capture in 0..TELEVISION.len(),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..200),
    ) {
        let mut packets = TELEVISION[capture].packets();
        for (at, byte) in flips {
            let bytes = packets.as_flattened_mut();
            bytes[at.index(bytes.len())] = byte;
        }
        let starts = Packet::all(packets.as_flattened()).filter(|packet| packet.payload_unit_start()).count();
        prop_assert!(cuts_at_once(&packets).len() <= starts);
    }
}
