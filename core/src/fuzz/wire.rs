//! The targets that take bytes as they come from a socket: framer, RTP, and recordings played in real time.

use alloc::vec::Vec;

use super::choices::Choices;
use crate::framer::{Framer, FramerStats};
use crate::playout::{AtEnd, Next, Playout};
use crate::rng::Rng;
use crate::rtp::{Expect, RtpReceiver, WAIT, WINDOW};
use crate::time::{Duration, Instant};
use crate::ts::{PACKET_BYTES, SYNC_BYTE};

type Packet188 = [u8; PACKET_BYTES];

/// Framing: the first byte says whether the rest is bytes or decisions about bytes. However they are cut, the same
/// packets come out, in order, as they went in, and every byte is accounted for.
pub fn framer(data: &[u8]) {
    let mut choices = Choices::new(data);
    let kind = choices.byte();
    let bytes = if kind & 1 == 0 { choices.bytes(usize::MAX).to_vec() } else { wire(&mut choices) };
    let (packets, stats) = frame(bytes.chunks(usize::MAX));
    for chunk_max in [1, 188, 1_316, 4_000] {
        let mut rng = Rng::from_seed(u64::from(kind));
        assert!(
            frame(cut(&bytes, chunk_max, &mut rng)) == (packets.clone(), stats),
            "cutting changes nothing"
        );
    }
    assert!(stats.bytes == bytes.len() as u64 && stats.packets == packets.len() as u64);
    let inside = stats.packets * PACKET_BYTES as u64 + stats.skipped_bytes;
    assert!(inside <= stats.bytes, "no byte is counted twice");
    // What is neither is the 16 bytes that the longer forms have beside each packet, found or spoilt.
    let longest = (stats.packets + stats.sync_byte_errors + 1) * 16;
    assert!(stats.bytes <= inside + longest, "{stats:?} leaves bytes out");
    let mut rest = &bytes[..];
    for packet in &packets {
        assert!(packet[0] == SYNC_BYTE, "packets begin with a sync byte");
        let at = rest.windows(PACKET_BYTES).position(|window| window == packet);
        let at = at.expect("a packet that comes out went in, behind the one before");
        rest = &rest[at + PACKET_BYTES..];
    }
}

/// RTP: decisions about datagrams. Each payload comes out whole and once at most, in order as long as the sender
/// does not begin again, and nothing waits longer than it may.
pub fn rtp(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut receiver = RtpReceiver::new(choices.item(&[Expect::Either, Expect::Rtp]));
    let mut now = Instant::ORIGIN;
    let mut sequence = choices.word();
    let mut numbers = Vec::new();
    let mut out = Vec::new();
    while !choices.is_empty() {
        let step = choices.byte();
        sequence = match step >> 5 {
            0..=3 => sequence.wrapping_add(1),
            4 => sequence.wrapping_add(u16::from(step & 0x1F)),
            5 => sequence.wrapping_sub(u16::from(step & 0x1F)),
            6 => choices.word(),
            _ => sequence,
        };
        now += Duration::from_millis(u64::from(choices.below(60)));
        receiver.handle_timeout(now, &mut |payload| out.push(payload.to_vec()));
        let datagram = match step & 0x1F {
            0x1F => foreign(&mut choices),
            low => datagram(low, sequence, numbers.len() as u32),
        };
        numbers.push(sequence);
        receiver.push(now, &datagram, &mut |payload| out.push(payload.to_vec()));
        let due = receiver.poll_timeout();
        assert!(due.is_none_or(|due| due > now && due <= now + WAIT), "a gap is given up in time");
    }
    let before = out.len();
    receiver.finish(&mut |payload| out.push(payload.to_vec()));
    assert!(out.len() - before <= usize::from(WINDOW), "what is held is bounded");
    assert!(receiver.poll_timeout().is_none(), "nothing is held at the end");

    let out: Vec<u32> = out.iter().filter_map(|payload| number_of(payload)).collect();
    let mut sorted = out.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert!(sorted.len() == out.len(), "a payload comes out once");
    let stats = receiver.stats();
    let accounted = out.len() as u64 + stats.duplicates + stats.late;
    assert!(accounted <= stats.packets + stats.restarts, "{stats:?} for {} given out", out.len());
    if stats.restarts == 0 {
        let sequences = out.iter().map(|&number| numbers[number as usize]);
        let steps = sequences.clone().skip(1).zip(sequences).map(|(next, before)| next.wrapping_sub(before));
        assert!(steps.into_iter().all(|step| step > 0 && step < 1 << 15), "payloads come out in order");
    }
}

/// Recordings: what comes out in real time is whole packets, none before its time or before the one before it.
pub fn playout(data: &[u8]) {
    let mut playout = Playout::new();
    let mut now = Instant::ORIGIN;
    let mut last = now;
    let rounds_max = 3;
    for round in 0..rounds_max {
        let at_end = if round + 1 < rounds_max { AtEnd::Repeat } else { AtEnd::Finish };
        let mut recording = Choices::new(data);
        loop {
            match playout.next_batch(now) {
                Next::Batch(batch) => {
                    assert!(batch.at >= last, "batches are in order");
                    assert!(!batch.bytes.is_empty() && batch.bytes.len().is_multiple_of(PACKET_BYTES));
                    last = batch.at;
                    now = now.max(batch.at);
                }
                Next::NeedInput if recording.is_empty() => break playout.end_of_input(at_end),
                Next::NeedInput => {
                    let length = 1 + usize::from(recording.byte()) * 16;
                    playout.push(recording.bytes(length));
                }
                Next::Finished | Next::Failed(_) => return,
            }
        }
    }
}

/// Packets in one of the three forms, with other things in between, as the decisions say.
fn wire(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut counter = 0;
    let (before, after) = choices.item(&[(0, 0), (4, 0), (0, 16)]);
    while !choices.is_empty() && bytes.len() < 6_000 {
        let step = choices.byte();
        let fill = choices.byte();
        match step >> 5 {
            0..=3 => {
                for _ in 0..=step & 0x1F {
                    counter = (counter + 1) & 0x0F;
                    bytes.extend_from_slice(&[fill; 4][..before]);
                    bytes.extend_from_slice(&[SYNC_BYTE, 0x01, 0x00, 0x10 | counter]);
                    bytes.extend_from_slice(&[fill; PACKET_BYTES - 4]);
                    bytes.extend_from_slice(&[fill; 16][..after]);
                }
            }
            4 => bytes.extend_from_slice(choices.bytes(usize::from(fill))),
            5 => bytes.resize(bytes.len() + usize::from(fill) * 8, SYNC_BYTE),
            6 => bytes.truncate(bytes.len().saturating_sub(usize::from(fill))),
            _ => {
                let at = bytes.len().saturating_sub(usize::from(fill) * 4);
                bytes[at..].iter_mut().step_by(PACKET_BYTES).for_each(|byte| *byte ^= step & 0x1F);
            }
        }
    }
    bytes
}

fn frame<'a>(chunks: impl Iterator<Item = &'a [u8]>) -> (Vec<Packet188>, FramerStats) {
    let mut framer = Framer::new();
    let mut packets = Vec::new();
    chunks.for_each(|chunk| framer.push(chunk, &mut |packet| packets.push(*packet)));
    framer.finish(&mut |packet| packets.push(*packet));
    (packets, framer.stats())
}

fn cut<'a>(mut bytes: &'a [u8], chunk_max: u64, rng: &mut Rng) -> impl Iterator<Item = &'a [u8]> {
    core::iter::from_fn(move || {
        let length = (rng.between(1, chunk_max) as usize).min(bytes.len());
        let (chunk, rest) = bytes.split_at(length);
        bytes = rest;
        (!chunk.is_empty()).then_some(chunk)
    })
}

/// An RTP packet with one CSRC, an extension or padding as the step says, whose payload says its number.
fn datagram(step: u8, sequence: u16, number: u32) -> Vec<u8> {
    let has_extension = step & 1 != 0;
    let has_padding = step & 2 != 0;
    let has_csrc = step & 4 != 0;
    let ssrc = u8::from(step & 0x18 == 0x18);
    let flags = 0x80 | u8::from(has_padding) << 5 | u8::from(has_extension) << 4 | u8::from(has_csrc);
    let [high, low] = sequence.to_be_bytes();
    let mut bytes = Vec::from([flags, 33, high, low, 0, 0, 0, 0, 0, 0, 0, ssrc]);
    if has_csrc {
        bytes.extend_from_slice(&[9; 4]);
    }
    if has_extension {
        bytes.extend_from_slice(&[0, 0, 0, 1, 9, 9, 9, 9]);
    }
    bytes.push(SYNC_BYTE);
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&OWN);
    if has_padding {
        bytes.extend_from_slice(&[0, 0, 3]);
    }
    bytes
}

/// Ends the payloads of [`datagram`], and no others.
const OWN: [u8; 5] = [0xAB; 5];

fn number_of(payload: &[u8]) -> Option<u32> {
    let own = payload.strip_prefix(&[SYNC_BYTE])?.strip_suffix(&OWN)?;
    own.try_into().ok().map(u32::from_be_bytes)
}

/// Any bytes, but none that look like the end of an own payload.
fn foreign(choices: &mut Choices<'_>) -> Vec<u8> {
    let length = usize::from(choices.byte());
    choices.bytes(length).iter().map(|&byte| if byte == OWN[0] { 0 } else { byte }).collect()
}
