//! Streams of nothing but sections, joined at every packet.

use std::collections::{BTreeMap, BTreeSet};
use std::vec;

use proptest::prelude::*;

use super::*;
use crate::ts::continuity::{Continuity, Verdict};
use crate::ts::psi::testing::{announced, packets, pat, pmt, private_section};

type Owned = [u8; PACKET_BYTES];

const H264: u8 = 0x1B;
const AAC: u8 = 0x0F;

/// What one PID carries, again and again.
struct Carousel {
    pid: u16,
    sections: Vec<Vec<u8>>,
}

/// `rounds` of all carousels, PID after PID, counters going on.
fn stream(carousels: &[Carousel], rounds: usize) -> Vec<Owned> {
    let mut counters = BTreeMap::new();
    let mut out = Vec::new();
    for _ in 0..rounds {
        for Carousel { pid, sections } in carousels {
            let counter = counters.entry(*pid).or_insert(*pid as u8);
            let new = packets(Pid::new(*pid), *counter, sections);
            *counter = counter.wrapping_add(new.len() as u8);
            out.extend(new);
        }
    }
    out
}

fn track(packets: &[Owned]) -> PsiTracker {
    let mut tracker = PsiTracker::new();
    push_all(&mut tracker, packets);
    tracker
}

fn push_all(tracker: &mut PsiTracker, packets: &[Owned]) {
    for packet in packets {
        tracker.push(&Packet::new(packet));
    }
}

fn one_program() -> Vec<Carousel> {
    vec![
        Carousel { pid: 0, sections: vec![pat(0, &[(1, 0x100)])] },
        Carousel { pid: 0x100, sections: vec![pmt(1, 0x101, &[], &[(H264, 0x101, &[]), (AAC, 0x102, &[])])] },
    ]
}

/// Whoever joins before packet `at` gets the raw packets and then the stream: no counter may step, and the tables
/// must be those that the tracker knows.
fn assert_joins(packets: &[Owned], at: usize) {
    let mut tracker = track(&packets[..at]);
    let raw = tracker.raw();
    let mut continuity = Continuity::new();
    for packet in Packet::all(&raw).chain(Packet::all(packets[at..].as_flattened())) {
        let verdict = continuity.check(&packet);
        assert!(
            matches!(verdict, Verdict::First | Verdict::Expected),
            "{verdict:?} joining at {at}: {packet:?}"
        );
    }
    let mut joined = PsiTracker::new();
    Packet::all(&raw).for_each(|packet| _ = joined.push(&packet));
    assert_eq!(joined.pat(), tracker.pat(), "joining at {at}");
    assert!(joined.pmts().eq(tracker.pmts()), "joining at {at}");
}

#[test]
fn an_encoder_that_starts_again_with_the_same_counter_is_no_repetition() {
    let before = packets(Pid::PAT, 5, &[pat(3, &[(1, 0x100)])]);
    let after = packets(Pid::PAT, 5, &[pat(0, &[(1, 0x200)])]);
    let mut tracker = track(&[before[0], after[0]]);
    assert_eq!(tracker.pat().unwrap().programs[0].pmt_pid, Pid::new(0x200));
    assert_eq!(*tracker.raw(), after[0]);
}

#[test]
fn tables_are_known_after_one_round() {
    let mut tracker = PsiTracker::new();
    let packets = stream(&one_program(), 1);
    let pat = tracker.push(&Packet::new(&packets[0]));
    assert_eq!(pat, PsiChange { pat: true, changed: true, ..PsiChange::default() });
    assert!(!tracker.complete());
    let pmt = tracker.push(&Packet::new(&packets[1]));
    assert_eq!(pmt, PsiChange { pmt: true, changed: true, ..PsiChange::default() });
    assert!(tracker.complete());
    assert_eq!(tracker.video(), Some((Pid::new(0x101), StreamKind::H264)));
    assert_eq!((tracker.audio(), tracker.pcr_pid()), (Some(Pid::new(0x102)), Some(Pid::new(0x101))));
}

#[test]
fn repetitions_change_nothing_but_the_raw_packets() {
    let packets = stream(&one_program(), 2);
    let mut tracker = track(&packets[..2]);
    let first = tracker.raw();
    assert_eq!(first, packets[..2].as_flattened());
    assert_eq!(tracker.raw().as_ptr(), first.as_ptr(), "asked twice, put together once");
    for packet in &packets[2..] {
        assert!(!tracker.push(&Packet::new(packet)).changed);
    }
    assert_eq!(tracker.raw(), packets[2..].as_flattened());
}

#[test]
fn joining_at_any_packet_keeps_counters_and_tables() {
    let long: Vec<u8> = [&[0x80, 250][..], &[7; 250]].concat();
    let mut one_long = one_program();
    one_long[1].sections = vec![pmt(1, 0x101, &long, &[(H264, 0x101, &long), (AAC, 0x102, &long)])];
    let shared_pid = vec![
        Carousel { pid: 0, sections: vec![pat(0, &[(1, 0x100), (2, 0x100), (3, 0x200)])] },
        Carousel {
            pid: 0x100,
            sections: vec![
                pmt(1, 0x101, &long, &[(H264, 0x101, &[])]),
                private_section(0xC0, 300),
                pmt(2, 0x102, &[], &[(AAC, 0x102, &long)]),
            ],
        },
        Carousel { pid: 0x200, sections: vec![pmt(3, 0x103, &[], &[])] },
    ];
    for carousels in [one_program(), one_long, shared_pid] {
        let packets = stream(&carousels, 5);
        for at in 0..packets.len() {
            assert_joins(&packets, at);
        }
    }
}

#[test]
fn a_repeated_packet_is_kept_once() {
    let mut packets = stream(&one_program(), 1);
    packets.insert(1, packets[0]);
    packets.push(packets[2]);
    assert_eq!(track(&packets).raw().len(), 2 * PACKET_BYTES);
}

#[test]
fn a_damaged_table_leaves_the_last_one_in_force() {
    let mut packets = stream(&one_program(), 2);
    packets[3][20] ^= 0x01;
    let mut tracker = track(&packets[..3]);
    let known: Vec<_> = tracker.pmts().cloned().collect();
    let change = tracker.push(&Packet::new(&packets[3]));
    assert_eq!(change, PsiChange { crc_error: true, ..PsiChange::default() });
    assert!(tracker.pmts().eq(&known));
}

#[test]
fn an_announced_table_is_not_yet_in_force() {
    let mut carousels = one_program();
    let tracker = track(&stream(&carousels, 1));
    carousels[0].sections.push(announced(pat(1, &[(9, 0x900)])));
    carousels[1].sections.push(announced(pmt(1, 0x999, &[], &[])));
    let packets = stream(&carousels, 3);
    let after = track(&packets);
    assert_eq!(after.pat(), tracker.pat());
    assert!(after.pmts().eq(tracker.pmts()));
    (0..packets.len()).for_each(|at| assert_joins(&packets, at));
}

#[test]
fn a_new_pat_keeps_the_programs_that_stay() {
    let pmt_of = |program: u16| pmt(program, 0x100 * program + 1, &[], &[(H264, 0x100 * program + 1, &[])]);
    let carousel = |program: u16| Carousel { pid: 0x100 * program, sections: vec![pmt_of(program)] };
    let pat_of =
        |version, programs: &[(u16, u16)]| Carousel { pid: 0, sections: vec![pat(version, programs)] };
    let mut tracker = track(&stream(&[pat_of(0, &[(1, 0x100), (2, 0x200)]), carousel(1), carousel(2)], 1));
    assert_eq!(tracker.video().map(|(pid, _)| pid), Some(Pid::new(0x101)));

    // The second round: its counter follows the PAT above.
    push_all(&mut tracker, &stream(&[pat_of(1, &[(2, 0x200), (3, 0x300)])], 2)[1..]);
    assert_eq!(tracker.video().map(|(pid, _)| pid), Some(Pid::new(0x201)));
    assert_eq!(tracker.raw().len(), 2 * PACKET_BYTES);
}

#[test]
fn video_is_that_of_the_first_program_that_has_any() {
    let programs = [(1, 0x100), (2, 0x200), (3, 0x300)];
    let carousel = |program: u16, stream_type: u8| {
        let pid = 0x100 * program;
        Carousel {
            pid,
            sections: vec![pmt(program, pid + 9, &[], &[(AAC, pid + 1, &[]), (stream_type, pid + 2, &[])])],
        }
    };
    let pat = || Carousel { pid: 0, sections: vec![pat(0, &programs)] };
    let radio_only = track(&stream(&[pat(), carousel(1, 0x05)], 1));
    assert_eq!((radio_only.video(), radio_only.audio()), (None, Some(Pid::new(0x101))));
    let all = track(&stream(&[pat(), carousel(3, H264), carousel(1, 0x05), carousel(2, 0x02)], 1));
    assert_eq!(all.video(), Some((Pid::new(0x202), StreamKind::Mpeg2Video)));
    assert_eq!((all.audio(), all.pcr_pid()), (Some(Pid::new(0x201)), Some(Pid::new(0x209))));
}

#[test]
fn a_pmt_among_many_private_sections_stays_at_hand() {
    let mut carousels = one_program();
    carousels[1].sections.extend((0..10).map(|_| private_section(0xC0, 900)));
    let packets = stream(&carousels, 3);
    let mut tracker = PsiTracker::new();
    for packet in &packets {
        tracker.push(&Packet::new(packet));
        let raw = tracker.raw();
        assert!(raw.len() <= (1 + KEPT_PACKETS_MAX) * PACKET_BYTES);
        let mut joined = PsiTracker::new();
        Packet::all(&raw).for_each(|packet| _ = joined.push(&packet));
        assert!(joined.pmts().eq(tracker.pmts()));
    }
}

#[test]
fn the_longest_pmts_sharing_a_pid_are_at_hand_after_each_round() {
    let info: Vec<u8> = [&[0x80, 246][..], &[7; 246]].concat();
    let longest =
        |number| pmt(number, 0x50, &info, &[(H264, number, &info), (AAC, 7, &info), (AAC, 8, &info)]);
    let half = pmt(3, 0x50, &info, &[(AAC, 9, &info)]);
    let carousels = [
        Carousel { pid: 0, sections: vec![pat(0, &[(1, 0x100), (2, 0x100), (3, 0x100)])] },
        Carousel { pid: 0x100, sections: vec![longest(1), longest(2), half] },
    ];
    let packets = stream(&carousels, 4);
    let round = packets.len() / 4;
    assert!(KEPT_PACKETS_MAX - (round - 1) < 6, "no room beside them for the one being renewed");
    (round..packets.len()).step_by(round).for_each(|at| assert_joins(&packets, at));
}

#[test]
fn raw_packets_are_bounded_however_many_programs_there_are() {
    let lines: Vec<_> = (1..=40u16).map(|number| (number, 0x100 + number)).collect();
    let info: Vec<u8> = [&[0x80, 250][..], &[7; 250]].concat();
    let mut carousels = vec![Carousel { pid: 0, sections: vec![pat(0, &lines)] }];
    carousels.extend(lines.iter().map(|&(number, pid)| {
        let sections = vec![pmt(number, pid, &info, &[(H264, number, &info), (AAC, number + 1, &info)])];
        Carousel { pid, sections }
    }));
    let mut tracker = track(&stream(&carousels, 2));
    assert_eq!(tracker.pmts().count(), PROGRAMS_MAX);
    let raw = tracker.raw();
    assert!(raw.len() <= RAW_BYTES_MAX && raw.len() > RAW_BYTES_MAX - 5 * PACKET_BYTES, "{}", raw.len());
    let pids: BTreeSet<_> = Packet::all(&raw).map(|packet| packet.pid()).collect();
    assert!(pids.contains(&Pid::PAT) && pids.contains(&Pid::new(0x101)), "the first program comes first");
}

#[test]
fn after_a_reset_nothing_is_known() {
    let mut tracker = track(&stream(&one_program(), 1));
    tracker.reset();
    assert!(!tracker.complete() && tracker.video().is_none() && tracker.pat().is_none());
    assert_eq!(tracker.raw().len(), 0);
}

proptest! {
    #[test]
    fn any_small_carousel_can_be_joined_anywhere(
        infos in proptest::collection::vec((0usize..250, 0u16..3, 0usize..300), 1..4),
        at in any::<proptest::sample::Index>(),
    ) {
        // Programs on up to three PIDs, each PMT with a descriptor and a private section behind it. A round of a PID
        // takes at most eleven packets.
        let lines: Vec<_> = infos.iter().zip(1..).map(|(&(_, pid, _), number)| (number, 0x100 + pid)).collect();
        let mut carousels = vec![Carousel { pid: 0, sections: vec![pat(0, &lines)] }];
        for pid in 0..3 {
            let on_pid = infos.iter().zip(1..).filter(|((_, at, _), _)| *at == pid);
            let sections: Vec<_> = on_pid.flat_map(|(&(length, _, private), number)| {
                let info = [&[0x80, length as u8][..], &vec![7; length]].concat();
                [pmt(number, 0x50, &info, &[(H264, 0x50 + number, &[])]), private_section(0xC0, private)]
            }).collect();
            if !sections.is_empty() {
                carousels.push(Carousel { pid: 0x100 + pid, sections });
            }
        }
        let packets = stream(&carousels, 4);
        assert_joins(&packets, at.index(packets.len()));
    }

    #[test]
    fn no_bytes_panic(
        packets in proptest::collection::vec((0u8..3, any::<bool>(), proptest::array::uniform16(0u8..4)), 0..100),
    ) {
        let mut tracker = track(&stream(&one_program(), 1));
        for (counter, (pid, start, body)) in packets.into_iter().enumerate() {
            let mut packet = [0x02; PACKET_BYTES];
            let start = u8::from(start) << 6;
            packet[..4].copy_from_slice(&[0x47, start | pid & 1, 0, 0x10 | (counter as u8 & 0x0F)]);
            packet[4..20].copy_from_slice(&body);
            tracker.push(&Packet::new(&packet));
            prop_assert!(tracker.raw().len() <= RAW_BYTES_MAX);
        }
    }
}
