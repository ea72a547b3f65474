use alloc::vec;
use alloc::vec::Vec;

use super::*;

const SSRC: u32 = 0x5252_5252;

/// An RTP packet whose payload is the sync byte and `number`.
fn rtp(number: u16, ssrc: u32) -> Vec<u8> {
    let [s1, s0] = number.to_be_bytes();
    let mut packet = vec![0x80, PAYLOAD_TYPE_MP2T, s1, s0, 0, 0, 0, 0];
    packet.extend(ssrc.to_be_bytes());
    packet.extend([SYNC_BYTE, s1, s0]);
    packet
}

/// A receiver and the numbers that it gave out.
struct Bench {
    receiver: RtpReceiver,
    out: Vec<u16>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Bench { receiver: RtpReceiver::new(Expect::Either), out: Vec::new(), now: Instant::ORIGIN }
    }

    fn push_as(&mut self, ssrc: u32, numbers: impl IntoIterator<Item = u16>) {
        for number in numbers {
            let out = &mut self.out;
            let mut deliver = |payload: &[u8]| out.push(u16::from_be_bytes([payload[1], payload[2]]));
            self.receiver.push(self.now, &rtp(number, ssrc), &mut deliver);
        }
    }

    fn push(&mut self, numbers: impl IntoIterator<Item = u16>) {
        self.push_as(SSRC, numbers);
    }

    fn wait(&mut self, duration: Duration) {
        self.now += duration;
        let out = &mut self.out;
        let mut deliver = |payload: &[u8]| out.push(u16::from_be_bytes([payload[1], payload[2]]));
        self.receiver.handle_timeout(self.now, &mut deliver);
    }

    fn stats(&self) -> RtpStats {
        *self.receiver.stats()
    }
}

#[test]
fn the_header_goes_with_all_its_parts() {
    let parse = |bytes: &[u8]| RtpPacket::parse(bytes).map(|packet| packet.payload.to_vec());
    let fixed = [0u8, 0xA1, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9];
    let with = |flags: u8, rest: &[u8]| [&[flags], &fixed[1..], rest].concat();
    assert_eq!(parse(&with(0x80, b"Gab")).unwrap(), b"Gab");
    assert_eq!(parse(&with(0x80, b"")).unwrap(), b"");
    // Two contributing sources; an extension of one word; three bytes of padding; all at once.
    assert_eq!(parse(&with(0x82, b"12345678Gab")).unwrap(), b"Gab");
    assert_eq!(parse(&with(0x90, b"xx\x00\x011234Gab")).unwrap(), b"Gab");
    assert_eq!(parse(&with(0xA0, b"Gab\0\0\x03")).unwrap(), b"Gab");
    assert_eq!(parse(&with(0xB1, b"1234xx\x00\x00Gab\x01")).unwrap(), b"Gab");

    let packet = with(0x80, b"G");
    let packet = RtpPacket::parse(&packet).unwrap();
    assert_eq!((packet.payload_type, packet.sequence, packet.ssrc), (33, 7, 9));
}

#[test]
fn torn_headers_are_none() {
    let whole = [&[0xB1, 33, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9][..], b"1234xx\x00\x015678\x01"].concat();
    assert!(RtpPacket::parse(&whole).is_some());
    let header = whole.len() - 1;
    for len in 0..=header {
        assert!(RtpPacket::parse(&whole[..len]).is_none(), "{len}");
    }
    // Padding of no bytes and of more than there are, version 1.
    assert!(RtpPacket::parse(&[0xA0, 33, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 0]).is_none());
    assert!(RtpPacket::parse(&[0xA0, 33, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 2]).is_none());
    assert!(RtpPacket::parse(&[0x47, 33, 0, 7, 0, 0, 0, 0, 0, 0, 0, 9, 2]).is_none());
}

#[test]
fn plain_transport_stream_and_rtp_are_told_apart() {
    let deliver = |expect, datagram: &[u8]| {
        let mut receiver = RtpReceiver::new(expect);
        let mut out = Vec::new();
        receiver.push(Instant::ORIGIN, datagram, &mut |payload| out.extend_from_slice(payload));
        (out, receiver.stats().foreign)
    };
    let dynamic = {
        let mut packet = rtp(1, SSRC);
        packet[1] = 96;
        packet
    };
    let stamped = {
        let mut packet = rtp(1, SSRC);
        packet[4] = SYNC_BYTE;
        packet.resize(192, 0);
        packet
    };
    let payload = [SYNC_BYTE, 0, 1];
    let cases: [(Expect, &[u8], &[u8], u64); 9] = [
        (Expect::Either, b"", b"", 0),
        (Expect::Rtp, b"", b"", 0),
        (Expect::Either, b"Gabc", b"Gabc", 0),
        (Expect::Rtp, b"Gabc", b"Gabc", 0),
        (Expect::Rtp, b"abc", b"", 1),
        (Expect::Either, &rtp(1, SSRC), &payload, 0),
        (Expect::Either, &dynamic, &dynamic, 0),
        (Expect::Rtp, &dynamic, &payload, 0),
        (Expect::Either, &stamped, &stamped, 0),
    ];
    for (expect, datagram, out, foreign) in cases {
        assert_eq!(deliver(expect, datagram), (out.to_vec(), foreign), "{expect:?} {datagram:?}");
    }
}

#[test]
fn what_is_in_order_passes_at_once_also_across_the_wrap() {
    let mut bench = Bench::new();
    bench.push([65_534, 65_535, 0, 1]);
    assert_eq!(bench.out, [65_534, 65_535, 0, 1]);
    assert_eq!(bench.receiver.poll_timeout(), None);
    assert_eq!(bench.stats(), RtpStats { packets: 4, ..RtpStats::default() });
}

#[test]
fn packets_that_overtook_each_other_come_out_in_order() {
    let mut bench = Bench::new();
    bench.push([65_533, 65_535, 0, 65_534, 2, 1, 3]);
    assert_eq!(bench.out, [65_533, 65_534, 65_535, 0, 1, 2, 3]);
    assert_eq!(bench.stats(), RtpStats { packets: 7, reordered: 2, ..RtpStats::default() });
}

#[test]
fn a_packet_that_comes_again_goes_out_once() {
    let mut bench = Bench::new();
    bench.push([1, 1, 2, 4, 4, 3, 2, 3, 4]);
    assert_eq!(bench.out, [1, 2, 3, 4]);
    assert_eq!(bench.stats().duplicates, 5);
    assert_eq!(bench.stats().late, 0);
}

#[test]
fn a_gap_is_given_up_after_the_wait_and_the_straggler_is_late() {
    let mut bench = Bench::new();
    bench.push([1, 4]);
    bench.wait(Duration::from_millis(10));
    bench.push([6]);
    assert_eq!(bench.receiver.poll_timeout(), Some(Instant::ORIGIN + WAIT));
    bench.wait(WAIT - Duration::from_millis(11));
    assert_eq!(bench.out, [1]);
    bench.wait(Duration::from_millis(1));
    assert_eq!(bench.out, [1, 4]);
    assert_eq!(bench.stats().lost, 2);
    bench.push([3, 5]);
    assert_eq!(bench.out, [1, 4, 5, 6]);
    assert_eq!((bench.stats().lost, bench.stats().late, bench.stats().reordered), (2, 1, 1));
    assert_eq!(bench.receiver.poll_timeout(), None);
}

#[test]
fn a_gap_is_given_up_when_the_window_is_full() {
    let mut bench = Bench::new();
    bench.push([0]);
    bench.push(2..=WINDOW);
    assert_eq!(bench.out, [0]);
    bench.push([WINDOW + 1]);
    let all: Vec<u16> = core::iter::once(0).chain(2..=WINDOW + 1).collect();
    assert_eq!(bench.out, all);
    assert_eq!(bench.stats().lost, 1);
}

#[test]
fn a_long_loss_is_counted_whole() {
    let mut bench = Bench::new();
    bench.push([10, 10 + DROPOUT_MAX]);
    bench.wait(WAIT);
    assert_eq!(bench.out, [10, 10 + DROPOUT_MAX]);
    assert_eq!(bench.stats().lost, u64::from(DROPOUT_MAX) - 1);
}

#[test]
fn another_sender_takes_over_at_once() {
    let mut bench = Bench::new();
    bench.push([1, 3]);
    bench.push_as(9, [40_000, 40_001]);
    assert_eq!(bench.out, [1, 3, 40_000, 40_001]);
    assert_eq!((bench.stats().restarts, bench.stats().lost), (1, 1));
}

#[test]
fn a_new_sequence_of_the_same_sender_is_believed_at_its_second_packet() {
    let mut bench = Bench::new();
    bench.push([1, 2]);
    bench.push([40_000]);
    assert_eq!(bench.out, [1, 2]);
    bench.push([40_001, 40_002]);
    assert_eq!(bench.out, [1, 2, 40_000, 40_001, 40_002]);
    assert_eq!((bench.stats().restarts, bench.stats().lost), (1, 0));
}

#[test]
fn one_stray_packet_does_not_disturb() {
    let mut bench = Bench::new();
    bench.push([1, 40_000, 2, 40_001, 3]);
    assert_eq!(bench.out, [1, 2, 3]);
    assert_eq!(bench.stats().restarts, 0);
}

#[test]
fn a_sender_that_begins_again_a_little_further_back_is_not_dropped_for_long() {
    let mut bench = Bench::new();
    bench.push(100..150);
    bench.push(100..200);
    let believed = 100 + BEHIND_MAX - 1;
    let all: Vec<u16> = (100..150).chain(believed..200).collect();
    assert_eq!(bench.out, all);
    assert_eq!(bench.stats().restarts, 1);
}

#[test]
fn finish_gives_out_what_is_held() {
    let mut bench = Bench::new();
    bench.push([1, 3, 5]);
    let mut rest = 0;
    bench.receiver.finish(&mut |_| rest += 1);
    assert_eq!((rest, bench.stats().lost), (2, 2));
    assert_eq!(bench.receiver.poll_timeout(), None);
}

mod model {
    use super::*;
    use crate::rng::Rng;
    use alloc::collections::BTreeSet;

    /// Random loss, duplication and displacement: what comes out is strictly ascending, complete apart from what
    /// was lost on the way or came too late, and the counts add up.
    #[test]
    fn out_comes_an_ascending_selection_and_the_counts_add_up() {
        for seed in 0..200 {
            let mut rng = Rng::from_seed(seed);
            let start = rng.next_u64() as u16;
            let mut sent = Vec::new();
            for step in 0..2_000u64 {
                for _ in 0..1 + u64::from(rng.chance(1, 20)) {
                    if !rng.chance(1, 30) {
                        sent.push((step + rng.below(5), start.wrapping_add(step as u16)));
                    }
                }
            }
            sent.sort();
            let came: BTreeSet<u16> = sent.iter().map(|&(_, number)| number).collect();
            let first = sent[0].1;
            let mut bench = Bench::new();
            bench.push(sent.iter().map(|&(_, number)| number));
            bench.wait(WAIT);

            assert!(bench.out.is_sorted_by_key(|number| number.wrapping_sub(first)), "seed {seed}");
            let out: BTreeSet<u16> = bench.out.iter().copied().collect();
            assert_eq!(out.len(), bench.out.len(), "nothing twice, seed {seed}");
            // Only what comes before the very first packet can be too late: nothing waits so long otherwise.
            let missing = came.difference(&out).count() as u64;
            let stats = bench.stats();
            assert!(missing <= 5, "seed {seed}: {missing} missing");
            assert_eq!(stats.packets, out.len() as u64 + stats.duplicates + stats.late, "seed {seed}");
            let last = bench.out.last().unwrap().wrapping_sub(first);
            assert_eq!(stats.lost, u64::from(last) + 1 - out.len() as u64, "seed {seed}");
        }
    }
}
