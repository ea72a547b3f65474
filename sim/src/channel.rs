//! The upstream side of one stream: core's [`Stream`], its connections to the sources, the published ring, and the
//! fan-outs that read it.

use std::collections::BTreeMap;

use restreamer_core::{
    AccessKind, Availability, CloseCause, CloseKind, ConnId, Input, Instant, Output, Policy, Ring,
    RingLimits, SEGMENT_BYTES_MAX, Segment, Stream, StreamEvent,
};

use crate::check::{Checker, bounded, fresh, legal};
use crate::fanout::{EndReason, Fanout, Shift};
use crate::faults::SourceFault;
use crate::ledger::Ledger;
use crate::marks::sometimes;
use crate::mutation::Mutation;
use crate::observer::Observer;
use crate::plan::StreamPlan;
use crate::source::{Pieces, Source, Welcome};
use crate::timeline::Timeline;

/// A page of text comes a piece at a time, this often.
const PAGE_EVERY_MS: u64 = 10;

/// What the world has to do for a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Open this connection.
    Connect { conn: ConnId, after_ms: u64 },
    /// Wake the fan-outs: there is something new.
    Announce,
}

/// One stream.
pub(crate) struct Channel {
    pub(crate) plan: StreamPlan,
    pub(crate) policy: Policy,
    pub(crate) stream: Stream,
    pub(crate) ring: Ring,
    pub(crate) timeline: Timeline,
    pub(crate) fanouts: Vec<Fanout>,
    pub(crate) truth: Truth,
    /// When the stream wants to be told of the time.
    pub(crate) due: Option<Instant>,
    /// How often all viewers were turned away.
    pub(crate) dismissals: u64,
    pub(crate) is_shut_down: bool,
    sources: Vec<Source>,
    connections: BTreeMap<ConnId, Connection>,
    /// The connection whose packets are being published.
    publisher: Option<ConnId>,
    pieces: Pieces,
}

/// What really happened, for the checkers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    /// Bytes delivered on connections that were wanted, by source.
    pub(crate) bytes: Vec<u64>,
    /// Connections asked for, by source.
    pub(crate) connections: Vec<u64>,
    /// Segments published.
    pub(crate) segments: u64,
    /// Packets published.
    pub(crate) packets: u64,
    /// Every source was tried and none will be tried again.
    pub(crate) is_exhausted: bool,
    /// The stream has changed its source, or its connection.
    pub(crate) has_seam: bool,
}

struct Connection {
    source: usize,
    ledger: Ledger,
    delivered: u64,
    is_open: bool,
    welcome: Welcome,
}

impl Channel {
    pub(crate) fn new(plan: &StreamPlan, runtimes: u32, seed: u64, mutation: Option<Mutation>) -> Self {
        let limits = RingLimits::from(plan.ring);
        let unbounded = RingLimits { packets_min: u64::MAX, bytes_max: usize::MAX, ..limits };
        let is_unbounded = mutation == Some(Mutation::UnboundedRing);
        let sources = plan.sources.iter().zip(1..).map(|(source, number)| {
            // Distinct in the bits that number packets.
            Source::new(source, seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(number << 48))
        });
        Channel {
            policy: plan.policy.into(),
            stream: Stream::new(plan.config(), seed),
            ring: Ring::new(if is_unbounded { unbounded } else { limits }),
            timeline: Timeline::default(),
            fanouts: (0..runtimes.max(1)).map(|_| Fanout::new(limits)).collect(),
            truth: Truth {
                bytes: vec![0; plan.sources.len()],
                connections: vec![0; plan.sources.len()],
                ..Truth::default()
            },
            due: None,
            dismissals: 0,
            is_shut_down: false,
            sources: sources.collect(),
            connections: BTreeMap::new(),
            publisher: None,
            pieces: Pieces::default(),
            plan: plan.clone(),
        }
    }

    /// Tells the stream something, and carries out what it says as far as that is possible here.
    pub(crate) fn handle(
        &mut self,
        now: Instant,
        input: Input<'_>,
        observer: &mut Observer,
        orders: &mut Vec<Order>,
    ) {
        self.stream.handle(now, input);
        let mut is_news = false;
        while let Some(output) = self.stream.poll_output() {
            match output {
                Output::Connect { conn, source } => {
                    self.truth.connections[source] += 1;
                    let connection = Connection {
                        source,
                        ledger: Ledger::default(),
                        delivered: 0,
                        is_open: false,
                        welcome: Welcome::Unreachable,
                    };
                    self.connections.insert(conn, connection);
                    orders.push(Order::Connect { conn, after_ms: self.sources[source].connect_ms() });
                }
                Output::HangUp { conn } => self.forget(conn),
                Output::Publish(segment) => {
                    self.publish(now, segment, observer);
                    is_news = true;
                }
                Output::Forget => {
                    self.ring.clear();
                    sometimes!(observer, true, Forgotten);
                }
                Output::Availability(availability) => {
                    self.dismissals += u64::from(!availability.lets_in());
                    observer.trace(now, || format!("availability {availability:?}"));
                    is_news = true;
                }
                Output::Event(event) => self.note(now, &event, observer),
            }
        }
        self.due = self.stream.poll_timeout();
        if is_news {
            orders.push(Order::Announce);
        }
    }

    /// A connection that was asked for is answered. Answers whether the source will send something on it.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        conn: ConnId,
        observer: &mut Observer,
        orders: &mut Vec<Order>,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(&conn) else { return false };
        let source = &mut self.sources[connection.source];
        connection.welcome = source.welcome(now);
        let refusal = match connection.welcome {
            Welcome::Stream | Welcome::Page => {
                connection.is_open = true;
                source.open(now);
                self.handle(now, Input::Connected(conn), observer, orders);
                return true;
            }
            Welcome::Refused => CloseKind::Refused,
            Welcome::Unreachable => CloseKind::Unreachable,
        };
        sometimes!(observer, refusal == CloseKind::Refused, Refused);
        self.close(now, conn, refusal, observer, orders);
        false
    }

    /// The source sends what is due. Answers in how many milliseconds it will again; `None` when the connection is
    /// over.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        conn: ConnId,
        observer: &mut Observer,
        orders: &mut Vec<Order>,
    ) -> Option<u64> {
        let connection = self.connections.get_mut(&conn).filter(|connection| connection.is_open)?;
        let number = connection.source;
        let is_page = connection.welcome == Welcome::Page;
        let mut pieces = std::mem::take(&mut self.pieces);
        if is_page {
            Source::page(&mut connection.ledger, &mut pieces);
        } else {
            self.sources[number].send(now, &mut connection.ledger, &mut pieces);
        }
        for piece in pieces.iter() {
            let Some(connection) = self.connections.get_mut(&conn).filter(|it| it.is_open) else { break };
            connection.delivered += piece.len() as u64;
            self.truth.bytes[number] += piece.len() as u64;
            self.handle(now, Input::Data(conn, piece), observer, orders);
        }
        pieces.clear();
        self.pieces = pieces;
        let connection = self.connections.get(&conn).filter(|it| it.is_open)?;
        if !is_page {
            return Some(self.sources[number].every_ms());
        }
        if connection.delivered >= self.sources[number].page_bytes() {
            self.close(now, conn, CloseKind::Ended, observer, orders);
        }
        Some(PAGE_EVERY_MS)
    }

    /// Something happens to a source.
    pub(crate) fn suffer(
        &mut self,
        now: Instant,
        source: usize,
        fault: SourceFault,
        observer: &mut Observer,
        orders: &mut Vec<Order>,
    ) {
        let Some(sufferer) = self.sources.get_mut(source) else { return };
        sufferer.suffer(now, fault);
        if matches!(fault, SourceFault::Close | SourceFault::Refuse { .. } | SourceFault::Page { .. }) {
            let open = self.connections.iter().find(|(_, it)| it.source == source && it.is_open);
            if let Some((&conn, _)) = open {
                self.close(now, conn, CloseKind::Ended, observer, orders);
            }
        }
    }

    /// From now on nothing is wrong with the sources.
    pub(crate) fn heal(&mut self, now: Instant, observer: &mut Observer, orders: &mut Vec<Order>) {
        self.sources.iter_mut().for_each(|source| source.heal(now));
        let pages = self.connections.iter().filter(|(_, it)| it.is_open && it.welcome == Welcome::Page);
        for conn in pages.map(|(&conn, _)| conn).collect::<Vec<_>>() {
            self.close(now, conn, CloseKind::Ended, observer, orders);
        }
    }

    /// The operator ends the program.
    pub(crate) fn shut_down(&mut self, now: Instant, observer: &mut Observer, orders: &mut Vec<Order>) {
        self.is_shut_down = true;
        self.handle(now, Input::Stop, observer, orders);
        orders.push(Order::Announce);
    }

    /// Why its viewers have to go, if they have to.
    pub(crate) fn dismissal(&self) -> Option<EndReason> {
        match self.stream.availability() {
            _ if self.is_shut_down => Some(EndReason::Shutdown),
            Availability::Offline => Some(EndReason::Offline),
            Availability::Lost => Some(EndReason::UpstreamLost),
            Availability::Never | Availability::Live | Availability::Grace => None,
        }
    }

    /// One round of one of its fan-outs.
    pub(crate) fn round<R>(
        &mut self,
        runtime: u32,
        now: Instant,
        mutation: Option<Mutation>,
        observer: &mut Observer,
        work: impl FnOnce(&mut Fanout, &Ring, &mut Shift<'_>) -> R,
    ) -> R {
        let Channel { fanouts, ring, timeline, policy, plan, .. } = self;
        let stall_limit = plan.stall_limit();
        let mut shift = Shift { now, policy, stall_limit, timeline, mutation, observer };
        let index = runtime as usize % fanouts.len();
        work(&mut fanouts[index], ring, &mut shift)
    }

    /// Bytes of packets in memory: in the ring, and what only copies of it still hold.
    pub(crate) fn held_bytes(&self) -> u64 {
        let only_copied = |fanout: &Fanout| {
            let copy = fanout.ring();
            let old = copy.first()..self.ring.first().min(copy.next());
            old.filter_map(|sequence| copy.get(sequence)).map(|segment| segment.data.len()).sum::<usize>()
        };
        (self.ring.bytes() + self.fanouts.iter().map(only_copied).max().unwrap_or(0)) as u64
    }

    /// Viewers of all its fan-outs.
    pub(crate) fn viewers(&self) -> usize {
        self.fanouts.iter().map(Fanout::viewers).sum()
    }

    fn close(
        &mut self,
        now: Instant,
        conn: ConnId,
        kind: CloseKind,
        observer: &mut Observer,
        orders: &mut Vec<Order>,
    ) {
        self.handle(now, Input::Closed(conn, CloseCause::new(kind, "")), observer, orders);
        if let Some(connection) = self.connections.get(&conn).filter(|_| self.publisher == Some(conn)) {
            let unpublished = connection.ledger.unpublished(connection.delivered);
            observer.judge(
                now,
                None,
                Checker::Legal.demand(unpublished == 0, || {
                    format!("{unpublished} packets were never published though their connection ended")
                }),
            );
        }
        self.forget(conn);
    }

    /// A connection is over. What it carried may still be published.
    fn forget(&mut self, conn: ConnId) {
        if self.publisher == Some(conn) {
            if let Some(connection) = self.connections.get_mut(&conn) {
                connection.is_open = false;
                connection.welcome = Welcome::Refused;
            }
        } else {
            self.connections.remove(&conn);
        }
    }

    fn publish(&mut self, now: Instant, segment: Segment, observer: &mut Observer) {
        if segment.seam || self.publisher.is_none() {
            self.change_publisher(&segment);
            self.timeline.cut();
            self.truth.has_seam |= segment.seam;
            sometimes!(observer, segment.seam, Seam);
            sometimes!(observer, segment.seam && self.viewers() > 0, WatchedSeam);
        }
        let ledger = self.publisher.and_then(|conn| self.connections.get_mut(&conn));
        let origin = match ledger {
            Some(connection) => legal::check_published(&mut connection.ledger, &segment),
            None => Ok(legal::Origin::default()),
        };
        let origin = origin.unwrap_or_else(|breach| {
            observer.judge(now, None, Err(breach));
            legal::Origin::default()
        });
        let has_seam = self.truth.has_seam;
        observer.judge(
            now,
            None,
            Checker::Legal
                .demand(has_seam || origin.marks == 0, || "a seam is marked where there is none".into()),
        );
        observer.judge(now, None, fresh::check_access(&segment, origin.is_key));
        sometimes!(observer, segment.access == Some(AccessKind::Sniffed), SniffedAccess);
        sometimes!(observer, segment.access == Some(AccessKind::Fallback), FallbackAccess);
        sometimes!(observer, origin.fakes > 0, FakePacket);
        sometimes!(observer, origin.excused > 0, PacketNearGarbage);
        sometimes!(observer, segment.data.len() + 2 * 188 > SEGMENT_BYTES_MAX, FullSegment);
        self.truth.segments += 1;
        self.truth.packets += segment.packets();
        let (length, is_access) = (segment.data.len(), segment.access.is_some());
        self.timeline.push(now, origin.span_ns, is_access, origin.has_loss);
        let sequence = self.ring.push(segment);
        observer.judge(now, None, bounded::check_ring(&self.ring, self.plan.ring.into()));
        sometimes!(observer, self.ring.bytes() + 2 * length > self.ring.limits().bytes_max, RingFull);
        observer.digest.mix(now.as_nanos());
        observer.digest.mix(sequence);
        observer.digest.mix(length as u64);
        observer.digest.mix(self.ring.first());
        observer.digest.mix(u64::from(is_access));
        observer.trace(now, || {
            let kind = if is_access { ", an access point" } else { "" };
            format!("segment {sequence}: {} packets{kind}", length / 188)
        });
    }

    /// Finds the connection that a segment's packets come from.
    fn change_publisher(&mut self, segment: &Segment) {
        let found = self.connections.iter().find_map(|(&conn, connection)| {
            let is_new = self.publisher != Some(conn);
            (is_new && legal::is_origin(&connection.ledger, segment)).then_some(conn)
        });
        if let Some(old) = self.publisher.take() {
            self.connections.retain(|&conn, connection| conn != old || connection.is_open);
        }
        self.publisher = found;
    }

    fn note(&mut self, now: Instant, event: &StreamEvent, observer: &mut Observer) {
        observer.trace(now, || format!("{event:?}"));
        match event {
            StreamEvent::Closed { cause, .. } => {
                sometimes!(observer, cause.kind == CloseKind::Timeout, ReadTimeout);
                sometimes!(observer, cause.kind == CloseKind::NotAStream, GarbageGivenUp);
            }
            StreamEvent::Returned { .. } => sometimes!(observer, true, ReturnedToBetter),
            StreamEvent::Exhausted => {
                sometimes!(observer, !self.is_shut_down, Exhausted);
                self.truth.is_exhausted = true;
            }
            StreamEvent::Connecting { .. } | StreamEvent::Connected { .. } | StreamEvent::GraceOver => {}
        }
    }

    /// Marks that can be seen from its counters.
    pub(crate) fn note_marks(&self, observer: &mut Observer) {
        sometimes!(observer, self.stream.stats().framing.sync_losses > 0, SyncLoss);
        for (source, seen) in self.plan.sources.iter().zip(&self.stream.stats().sources) {
            sometimes!(observer, source.packet_bytes == 192 && seen.packets > 100, Form192);
            sometimes!(observer, source.packet_bytes == 204 && seen.packets > 100, Form204);
        }
    }
}
