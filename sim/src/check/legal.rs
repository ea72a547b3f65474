//! **Legal.** What is published is a subsequence of what the source sent, in order, nothing twice, nothing made up
//! but for the marks of a seam; a whole packet is left out only before a connection's first access point or close
//! to garbage. And what a viewer gets are the published packets in order, none twice, with a gap only where
//! the drop policy decided one: his place was evicted, or he lagged more than he may.

use restreamer_core::ts::{PACKET_BYTES, Packet};
use restreamer_core::{Segment, Slow};

use super::record::{Record, Run, Scene};
use super::{Checker, Verdict};
use crate::ledger::{Claim, Ledger};

/// Nothing twice, and nothing left out.
pub(super) fn check(record: &Record, run: &Run<'_>) -> Verdict {
    let Run::Packets { sequence, from, .. } = *run else { return Ok(()) };
    let place = (record.sequence, record.offset as usize);
    let found = (sequence, from);
    Checker::Legal.demand(found >= place, || format!("packets at {found:?} come again after {place:?}"))?;
    Checker::Legal.demand(found == place, || format!("packets from {place:?} to {found:?} are left out"))
}

/// The drop policy acted.
pub(super) fn check_skip(record: &Record, scene: Scene<'_>) -> Verdict {
    Checker::Legal.demand(may_skip(record, scene), || {
        format!("the drop policy acts without need at segment {}", record.sequence)
    })
}

/// Whether the drop policy may act on a viewer at this place.
fn may_skip(record: &Record, scene: Scene<'_>) -> bool {
    let Scene { ring, policy } = scene;
    policy.slow != Slow::Disconnect && (record.sequence < ring.first() || lags_too_much(record, scene))
}

fn lags_too_much(record: &Record, scene: Scene<'_>) -> bool {
    let packets = scene.ring.packets_pushed() - record.packet;
    is_late(scene, record.sequence) && packets > u64::from(scene.policy.lag_packets_min)
}

/// Whether a viewer may be at the beginning of this segment.
pub(super) fn is_allowed(scene: Scene<'_>, sequence: u64) -> bool {
    let packets = scene.ring.packets_pushed() - scene.ring.packets_before(sequence);
    !is_late(scene, sequence) || packets <= u64::from(scene.policy.lag_packets_min)
}

/// Whether this segment, which is held, lags more than the policy allows.
fn is_late(scene: Scene<'_>, sequence: u64) -> bool {
    let Scene { ring, policy } = scene;
    match (policy.lag_allowed(), ring.get(sequence), ring.newest()) {
        (Some(allowed), Some(segment), Some(newest)) => newest.at.saturating_since(segment.at) > allowed,
        _ => false,
    }
}

/// What the packets of a published segment are, by the ledger of its connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin {
    /// When the source played the first and the last of them.
    pub span_ns: Option<(u64, u64)>,
    /// Packets of the source are missing in it, or before it.
    pub has_loss: bool,
    /// The source says that a decoder can begin with its first packet.
    pub is_key: Option<bool>,
    /// Pieces of garbage that look like packets.
    pub fakes: u64,
    /// Whole packets lost to garbage close to them.
    pub excused: u64,
    /// Marks of a discontinuity that core put in.
    pub marks: u64,
}

/// Whether the packets of a segment come from the connection of this ledger.
pub fn is_origin(ledger: &Ledger, segment: &Segment) -> bool {
    let is_put_in = |packet: &Packet<'_>| {
        is_discontinuity_mark(packet) || segment.seam && ledger.is_table(packet.pid().value())
    };
    Packet::all(&segment.data)
        .find(|packet| !is_put_in(packet))
        .is_some_and(|packet| ledger.holds(packet.bytes()))
}

/// Holds a published segment against what its connection carried.
pub fn check_published(ledger: &mut Ledger, segment: &Segment) -> Result<Origin, super::Breach> {
    let mut origin = Origin::default();
    let mut at_seam = segment.seam.then(Vec::new);
    let mut is_first = true;
    if segment.data.is_empty() || !segment.data.len().is_multiple_of(PACKET_BYTES) {
        Checker::Legal.breach(format!("a segment of {} bytes is published", segment.data.len()))?;
    }
    for packet in Packet::all(&segment.data) {
        if is_discontinuity_mark(&packet) {
            origin.marks += 1;
            continue;
        }
        if let Some(tables) = &mut at_seam
            && ledger.is_table(packet.pid().value())
        {
            tables.extend_from_slice(packet.bytes());
            continue;
        }
        let Some(claim) = ledger.claim(packet.bytes()) else {
            Checker::Legal.breach(format!("{packet:?} was not sent by the source, or not now"))?;
            break;
        };
        if std::mem::take(&mut is_first) {
            origin.is_key = claim.is_key;
            // Only at a seam are the tables a part of the stream, rather than beside it.
            let beside = at_seam.take();
            super::fresh::check_tables(ledger, segment, beside.as_deref())?;
        }
        note_claim(&mut origin, &claim)?;
        ledger.pass(packet.bytes());
    }
    Ok(origin)
}

fn note_claim(origin: &mut Origin, claim: &Claim) -> Verdict {
    Checker::Legal
        .demand(claim.left_out == 0, || format!("{} whole packets were left out", claim.left_out))?;
    origin.has_loss |= claim.after_loss;
    origin.excused += claim.excused;
    match claim.media_ns {
        None => origin.fakes += 1,
        Some(at) => origin.span_ns = Some((origin.span_ns.map_or(at, |span| span.0), at)),
    }
    Ok(())
}

/// Whether core put this packet in to announce a jump: an adaptation field with the `discontinuity_indicator` and
/// nothing else.
fn is_discontinuity_mark(packet: &Packet<'_>) -> bool {
    let bytes = packet.bytes();
    bytes[3] & 0xF0 == 0x20 && bytes[4..6] == [183, 0x80] && bytes[6..].iter().all(|&byte| byte == 0xFF)
}
