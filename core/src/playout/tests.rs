use super::*;
use crate::testing::{
    Change, Damage, Form, PMT_PID, PcrPlace, StreamSpec, SyntheticPacket, SyntheticStream, Wire,
};
use crate::ts::{PACKET_BYTES, Packet, Pid};
use alloc::string::ToString;
use alloc::vec::Vec;
use proptest::prelude::*;

const START: Instant = Instant::from_millis(5_000);

fn spec() -> StreamSpec {
    StreamSpec::new(1, 3_000_000)
}

fn packets(spec: StreamSpec, count: usize) -> Vec<SyntheticPacket> {
    SyntheticStream::new(spec).take(count).collect()
}

fn bytes_of(packets: &[SyntheticPacket]) -> Vec<u8> {
    packets.iter().flat_map(|packet| packet.bytes).collect()
}

/// All batches that come without further input, asked for when they are due, and what comes after them.
fn drain(playout: &mut Playout, now: &mut Instant) -> (Vec<Batch>, Next) {
    let mut batches = Vec::new();
    loop {
        match playout.next_batch(*now) {
            Next::Batch(batch) => {
                *now = (*now).max(batch.at);
                batches.push(batch);
            }
            next => return (batches, next),
        }
    }
}

/// Plays `recording`, `rounds` times, in chunks of `chunk` bytes.
fn play(recording: &[u8], rounds: usize, chunk: usize) -> (Vec<Batch>, Next) {
    let mut playout = Playout::new();
    let mut now = START;
    let mut batches = Vec::new();
    for round in 1..=rounds {
        for chunk in recording.chunks(chunk) {
            playout.push(chunk);
            batches.extend(drain(&mut playout, &mut now).0);
        }
        playout.end_of_input(if round < rounds { AtEnd::Repeat } else { AtEnd::Finish });
    }
    let (rest, last) = drain(&mut playout, &mut now);
    batches.extend(rest);
    (batches, last)
}

fn delivered(batches: &[Batch]) -> Vec<u8> {
    batches.iter().flat_map(|batch| batch.bytes.iter().copied()).collect()
}

/// Steps from batch to batch, milliseconds, rounded up.
fn steps_ms(batches: &[Batch]) -> Vec<u128> {
    let steps = batches.windows(2).map(|pair| pair[1].at.saturating_since(pair[0].at));
    steps.map(|step| step.as_micros().div_ceil(1_000)).collect()
}

fn assert_paced_at_3_mbit(batches: &[Batch]) {
    for batch in batches {
        // 10 ms and the packet that fills it up.
        assert!(batch.bytes.len() <= (3_000_000 / 1_504 / 100 + 1) * PACKET_BYTES, "{}", batch.bytes.len());
    }
    let steps = steps_ms(batches);
    assert!(steps.iter().all(|&step| step <= 11), "{steps:?}");
}

#[test]
fn every_packet_leaves_when_it_was_sent() {
    for spec in [
        spec(),
        StreamSpec::new(2, 40_000_000),
        StreamSpec::radio(3, 150_000),
        StreamSpec { pcr_start: Pcr::MODULUS - Pcr::HZ, ..spec() },
        StreamSpec { pcr: PcrPlace::Own(Pid::new(0x1FE)), ..spec() },
    ] {
        let sent = packets(spec, 9_000);
        let (batches, last) = play(&bytes_of(&sent), 1, 10_000);
        assert_eq!(last, Next::Finished);
        assert!(delivered(&batches) == bytes_of(&sent), "nothing is lost, added or changed");
        let mut index = 0;
        for batch in &batches {
            let packets = batch.bytes.len() / PACKET_BYTES;
            let sent_at = sent[index].at;
            let error = sent_at.as_nanos().abs_diff(batch.at.as_nanos() - START.as_nanos());
            assert!(error < 100, "packet {index} of {sent_at:?} is due at {:?}", batch.at);
            let span = sent[index + packets - 1].at.saturating_since(sent_at);
            assert!(span < BATCH_SPAN);
            index += packets;
        }
    }
}

#[test]
fn how_the_input_is_cut_does_not_matter() {
    let recording = bytes_of(&packets(spec(), 3_000));
    let (whole, _) = play(&recording, 2, usize::MAX);
    for chunk in [1, 187, 188, 4_096, INPUT_BYTES] {
        assert!(play(&recording, 2, chunk).0 == whole, "chunks of {chunk}");
    }
}

#[test]
fn a_recording_of_204_byte_packets_with_garbage_is_played_too() {
    let damage = Damage { garbage_every: 500, garbage_bytes_max: 100, ..Damage::default() };
    let recording = Wire::new(SyntheticStream::new(spec()), Form::Suffixed204, damage, 7).take_bytes(6_000);
    let (batches, last) = play(&recording, 1, 10_000);
    assert_eq!(last, Next::Finished);
    assert!(delivered(&batches).len() > 5_900 * PACKET_BYTES);
    assert!(steps_ms(&batches).iter().all(|&step| step <= 15));
}

#[test]
fn a_clock_that_jumps_makes_neither_a_burst_nor_a_pause() {
    for ticks in [-90_000 * 30, 90_000 * 30, 90_000 * 3] {
        for flagged in [false, true] {
            let jump = Change::ClockJump { ticks, flagged };
            let recording = bytes_of(&packets(spec().change(4_000, jump), 8_000));
            let (batches, _) = play(&recording, 1, 10_000);
            assert_paced_at_3_mbit(&batches);
            let length = batches.last().unwrap().at.saturating_since(START);
            assert!(
                length.abs_diff(Duration::from_millis(8_000 * 1_504 / 3_000)) < Duration::from_millis(60)
            );
        }
    }
}

#[test]
fn a_repeated_recording_goes_on_without_a_burst_or_a_pause() {
    // Cut anywhere: what is missing of the picture's or the sound's last unit may last a moment.
    let length = 7_001;
    let recording = bytes_of(&packets(spec(), length));
    let (batches, last) = play(&recording, 5, 30_000);
    assert_eq!(last, Next::Finished);
    assert_eq!(delivered(&batches).len(), 5 * recording.len());
    assert!(steps_ms(&batches).iter().all(|&step| step <= 40), "{:?}", steps_ms(&batches).iter().max());
    let total = batches.last().unwrap().at.saturating_since(START);
    let expected = Duration::from_micros(5 * length as u64 * 1_504 / 3);
    assert!(total.abs_diff(expected) < Duration::from_millis(5 * 300), "{total:?} {expected:?}");
    assert!(total + Duration::from_millis(100) > expected);
}

#[test]
fn a_recording_that_begins_anywhere_is_played_from_its_first_packet() {
    let sent = packets(spec(), 6_000);
    let (batches, _) = play(&bytes_of(&sent[1_234..]), 1, 10_000);
    assert!(delivered(&batches) == bytes_of(&sent[1_234..]));
    assert_eq!(batches[0].at, START);
    assert_paced_at_3_mbit(&batches);
}

#[test]
fn a_recording_without_a_clock_says_so() {
    let spec = StreamSpec { pcr: PcrPlace::Absent, ..spec() };
    let short = bytes_of(&packets(spec.clone(), 2_000));
    let long = bytes_of(&packets(spec, CLOCK_PACKETS_MAX + 100));
    for (recording, rounds) in [(&short, 1), (&short, 2), (&long, 1), (&long, 2)] {
        let (batches, last) = play(recording, rounds, 50_000);
        assert!(batches.is_empty());
        let Next::Failed(error) = last else { panic!("{last:?}") };
        assert!(matches!(error, PlayoutError::NoClock { packets } if packets >= 2_000));
        assert!(error.to_string().ends_with("packets: cannot be played in real time"), "{error}");
    }
}

#[test]
fn a_loop_without_a_clock_fails_at_its_first_end() {
    let mut playout = Playout::new();
    playout.push(&bytes_of(&packets(StreamSpec { pcr: PcrPlace::Absent, ..spec() }, 2_000)));
    assert_eq!(playout.next_batch(START), Next::NeedInput);
    playout.end_of_input(AtEnd::Repeat);
    assert_eq!(playout.next_batch(START), Next::Failed(PlayoutError::NoClock { packets: 2_000 }));
}

#[test]
fn readings_that_are_repeated_or_damaged_do_not_count() {
    let mut recording = Vec::new();
    for packet in packets(spec(), 9_000) {
        recording.extend_from_slice(&packet.bytes);
        if Packet::new(&packet.bytes).adaptation().is_some_and(|field| field.pcr().is_some()) {
            recording.extend_from_slice(&packet.bytes);
            let mut damaged = packet.bytes;
            damaged[1] |= 0x80;
            crate::ts::adaptation::write_pcr(&mut damaged, Pcr::from_27mhz(1));
            recording.extend_from_slice(&damaged);
        }
    }
    let mut playout = Playout::new();
    playout.push(&recording);
    playout.end_of_input(AtEnd::Finish);
    let mut now = START;
    let (batches, last) = drain(&mut playout, &mut now);
    assert_eq!((last, playout.stats().clock_jumps), (Next::Finished, 0));
    assert!(delivered(&batches) == recording);
    assert!(steps_ms(&batches).iter().all(|&step| step <= 11));
}

#[test]
fn what_contains_no_packets_fails_instead_of_looping_for_ever() {
    for (recording, rounds) in [(&b""[..], 1), (b"", 2), (&[b'x'; 5_000], 2)] {
        let (batches, last) = play(recording, rounds, 1_000);
        assert!(batches.is_empty());
        assert_eq!(last, Next::Failed(PlayoutError::NoPackets { bytes: recording.len() as u64 }));
    }
}

#[test]
fn a_pmt_that_names_a_silent_pid_does_not_stop_the_clock() {
    let mut sent = packets(StreamSpec { pcr: PcrPlace::Own(Pid::new(0x1FE)), ..spec() }, 30_000);
    for packet in &mut sent {
        if Packet::new(&packet.bytes).pid() == Pid::new(0x1FE) {
            packet.bytes[2] = 0xFD;
        }
    }
    let (batches, last) = play(&bytes_of(&sent), 1, 50_000);
    assert_eq!(last, Next::Finished);
    assert!(delivered(&batches) == bytes_of(&sent));
    assert_paced_at_3_mbit(&batches);
}

#[test]
fn the_clock_is_the_one_that_the_pmt_names() {
    // Before the PMT, and between the readings of the right clock, another PID shows other times.
    let sent = packets(spec(), 9_000);
    let mut other = sent[2].bytes;
    other[2] = 0xFC;
    let mut recording = Vec::new();
    for (index, packet) in sent.iter().enumerate() {
        if index % 7 == 0 {
            crate::ts::adaptation::write_pcr(&mut other, Pcr::from_27mhz(index as u64 * 1_000_003));
            recording.extend_from_slice(&other);
        }
        recording.extend_from_slice(&packet.bytes);
    }
    assert_eq!(Packet::new(&sent[1].bytes).pid(), PMT_PID);
    let (batches, last) = play(&recording, 1, 50_000);
    assert_eq!(last, Next::Finished);
    let length = batches.last().unwrap().at.saturating_since(START);
    assert!(length.abs_diff(Duration::from_millis(9_000 * 1_504 / 3_000)) < Duration::from_millis(60));
}

#[test]
fn a_clock_that_falls_silent_leaves_its_rate() {
    let mut sent = packets(spec(), 40_000);
    for packet in &mut sent[10_000..] {
        if Packet::new(&packet.bytes).adaptation().is_some_and(|field| field.pcr().is_some()) {
            packet.bytes[5] &= !0x10;
        }
    }
    let (batches, last) = play(&bytes_of(&sent), 1, 50_000);
    assert_eq!(last, Next::Finished);
    assert!(delivered(&batches) == bytes_of(&sent));
    assert_paced_at_3_mbit(&batches);
}

#[test]
fn another_clock_takes_over_when_the_first_one_falls_silent() {
    // The PMT keeps naming the first one.
    let mut sent = packets(spec(), 60_000);
    for packet in &mut sent[10_000..] {
        if Packet::new(&packet.bytes).adaptation().is_some_and(|field| field.pcr().is_some()) {
            packet.bytes[2] = 0xFC;
        }
    }
    let mut playout = Playout::new();
    let mut now = START;
    let mut batches = Vec::new();
    for chunk in bytes_of(&sent).chunks(INPUT_BYTES) {
        playout.push(chunk);
        batches.extend(drain(&mut playout, &mut now).0);
    }
    assert_eq!(playout.stats().clock_jumps, 1);
    assert_paced_at_3_mbit(&batches);
}

#[test]
fn a_driver_that_comes_late_catches_up_only_a_little() {
    let recording = bytes_of(&packets(spec(), 9_000));
    for (late_ms, slips) in [(150, 0), (3_000, 1)] {
        let mut playout = Playout::new();
        playout.push(&recording);
        let mut now = START;
        for _ in 0..50 {
            let Next::Batch(batch) = playout.next_batch(now) else { panic!("there is enough to play") };
            now = now.max(batch.at);
        }
        now += Duration::from_millis(late_ms);
        let resumed_at = now;
        let (batches, _) = drain(&mut playout, &mut now);
        assert_eq!(playout.stats().slips, slips);
        let in_a_burst = batches.iter().filter(|batch| batch.at <= resumed_at).count();
        assert_eq!(in_a_burst > 5, slips == 0, "{in_a_burst} batches at once");
        assert!(in_a_burst < 20);
    }
}

#[test]
fn nothing_is_played_after_the_end_or_a_failure() {
    let mut playout = Playout::new();
    playout.push(&bytes_of(&packets(spec(), 2_000)));
    playout.end_of_input(AtEnd::Finish);
    playout.end_of_input(AtEnd::Finish);
    let mut now = START;
    assert_eq!(drain(&mut playout, &mut now).1, Next::Finished);
    playout.push(&bytes_of(&packets(spec(), 2_000)));
    playout.end_of_input(AtEnd::Repeat);
    assert_eq!(playout.next_batch(now), Next::Finished);
}

proptest! {
    #[test]
    fn batches_are_in_order_and_bounded_whatever_comes(
        seed in any::<u64>(),
        garbage_every in 0_u64..50,
        torn_every in 0_u64..50,
        jump in -10_000_000_i64..10_000_000,
        flips in prop::collection::vec(any::<prop::sample::Index>(), 0..200),
        chunk in 1_usize..20_000,
    ) {
        let spec = StreamSpec::new(seed, 3_000_000).change(700, Change::ClockJump { ticks: jump, flagged: false });
        let damage = Damage { garbage_every, garbage_bytes_max: 400, garbage_of_sync_bytes: seed & 1 == 0, torn_every };
        let mut recording = Wire::new(SyntheticStream::new(spec), Form::Plain, damage, seed).take_bytes(1_500);
        for flip in flips {
            let at = flip.index(recording.len());
            recording[at] ^= 1 << (at % 8);
        }
        let (batches, last) = play(&recording, 3, chunk);
        prop_assert!(matches!(last, Next::Finished | Next::Failed(_)));
        prop_assert!(batches.windows(2).all(|pair| pair[0].at <= pair[1].at));
        prop_assert!(batches.iter().all(|batch| batch.bytes.len() % PACKET_BYTES == 0 && !batch.bytes.is_empty()));
        prop_assert!(delivered(&batches).len() <= 3 * recording.len());
    }
}
