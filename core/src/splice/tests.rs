use super::*;
use crate::testing::{Change, Content, PcrPlace, StreamSpec, SyntheticPacket, SyntheticStream};
use crate::ts::Continuity;
use crate::ts::continuity::Verdict;
use alloc::vec::Vec;
use proptest::prelude::*;

type Bytes188 = [u8; PACKET_BYTES];

fn recording(spec: StreamSpec, packets: usize) -> Vec<Bytes188> {
    SyntheticStream::new(spec).take(packets).map(|packet| packet.bytes).collect()
}

fn television(seed: u64, pcr_start: u64) -> StreamSpec {
    StreamSpec { pcr_start, ..StreamSpec::new(seed, 2_000_000) }
}

/// `rounds` times the same recording, restamped; one `Vec` per round.
fn repeated(recording: &[Bytes188], rounds: usize) -> Vec<Vec<Bytes188>> {
    let mut restamp = Restamp::new();
    (0..rounds)
        .map(|round| {
            if round > 0 {
                restamp.begin_again();
            }
            restamped(&mut restamp, recording)
        })
        .collect()
}

fn restamped(restamp: &mut Restamp, packets: &[Bytes188]) -> Vec<Bytes188> {
    let mut packets = packets.to_vec();
    packets.iter_mut().for_each(|packet| restamp.restamp(packet));
    packets
}

/// Takes a unit away, but not the clock.
fn keep_clock(packet: &mut Bytes188) {
    if Packet::new(packet).adaptation().is_some_and(|field| field.pcr().is_some()) {
        drop_payload(packet);
    } else {
        become_null(packet);
    }
}

fn clocks(packets: &[Bytes188]) -> Vec<Pcr> {
    packets.iter().filter_map(|packet| Packet::new(packet).adaptation()?.pcr()).collect()
}

/// Decoding times of the PES packets of one PID.
fn times(packets: &[Bytes188], pid: u16) -> Vec<Timestamp> {
    let heads = packets.iter().map(Packet::new).filter(|packet| packet.pid() == Pid::new(pid));
    heads.filter_map(|packet| PesHeader::of(&packet)).filter_map(|head| head.dts.or(head.pts)).collect()
}

fn steps(times: &[Timestamp]) -> Vec<i64> {
    times.windows(2).map(|pair| pair[1].ticks_since(pair[0])).collect()
}

fn clock_steps(clocks: &[Pcr]) -> Vec<i64> {
    clocks.windows(2).map(|pair| pair[1].ticks_since(pair[0])).collect()
}

fn assert_counters_go_on(packets: &[Bytes188]) {
    let mut continuity = Continuity::new();
    for (index, packet) in packets.iter().enumerate() {
        let verdict = continuity.check(&Packet::new(packet));
        assert!(
            matches!(verdict, Verdict::First | Verdict::Expected | Verdict::Exempt),
            "{index}: {verdict:?}"
        );
    }
}

#[test]
fn the_first_piece_passes_bit_by_bit() {
    let mut recording = recording(television(1, 0), 5_000);
    // Reserved bits that a rewrite would set.
    for packet in &mut recording {
        if Packet::new(packet).adaptation().is_some_and(|field| field.pcr().is_some()) {
            packet[10] &= !0x7E;
        }
    }
    assert!(repeated(&recording, 1)[0] == recording);
}

#[test]
fn counters_go_on_over_every_seam() {
    for packets in [4_000, 4_001, 4_007, 4_100] {
        assert_counters_go_on(&repeated(&recording(television(1, 0), packets), 5).concat());
    }
}

#[test]
fn the_longest_stream_goes_on_without_a_gap_and_no_time_goes_back() {
    // Cut at any place, and with the clocks wrapping in the first, the second or the third round.
    for (packets, before_wrap_s) in [(4_000, 100), (4_321, 1), (5_555, 5), (5_556, 7), (4_999, 10)] {
        let spec = television(packets, Pcr::MODULUS - before_wrap_s * Pcr::HZ);
        let rounds = repeated(&recording(spec, packets as usize), 4);
        let all = rounds.concat();
        let (video, audio) = (steps(&times(&all, 0x100)), steps(&times(&all, 0x101)));
        let longest = [&video, &audio].map(|steps| *steps.iter().max().unwrap());
        assert!(video.iter().all(|&step| step >= 3_600), "{video:?}");
        assert!(audio.iter().all(|&step| step >= 11_520), "{audio:?}");
        assert!(longest[0] == 3_600 || longest[1] == 11_520, "a gap in both: {longest:?}");
        // What was cut off of one of them: an audio PES packet, or a key frame's time on the way.
        assert!(longest.iter().all(|&ticks| ticks < 45_000), "{longest:?}");
        let clock = clock_steps(&clocks(&all));
        assert!(clock.iter().all(|&step| step > 0 && step < Pcr::HZ as i64 / 5), "{clock:?}");
    }
}

#[test]
fn picture_sound_and_clock_keep_their_relation_over_the_rounds() {
    let mut recording = recording(television(3, Pcr::MODULUS - 20_000_000), 6_000);
    // Sound begins more than a second before the picture.
    let video = |packet: &&mut Bytes188| Packet::new(packet).pid() == Pid::new(0x100);
    recording[..2_000].iter_mut().filter(video).for_each(keep_clock);
    let relation = |round: &Vec<Bytes188>| {
        let (video, audio) = (times(round, 0x100)[0], times(round, 0x101)[0]);
        (video.ticks_since(audio), audio.ticks_since(tick_of(clocks(round)[0])))
    };
    let rounds = repeated(&recording, 4);
    assert!(rounds.iter().all(|round| relation(round) == relation(&rounds[0])));
}

#[test]
fn everything_else_in_a_packet_stays() {
    let recording = recording(television(4, 12_345), 6_000);
    let rounds = repeated(&recording, 3);
    for (before, after) in recording.iter().zip(&rounds[2]) {
        let mut after = *after;
        after[3] = after[3] & 0xF0 | before[3] & 0x0F;
        if let Some(pcr) = Packet::new(before).adaptation().and_then(|field| field.pcr()) {
            write_pcr(&mut after, pcr);
        }
        if let Some(head) = PesHeader::of(&Packet::new(before)) {
            write_pts_dts(&mut after, head.pts.unwrap(), head.dts);
        }
        assert_eq!(before, &after);
    }
}

#[test]
fn null_packets_and_packets_known_to_be_damaged_are_not_touched() {
    let mut restamp = Restamp::new();
    restamped(&mut restamp, &recording(television(1, 0), 3_000));
    restamp.begin_again();
    let mut null = [0xFF; PACKET_BYTES];
    null[..4].copy_from_slice(&[SYNC_BYTE, 0x1F, 0xFF, 0x17]);
    let mut damaged = recording(television(1, 0), 3)[2];
    damaged[1] |= 0x80;
    for packet in [null, damaged] {
        assert_eq!(restamped(&mut restamp, &[packet]), [packet]);
    }
}

#[test]
fn a_rest_whose_beginning_was_cut_off_is_not_glued_to_the_last_round() {
    // From the middle of a frame, with a PCR in what is left of it.
    let spec = television(5, 0);
    let all: Vec<SyntheticPacket> = SyntheticStream::new(spec).take(6_000).collect();
    let inside = |packet: &SyntheticPacket| {
        let view = Packet::new(&packet.bytes);
        packet.content == Content::Video && !view.payload_unit_start() && view.has_adaptation()
    };
    let begin = 100 + all[100..].windows(3).position(|run| run.iter().any(inside)).unwrap();
    let recording: Vec<Bytes188> = all[begin..].iter().map(|packet| packet.bytes).collect();
    let rounds = repeated(&recording, 3);
    assert_counters_go_on(&rounds.concat());
    for round in &rounds[1..] {
        for pid in [0x100, 0x101] {
            let first = round
                .iter()
                .map(Packet::new)
                .find(|packet| packet.pid() == Pid::new(pid) && packet.has_payload());
            assert!(first.unwrap().payload_unit_start());
        }
        assert_eq!(clocks(round).len(), clocks(&rounds[0]).len());
        assert_eq!(round.len(), rounds[0].len());
    }
}

#[test]
fn a_jump_inside_a_piece_does_not_open_a_gap_at_the_seam() {
    for ticks in [-50 * 90_000, 50 * 90_000] {
        let spec = television(6, 100 * Pcr::HZ).change(2_000, Change::ClockJump { ticks, flagged: true });
        let all = repeated(&recording(spec, 5_000), 4).concat();
        let jumps: Vec<i64> =
            steps(&times(&all, 0x100)).into_iter().filter(|step| !(3_600..16_000).contains(step)).collect();
        assert_eq!(jumps.len(), 4, "one in each round, none at the seams: {jumps:?}");
        assert!(jumps.iter().all(|jump| (jump - ticks).abs() <= 3_600), "{jumps:?}");
    }
}

#[test]
fn a_piece_without_times_of_units_goes_on_at_the_rate_of_its_clock() {
    let spec = StreamSpec { pcr: PcrPlace::Own(Pid::new(0x1FE)), ..television(7, 0) }
        .change(0, Change::Scrambled(true));
    let all = repeated(&recording(spec, 5_000), 3).concat();
    let clock = clock_steps(&clocks(&all));
    // 35 ms, late by at most three packets.
    let slot = 1_504 * Pcr::HZ as i64 / 2_000_000;
    assert!(clock.iter().all(|&step| (20_000..=945_000 + 3 * slot).contains(&step)), "{clock:?}");
}

#[test]
fn a_clock_that_outlasts_the_units_does_not_go_back() {
    let mut recording = recording(television(11, 0), 5_000);
    recording[3_500..].iter_mut().for_each(keep_clock);
    let all = repeated(&recording, 3).concat();
    assert!(clock_steps(&clocks(&all)).iter().all(|step| (1..2_000_000).contains(step)));
}

#[test]
fn a_pid_that_ended_before_a_jump_back_is_not_waited_for() {
    let spec =
        television(12, 100 * Pcr::HZ).change(2_000, Change::ClockJump { ticks: -30 * 90_000, flagged: true });
    let mut recording = recording(spec, 5_000);
    recording[2_000..]
        .iter_mut()
        .filter(|packet| Packet::new(packet).pid() == Pid::new(0x101))
        .for_each(become_null);
    let all = repeated(&recording, 3).concat();
    assert!(clock_steps(&clocks(&all)).iter().all(|&step| step < Pcr::HZ as i64));
}

#[test]
fn a_piece_may_begin_with_a_packet_without_payload() {
    let recording = recording(television(13, 0), 4_000);
    let first_video = recording.iter().find(|packet| Packet::new(packet).pid() == Pid::new(0x100)).unwrap();
    let mut clock_only = *first_video;
    drop_payload(&mut clock_only);
    clock_only[3] = 0x20 | first_video[3].wrapping_sub(1) & 0x0F;
    let recording = [vec![clock_only], recording].concat();
    let all = repeated(&recording, 3).concat();
    assert_counters_go_on(&all);
    // The counter of a packet without payload is the one of the last payload.
    let video: Vec<_> =
        all.iter().map(Packet::new).filter(|packet| packet.pid() == Pid::new(0x100)).collect();
    let still = video.windows(2).filter(|pair| !pair[1].has_payload());
    assert!(still.clone().count() == 2);
    assert!(still.into_iter().all(|pair| pair[0].continuity() == pair[1].continuity()));
}

#[test]
fn another_source_goes_on_where_the_first_one_ended() {
    for (first_start, second_start) in
        [(0, 5_000_000_000), (Pcr::MODULUS - 1_000_000, 77), (9_000_000_000, 3)]
    {
        let mut restamp = Restamp::new();
        let first = restamped(&mut restamp, &recording(television(8, first_start), 4_000));
        restamp.begin_next();
        // Small key frames: its units come less ahead of their time than those of the first.
        let mut spec = television(9, second_start);
        spec.video.as_mut().unwrap().key_weight = 2;
        let second = restamped(&mut restamp, &recording(spec, 4_000));
        let all = [first, second].concat();
        assert_counters_go_on(&all);
        assert!(clock_steps(&clocks(&all)).iter().all(|&step| step > 0 && step < 30_000_000));
        for pid in [0x100, 0x101] {
            let steps = steps(&times(&all, pid));
            assert!(steps.iter().all(|&step| step > 0 && step < 90_000), "{steps:?}");
        }
    }
}

#[test]
fn heads_whose_times_cannot_be_read_are_left_and_counted() {
    let recording = recording(television(10, 0), 4_000);
    let start =
        |packet: &&Bytes188| times(&[**packet], 0x100).len() == 1 && !Packet::new(packet).has_adaptation();
    let frame = *recording.iter().find(start).unwrap();
    let mut restamp = Restamp::new();
    restamped(&mut restamp, &recording);
    restamp.begin_again();

    // An adaptation field leaves twelve bytes of payload: the PTS goes on in the next packet.
    let mut split = frame;
    split[3] |= 0x20;
    split[4..PACKET_BYTES - 12].fill(0xFF);
    split[4] = (PACKET_BYTES - 12 - 5) as u8;
    split[5] = 0;
    split[PACKET_BYTES - 12..].copy_from_slice(&frame[4..16]);
    // A marker bit is missing.
    let mut absurd = frame;
    absurd[4 + 9] &= !1;
    for (count, packet) in [(1, split), (2, absurd)] {
        let after = restamped(&mut restamp, &[packet])[0];
        assert_eq!(after[4..], packet[4..]);
        assert_eq!(restamp.counts().unreadable_heads, count);
    }
}

proptest! {
    #[test]
    fn nothing_that_looks_like_packets_can_stop_it(
        seeds in prop::collection::vec((any::<u64>(), 0_u8..8), 1..400),
        length in 1_usize..60,
    ) {
        let mut restamp = Restamp::new();
        let mut rng = crate::Rng::from_seed(length as u64);
        for (index, (seed, kind)) in seeds.iter().enumerate() {
            let mut packet: Bytes188 = core::array::from_fn(|_| rng.next_u64() as u8);
            packet[..8].copy_from_slice(&seed.to_be_bytes());
            packet[0] = SYNC_BYTE;
            // A few PIDs, so that they meet again; PES starts with and without room.
            packet[1] &= 0xC0;
            packet[2] &= 0x03;
            if kind & 1 == 1 {
                packet[1] |= 0x40;
                let at = if packet[3] & 0x20 == 0 { 4 } else { 5 + usize::from(packet[4]) };
                for (place, byte) in [0, 0, 1, 0xE0, 0, 0, 0x80].into_iter().enumerate() {
                    if let Some(target) = packet.get_mut(at + place) {
                        *target = byte;
                    }
                }
            }
            restamp.restamp(&mut packet);
            prop_assert_eq!(packet[0], SYNC_BYTE);
            if index % length == length - 1 {
                if kind & 2 == 0 { restamp.begin_again() } else { restamp.begin_next() }
            }
        }
    }
}
