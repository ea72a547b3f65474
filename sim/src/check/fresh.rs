//! **Fresh.** A viewer who joins, or goes on after a skip, begins where his policy says, at the beginning of a
//! segment, behind the PAT and PMT that were last before it; what is called an access point is one; and the tables
//! that a segment carries are the last ones that the source sent before it.

use restreamer_core::{Instant, Join, Ring, Segment, Slow};

use super::record::{Record, Run, Scene};
use super::{Checker, Verdict, legal};
use crate::ledger::Ledger;

/// How far a viewer has got with what comes before the packets.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    /// Packets are due at one of these segments.
    awaited: Option<Awaited>,
}

#[derive(Debug, Default)]
struct Awaited {
    /// Where he was placed when he joined.
    joined: Option<u64>,
    /// Where the drop policy would place him.
    skipped: Option<SkipPlace>,
    /// The tables being sent, and how much of them is.
    tables: Option<(Box<[u8]>, usize)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SkipPlace {
    At(u64),
    /// Behind everything that there was when the policy acted.
    Live,
}

impl Freshness {
    /// He has a place and has been sent nothing.
    pub(super) fn expect(&mut self, place: u64) {
        self.awaited = Some(Awaited { joined: Some(place), ..Awaited::default() });
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.awaited.is_some()
    }
}

pub(super) fn check(freshness: &mut Freshness, record: &Record, scene: Scene<'_>, run: &Run<'_>) -> Verdict {
    match *run {
        Run::Rest(_) => Ok(()),
        Run::Tables { all, from, to } => check_tables_run(freshness, record, scene, all, from, to),
        Run::Packets { sequence, segment, from, .. } => {
            if freshness.awaited.is_none() && (sequence, from) == (record.sequence, record.offset as usize) {
                return Ok(());
            }
            check_start(freshness, record, scene, sequence, segment, from)
        }
    }
}

fn check_tables_run(
    freshness: &mut Freshness,
    record: &Record,
    scene: Scene<'_>,
    all: &[u8],
    from: usize,
    to: usize,
) -> Verdict {
    let awaited = freshness.awaited.get_or_insert_default();
    if from == 0 {
        let is_again = awaited.tables.take().is_some();
        if is_again {
            awaited.joined = None;
        }
        awaited.skipped = skip_place(record, scene);
        awaited.tables = Some((all.into(), 0));
    }
    let end = to.next_multiple_of(restreamer_core::ts::PACKET_BYTES);
    match &mut awaited.tables {
        Some((tables, sent)) if **tables == *all && *sent == from => {
            *sent = end;
            Ok(())
        }
        _ => Checker::Fresh.breach(format!("tables go on at byte {from} of others")),
    }
}

/// The first packets after a join or a skip.
fn check_start(
    freshness: &mut Freshness,
    record: &Record,
    scene: Scene<'_>,
    sequence: u64,
    segment: &Segment,
    from: usize,
) -> Verdict {
    let mut awaited = freshness.awaited.take().unwrap_or_default();
    let sent = awaited.tables.take();
    if sent.is_none() {
        awaited.skipped = skip_place(record, scene);
    }
    let is_place = match awaited.skipped {
        _ if awaited.joined == Some(sequence) => true,
        Some(SkipPlace::At(place)) => place == sequence,
        Some(SkipPlace::Live) => true,
        None => false,
    };
    if from != 0 || !is_place {
        return Checker::Fresh
            .breach(format!("goes on at byte {from} of segment {sequence}, where {awaited:?} was due"));
    }
    let (tables, sent) = sent.unwrap_or_default();
    Checker::Fresh.demand(sent == tables.len() && *tables == *segment.psi, || {
        format!("segment {sequence} follows {sent} bytes of tables, not its own {}", segment.psi.len())
    })
}

/// Where the join policy places a viewer.
pub(super) fn join_place(scene: Scene<'_>) -> u64 {
    let Scene { ring, policy } = scene;
    match policy.join {
        Join::Keyframe => access_points(ring).last().unwrap_or(ring.next()),
        Join::Live => ring.next(),
        Join::Behind(delay) => {
            let newest = ring.newest().map_or(Instant::ORIGIN, |segment| segment.at);
            let is_old =
                |sequence: &u64| ring.get(*sequence).is_some_and(|segment| segment.at <= newest - delay);
            let oldest = access_points(ring).next();
            access_points(ring).filter(is_old).last().or(oldest).unwrap_or(ring.next())
        }
    }
}

/// Where the drop policy places a viewer now, if it acts.
fn skip_place(record: &Record, scene: Scene<'_>) -> Option<SkipPlace> {
    let Scene { ring, policy } = scene;
    if !legal::may_skip(record, scene) {
        return None;
    }
    match policy.slow {
        Slow::Keyframe => access_points(ring).last().map(SkipPlace::At),
        Slow::Live => Some(SkipPlace::Live),
        Slow::Disconnect => None,
        Slow::Oldest => {
            let newest = ring.newest()?.at;
            let allowed = policy.lag_allowed();
            let is_young = |sequence: &u64| match (ring.get(*sequence), allowed) {
                (Some(segment), Some(allowed)) => segment.at >= newest - allowed,
                _ => true,
            };
            (ring.first()..ring.next()).find(is_young).map(SkipPlace::At)
        }
    }
}

fn access_points(ring: &Ring) -> impl Iterator<Item = u64> {
    (ring.first()..ring.next())
        .filter(|&sequence| ring.get(sequence).is_some_and(|segment| segment.access.is_some()))
}

/// A published segment that calls itself an access point must be one.
pub(crate) fn check_access(segment: &Segment, is_key: Option<bool>) -> Verdict {
    use restreamer_core::AccessKind::Fallback;
    let is_claimed = segment.access.is_some_and(|kind| kind != Fallback);
    Checker::Fresh.demand(!is_claimed || is_key != Some(false), || {
        format!("a segment begins as an access point ({:?}) without a key frame", segment.access)
    })
}

/// The tables of a segment must be the last ones before it. `in_stream`: those that a seam put into the stream.
pub(super) fn check_tables(ledger: &Ledger, segment: &Segment, in_stream: Option<&[u8]>) -> Verdict {
    let Some(tables) = ledger.tables() else { return Ok(()) };
    let beside: &[u8] = &segment.psi;
    let is_right = match in_stream {
        Some(in_stream) => in_stream == tables && beside.is_empty(),
        None => beside == tables,
    };
    Checker::Fresh.demand(is_right, || {
        format!("{} bytes of tables before a segment are not the source's last ones", beside.len())
    })
}
