//! A stream and its sources, driven step by step beside plain models of what it promises.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::assembly::CANDIDATE_WAIT;
use crate::cause::{CloseCause, CloseKind};
use crate::event::StreamEvent;
use crate::fuzz::ledger::{Conn, Ledger};
use crate::fuzz::program::Piece;
use crate::stream::{Availability, Input, Operator, Output, Stream, StreamConfig};
use crate::time::{Duration, Instant};
use crate::upstream::{ConnId, HEALTHY_AFTER, HEALTHY_GAP_MAX, Order};

/// So often may a stream ask for attention at one moment.
const TIMEOUTS_MAX: usize = 16;

/// What happens next to a [`Channel`]. Connections are named by their number among the open ones, modulo how many
/// there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The stream is told to begin.
    Start,
    /// The stream is told to end.
    Stop,
    /// A connection is open.
    Connected(usize),
    /// A connection delivers these pieces, in one chunk or one at a time.
    Data {
        /// Which connection.
        conn: usize,
        /// What it delivers.
        pieces: Vec<Piece>,
        /// In one chunk.
        at_once: bool,
    },
    /// A connection ends.
    Closed(usize),
    /// Something is heard of the connection that was given up last.
    Stale,
    /// Time passes, and every timeout is answered when it is due.
    Wait(Duration),
    /// Time passes, and the driver is late: it answers timeouts after the next step.
    Oversleep(Duration),
    /// The operator says something.
    Operator(Operator),
}

/// A stream, its clock, its sources, and what it must have said.
#[derive(Debug)]
pub struct Channel {
    config: StreamConfig,
    stream: Stream,
    now: Instant,
    is_running: bool,
    is_late: bool,
    operator: Operator,
    conns: BTreeMap<ConnId, Conn>,
    used: Option<ConnId>,
    spare: Option<ConnId>,
    /// When each source was last tried, and how often.
    tried: Vec<(Option<Instant>, u64)>,
    /// Sources tried since the last success.
    had_turn: BTreeSet<usize>,
    ledger: Ledger,
    /// Packets made by all sources.
    numbers: u64,
    availability: Availability,
    /// When packets stopped to flow, if they flowed before.
    lost_at: Option<Instant>,
    /// Something has been published since it was last forgotten, by a connection that has ended or by the current.
    holds_old: bool,
    holds_new: bool,
}

impl Channel {
    /// A stream that has not begun.
    pub fn new(config: StreamConfig, seed: u64) -> Self {
        Channel {
            config,
            stream: Stream::new(config, seed),
            now: Instant::ORIGIN,
            is_running: false,
            is_late: false,
            operator: Operator::Online,
            conns: BTreeMap::new(),
            used: None,
            spare: None,
            tried: alloc::vec![(None, 0); config.upstream.sources],
            had_turn: BTreeSet::new(),
            ledger: Ledger::default(),
            numbers: 0,
            availability: Availability::Never,
            lost_at: None,
            holds_old: false,
            holds_new: false,
        }
    }

    /// Does the next step and checks everything that can be seen of its outcome.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn step(&mut self, step: Step) {
        match step {
            Step::Oversleep(time) => {
                self.now += time;
                self.is_late = true;
                return;
            }
            Step::Wait(time) => {
                self.answer_timeouts(self.now);
                self.is_late = false;
                let end = self.now + time;
                self.answer_timeouts(end);
                self.now = end;
            }
            Step::Start => {
                self.is_running = true;
                self.had_turn.clear();
                self.say(Input::Start);
            }
            Step::Stop => {
                self.is_running = false;
                if let Some(conn) = self.used.and_then(|used| self.conns.get_mut(&used)) {
                    conn.finish();
                }
                self.say(Input::Stop);
                assert!(self.used.is_none() && self.spare.is_none(), "a stop hangs up on everybody");
                self.ledger.check_end(&self.conns);
            }
            Step::Connected(conn) => {
                if let Some(id) = self.open(conn) {
                    self.say(Input::Connected(id));
                }
            }
            Step::Data { conn, pieces, at_once } => self.data(conn, &pieces, at_once),
            Step::Closed(conn) => {
                if let Some(id) = self.open(conn) {
                    let conn = self.conns.get_mut(&id).expect("an open connection is known");
                    conn.is_open = false;
                    if self.used == Some(id) {
                        conn.finish();
                    }
                    self.say(Input::Closed(id, CloseCause::new(CloseKind::Io, "")));
                }
            }
            Step::Stale => {
                if let Some((&id, _)) = self.conns.iter().rev().find(|(_, conn)| !conn.is_open) {
                    self.say(Input::Connected(id));
                    self.say(Input::Data(id, &[0x47; 400]));
                    self.say(Input::Closed(id, CloseCause::new(CloseKind::Io, "")));
                }
            }
            Step::Operator(operator) => {
                self.operator = operator;
                self.say(Input::Operator(operator));
            }
        }
        self.answer_timeouts(self.now);
        self.is_late = false;
        self.check_attempts();
        self.check_stats();
    }

    fn data(&mut self, conn: usize, pieces: &[Piece], at_once: bool) {
        let Some(id) = self.open(conn) else { return };
        let mut chunk = Vec::new();
        let since = self.conns.get(&id).map_or(self.now, |conn| conn.last_packet);
        for (index, &piece) in pieces.iter().enumerate() {
            let is_used = self.used == Some(id);
            let Some(conn) = self.conns.get_mut(&id).filter(|conn| conn.is_open) else { return };
            self.numbers += 1;
            conn.program.append(piece, self.numbers, &mut chunk);
            if at_once && index + 1 < pieces.len() || chunk.is_empty() {
                continue;
            }
            let before = conn.packets();
            conn.push(&chunk, is_used);
            if conn.packets() > before {
                let pause = self.now.saturating_since(conn.last_packet);
                conn.healthy_since =
                    conn.healthy_since.filter(|_| pause <= HEALTHY_GAP_MAX).or(Some(self.now));
                conn.last_packet = self.now;
            }
            self.say(Input::Data(id, &chunk));
            chunk.clear();
        }
        if at_once {
            self.say(Input::Waited(id, since));
        }
    }

    /// Answers every timeout that is due until `end`, each at its time.
    fn answer_timeouts(&mut self, end: Instant) {
        let mut at_once = 0;
        while let Some(due) = self.stream.poll_timeout().filter(|&due| due <= end) {
            at_once = if due > self.now { 0 } else { at_once + 1 };
            assert!(at_once < TIMEOUTS_MAX, "a timeout that was answered is not due again at once");
            self.now = self.now.max(due);
            self.say(Input::Timeout);
        }
    }

    fn say(&mut self, input: Input<'_>) {
        let is_end = matches!(input, Input::Stop);
        self.stream.handle(self.now, input);
        while let Some(output) = self.stream.poll_output() {
            self.hear(output);
        }
        if !is_end {
            self.check_availability();
        }
    }

    fn hear(&mut self, output: Output) {
        match output {
            Output::Connect { conn, source } => self.hear_connect(conn, source),
            Output::HangUp { conn } => {
                let conn = self.conns.get_mut(&conn).expect("only what was asked for is hung up");
                assert!(conn.is_open, "a connection is hung up once");
                conn.is_open = false;
                self.end_roles();
            }
            Output::Publish(segment) => {
                let begins = self.ledger.publish(&self.conns, &segment);
                let waited = self.now.saturating_since(segment.at);
                let is_in_time = waited <= self.config.latency.max(CANDIDATE_WAIT);
                assert!(is_in_time || begins || self.is_late, "a byte waited for {waited:?}");
                if begins {
                    self.check_fresh();
                }
                if begins || self.holds_new || self.lost_at.is_none() {
                    self.holds_new = true;
                } else {
                    self.holds_old = true;
                }
            }
            Output::Forget => (self.holds_old, self.holds_new) = (false, false),
            Output::Availability(availability) => {
                assert!(availability != self.availability, "only changes are told");
                self.availability = availability;
            }
            Output::Event(event) => self.hear_event(&event),
        }
    }

    fn hear_event(&mut self, event: &StreamEvent) {
        match event {
            StreamEvent::Closed { .. } => self.end_roles(),
            StreamEvent::Returned { source } if self.spare.is_none() => {
                let used = self.used.map(|used| &self.conns[&used]).expect("what returns is used");
                assert!(used.source == *source && used.packets() > 0, "it delivers when the one in use ends");
            }
            StreamEvent::Returned { .. } => {
                let spare = self.spare.map(|spare| &self.conns[&spare]).expect("a spare returns");
                let healthy_for = spare.healthy_since.map(|since| self.now.saturating_since(since));
                assert!(
                    healthy_for.is_some_and(|healthy_for| healthy_for >= HEALTHY_AFTER),
                    "healthy for long enough"
                );
                assert!(self.now.saturating_since(spare.last_packet) <= HEALTHY_GAP_MAX, "and healthy now");
            }
            StreamEvent::Exhausted => {
                assert!(self.is_running && !self.has_hope(), "exhausted is who has tried everything");
            }
            _ => {}
        }
    }

    fn hear_connect(&mut self, id: ConnId, source: usize) {
        let upstream = self.config.upstream;
        assert!(self.is_running, "a stream that was stopped asks for nothing");
        assert!(self.conns.keys().next_back().is_none_or(|&last| last < id), "connections are numbered");
        let (tried, count) = &mut self.tried[source];
        if let Some(last) = tried.replace(self.now) {
            let is_over = upstream.reconnect.is_some_and(|reconnect| last + reconnect <= self.now);
            assert!(is_over, "a source is not tried again within the interval");
        }
        *count += 1;
        self.check_turn(source);
        if let Some(used) = self.used.map(|used| &self.conns[&used]) {
            assert!(
                self.spare.is_none() && upstream.order == Order::Priority,
                "one spare, for a better source"
            );
            assert!(source < used.source && used.packets() > 0, "a spare is better than what is used");
            self.spare = Some(id);
        } else {
            self.used = Some(id);
        }
        self.conns.insert(id, Conn::new(self.now, source));
    }

    /// Nobody is tried again while another one that may be tried has not been.
    fn check_turn(&mut self, source: usize) {
        let better_than = self.used.map_or(self.tried.len(), |used| self.conns[&used].source);
        if !self.had_turn.insert(source) {
            let is_due = |other: &usize| self.attempt_due(*other).is_some_and(|due| due <= self.now);
            let all = (0..better_than).filter(is_due).all(|other| self.had_turn.contains(&other));
            assert!(all, "source {source} is tried again, and others have waited for longer");
            self.had_turn = BTreeSet::from([source]);
        }
    }

    /// When a source may be tried again.
    fn attempt_due(&self, source: usize) -> Option<Instant> {
        match (self.tried[source].0, self.config.upstream.reconnect) {
            (None, _) => Some(Instant::ORIGIN),
            (Some(tried), Some(reconnect)) => Some(tried + reconnect),
            (Some(_), None) => None,
        }
    }

    /// A connection that has ended is not in use any more.
    fn end_roles(&mut self) {
        let is_open = |id: &ConnId| self.conns[id].is_open;
        self.spare = self.spare.filter(is_open);
        if let Some(ended) = self.used.filter(|used| !is_open(used)) {
            let healthy_since = self.conns[&ended].healthy_since;
            let was_healthy = healthy_since.is_some_and(|since| since + HEALTHY_AFTER <= self.now);
            self.used = self.spare.take();
            if was_healthy || self.is_flowing() {
                self.had_turn.clear();
            }
        }
    }

    fn open(&self, number: usize) -> Option<ConnId> {
        let open: Vec<_> = self.conns.iter().filter(|(_, conn)| conn.is_open).map(|(&id, _)| id).collect();
        open.get(number.checked_rem(open.len())?).copied()
    }

    fn is_flowing(&self) -> bool {
        self.used.is_some_and(|used| self.conns[&used].packets() > 0)
    }

    fn has_hope(&self) -> bool {
        let reconnects = self.config.upstream.reconnect.is_some();
        self.is_running
            && (self.used.is_some() || self.tried.iter().any(|(tried, _)| reconnects || tried.is_none()))
    }

    fn check_availability(&mut self) {
        let is_flowing = self.is_flowing();
        if is_flowing {
            self.check_fresh();
        }
        let has_flowed = self.conns.values().any(|conn| conn.packets_used() > 0);
        self.lost_at = if is_flowing || !has_flowed { None } else { self.lost_at.or(Some(self.now)) };
        if self.lost_at.is_some() {
            self.holds_old |= core::mem::take(&mut self.holds_new);
        }

        let grace = self.config.grace;
        let is_in_grace = self.lost_at.is_some_and(|at| at + grace > self.now) && self.has_hope();
        let expected = match self.operator {
            Operator::Offline => Availability::Offline,
            Operator::Online if is_flowing => Availability::Live,
            Operator::Online if is_in_grace => Availability::Grace,
            Operator::Online if has_flowed => Availability::Lost,
            Operator::Online => Availability::Never,
        };
        assert!(self.stream.availability() == self.availability, "changes are told");
        assert!(self.availability == expected, "it is {expected:?}, not {:?}", self.availability);
    }

    /// When packets flow again after the grace time, nothing is left of what came before.
    fn check_fresh(&self) {
        let is_over = self.lost_at.is_some_and(|at| at + self.config.grace < self.now);
        assert!(!is_over || !self.holds_old, "what is older than the grace time is forgotten");
    }

    /// Whoever can be tried is tried at once, and whoever cannot is remembered.
    fn check_attempts(&self) {
        let upstream = &self.config.upstream;
        let candidates = match self.used.map(|used| &self.conns[&used]) {
            _ if !self.is_running => 0,
            None => upstream.sources,
            Some(used) if upstream.order == Order::Priority && self.spare.is_none() && used.packets() > 0 => {
                used.source
            }
            Some(_) => 0,
        };
        for due in (0..candidates).filter_map(|source| self.attempt_due(source)) {
            assert!(due > self.now, "a source that may be tried is tried");
            let timeout = self.stream.poll_timeout();
            assert!(timeout.is_some_and(|timeout| timeout <= due), "an attempt is planned");
        }
    }

    fn check_stats(&self) {
        let stats = self.stream.stats();
        let sum = |count: fn(&Conn) -> usize| self.conns.values().map(count).sum::<usize>() as u64;
        assert!(stats.framing.packets == sum(Conn::packets_used), "packets in use are counted");
        assert!((stats.segments, stats.packets_published) == (self.ledger.segments, self.ledger.packets));
        for (number, source) in stats.sources.iter().enumerate() {
            let of_source = self.conns.values().filter(|conn| conn.source == number);
            assert!(source.packets == of_source.map(Conn::packets).sum::<usize>() as u64);
            assert!(source.connections == self.tried[number].1);
            let connected = self.used.iter().chain(&self.spare).map(|id| &self.conns[id]);
            let is_connected = connected.into_iter().any(|conn| conn.source == number && conn.packets() > 0);
            assert!(source.is_connected == is_connected);
        }
    }
}
