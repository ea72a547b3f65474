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

/// A better source is used again when it has been healthy for this long.
pub const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// A spare connection that is silent for this long is not healthy.
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
    /// When it was asked for, opened, or last delivered a byte.
    last_progress: Instant,
    first_packet: Option<Instant>,
    bytes_since_packet: u64,
}

/// What a connection's bytes are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Used,
    Spare,
}

#[derive(Debug)]
pub(crate) struct Upstream {
    config: UpstreamConfig,
    /// Sources in the order of attempts, and when each was last tried.
    attempts: Vec<(usize, Option<Instant>)>,
    used: Option<Connection>,
    spare: Option<Connection>,
    /// Position from which the next attempt is looked for, round-robin.
    next_position: usize,
    connections: u64,
    is_running: bool,
}

impl Upstream {
    pub(crate) fn new(config: UpstreamConfig, seed: u64) -> Self {
        let mut attempts: Vec<_> = (0..config.sources).map(|source| (source, None)).collect();
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
        self.connect_if_due(now, out);
    }

    pub(crate) fn stop(&mut self, out: &mut VecDeque<Output>) {
        self.is_running = false;
        for connection in [self.used.take(), self.spare.take()].into_iter().flatten() {
            out.push_back(Output::HangUp { conn: connection.id });
        }
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
        match role {
            Role::Spare => self.spare = None,
            Role::Used => {
                // A spare that already delivers takes over at once; one that does not is left to be tried in turn.
                self.used = self.spare.take();
                self.next_position = position + 1;
            }
        }
        self.connect_if_due(now, out);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        if let Some(conn) = self.used.as_ref().filter(|_| self.read_deadline().is_some_and(|at| at <= now)) {
            let cause = CloseCause::new(CloseKind::Timeout, "no data for as long as readtimeout allows");
            self.give_up(now, conn.id, cause, out);
        }
        if let Some(spare) =
            self.spare.as_ref().filter(|spare| spare.is_healthy_at().is_some_and(|at| at <= now))
        {
            if now.saturating_since(spare.last_progress) > HEALTHY_GAP_MAX {
                let cause = CloseCause::new(CloseKind::Timeout, "the better source fell silent");
                self.give_up(now, spare.id, cause, out);
            } else {
                self.use_spare(out);
            }
        }
        self.connect_if_due(now, out);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let healthy = self.spare.as_ref().and_then(Connection::is_healthy_at);
        [self.read_deadline(), healthy, self.attempt_at()].into_iter().flatten().min()
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
        self.used.as_ref().is_some_and(|connection| connection.first_packet.is_some())
    }

    /// Whether packets are arriving from this source, in use or as a spare.
    pub(crate) fn is_flowing_from(&self, source: usize) -> bool {
        let connections = self.used.iter().chain(&self.spare);
        connections
            .filter(|connection| connection.first_packet.is_some())
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
        }
    }

    fn connect_if_due(&mut self, now: Instant, out: &mut VecDeque<Output>) {
        let Some((position, due)) = self.attempt(now).filter(|_| self.is_running) else { return };
        if due > now {
            return;
        }
        let (source, last) = &mut self.attempts[position];
        *last = Some(now);
        self.connections += 1;
        let connection = Connection {
            id: ConnId(self.connections),
            source: *source,
            framer: Framer::new(),
            position,
            is_open: false,
            last_progress: now,
            first_packet: None,
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

    /// The position to try next and when: the first one whose delay is over at `now`, else the one that waits least.
    fn attempt(&self, now: Instant) -> Option<(usize, Instant)> {
        let count = self.attempts.len();
        let (start, candidates) = match (&self.used, self.config.order) {
            (None, Order::Shuffle) => (self.next_position, count),
            (None, Order::Priority) => (0, count),
            // While one is in use, only better ones are worth a try, and one at a time.
            (Some(used), Order::Priority) if self.spare.is_none() && used.first_packet.is_some() => {
                (0, used.position)
            }
            (Some(_), _) => return None,
        };
        (0..candidates)
            .map(|step| (start + step) % count)
            .filter_map(|position| match (self.attempts[position].1, self.config.reconnect) {
                (None, _) => Some((position, Instant::ORIGIN)),
                (Some(last), Some(reconnect)) => Some((position, last + reconnect)),
                (Some(_), None) => None,
            })
            .min_by_key(|&(_, due)| due.max(now))
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
        let was_silent = now.saturating_since(self.last_progress) > HEALTHY_GAP_MAX;
        self.last_progress = now;
        if packets == 0 {
            self.bytes_since_packet += bytes as u64;
            return false;
        }
        self.bytes_since_packet = 0;
        let is_first = self.first_packet.is_none();
        if is_first || was_silent {
            self.first_packet = Some(now);
        }
        is_first
    }

    fn is_healthy_at(&self) -> Option<Instant> {
        self.first_packet.map(|first| first + HEALTHY_AFTER)
    }
}
