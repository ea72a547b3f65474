//! **Fresh.** A viewer who joins, or goes on after a skip, begins where his policy says, at the beginning of a
//! segment, behind the PAT and PMT that were last before it; what is called an access point is one; and the tables
//! that a segment carries are the last ones that the source sent before it.

use restreamer_core::ts::PACKET_BYTES;
use restreamer_core::{Instant, Join, Ring, Segment, Slow};

use super::record::{Run, Scene};
use super::{Checker, Verdict, legal};
use crate::ledger::Ledger;

/// How far a viewer has got with what comes before the packets at a new place.
#[derive(Debug, Default)]
pub(crate) struct Freshness {
    awaited: Option<Awaited>,
}

#[derive(Debug)]
struct Awaited {
    /// The segment with which he is to begin.
    place: u64,
    /// The tables being sent, and how much of them is.
    tables: Option<(Box<[u8]>, usize)>,
}

impl Freshness {
    /// He was given a place: tables and packets are due from there.
    pub(super) fn expect(&mut self, place: u64) {
        self.awaited = Some(Awaited { place, tables: None });
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.awaited.is_some()
    }
}

pub(super) fn check(freshness: &mut Freshness, run: &Run<'_>) -> Verdict {
    match *run {
        Run::Rest(_) => Ok(()),
        Run::Tables { all, from, to } => check_tables_run(freshness, all, from, to),
        Run::Packets { sequence, segment, from, .. } => match freshness.awaited.take() {
            Some(awaited) => check_start(&awaited, sequence, segment, from),
            None => Ok(()),
        },
    }
}

fn check_tables_run(freshness: &mut Freshness, all: &[u8], from: usize, to: usize) -> Verdict {
    let Some(awaited) = &mut freshness.awaited else {
        return Checker::Fresh.breach("tables are sent in the middle of packets");
    };
    let (tables, sent) = awaited.tables.get_or_insert_with(|| (all.into(), 0));
    let is_next = **tables == *all && *sent == from;
    *sent = to.next_multiple_of(PACKET_BYTES);
    Checker::Fresh.demand(is_next, || format!("tables go on at byte {from} of others"))
}

/// The first packets after a join or a skip.
fn check_start(awaited: &Awaited, sequence: u64, segment: &Segment, from: usize) -> Verdict {
    let place = awaited.place;
    Checker::Fresh.demand(from == 0 && place == sequence, || {
        format!("goes on at byte {from} of segment {sequence}, where segment {place} was due")
    })?;
    let (tables, sent) = awaited.tables.as_ref().map_or((&[][..], 0), |(tables, sent)| (&**tables, *sent));
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

/// Where the drop policy places a viewer, when it acts.
pub(super) fn skip_place(scene: Scene<'_>) -> Option<u64> {
    let Scene { ring, policy } = scene;
    match policy.slow {
        Slow::Keyframe => access_points(ring).last(),
        Slow::Live => Some(ring.next()),
        Slow::Disconnect => None,
        Slow::Oldest => (ring.first()..ring.next()).find(|&sequence| legal::is_allowed(scene, sequence)),
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
