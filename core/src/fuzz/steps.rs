//! The structured targets: bytes are decisions about what happens next.

use alloc::vec::Vec;

use super::channel::{Channel, Step as ChannelStep};
use super::choices::Choices;
use super::program::Piece;
use super::stage::{Stage, Step as StageStep};
use crate::policy::{Join, Policy, Slow};
use crate::ring::RingLimits;
use crate::stream::{Operator, StreamConfig};
use crate::time::Duration;
use crate::ts::PACKET_BYTES;
use crate::upstream::{Order, UpstreamConfig};

/// Packets that all sources of one run send at most, so that a run ends soon.
const PACKETS_MAX: usize = 4_000;

/// A stream, what its sources do to it, and how time passes: it keeps the promises that [`Channel`] knows.
pub fn stream(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut channel = Channel::new(stream_config(&mut choices), u64::from(choices.byte()));
    let mut packets_left = PACKETS_MAX;
    channel.step(ChannelStep::Start);
    while !choices.is_empty() && packets_left > 0 {
        let step = channel_step(&mut choices);
        if let ChannelStep::Data { pieces, .. } = &step {
            packets_left = packets_left.saturating_sub(pieces.len());
        }
        channel.step(step);
    }
    channel.step(ChannelStep::Stop);
}

/// A ring, a copy of it, and viewers of any policy: each gets what [`Stage`] knows that it must get.
pub fn ring_viewer(data: &[u8]) {
    let mut choices = Choices::new(data);
    let mut stage = Stage::new(RingLimits {
        packets_min: u64::from(choices.byte()),
        span_min: choices.time(),
        bytes_max: usize::from(choices.byte()) * 3 * PACKET_BYTES,
    });
    while !choices.is_empty() {
        stage.step(stage_step(&mut choices));
    }
    stage.drain();
}

fn stream_config(choices: &mut Choices<'_>) -> StreamConfig {
    let upstream = UpstreamConfig {
        sources: usize::from(choices.below(5)),
        order: choices.item(&[Order::Shuffle, Order::Priority]),
        reconnect: choices.flag().then(|| choices.time()),
        read_timeout: choices.flag().then(|| choices.time().max(Duration::from_millis(1))),
    };
    StreamConfig { upstream, grace: choices.time(), latency: choices.time() }
}

fn channel_step(choices: &mut Choices<'_>) -> ChannelStep {
    match choices.below(16) {
        0 => ChannelStep::Start,
        1 => ChannelStep::Stop,
        2 => ChannelStep::Connected(usize::from(choices.below(3))),
        3..=8 => ChannelStep::Data {
            conn: usize::from(choices.below(3)),
            at_once: choices.flag(),
            pieces: choices.many(40, pieces).concat(),
        },
        9 | 10 => ChannelStep::Closed(usize::from(choices.below(3))),
        11 => ChannelStep::Stale,
        12 | 13 => ChannelStep::Wait(choices.time()),
        14 => ChannelStep::Oversleep(choices.time()),
        _ => ChannelStep::Operator(choices.item(&[Operator::Online, Operator::Offline])),
    }
}

/// One piece, or many of a kind.
fn pieces(choices: &mut Choices<'_>) -> Vec<Piece> {
    let kind = choices.byte();
    let piece = match choices_of(kind) {
        Piece::Torn(_) => Piece::Torn(choices.byte()),
        Piece::Garbage(_) => Piece::Garbage(choices.byte()),
        piece => piece,
    };
    let count = if kind >= 0xF0 { usize::from(choices.byte()) } else { 1 };
    alloc::vec![piece; count]
}

fn choices_of(kind: u8) -> Piece {
    Piece::ALL[usize::from(kind & 0x0F) % Piece::ALL.len()]
}

fn stage_step(choices: &mut Choices<'_>) -> StageStep {
    match choices.below(16) {
        0..=4 => {
            let kind = choices.byte();
            StageStep::Push {
                wait: choices.time(),
                packets: 1 + u64::from(kind >> 4),
                is_access: kind & 3 == 0,
            }
        }
        5 => StageStep::ChangePsi(u64::from(choices.below(4))),
        6 => StageStep::Clear,
        7 | 8 => StageStep::CatchUp,
        9 => StageStep::Enter { policy: policy(choices), on_copy: choices.flag() },
        10 => StageStep::End { viewer: usize::from(choices.byte()) },
        11 | 12 => StageStep::Read { viewer: usize::from(choices.byte()), taken: usize::MAX },
        _ => StageStep::Read { viewer: usize::from(choices.byte()), taken: usize::from(choices.word()) },
    }
}

fn policy(choices: &mut Choices<'_>) -> Policy {
    let join = match choices.below(3) {
        0 => Join::Keyframe,
        1 => Join::Live,
        _ => Join::Behind(choices.time()),
    };
    let slow = choices.item(&[Slow::Keyframe, Slow::Oldest, Slow::Live, Slow::Disconnect]);
    let lag_max = choices.flag().then(|| choices.time());
    Policy { join, slow, lag_max, lag_packets_min: u32::from(choices.byte()) }
}
