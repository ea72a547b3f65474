//! Runs a plan: the same machines as in the daemon, in virtual time.
//!
//! One ordered queue of events for sources, fan-outs, people and the operator; viewers have no events of their own,
//! they are swept, once per flush and fan-out. Nothing here looks at a clock, draws entropy or depends on the
//! order of a hash map: a run is a function of its [`Plan`].

mod audit;
mod client;
mod people;
mod queue;

use restreamer_core::{Admission, AdmissionLimits, Duration, Input, Instant, Operator, Rng};

use self::client::Client;
use self::queue::{Event, Queue};
use crate::channel::{Channel, Order};
use crate::check::{Checker, bounded};
use crate::fanout::{EndReason, Ended, Fanout, Tally};
use crate::faults::{Fault, ViewerFault};
use crate::marks::sometimes;
use crate::mutation::Mutation;
use crate::observer::Observer;
use crate::panics;
use crate::plan::Plan;
use crate::report::{Outcome, Sample};

/// How often bounds and balances are looked at.
const INSPECTION: Duration = Duration::from_millis(500);

/// What a run is asked for beside its plan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Keep a line for whatever happens.
    pub traces: bool,
    /// A defect to put in.
    pub mutation: Option<Mutation>,
}

/// A plan being run.
pub struct World {
    plan: Plan,
    options: Options,
    now: Instant,
    queue: Queue,
    channels: Vec<Channel>,
    admission: Admission,
    clients: Vec<Client>,
    observer: Observer,
    orders: Vec<Order>,
    ended: Vec<Ended>,
    /// What those got whose response is over.
    taken: Tally,
    totals: Totals,
    is_shut_down: bool,
    /// Nobody comes back any more.
    is_over: bool,
}

/// What a run adds up.
#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    viewers: u64,
    viewers_max: u64,
    viewer_ns: u64,
    viewers_since: Instant,
    held_bytes_max: u64,
    refused_by_limit: u64,
    refused_by_stream: u64,
    joins: u64,
}

/// Runs a plan to its end. A panic of a machine is a violation like any other.
pub fn simulate(plan: &Plan, options: Options) -> Outcome {
    let mut world = World::new(plan, options);
    let run = panics::catch(|| {
        world.run_until(plan.end());
        world.wind_up();
    });
    if let Err(message) = run {
        world.observer.judge(world.now, None, Checker::Panic.breach(message));
    }
    world.into_outcome()
}

impl World {
    /// Everything at rest, at time 0.
    pub fn new(plan: &Plan, options: Options) -> Self {
        let seeds = |stream: u64| mix(plan.seed, 1, stream);
        let channels = plan.streams.iter().zip(0..);
        let channels: Vec<_> = channels
            .map(|(stream, number)| Channel::new(stream, plan.runtimes, seeds(number), options.mutation))
            .collect();
        let mut queue = Queue::default();
        for stream in 0..channels.len() {
            queue.push(Instant::ORIGIN, Event::Start { stream: stream as u32 });
        }
        for (index, event) in plan.events.iter().enumerate() {
            queue.push(Instant::from_millis(event.at_ms), Event::Fault { index: index as u32 });
        }
        if let Some(heal) = plan.heal() {
            queue.push(heal, Event::Heal);
        }
        let faults = client::faults_by_viewer(plan);
        let faults_of = |id| faults.get(&id).map_or(&[][..], Vec::as_slice);
        let clients = plan.viewers.iter().map(|viewer| Client::new(viewer, plan, faults_of(viewer.id)));
        let clients: Vec<_> = clients.collect();
        for (client, viewer) in plan.viewers.iter().enumerate() {
            queue.push(Instant::from_millis(viewer.at_ms), Event::Arrive { client: client as u32 });
        }
        queue.push(Instant::ORIGIN + INSPECTION, Event::Inspect);
        let limits = AdmissionLimits::from(plan.limits);
        World {
            admission: Admission::new(limits, channels.len() as u32),
            plan: plan.clone(),
            options,
            now: Instant::ORIGIN,
            queue,
            channels,
            clients,
            observer: Observer::new(options.traces),
            orders: Vec::new(),
            ended: Vec::new(),
            taken: Tally::default(),
            totals: Totals::default(),
            is_shut_down: false,
            is_over: false,
        }
    }

    /// Runs until `end`, or until the first violation.
    pub fn run_until(&mut self, end: Instant) {
        while self.observer.violation().is_none() {
            let due = self.channels.iter().filter_map(|channel| channel.due).min();
            let next = self.queue.next_at();
            let Some(at) = [due, next].into_iter().flatten().min().filter(|&at| at <= end) else { break };
            self.now = self.now.max(at);
            if due.is_some_and(|due| next.is_none_or(|next| due <= next)) {
                self.time_out();
            } else if let Some(event) = self.queue.pop() {
                self.happen(event);
            }
        }
        if self.observer.violation().is_none() {
            self.now = self.now.max(end);
        }
    }

    /// Ends the run and says what came out of it.
    pub fn finish(mut self) -> Outcome {
        self.wind_up();
        self.into_outcome()
    }

    /// The last checks, then everybody leaves, and what is left must add up.
    fn wind_up(&mut self) {
        if self.observer.violation().is_none() {
            self.is_over = true;
            self.inspect();
            self.check_live();
            self.send_all_away();
            self.check_accounts();
        }
    }

    fn into_outcome(self) -> Outcome {
        let World { plan, now, clients, mut observer, channels, totals, taken, .. } = self;
        channels.iter().for_each(|channel| channel.note_marks(&mut observer));
        let published_digest = observer.digest.value();
        let viewers: Vec<_> = clients.into_iter().map(Client::into_report).collect();
        for viewer in &viewers {
            observer.digest.mix(viewer.digest);
        }
        Outcome {
            name: plan.name,
            seed: plan.seed,
            end_ns: now.as_nanos(),
            violation: observer.violation().cloned(),
            marks: observer.marks,
            digest: observer.digest.value(),
            published_digest,
            refused_by_limit: totals.refused_by_limit,
            refused_by_stream: totals.refused_by_stream,
            joins: totals.joins,
            viewers_max: totals.viewers_max,
            viewer_seconds: totals.viewer_ns / 1_000_000_000,
            held_bytes_max: totals.held_bytes_max,
            sent: taken,
            viewers,
            trace: observer.take_trace(),
        }
    }

    /// Where the run stands.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// What there is to see at this moment.
    pub fn sample(&self) -> Sample {
        let mut sample = Sample {
            at_ns: self.now.as_nanos(),
            skips: self.taken.skips,
            joins: self.totals.joins,
            refused_by_limit: self.totals.refused_by_limit,
            refused_by_stream: self.totals.refused_by_stream,
            ..Sample::default()
        };
        for channel in &self.channels {
            sample.viewers += channel.viewers() as u64;
            sample.held_bytes += channel.held_bytes();
            sample.held_bytes_limit +=
                bounded::stream_bytes_max(channel.plan.ring.into(), channel.fanouts.len()) as u64;
            sample.on_air += u64::from(channel.stream.availability().lets_in());
            for fanout in &channel.fanouts {
                sample.bytes_sent += fanout.tally.bytes_sent;
                sample.blocked += fanout.blocked() as u64;
                for place in 0..fanout.viewers() {
                    let (viewer, seat) = fanout.look(place);
                    let lag = viewer.lag(fanout.ring()).as_nanos() as u64;
                    sample.lag_ns_max = sample.lag_ns_max.max(lag);
                    sample.lag_ns_sum += lag;
                    sample.skips += u64::from(viewer.stats().skips);
                    sample.playing += u64::from(seat.decoder().is_playing(self.now));
                }
            }
        }
        sample
    }

    fn time_out(&mut self) {
        for stream in 0..self.channels.len() {
            if self.channels[stream].due.is_some_and(|due| due <= self.now) {
                self.channels[stream].handle(self.now, Input::Timeout, &mut self.observer, &mut self.orders);
                self.carry_out(stream);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Start { stream } => {
                let channel = &mut self.channels[stream as usize];
                channel.handle(now, Input::Start, &mut self.observer, &mut self.orders);
                self.carry_out(stream as usize);
            }
            Event::Open { stream, conn } => {
                let channel = &mut self.channels[stream as usize];
                if channel.answer(now, conn, &mut self.observer, &mut self.orders) {
                    self.queue.push(now, Event::Receive { stream, conn });
                }
                self.carry_out(stream as usize);
            }
            Event::Receive { stream, conn } => {
                let channel = &mut self.channels[stream as usize];
                let next = channel.receive(now, conn, &mut self.observer, &mut self.orders);
                if let Some(after_ms) = next {
                    self.queue.push(now + Duration::from_millis(after_ms), event);
                }
                self.carry_out(stream as usize);
            }
            Event::Sweep { stream, runtime } => self.sweep(stream, runtime),
            Event::Poll { stream, runtime } => self.poll(stream, runtime),
            Event::Arrive { client } => self.arrive(client),
            Event::Leave { client, visit } => {
                if self.clients[client as usize].visits == visit {
                    self.drop_out(client, EndReason::Left);
                }
            }
            Event::Fault { index } => self.suffer(index as usize),
            Event::Heal => {
                self.observer.trace(now, || "the troubles end".into());
                for stream in 0..self.channels.len() {
                    let channel = &mut self.channels[stream];
                    channel.heal(now, &mut self.observer, &mut self.orders);
                    if !self.is_shut_down {
                        let online = Input::Operator(Operator::Online);
                        channel.handle(now, online, &mut self.observer, &mut self.orders);
                    }
                    self.carry_out(stream);
                }
            }
            Event::Inspect => {
                self.inspect();
                self.queue.push(now + INSPECTION, Event::Inspect);
            }
        }
    }

    /// Does what a channel asked for.
    fn carry_out(&mut self, stream: usize) {
        let number = stream as u32;
        for order in std::mem::take(&mut self.orders) {
            match order {
                Order::Connect { conn, after_ms } => {
                    let at = self.now + Duration::from_millis(after_ms);
                    self.queue.push(at, Event::Open { stream: number, conn });
                }
                Order::Announce => {
                    let next = self.channels[stream].ring.next();
                    for (runtime, fanout) in self.channels[stream].fanouts.iter_mut().enumerate() {
                        if fanout.sweep_at.is_some() {
                            continue;
                        }
                        let wake = self.plan.wake.delay_us_max;
                        let draw = mix(self.plan.seed, 2 + runtime as u64, next ^ u64::from(number) << 48);
                        let delay = Duration::from_micros(if wake == 0 { 0 } else { draw % (wake + 1) });
                        let at = (self.now + delay).max(fanout.paused_until);
                        fanout.sweep_at = Some(at);
                        self.queue.push(at, Event::Sweep { stream: number, runtime: runtime as u32 });
                    }
                }
            }
        }
    }

    fn sweep(&mut self, stream: u32, runtime: u32) {
        let (now, mutation, order) = (self.now, self.options.mutation, self.plan.wake.order);
        let channel = &mut self.channels[stream as usize];
        let fanout = &mut channel.fanouts[runtime as usize];
        if fanout.paused_until > now {
            fanout.sweep_at = Some(fanout.paused_until);
            self.queue.push(fanout.paused_until, Event::Sweep { stream, runtime });
            return;
        }
        fanout.sweep_at = None;
        let (dismissals, reason) = (channel.dismissals, channel.dismissal());
        channel.round(runtime, now, mutation, &mut self.observer, |fanout, published, shift| {
            fanout.dismiss(dismissals, reason, shift);
            fanout.sweep(published, order, shift);
        });
        self.after_round(stream, runtime);
    }

    fn poll(&mut self, stream: u32, runtime: u32) {
        let (now, mutation) = (self.now, self.options.mutation);
        let channel = &mut self.channels[stream as usize];
        let fanout = &mut channel.fanouts[runtime as usize];
        if fanout.paused_until > now {
            let at =
                self.poll_at_or_after(self.channels[stream as usize].fanouts[runtime as usize].paused_until);
            self.queue.push(at, Event::Poll { stream, runtime });
            return;
        }
        fanout.is_polled = false;
        channel.round(runtime, now, mutation, &mut self.observer, Fanout::poll);
        self.after_round(stream, runtime);
    }

    /// Says good-bye to those who are gone, and comes back for those whose sockets are full.
    fn after_round(&mut self, stream: u32, runtime: u32) {
        let clients = &mut self.clients;
        let fanout = &mut self.channels[stream as usize].fanouts[runtime as usize];
        fanout.take_out(&mut self.ended, |client, place| clients[client as usize].move_to(place));
        if fanout.has_blocked() && !fanout.is_polled {
            fanout.is_polled = true;
            let at = self.poll_at_or_after(self.now + Duration::from_nanos(1));
            self.queue.push(at, Event::Poll { stream, runtime });
        }
        while let Some(ended) = self.ended.pop() {
            self.say_goodbye(ended);
        }
    }

    /// Sockets are looked at on a grid: when one viewer is must not depend on who else is there.
    fn poll_at_or_after(&self, time: Instant) -> Instant {
        let grid = self.plan.wake.poll_ms.max(1) * 1_000_000;
        Instant::from_nanos(time.as_nanos().next_multiple_of(grid))
    }

    fn suffer(&mut self, index: usize) {
        let now = self.now;
        let Some(event) = self.plan.events.get(index).cloned() else { return };
        self.observer.trace(now, || format!("{:?}", event.fault));
        match event.fault {
            Fault::Source { stream, source, what } => {
                self.with_channel(stream, |channel, observer, orders| {
                    channel.suffer(now, source as usize, what, observer, orders);
                })
            }
            Fault::Viewer { id, what: ViewerFault::Reset } => {
                let client = self.clients.iter().position(|client| client.plan.id == id);
                if let Some(client) = client {
                    self.drop_out(client as u32, EndReason::Reset);
                }
            }
            // Links know beforehand.
            Fault::Viewer { what: ViewerFault::Stall { .. } | ViewerFault::Rate { .. }, .. } => {}
            Fault::Pause { stream, runtime, for_ms } => self.with_channel(stream, |channel, _, _| {
                if let Some(fanout) = channel.fanouts.get_mut(runtime as usize) {
                    fanout.paused_until = fanout.paused_until.max(now + Duration::from_millis(for_ms));
                }
            }),
            Fault::Offline { stream } => self.with_channel(stream, |channel, observer, orders| {
                sometimes!(observer, channel.viewers() > 0, TakenOffline);
                channel.handle(now, Input::Operator(Operator::Offline), observer, orders);
            }),
            Fault::Online { stream } => self.with_channel(stream, |channel, observer, orders| {
                channel.handle(now, Input::Operator(Operator::Online), observer, orders);
            }),
            Fault::Shutdown => {
                self.is_shut_down = true;
                for stream in 0..self.channels.len() {
                    self.with_channel(stream as u32, |channel, observer, orders| {
                        sometimes!(observer, channel.viewers() > 0, Shutdown);
                        channel.shut_down(now, observer, orders);
                    });
                }
            }
        }
    }

    fn with_channel(&mut self, stream: u32, work: impl FnOnce(&mut Channel, &mut Observer, &mut Vec<Order>)) {
        if let Some(channel) = self.channels.get_mut(stream as usize) {
            work(channel, &mut self.observer, &mut self.orders);
            self.carry_out(stream as usize);
        }
    }
}

/// A number that depends on all three.
pub(crate) fn mix(a: u64, b: u64, c: u64) -> u64 {
    let mut rng = Rng::from_seed(a ^ b.rotate_left(24) ^ c.rotate_left(48));
    rng.next_u64()
}
