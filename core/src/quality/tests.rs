//! A synthetic stream in virtual time, with one thing wrong at a time.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::testing::{Change, StreamSpec, SyntheticStream};
use crate::ts::psi::crc32_mpeg2;
use crate::ts::{Continuity, PACKET_BYTES};

/// Arrival in milliseconds, and the packet.
type Arrival = (u64, [u8; PACKET_BYTES]);

const CAT: [u8; 12] = [0x01, 0xB0, 9, 0xFF, 0xFF, 0xC1, 0, 0, 0, 0, 0, 0];

fn television() -> StreamSpec {
    StreamSpec::new(1, 1_000_000)
}

/// Ten seconds of a stream.
fn arrivals(spec: StreamSpec) -> Vec<Arrival> {
    let mut stream = SyntheticStream::new(spec);
    let packets = core::iter::from_fn(move || Some(stream.next_packet()));
    packets.map(|p| (p.at.as_nanos() / 1_000_000, p.bytes)).take_while(|&(at, _)| at < 10_000).collect()
}

fn counts(arrivals: &[Arrival]) -> QualityCounts {
    let mut quality = Quality::new();
    let mut continuity = Continuity::new();
    let mut psi = PsiTracker::new();
    for (at, bytes) in arrivals {
        let packet = Packet::new(bytes);
        let (verdict, change) = (continuity.check(&packet), psi.push(&packet));
        quality.push(Instant::from_millis(*at), &packet, verdict, change, &psi);
    }
    quality.counts()
}

fn pid_of(arrival: &Arrival) -> Pid {
    Packet::new(&arrival.1).pid()
}

fn tables() -> PsiTracker {
    let mut psi = PsiTracker::new();
    for (_, bytes) in arrivals(television()) {
        psi.push(&Packet::new(&bytes));
    }
    psi
}

fn section_packet(pid: Pid, counter: u8, mut section: Vec<u8>) -> [u8; PACKET_BYTES] {
    let crc_at = section.len() - 4;
    let crc = crc32_mpeg2(&section[..crc_at]);
    section[crc_at..].copy_from_slice(&crc.to_be_bytes());
    let mut packet = [0xFF; PACKET_BYTES];
    let [high, low] = pid.value().to_be_bytes();
    packet[..5].copy_from_slice(&[0x47, 0x40 | high, low, 0x10 | counter & 0x0F, 0]);
    packet[5..5 + section.len()].copy_from_slice(&section);
    packet
}

/// A section of that table on `pid` every 400 ms.
fn with_sections(mut arrivals: Vec<Arrival>, pid: Pid, table_id: u8) -> Vec<Arrival> {
    let mut section = CAT.to_vec();
    section[0] = table_id;
    for index in 0..25u8 {
        arrivals.push((u64::from(index) * 400, section_packet(pid, index, section.clone())));
    }
    arrivals.sort_by_key(|&(at, _)| at);
    arrivals
}

#[test]
fn a_good_stream_has_no_errors() {
    assert_eq!(counts(&arrivals(television())), QualityCounts::default());
    assert_eq!(counts(&arrivals(StreamSpec::radio(1, 200_000))), QualityCounts::default());
}

#[test]
fn a_missing_pat_is_counted_twice_a_second() {
    let mut arrivals = arrivals(television());
    arrivals.retain(|arrival| pid_of(arrival) != Pid::PAT || arrival.0 < 5_000);
    let found = counts(&arrivals);
    // Found at the first look after 500 ms, every 100 ms: at worst every 600 ms.
    assert!((8..=9).contains(&found.pat_errors), "{found:?}");
    assert_eq!(QualityCounts { pat_errors: 0, ..found }, QualityCounts::default());
}

#[test]
fn a_missing_pmt_is_counted_twice_a_second() {
    let mut arrivals = arrivals(television());
    let pmt_pid = tables().pat().expect("a PAT").programs[0].pmt_pid;
    arrivals.retain(|arrival| pid_of(arrival) != pmt_pid || arrival.0 < 5_000);
    let found = counts(&arrivals);
    assert!((8..=9).contains(&found.pmt_errors), "{found:?}");
    assert_eq!(QualityCounts { pmt_errors: 0, ..found }, QualityCounts::default());
}

#[test]
fn scrambled_and_foreign_sections_on_the_pat_pid_are_pat_errors() {
    let foreign = with_sections(arrivals(television()), Pid::PAT, 0x42);
    let mut scrambled = arrivals(television());
    for (_, bytes) in scrambled.iter_mut().filter(|arrival| pid_of(arrival) == Pid::PAT) {
        bytes[3] |= 0x80;
    }
    assert!(counts(&foreign).pat_errors > 0);
    assert!(counts(&scrambled).pat_errors >= 20);
}

#[test]
fn damaged_sections_are_crc_errors() {
    let mut arrivals = arrivals(television());
    let pat = arrivals.iter_mut().filter(|arrival| pid_of(arrival) == Pid::PAT).nth(5);
    pat.expect("ten PATs").1[10] ^= 1;
    assert_eq!(counts(&arrivals), QualityCounts { crc_errors: 1, ..QualityCounts::default() });
}

#[test]
fn lost_packets_are_continuity_errors() {
    let mut arrivals = arrivals(television());
    let video = tables().video().expect("video").0;
    let video_at = |arrivals: &[Arrival], from: usize| {
        from + arrivals[from..].iter().position(|arrival| pid_of(arrival) == video).expect("video goes on")
    };
    for from in [1_000, 2_000, 3_000] {
        let at = video_at(&arrivals, from);
        arrivals.remove(at);
    }
    let found = counts(&arrivals);
    assert_eq!(found.continuity_errors, 3);
}

#[test]
fn nothing_is_derived_from_a_packet_with_a_transport_error() {
    let mut arrivals = arrivals(television());
    let mut damaged = arrivals[1_000].1;
    damaged[1] |= 0x80;
    damaged[3] ^= 0x87;
    arrivals.insert(1_000, (arrivals[1_000].0, damaged));
    let found = counts(&arrivals[..1_001]);
    assert_eq!(found, QualityCounts { transport_errors: 1, ..QualityCounts::default() });
}

#[test]
fn a_pid_that_falls_silent_is_a_pid_error_after_five_seconds() {
    let mut arrivals = arrivals(television());
    let audio = tables().audio().expect("audio");
    arrivals.retain(|arrival| pid_of(arrival) != audio || arrival.0 < 4_000);
    let found = counts(&arrivals);
    assert_eq!(found.pid_errors, 1);
    // Its presentation times are missing as well: every 700 ms, looked at every 100 ms.
    assert!((7..=8).contains(&found.pts_errors), "{found:?}");
    assert_eq!(QualityCounts { pid_errors: 0, pts_errors: 0, ..found }, QualityCounts::default());
}

#[test]
fn clock_jumps_are_errors_unless_announced() {
    for (flagged, expected) in [(false, 1), (true, 0)] {
        for ticks in [-90_000, 90_000 * 3_600] {
            let spec = television().change(2_000, Change::ClockJump { ticks, flagged });
            let found = counts(&arrivals(spec));
            assert_eq!(found.pcr_discontinuity_errors, expected, "{ticks} {flagged}: {found:?}");
        }
    }
}

#[test]
fn a_clock_that_wraps_does_not_jump() {
    let spec = StreamSpec { pcr_start: Pcr::MODULUS - Pcr::HZ * 5, ..television() };
    assert_eq!(counts(&arrivals(spec)), QualityCounts::default());
}

#[test]
fn rare_clock_references_are_repetition_errors() {
    let spec = StreamSpec { pcr_interval: Duration::from_millis(150), ..television() };
    let found = counts(&arrivals(spec));
    assert!((60..=67).contains(&found.pcr_repetition_errors), "{found:?}");
}

#[test]
fn a_pause_of_the_stream_is_counted_once() {
    let mut arrivals = arrivals(television());
    let late = arrivals.iter().position(|&(at, _)| at >= 5_000).expect("ten seconds");
    arrivals[late..].iter_mut().for_each(|(at, _)| *at += 60_000);
    let found = counts(&arrivals);
    let expected = QualityCounts {
        pat_errors: 1,
        pmt_errors: 1,
        pid_errors: 2,
        pcr_repetition_errors: 1,
        pts_errors: 2,
        ..QualityCounts::default()
    };
    assert_eq!(found, expected);
}

#[test]
fn scrambled_programs_need_a_cat() {
    let scrambled = arrivals(television().change(0, Change::Scrambled(true)));
    let found = counts(&scrambled);
    assert!((16..=20).contains(&found.cat_errors), "{found:?}");
    assert_eq!(counts(&with_sections(scrambled, Pid::CAT, 0x01)), QualityCounts::default());
}

#[test]
fn another_table_on_the_cat_pid_is_a_cat_error() {
    let found = counts(&with_sections(arrivals(television()), Pid::CAT, 0x02));
    assert_eq!(found, QualityCounts { cat_errors: 25, ..QualityCounts::default() });
}

#[test]
fn after_a_reset_counts_stay_and_expectations_go() {
    let mut quality = Quality::new();
    let mut psi = PsiTracker::new();
    let mut push = |quality: &mut Quality, at: u64, bytes: &[u8; PACKET_BYTES], verdict: Verdict| {
        let packet = Packet::new(bytes);
        let change = psi.push(&packet);
        quality.push(Instant::from_millis(at), &packet, verdict, change, &psi);
    };
    for (at, bytes) in &arrivals(television())[..1_000] {
        push(&mut quality, *at, bytes, Verdict::Gap { lost_min: 1 });
    }
    quality.reset();
    push(&mut quality, 100_000, &arrivals(television())[999].1, Verdict::First);
    assert_eq!(quality.counts(), QualityCounts { continuity_errors: 1_000, ..QualityCounts::default() });
}

proptest! {
    #[test]
    fn no_bytes_panic(
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), 0usize..40, any::<u8>()), 0..200),
        step_ms in 0u64..1_000,
    ) {
        let mut arrivals = arrivals(television());
        for (at, offset, byte) in flips {
            let arrival = at.index(arrivals.len());
            arrivals[arrival].1[offset] = byte;
        }
        for (index, arrival) in arrivals.iter_mut().enumerate() {
            arrival.0 = index as u64 * step_ms;
        }
        counts(&arrivals);
    }
}
