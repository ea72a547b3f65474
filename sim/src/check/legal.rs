//! **Legal.** What is published is a subsequence of what the source sent, in order, nothing twice, nothing made up
//! but for the marks of a seam; a whole packet is left out only before a connection's first access point or close
//! to garbage. And what a viewer gets are the published packets in order, none twice, with a gap only where
//! the drop policy decided one: his place was evicted, or he lagged more than he may.

use restreamer_core::ts::{PACKET_BYTES, Packet};
use restreamer_core::{Ring, Segment, Slow};

use super::record::{Details, Record, Run, Scene};
use super::{Checker, Verdict};
use crate::ledger::{Claim, Ledger, TABLE_PIDS};

/// Nothing twice, and nothing left out without a reason.
pub(super) fn check(record: &Record, scene: Scene<'_>, run: &Run<'_>) -> Verdict {
    let Run::Packets { sequence, from, .. } = *run else { return Ok(()) };
    let place = (record.sequence, u64::from(record.offset));
    let found = (sequence, from as u64);
    Checker::Legal.demand(found >= place, || format!("packets at {found:?} come again after {place:?}"))?;
    Checker::Legal.demand(found == place || may_skip(record, scene), || {
        format!("packets from {place:?} to {found:?} were left out for no reason")
    })
}

/// Moves the record behind a run that was checked.
pub(super) fn pass(record: &mut Record, details: &mut Details, scene: Scene<'_>, run: &Run<'_>) {
    let Run::Packets { sequence, segment, from, to } = *run else { return };
    record.after_skip = (sequence, from) != (record.sequence, record.offset as usize);
    if record.after_skip {
        let packet = scene.ring.packets_before(sequence) + (from / PACKET_BYTES) as u64;
        details.gaps += 1;
        details.packets_skipped += packet.saturating_sub(record.packet);
        record.packet = packet;
    }
    record.pass(sequence, from, to, segment.data.len());
}

/// Whether the drop policy may act on a viewer at this place.
pub(super) fn may_skip(record: &Record, scene: Scene<'_>) -> bool {
    let Scene { ring, policy } = scene;
    policy.slow != Slow::Disconnect && (record.sequence < ring.first() || lags_too_much(record, ring, scene))
}

fn lags_too_much(record: &Record, ring: &Ring, scene: Scene<'_>) -> bool {
    let (Some(allowed), Some(place), Some(newest)) =
        (scene.policy.lag_allowed(), ring.get(record.sequence), ring.newest())
    else {
        return false;
    };
    newest.at.saturating_since(place.at) > allowed
        && ring.packets_pushed() - record.packet > u64::from(scene.policy.lag_packets_min)
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
        is_discontinuity_mark(packet) || segment.seam && TABLE_PIDS.contains(&packet.pid().value())
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
            && TABLE_PIDS.contains(&packet.pid().value())
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
