//! Which source to connect to, and when: attempts, back-off, failover, read timeout.
//!
//! A connection is *used* when it delivers what viewers get, and a *spare* when a better source is being tried
//! while another one is in use. Every connection has a number that is never used again, so that what arrives late
//! from one that was given up finds nobody.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::cause::{CloseCause, CloseKind};
use crate::event::StreamEvent;
use crate::framer::Framer;
use crate::rng::Rng;
use crate::stream::Output;
use crate::time::{Duration, Instant};

/// A better source is used again when it has been healthy for this long; it has as long for its first packet.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// A spare connection without a packet for this long is not healthy.
pub const HEALTHY_GAP_MAX: Duration = Duration::from_secs(2);
/// A connection that delivers this many bytes without a packet is no transport stream.
pub const GARBAGE_BYTES_MAX: u64 = 1 << 20;

/// One connection to one source; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// In which order sources are tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Shuffled once at the start, then round-robin.
    #[default]
    Shuffle,
    /// As listed; a better one is used again when it has been healthy for [`HEALTHY_AFTER`].
    Priority,
}

/// How the sources of one stream are used.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamConfig {
    /// Number of sources; they are numbered from 0 as listed.
    pub sources: usize,
    /// In which order they are tried.
    pub order: Order,
    /// Between the starts of two attempts on the same source; `None`: each source is tried once.
    pub reconnect: Option<Duration>,
    /// A connection in use that delivers nothing for this long is given up; `None`: never.
    pub read_timeout: Option<Duration>,
}

/// One connection that has been asked for and not yet ended.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: ConnId,
    pub(crate) source: usize,
    pub(crate) framer: Framer,
    /// Position of its source in the order of attempts.
    position: usize,
    is_open: bool,
    asked_at: Instant,
    /// When it was opened, or last delivered a byte.
    last_progress: Instant,
    /// When it last delivered a packet.
    last_packet: Option<Instant>,
    /// Since when its packets have come without a gap.
    healthy_since: Instant,
    bytes_since_packet: u64,
}

/// What a connection's bytes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Used,
    Spare,
}

/// The attempts on one source; these stand in the order in which the sources are tried.
#[derive(Debug)]
struct Attempts {
    source: usize,
    last: Option<Instant>,
    /// It was tried since a source was last healthy, and others are waiting for their turn.
    had_turn: bool,
}

#[derive(Debug)]
pub(crate) struct Upstream {
    config: UpstreamConfig,
    attempts: Vec<Attempts>,
    used: Option<Connection>,
    spare: Option<Connection>,
    /// Position from which the next attempt is looked for, round-robin.
    next_position: usize,
    connections: u64,
    is_running: bool,
}

impl Upstream {
    pub(crate) fn new(config: UpstreamConfig, seed: u64) -> Self {
        let attempts = (0..config.sources).map(|source| Attempts { source, last: None, had_turn: false });
        let mut attempts: Vec<_> = attempts.collect();
        if config.order == Order::Shuffle {
            Rng::from_seed(seed).shuffle(&mut attempts);
        }
        Upstream {
            config,
            attempts,
            used: None,
            spare: None,
            next_position: 0,
            connections: 0,
            is_running: false,
        }
    }

    pub(crate) fn start(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        self.is_running = true;
        self.begin_turns();
        self.connect_if_due(now, out);
    }

    pub(crate) fn stop(&mut self, out: &mut VecDeque<Output>) {
        self.is_running = false;
        for connection in [self.used.take(), self.spare.take()].into_iter().flatten() {
            out.push_back(Output::HangUp { conn: connection.id });
        }
    }

    /// Nobody had a turn: who is tried next is a new question.
    fn begin_turns(&mut self) {
        self.attempts.iter_mut().for_each(|attempts| attempts.had_turn = false);
    }

    pub(crate) fn handle_connected(&mut self, now: Instant, conn: ConnId) {
        if let Some((connection, _)) = self.find(conn) {
            connection.is_open = true;
            connection.last_progress = now;
        }
    }

    /// The connection that `conn` names, if it is still wanted, and what its bytes are for.
    pub(crate) fn find(&mut self, conn: ConnId) -> Option<(&mut Connection, Role)> {
        let used = self.used.as_mut().map(|connection| (connection, Role::Used));
        let spare = self.spare.as_mut().map(|connection| (connection, Role::Spare));
        used.into_iter().chain(spare).find(|(connection, _)| connection.id == conn)
    }

    /// Gives up a connection that delivers no packets. To be called after its bytes went through its framer.
    pub(crate) fn check_garbage(&mut self, now: Instant, conn: ConnId, out: &mut VecDeque<Output>) {
        let is_garbage = |connection: &mut Connection| connection.bytes_since_packet > GARBAGE_BYTES_MAX;
        if self.find(conn).is_some_and(|(connection, _)| is_garbage(connection)) {
            let detail = "no packet of a transport stream among what it sends; check what the URL answers";
            self.give_up(now, conn, CloseCause::new(CloseKind::NotAStream, detail), out);
        }
    }

    pub(crate) fn handle_closed(
        &mut self,
        now: Instant,
        conn: ConnId,
        cause: CloseCause,
        out: &mut VecDeque<Output>,
    ) {
        let Some((connection, role)) = self.find(conn) else { return };
        out.push_back(Output::Event(StreamEvent::Closed { source: connection.source, cause }));
        let position = connection.position;
        // One that delivers for a moment and ends, again and again, must not keep the others from their turn.
        let was_healthy = connection.last_packet.is_some() && connection.trial_ends_at() <= now;
        match role {
            Role::Spare => self.spare = None,
            Role::Used => {
                // A spare that already delivers takes over; one that does not is the next attempt.
                self.used = self.spare.take();
                self.next_position = position + 1;
                if was_healthy {
                    self.begin_turns();
                }
                if let Some(used) = self.used.as_ref().filter(|used| used.last_packet.is_some()) {
                    out.push_back(Output::Event(StreamEvent::Returned { source: used.source }));
                    self.begin_turns();
                }
            }
        }
        self.connect_if_due(now, out);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        if let Some(conn) = self.used.as_ref().filter(|_| self.read_deadline().is_some_and(|at| at <= now)) {
            let cause = CloseCause::new(CloseKind::Timeout, "no data for as long as readtimeout allows");
            self.give_up(now, conn.id, cause, out);
        }
        if let Some(spare) = self.spare.as_ref().filter(|spare| spare.trial_ends_at() <= now) {
            if spare.last_packet.is_some_and(|last| now.saturating_since(last) <= HEALTHY_GAP_MAX) {
                self.use_spare(out);
            } else {
                let cause = CloseCause::new(CloseKind::Timeout, "the better source sends no packets");
                self.give_up(now, spare.id, cause, out);
            }
        }
        self.connect_if_due(now, out);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let trial = self.spare.as_ref().map(Connection::trial_ends_at);
        [self.read_deadline(), trial, self.attempt_at()].into_iter().flatten().min()
    }

    /// Whether sources are to be tried at all.
    pub(crate) fn is_running(&self) -> bool {
        self.is_running
    }

    /// Whether `conn` is the connection whose packets viewers get.
    pub(crate) fn is_used(&self, conn: ConnId) -> bool {
        self.used.as_ref().is_some_and(|used| used.id == conn)
    }

    /// Whether packets are arriving from the connection in use.
    pub(crate) fn is_flowing(&self) -> bool {
        self.used.as_ref().is_some_and(|connection| connection.last_packet.is_some())
    }

    /// Whether packets are arriving from this source, in use or as a spare.
    pub(crate) fn is_flowing_from(&self, source: usize) -> bool {
        let connections = self.used.iter().chain(&self.spare);
        connections
            .filter(|connection| connection.last_packet.is_some())
            .any(|connection| connection.source == source)
    }

    /// Whether a source is connected, being connected, or will be tried again.
    pub(crate) fn has_hope(&self) -> bool {
        self.is_running && (self.used.is_some() || self.attempt(Instant::ORIGIN).is_some())
    }

    fn give_up(&mut self, now: Instant, conn: ConnId, cause: CloseCause, out: &mut VecDeque<Output>) {
        out.push_back(Output::HangUp { conn });
        self.handle_closed(now, conn, cause, out);
    }

    fn use_spare(&mut self, out: &mut VecDeque<Output>) {
        if let Some(spare) = self.spare.take() {
            out.push_back(Output::Event(StreamEvent::Returned { source: spare.source }));
            if let Some(old) = self.used.replace(spare) {
                out.push_back(Output::HangUp { conn: old.id });
            }
            self.begin_turns();
        }
    }

    fn connect_if_due(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        let Some((position, due)) = self.attempt(now).filter(|_| self.is_running) else { return };
        if due > now {
            return;
        }
        if self.attempts[position].had_turn {
            // So had all that may be tried now: the next turn is everybody's again.
            self.begin_turns();
        }
        let attempts = &mut self.attempts[position];
        attempts.last = Some(now);
        attempts.had_turn = true;
        self.connections += 1;
        let connection = Connection {
            id: ConnId(self.connections),
            source: attempts.source,
            framer: Framer::new(),
            position,
            is_open: false,
            asked_at: now,
            last_progress: now,
            last_packet: None,
            healthy_since: now,
            bytes_since_packet: 0,
        };
        out.push_back(Output::Event(StreamEvent::Connecting { source: connection.source }));
        out.push_back(Output::Connect { conn: connection.id, source: connection.source });
        let place = if self.used.is_none() { &mut self.used } else { &mut self.spare };
        *place = Some(connection);
    }

    fn attempt_at(&self) -> Option<Instant> {
        self.attempt(Instant::ORIGIN).filter(|_| self.is_running).map(|(_, due)| due)
    }

    /// The position to try next and when: of those whose delay is over at `now` the first one that had no turn yet,
    /// else the first one; or else the one that waits least.
    fn attempt(&self, now: Instant) -> Option<(usize, Instant)> {
        let count = self.attempts.len();
        let (start, candidates) = match (&self.used, self.config.order) {
            (None, Order::Shuffle) => (self.next_position, count),
            (None, Order::Priority) => (0, count),
            // While one is in use, only better ones are worth a try, and one at a time.
            (Some(used), Order::Priority) if self.spare.is_none() && used.last_packet.is_some() => {
                (0, used.position)
            }
            (Some(_), _) => return None,
        };
        (0..candidates)
            .map(|step| (start + step) % count)
            .filter_map(|position| match (self.attempts[position].last, self.config.reconnect) {
                (None, _) => Some((position, Instant::ORIGIN)),
                (Some(last), Some(reconnect)) => Some((position, last + reconnect)),
                (Some(_), None) => None,
            })
            .min_by_key(|&(position, due)| (due.max(now), self.attempts[position].had_turn))
    }

    fn read_deadline(&self) -> Option<Instant> {
        let used = self.used.as_ref().filter(|connection| connection.is_open)?;
        Some(used.last_progress + self.config.read_timeout?)
    }
}

impl Connection {
    /// Notes that bytes went through the framer; answers whether its first packet was among them.
    pub(crate) fn handle_progress(&mut self, now: Instant, bytes: usize, packets: u64) -> bool {
        self.is_open = true;
        self.last_progress = now;
        if packets == 0 {
            self.bytes_since_packet += bytes as u64;
            return false;
        }
        self.bytes_since_packet = 0;
        let last = self.last_packet.replace(now);
        if last.is_none_or(|last| now.saturating_since(last) > HEALTHY_GAP_MAX) {
            self.healthy_since = now;
        }
        last.is_none()
    }

    /// When a spare has been healthy for long enough, or has not shown a packet for as long.
    fn trial_ends_at(&self) -> Instant {
        let since = if self.last_packet.is_some() { self.healthy_since } else { self.asked_at };
        since + HEALTHY_AFTER
    }
}
