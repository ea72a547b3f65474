//! Any chunks in, whole packets out.
//!
//! One byte 0x47 is no proof of a packet: payloads are full of them. A phase counts as found when
//! [`CONFIRM_PACKETS`] headers stand at one distance (188, 192 or 204 bytes), and as lost when two sync bytes in a
//! row are wrong (ETSI TR 101 290 §5.2.1, 1.1 TS_sync_loss). A packet is handed out only when the sync byte after
//! it has been seen, so that one which was torn off in the middle is noticed, and when several phases look right
//! at once, the one whose continuity counters count wins.
//!
//! Every decision waits for a fixed number of bytes, so the result does not depend on how the input was cut into
//! chunks. At most [`PENDING_BYTES_MAX`] bytes wait.

use alloc::vec::Vec;
use core::mem;

use memchr::memchr;

use crate::ts::{PACKET_BYTES, SYNC_BYTE};

/// Headers at one distance that make a phase believable (ETSI TR 101 290 §5.2.1 asks for five).
pub const CONFIRM_PACKETS: usize = 5;
/// Headers that are compared when more than one phase is believable.
pub const RIVAL_PACKETS: usize = 12;
/// The most bytes that wait for a decision.
pub const PENDING_BYTES_MAX: usize = CONFIRM_BYTES + RIVAL_BYTES;

const STRIDE_MAX: usize = 204;
/// Bytes before the sync byte of an M2TS packet.
const STAMP_BYTES: u64 = 4;
/// Enough to see `CONFIRM_PACKETS` headers at every phase of one stride.
const CONFIRM_BYTES: usize = (CONFIRM_PACKETS + 1) * STRIDE_MAX;
/// Enough to see `RIVAL_PACKETS` headers at every phase of one stride.
const RIVAL_BYTES: usize = (RIVAL_PACKETS + 1) * STRIDE_MAX;

/// How packets follow each other on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PacketForm {
    /// Bare packets (ISO/IEC 13818-1 §2.4.3.2).
    Ts188,
    /// Each packet behind a four-byte arrival time stamp (the form of M2TS files).
    M2ts192,
    /// Each packet before sixteen bytes of Reed–Solomon parity (ETSI EN 300 429).
    Ts204,
}

impl PacketForm {
    const ALL: [PacketForm; 3] = [PacketForm::Ts188, PacketForm::M2ts192, PacketForm::Ts204];

    /// Bytes from one sync byte to the next.
    pub const fn stride(self) -> usize {
        match self {
            PacketForm::Ts188 => 188,
            PacketForm::M2ts192 => 192,
            PacketForm::Ts204 => 204,
        }
    }
}

/// What the framer has seen since it was made; all counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FramerStats {
    /// Bytes taken in.
    pub bytes: u64,
    /// Packets handed out.
    pub packets: u64,
    /// Bytes that belonged to no packet handed out (time stamps and parity of the packet form not counted).
    pub skipped_bytes: u64,
    /// Times the phase was lost (TS_sync_loss, ETSI TR 101 290 §5.2.1, 1.1).
    pub sync_losses: u64,
    /// Single wrong sync bytes within a phase that held (Sync_byte_error, ETSI TR 101 290 §5.2.1, 1.2).
    pub sync_byte_errors: u64,
}

/// How far a look at some bytes has led.
enum Step {
    /// So many of them are decided about.
    Used(usize),
    /// There must be so many of them.
    Wants(usize),
}

/// Finds the packets in a stream of bytes. Cost per byte is constant, about one copy for bytes at chunk ends.
#[derive(Debug, Default)]
pub struct Framer {
    lock: Option<PacketForm>,
    pending: Vec<u8>,
    /// So many bytes must wait before there is anything to decide about them.
    wanted: usize,
    /// Bytes at the very start, not counted yet, that are garbage unless the packets turn out to be M2TS.
    maybe_stamp: u64,
    stats: FramerStats,
}

impl Framer {
    /// A framer that has seen nothing.
    pub fn new() -> Self {
        Framer::default()
    }

    /// Takes the next bytes and calls `sink` for every packet that they complete, in order.
    pub fn push(&mut self, mut chunk: &[u8], sink: &mut impl FnMut(&[u8; PACKET_BYTES])) {
        self.stats.bytes += chunk.len() as u64;
        while !self.pending.is_empty() && !chunk.is_empty() {
            let waiting = self.pending.len();
            // In phase the rest is read where it lies; while hunting, steps that are not tiny save moving bytes.
            let least = if self.lock.is_some() { 1 } else { STRIDE_MAX };
            let take = self.wanted.saturating_sub(waiting).max(least).min(chunk.len());
            self.pending.extend_from_slice(&chunk[..take]);
            if self.pending.len() < self.wanted {
                break;
            }
            let mut bytes = mem::take(&mut self.pending);
            let used = self.scan(&bytes, false, sink);
            if used >= waiting {
                // Nothing that waited is left: the rest is read where it lies.
                chunk = &chunk[used - waiting..];
                bytes.clear();
            } else {
                chunk = &chunk[take..];
                bytes.drain(..used);
            }
            self.pending = bytes;
        }
        if self.pending.is_empty() {
            let used = self.scan(chunk, false, sink);
            self.pending.extend_from_slice(&chunk[used..]);
        }
        assert!(self.pending.len() <= PENDING_BYTES_MAX, "the framer holds a bounded number of bytes");
    }

    /// Ends the input: decides about the bytes that wait, and forgets the phase.
    pub fn finish(&mut self, sink: &mut impl FnMut(&[u8; PACKET_BYTES])) {
        let mut bytes = mem::take(&mut self.pending);
        let used = self.scan(&bytes, true, sink);
        assert!(used == bytes.len(), "the end of the input decides everything");
        bytes.clear();
        self.pending = bytes;
        self.wanted = 0;
        self.lock = None;
        self.stats.skipped_bytes += mem::take(&mut self.maybe_stamp);
    }

    /// The packet form in use; `None` while searching.
    pub fn packet_form(&self) -> Option<PacketForm> {
        self.lock
    }

    /// The counts so far.
    pub fn stats(&self) -> FramerStats {
        self.stats
    }

    /// Decides as much of `bytes` as can be decided; answers how many bytes that was.
    fn scan(&mut self, bytes: &[u8], end: bool, sink: &mut impl FnMut(&[u8; PACKET_BYTES])) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let step = match self.lock {
                Some(form) => self.scan_locked(&bytes[at..], form, end, sink),
                None => self.scan_hunting(&bytes[at..], end),
            };
            match step {
                Step::Used(used) => at += used,
                Step::Wants(bytes) => {
                    self.wanted = bytes;
                    break;
                }
            }
        }
        at
    }

    /// In phase: `bytes` begins where a packet should.
    fn scan_locked(
        &mut self,
        bytes: &[u8],
        form: PacketForm,
        end: bool,
        sink: &mut impl FnMut(&[u8; PACKET_BYTES]),
    ) -> Step {
        let stride = form.stride();
        let mut at = 0;
        while bytes.len() > at + stride && bytes[at] == SYNC_BYTE && bytes[at + stride] == SYNC_BYTE {
            self.deliver(&bytes[at..], sink);
            at += stride;
        }
        if at > 0 {
            return Step::Used(at);
        }
        let is_sync = |offset: usize| bytes.get(offset).map(|&byte| byte == SYNC_BYTE);
        match (bytes[0] == SYNC_BYTE, is_sync(stride)) {
            (_, None) if !end => Step::Wants(stride + 1),
            (true, None) if bytes.len() >= PACKET_BYTES => {
                self.deliver(bytes, sink);
                Step::Used(bytes.len())
            }
            (_, None) => Step::Used(self.skip(bytes.len())),
            (true, Some(true)) => {
                self.deliver(bytes, sink);
                Step::Used(stride)
            }
            (false, Some(true)) => {
                self.stats.sync_byte_errors += 1;
                self.skip(PACKET_BYTES);
                Step::Used(stride)
            }
            (false, Some(false)) => {
                self.lose();
                Step::Used(self.skip(1))
            }
            (true, Some(false)) => match is_sync(2 * stride) {
                None if !end => Step::Wants(2 * stride + 1),
                None | Some(true) => {
                    self.deliver(bytes, sink);
                    Step::Used(stride)
                }
                Some(false) if bytes.len() < CONFIRM_BYTES && !end => Step::Wants(CONFIRM_BYTES),
                Some(false) => {
                    // Two wrong in a row. Either something was put in after this packet, or it was torn off and
                    // the next phase begins inside it.
                    self.lose();
                    let torn = (1..PACKET_BYTES).any(|offset| {
                        PacketForm::ALL.iter().any(|&form| headers_hold(bytes, offset, form, CONFIRM_PACKETS))
                    });
                    if torn {
                        return Step::Used(self.skip(1));
                    }
                    self.deliver(bytes, sink);
                    Step::Used(stride)
                }
            },
        }
    }

    /// Out of phase: drops bytes up to the next believable packet.
    fn scan_hunting(&mut self, bytes: &[u8], end: bool) -> Step {
        match memchr(SYNC_BYTE, bytes) {
            None => return Step::Used(self.skip(bytes.len())),
            Some(0) => {}
            Some(garbage) => return Step::Used(self.skip(garbage)),
        }
        if !PacketForm::ALL.iter().any(|&form| may_hold(bytes, form)) {
            return Step::Used(self.skip(1));
        }
        if bytes.len() < CONFIRM_BYTES && !end {
            return Step::Wants(CONFIRM_BYTES);
        }
        // The place itself is judged first: bytes that are all sync bytes would make every one of them a look at
        // all phases.
        let believable = |candidate: &Candidate| candidate.holds(bytes);
        let here = Candidate::all(bytes, CONFIRM_PACKETS).take_while(|candidate| candidate.offset == 0);
        let Some(first) = here.into_iter().find(believable) else {
            return Step::Used(self.skip(1));
        };
        let chosen = if Candidate::all(bytes, CONFIRM_PACKETS).filter(believable).nth(1).is_none() {
            first
        } else if bytes.len() < RIVAL_BYTES && !end {
            return Step::Wants(RIVAL_BYTES);
        } else {
            // Ties go to the earliest phase: `min_by_key` keeps the first of equals.
            let best = Candidate::all(bytes, RIVAL_PACKETS)
                .filter(|candidate| candidate.holds(bytes))
                .min_by_key(|candidate| usize::MAX - candidate.counters_that_count(bytes));
            match best {
                Some(best) => best,
                None => return Step::Used(self.skip(first.form.stride().min(bytes.len()))),
            }
        };
        self.skip(chosen.offset);
        let before = mem::take(&mut self.maybe_stamp);
        if chosen.form != PacketForm::M2ts192 || before != STAMP_BYTES {
            self.stats.skipped_bytes += before;
        }
        self.lock = Some(chosen.form);
        Step::Used(chosen.offset)
    }

    fn deliver(&mut self, bytes: &[u8], sink: &mut impl FnMut(&[u8; PACKET_BYTES])) {
        if let Some(packet) = bytes.first_chunk() {
            self.stats.packets += 1;
            sink(packet);
        }
    }

    fn skip(&mut self, bytes: usize) -> usize {
        self.stats.skipped_bytes += bytes as u64;
        let is_start = self.stats.packets == 0 && self.stats.skipped_bytes + self.maybe_stamp <= STAMP_BYTES;
        if is_start {
            self.maybe_stamp += mem::take(&mut self.stats.skipped_bytes);
        } else {
            self.stats.skipped_bytes += mem::take(&mut self.maybe_stamp);
        }
        bytes
    }

    fn lose(&mut self) {
        self.lock = None;
        self.stats.sync_losses += 1;
    }
}

/// A phase that could be the right one: `packets` headers from `offset` on.
#[derive(Clone, Copy)]
struct Candidate {
    offset: usize,
    form: PacketForm,
    packets: usize,
}

impl Candidate {
    /// Every phase within the first stride, earliest first, that `bytes` is long enough to judge. At the end of
    /// the input fewer than `packets` headers may be left, but never fewer than `CONFIRM_PACKETS`.
    fn all(bytes: &[u8], packets: usize) -> impl Iterator<Item = Candidate> {
        let length = bytes.len();
        (0..STRIDE_MAX).flat_map(move |offset| {
            PacketForm::ALL.into_iter().filter_map(move |form| {
                let visible = length.saturating_sub(offset + 4) / form.stride() + 1;
                let packets = packets.min(visible);
                (offset < form.stride() && packets >= CONFIRM_PACKETS).then_some(Candidate {
                    offset,
                    form,
                    packets,
                })
            })
        })
    }

    fn holds(&self, bytes: &[u8]) -> bool {
        headers_hold(bytes, self.offset, self.form, self.packets)
    }

    /// Packets whose continuity counter follows the one before on their PID (ISO/IEC 13818-1 §2.4.3.3).
    fn counters_that_count(&self, bytes: &[u8]) -> usize {
        let header = |index: usize| {
            let at = self.offset + index * self.form.stride();
            let pid = u16::from_be_bytes([bytes[at + 1] & 0x1F, bytes[at + 2]]);
            (pid, bytes[at + 3])
        };
        (1..self.packets)
            .filter(|&index| {
                let (pid, flags) = header(index);
                let before = (0..index).rev().map(header).find(|&(other, _)| other == pid);
                before.is_some_and(|(_, earlier)| {
                    let step = u8::from(flags & 0x10 != 0);
                    (earlier & 0x0F).wrapping_add(step) & 0x0F == flags & 0x0F
                })
            })
            .count()
    }
}

/// Whether `packets` headers stand in `bytes` from `offset` on: sync byte, and an adaptation field control that is
/// not the reserved value (ISO/IEC 13818-1 §2.4.3.3).
fn headers_hold(bytes: &[u8], offset: usize, form: PacketForm, packets: usize) -> bool {
    (0..packets).all(|index| {
        let at = offset + index * form.stride();
        matches!(bytes.get(at..at + 4), Some(&[SYNC_BYTE, _, _, flags]) if flags & 0x30 != 0)
    })
}

/// Whether the headers that are visible so far speak for a packet at the start of `bytes`.
fn may_hold(bytes: &[u8], form: PacketForm) -> bool {
    (0..CONFIRM_PACKETS).map_while(|index| bytes.get(index * form.stride())).all(|&byte| byte == SYNC_BYTE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;
    use alloc::vec;
    use proptest::prelude::*;

    const PID_VIDEO: u16 = 0x100;

    /// Packets of one PID with counters that count, and payload without a byte 0x47 unless asked for.
    fn packets(count: usize, payload: impl Fn(usize, usize) -> u8) -> Vec<[u8; PACKET_BYTES]> {
        let header = |index: usize| {
            let [high, low] = PID_VIDEO.to_be_bytes();
            [SYNC_BYTE, high, low, 0x10 | (index & 0x0F) as u8]
        };
        (0..count)
            .map(|index| {
                let mut packet = [0; PACKET_BYTES];
                packet[..4].copy_from_slice(&header(index));
                (4..PACKET_BYTES).for_each(|at| packet[at] = payload(index, at));
                packet
            })
            .collect()
    }

    fn plain(count: usize) -> Vec<[u8; PACKET_BYTES]> {
        packets(count, |index, at| ((index * 7 + at) % 61) as u8)
    }

    fn frame(chunks: &[&[u8]]) -> (Vec<[u8; PACKET_BYTES]>, FramerStats) {
        let mut framer = Framer::new();
        let mut out = Vec::new();
        for chunk in chunks {
            framer.push(chunk, &mut |packet| out.push(*packet));
        }
        framer.finish(&mut |packet| out.push(*packet));
        (out, framer.stats())
    }

    fn frame_whole(bytes: &[u8]) -> (Vec<[u8; PACKET_BYTES]>, FramerStats) {
        frame(&[bytes])
    }

    #[test]
    fn clean_packets_come_out_as_they_went_in() {
        let packets = plain(100);
        let (out, stats) = frame_whole(&packets.concat());
        assert_eq!(out, packets);
        let expected = FramerStats { bytes: 18_800, packets: 100, ..FramerStats::default() };
        assert_eq!(stats, expected);
    }

    #[test]
    fn every_packet_form_is_recognised_and_its_extra_bytes_are_not_garbage() {
        let packets = plain(40);
        let m2ts: Vec<u8> = packets.iter().flat_map(|p| [&[9, 8, 7, 6][..], &p[..]].concat()).collect();
        let reed_solomon: Vec<u8> = packets.iter().flat_map(|p| [&p[..], &[0xEE; 16][..]].concat()).collect();
        for bytes in [m2ts, reed_solomon] {
            let (out, stats) = frame_whole(&bytes);
            assert_eq!(out, packets);
            assert_eq!(stats.skipped_bytes, 0);
        }
    }

    #[test]
    fn the_first_time_stamp_is_no_garbage_however_it_arrives() {
        let m2ts: Vec<u8> = plain(20).iter().flat_map(|p| [&[9, 8, 7, 6][..], &p[..]].concat()).collect();
        for (start, garbage) in [(0, 0), (1, 3), (3, 1), (4, 0), (5, 191)] {
            for chunk in 1..10 {
                let (_, stats) = frame(&m2ts[start..].chunks(chunk).collect::<Vec<_>>());
                assert_eq!(stats.skipped_bytes, garbage, "from byte {start} in chunks of {chunk}");
            }
        }
    }

    #[test]
    fn a_start_in_the_middle_of_a_packet_costs_that_packet_only() {
        let packets = plain(30);
        let (out, stats) = frame_whole(&packets.concat()[50..]);
        assert_eq!(out, packets[1..]);
        assert_eq!(stats.skipped_bytes, 138);
    }

    #[test]
    fn garbage_between_packets_costs_no_packet() {
        let packets = plain(30);
        for garbage in [1, 50, 187, 188, 189, 400, 5_000] {
            let bytes = [&packets[..10].concat()[..], &vec![0x11; garbage], &packets[10..].concat()].concat();
            let (out, stats) = frame_whole(&bytes);
            assert_eq!(out, packets, "{garbage} bytes");
            assert_eq!(stats.skipped_bytes, garbage as u64, "{garbage} bytes");
        }
    }

    #[test]
    fn a_torn_packet_is_left_out_and_the_next_one_is_whole() {
        let packets = plain(30);
        for kept in [1, 4, 100, 187] {
            let bytes = [&packets[..10].concat()[..], &packets[10][..kept], &packets[11..].concat()].concat();
            let (out, stats) = frame_whole(&bytes);
            let expected: Vec<_> = packets[..10].iter().chain(&packets[11..]).copied().collect();
            assert_eq!(out, expected, "{kept} bytes kept");
            assert_eq!(stats.skipped_bytes, kept as u64);
            assert_eq!(stats.sync_losses, 1);
        }
    }

    #[test]
    fn one_wrong_sync_byte_costs_one_packet_and_no_lock() {
        let packets = plain(30);
        let mut bytes = packets.concat();
        bytes[12 * PACKET_BYTES] = 0x46;
        let (out, stats) = frame_whole(&bytes);
        let expected: Vec<_> = packets[..12].iter().chain(&packets[13..]).copied().collect();
        assert_eq!(out, expected);
        assert_eq!((stats.sync_byte_errors, stats.sync_losses, stats.skipped_bytes), (1, 0, 188));
    }

    #[test]
    fn a_false_pattern_in_the_payload_never_becomes_the_phase() {
        // The same place of every payload looks like a header; its "counter" stands still.
        let packets = packets(40, |_, at| match at {
            100 => SYNC_BYTE,
            103 => 0x15,
            _ => 0x20,
        });
        for start in [1, 90, 99, 101, 150] {
            let (out, _) = frame_whole(&packets.concat()[start..]);
            assert_eq!(out, packets[1..], "start at {start}");
        }
    }

    #[test]
    fn payloads_full_of_sync_bytes_do_not_hide_the_packets() {
        let packets = packets(40, |_, _| SYNC_BYTE);
        let (out, _) = frame_whole(&packets.concat()[60..]);
        assert_eq!(out, packets[1..]);
    }

    #[test]
    fn noise_gives_no_packets() {
        let mut rng = Rng::from_seed(7);
        let noise: Vec<u8> = (0..200_000).map(|_| rng.next_u64() as u8).collect();
        let (out, stats) = frame_whole(&noise);
        assert_eq!(out.len(), 0);
        assert_eq!(stats.skipped_bytes, 200_000);
    }

    /// Something between packets.
    #[derive(Clone, Debug)]
    enum Piece {
        Packets(usize),
        Garbage(Vec<u8>),
        Torn(usize),
    }

    fn piece() -> impl Strategy<Value = Piece> {
        prop_oneof![
            (1..30usize).prop_map(Piece::Packets),
            prop::collection::vec(any::<u8>(), 1..600).prop_map(Piece::Garbage),
            (1..187usize).prop_map(Piece::Torn),
        ]
    }

    fn bytes_of(pieces: &[Piece]) -> Vec<u8> {
        let source = plain(600);
        let mut next = source.iter();
        let mut bytes = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Packets(count) => next.by_ref().take(*count).for_each(|packet| bytes.extend(packet)),
                Piece::Garbage(garbage) => bytes.extend(garbage),
                Piece::Torn(kept) => next.by_ref().take(1).for_each(|packet| bytes.extend(&packet[..*kept])),
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn how_the_input_is_cut_changes_nothing(
            pieces in prop::collection::vec(piece(), 1..12),
            seed in any::<u64>(),
            chunk_max in 1..3000u64,
        ) {
            let bytes = bytes_of(&pieces);
            let mut rng = Rng::from_seed(seed);
            let mut chunks = Vec::new();
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (chunk, left) = rest.split_at((rng.between(1, chunk_max) as usize).min(rest.len()));
                chunks.push(chunk);
                rest = left;
            }
            prop_assert_eq!(frame(&chunks), frame_whole(&bytes));
        }

        #[test]
        fn every_byte_is_in_a_packet_or_skipped(pieces in prop::collection::vec(piece(), 1..12)) {
            let bytes = bytes_of(&pieces);
            let (out, stats) = frame_whole(&bytes);
            prop_assert_eq!(stats.packets as usize, out.len());
            prop_assert_eq!(stats.packets * 188 + stats.skipped_bytes, bytes.len() as u64);
            prop_assert!(out.iter().all(|packet| packet[0] == SYNC_BYTE));
        }
    }
}
