//! A machine between the origin and the people: core's upstream side, fed by the origin, a ring, and crowds.

use restreamer_core::testing::Mark;
use restreamer_core::ts::PACKET_BYTES;
use restreamer_core::{
    Availability, ConnId, Duration, Input, Instant, Output, Policy, Ring, RingLimits, Segment, Stream,
};

use super::crowd::{Crowd, Sight};
use super::origin::{self, Origin, Uplink};
use super::{KINDS, Load};
use crate::bulk::{Room, hollow};
use crate::timeline::Timeline;

/// From the wish to the connection.
const CONNECT: Duration = Duration::from_millis(30);
/// The stall limit, as the daemon has it by default.
const STALL_LIMIT: Duration = Duration::from_secs(30);

pub(super) struct Edge {
    seed: u64,
    /// `None`: it is down.
    machine: Option<Machine>,
    back_at: Instant,
    crowds: Vec<Crowd>,
    load: Load,
    delay_ms_max: u64,
}

struct Machine {
    stream: Stream,
    ring: Ring,
    timeline: Timeline,
    policy: Policy,
    /// When the connection that it asked for will be there.
    pending: Option<(Instant, ConnId)>,
    uplink: Option<(ConnId, Uplink)>,
    is_news: bool,
    /// When the source played the newest packet.
    newest_ns: u64,
    /// Playing time of a packet.
    packet_ns: u64,
}

impl Edge {
    pub(super) fn new(seed: u64) -> Self {
        Edge {
            seed,
            machine: None,
            back_at: Instant::ORIGIN,
            crowds: Vec::new(),
            load: Load::default(),
            delay_ms_max: 0,
        }
    }

    /// Takes in what has arrived, and serves its people when there is something new.
    pub(super) fn step(
        &mut self,
        now: Instant,
        origin: &mut Origin,
        seen_by_origin: &mut Load,
        sight: &mut Sight,
    ) {
        if self.machine.is_none() && now >= self.back_at {
            self.machine = Some(Machine::new(now, self.seed, origin.packet_ns()));
        }
        let Some(machine) = &mut self.machine else { return };
        if let Some((_, conn)) = machine.pending.take_if(|(at, _)| *at <= now) {
            seen_by_origin.requests += 1;
            machine.uplink = Some((conn, origin.accept(now)));
            machine.handle(now, Input::Connected(conn));
        }
        if let Some((conn, mut uplink)) = machine.uplink.take() {
            seen_by_origin.bytes += origin.serve(now, &mut uplink);
            while let Some((at, bytes)) = uplink.arrived(now) {
                machine.time_out(at);
                machine.handle(at, Input::Data(conn, &bytes));
            }
            machine.uplink = Some((conn, uplink));
        }
        machine.time_out(now);
        if std::mem::take(&mut machine.is_news) {
            let delay_ns = now.as_nanos().saturating_sub(machine.newest_ns);
            self.delay_ms_max = self.delay_ms_max.max(delay_ns / 1_000_000);
            self.serve(now, sight);
        }
    }

    /// It goes down. Answers how many people it leaves behind, by their kind of link.
    pub(super) fn crash(&mut self, now: Instant, sight: &mut Sight) -> [u64; KINDS] {
        let mut homeless = [0; KINDS];
        for mut crowd in self.crowds.drain(..) {
            homeless[crowd.kind()] += crowd.people();
            crowd.end(now, sight);
        }
        self.machine = None;
        self.back_at = Instant::from_nanos(u64::MAX);
        homeless
    }

    pub(super) fn stay_away_until(&mut self, back_at: Instant) {
        self.back_at = back_at;
    }

    pub(super) fn let_in(&mut self, now: Instant, kind: usize, people: u64, singly: bool, sight: &mut Sight) {
        let (crowds, size) = if singly { (people, 1) } else { (1, people) };
        let Some(machine) = &self.machine else { return };
        for _ in 0..crowds {
            let mut crowd = Crowd::new(now, kind, size);
            self.load.bytes += crowd.serve(&machine.room(now)).unwrap_or(0);
            self.crowds.push(crowd);
            sight.visits += size;
        }
    }

    /// One of its people leaves, if there are any: the `nth`, modulo their number. Answers his kind of link.
    pub(super) fn let_go(&mut self, now: Instant, nth: u64, sight: &mut Sight) -> Option<usize> {
        let mut nth = nth % self.people().max(1);
        for crowd in &mut self.crowds {
            if nth < crowd.people() {
                crowd.let_go(now, sight);
                return Some(crowd.kind());
            }
            nth -= crowd.people();
        }
        None
    }

    pub(super) fn note_requests(&mut self, people: u64) {
        self.load.requests += people;
    }

    pub(super) fn end_second(&mut self, now: Instant) -> Load {
        let mut load = std::mem::take(&mut self.load);
        load.connections = self.people();
        if let Some(machine) = &self.machine {
            let room = machine.room(now);
            load.lag_ms_max = self.crowds.iter().map(|crowd| crowd.lag_ms(&room)).max().unwrap_or(0);
        }
        load
    }

    pub(super) fn take_delay_ms_max(&mut self) -> u64 {
        std::mem::take(&mut self.delay_ms_max)
    }

    pub(super) fn people(&self) -> u64 {
        self.crowds.iter().map(Crowd::people).sum()
    }

    pub(super) fn crowds(&self) -> usize {
        self.crowds.len()
    }

    /// Whether the machine answers.
    pub(super) fn is_up(&self) -> bool {
        self.machine.is_some()
    }

    /// Whether there is something to see on it.
    pub(super) fn lets_in(&self) -> bool {
        self.machine.as_ref().is_some_and(|machine| machine.stream.availability().lets_in())
    }

    pub(super) fn uplink(&self) -> Option<&Uplink> {
        Some(&self.machine.as_ref()?.uplink.as_ref()?.1)
    }

    fn serve(&mut self, now: Instant, sight: &mut Sight) {
        let Some(machine) = &self.machine else { return };
        let room = machine.room(now);
        let bytes = &mut self.load.bytes;
        // In order of arrival, also of those who stay: chance picks people by their number.
        self.crowds.retain_mut(|crowd| {
            let is_in = match crowd.serve(&room) {
                Some(taken) => {
                    *bytes += taken;
                    true
                }
                None => {
                    crowd.end(now, sight);
                    false
                }
            };
            is_in && crowd.people() > 0
        });
    }
}

impl Machine {
    fn new(now: Instant, seed: u64, packet_ns: u64) -> Self {
        let mut machine = Machine {
            stream: Stream::new(origin::config(), seed),
            ring: Ring::new(RingLimits::default()),
            timeline: Timeline::default(),
            policy: Policy::default(),
            pending: None,
            uplink: None,
            is_news: false,
            newest_ns: 0,
            packet_ns,
        };
        machine.handle(now, Input::Start);
        machine
    }

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.stream.handle(now, input);
        while let Some(output) = self.stream.poll_output() {
            match output {
                Output::Connect { conn, .. } => self.pending = Some((now + CONNECT, conn)),
                Output::HangUp { .. } => self.uplink = None,
                Output::Publish(segment) => {
                    let span_ns = span_ns(&segment, self.packet_ns);
                    self.newest_ns = span_ns.map_or(self.newest_ns, |(_, end_ns)| end_ns);
                    self.timeline.push(now, span_ns, segment.access.is_some(), false);
                    self.ring.push(hollow(&segment));
                    self.is_news = true;
                }
                Output::Forget => self.ring.clear(),
                Output::Availability(Availability::Lost | Availability::Offline) => self.is_news = true,
                Output::Availability(_) | Output::Event(_) => {}
            }
        }
    }

    fn time_out(&mut self, now: Instant) {
        while let Some(due) = self.stream.poll_timeout().filter(|&due| due <= now) {
            self.handle(due, Input::Timeout);
        }
    }

    fn room(&self, now: Instant) -> Room<'_> {
        Room {
            now,
            ring: &self.ring,
            timeline: &self.timeline,
            policy: &self.policy,
            stall_limit: Some(STALL_LIMIT),
        }
    }
}

/// When the source played the first packet of a segment, and will play the one after its last, of which each takes
/// `packet_ns`.
fn span_ns(segment: &Segment, packet_ns: u64) -> Option<(u64, u64)> {
    let (packets, _) = segment.data.as_chunks::<PACKET_BYTES>();
    let (before, mark) = (0..).zip(packets).find_map(|(index, packet)| Some((index, Mark::read(packet)?)))?;
    let begin_ns = mark.sent_ns.saturating_sub(before * packet_ns);
    Some((begin_ns, begin_ns + packets.len() as u64 * packet_ns))
}
