//! Watches a run from outside, step by step.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use restreamer_core::Ring;
use restreamer_core::testing::Mark;
use restreamer_core::ts::PACKET_BYTES;

use super::check::{Phase, Session};
use super::faults::what_is_left;
use super::plan::{Plan, Watch};
use super::proxy::STREAM;
use super::source::{Place, place_of};
use super::stage::{Promise, Stage};

/// What is published has to arrive within this, beside the network's delay there and back.
const ARRIVAL_MAX: Duration = Duration::from_millis(200);
/// Nothing at all for this long, while there is something to get, is a viewer forgotten. Access points are at most
/// a second apart.
const SILENCE_MAX: Duration = Duration::from_millis(3_000);
/// A request has to be answered within this.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// A ring that gets nothing for this long does not flow.
const FLOW_GAP_MAX: Duration = Duration::from_millis(1_200);
/// Between the faults and all being well: read timeout, connect timeout and retry of the proxy, patience and
/// absence of the people.
pub(super) const CALM_AFTER: Duration = Duration::from_secs(8);
/// When all is well, the ring is not further behind the source than this.
const INTAKE_MAX: Duration = Duration::from_secs(2);

/// See the [module](self).
pub(super) struct Watcher {
    plan: Rc<Plan>,
    stage: Rc<RefCell<Stage>>,
    /// A copy of the ring of the present proxy.
    ring: Option<(Duration, Ring)>,
    promises: VecDeque<Publication>,
    flows_since: Option<Duration>,
    last_publication: Duration,
    newest_sent: Duration,
    /// Packets that arrived before all was well.
    packets_before_calm: Option<u64>,
    /// Promises that were looked at, for one session each.
    pub(super) arrivals: u64,
}

/// Something that everybody who keeps up has to get.
struct Publication {
    at: Duration,
    place: Place,
}

impl Watcher {
    pub(super) fn new(plan: Rc<Plan>, stage: Rc<RefCell<Stage>>) -> Self {
        Watcher {
            plan,
            stage,
            ring: None,
            promises: VecDeque::new(),
            flows_since: None,
            last_publication: Duration::ZERO,
            newest_sent: Duration::ZERO,
            packets_before_calm: None,
            arrivals: 0,
        }
    }

    /// Looks at everything; to be called after every step.
    pub(super) fn look(&mut self, now: Duration) {
        self.follow_ring(now);
        self.excuse_given_up();
        self.demand_arrivals(now);
        self.demand_answers(now);
        self.demand_bounds(now);
        let is_calm =
            now >= Plan::time(self.plan.heal_ms) + CALM_AFTER && now < Plan::time(self.plan.leave_ms);
        self.stage.borrow_mut().is_calm = is_calm;
        if is_calm {
            self.demand_intake(now);
        }
    }

    /// What has to hold when everybody has left.
    pub(super) fn conclude(&mut self, now: Duration) {
        let mut stage = self.stage.borrow_mut();
        let left = stage.proxy.as_ref().and_then(what_is_left);
        if let Some(left) = left {
            stage.violate(now, Promise::Balanced, None, format!("after everybody left: {left}"));
        }
        let somebody_watches = self.plan.people.iter().any(|person| {
            let asks = matches!(person.ask, super::plan::Ask::Plain | super::plan::Ask::Extra);
            asks && person.watch == Watch::Prompt && person.stay_ms.is_none()
        });
        let packets: u64 = stage.sessions.iter().map(|session| session.packets).sum();
        let has_limit = self.plan.proxy.viewers_max != 0;
        if somebody_watches && !has_limit && self.packets_before_calm == Some(packets) {
            stage.violate(now, Promise::Live, None, "nobody got a packet after the faults".into());
        }
    }

    fn follow_ring(&mut self, now: Duration) {
        let stage = self.stage.borrow();
        let Some(proxy) = &stage.proxy else {
            self.ring = None;
            self.flows_since = None;
            self.promises.clear();
            return;
        };
        let published = proxy.engine.registry.published(STREAM);
        if self.ring.as_ref().is_none_or(|(since, _)| *since != proxy.since) {
            self.ring = Some((proxy.since, published.new_copy()));
            self.promises.clear();
        }
        let Some((_, ring)) = &mut self.ring else { return };
        let before = ring.next();
        published.catch_up(ring);
        for segment in (before..ring.next()).filter_map(|sequence| ring.get(sequence)) {
            self.last_publication = now;
            let (packets, _) = segment.data.as_chunks::<PACKET_BYTES>();
            let Some(mark) = packets.iter().rev().find_map(Mark::read) else { continue };
            self.newest_sent = Duration::from_nanos(mark.sent_ns);
            if let Some(place) = place_of(&stage.programmes, mark) {
                self.promises.push_back(Publication { at: now, place });
            }
        }
        self.flows_since = match self.flows_since {
            _ if now - self.last_publication > FLOW_GAP_MAX => None,
            None => Some(now),
            since => since,
        };
    }

    /// Who did not read for a while may have been given up, and may not hear of it.
    fn excuse_given_up(&mut self) {
        let stage = &mut *self.stage.borrow_mut();
        let Some(proxy) = &stage.proxy else { return };
        for session in stage.sessions.iter_mut().filter(|session| session.may_lag && session.has_picture()) {
            session.is_broken |= session.address.is_some_and(|address| proxy.net.has_closed(address));
        }
    }

    /// No wake-up is lost: what was published has reached everybody who keeps up.
    fn demand_arrivals(&mut self, now: Duration) {
        let patience = ARRIVAL_MAX + 2 * Duration::from_millis(self.plan.network.delay_ms_max);
        let stage = &mut *self.stage.borrow_mut();
        while self.promises.front().is_some_and(|promise| promise.at + patience <= now) {
            let Some(promise) = self.promises.pop_front() else { break };
            let Some(proxy) = &stage.proxy else { continue };
            let dismissals = proxy.engine.registry.published(STREAM).dismissals();
            let is_due = |session: &&Session| {
                session.has_picture()
                    && session.since <= promise.at
                    && session.excused_until <= promise.at
                    && session.dismissals == dismissals
                    && !session.is_broken
                    && !session.may_end
            };
            let due = stage.sessions.iter().filter(is_due);
            self.arrivals += due.clone().count() as u64;
            if let Some(session) = due.clone().find(|session| !session.has(promise.place)) {
                let message = format!(
                    "packet {} of source {}, published at {:?}, has not arrived: {}",
                    promise.place.index,
                    promise.place.source,
                    promise.at,
                    session.describe()
                );
                let person = session.person;
                stage.violate(now, Promise::Live, Some(person), message);
            }
        }
    }

    /// Who asked is answered, and who watches is not forgotten.
    fn demand_answers(&mut self, now: Duration) {
        let stage = &mut *self.stage.borrow_mut();
        let Some(proxy) = stage.proxy.as_ref().filter(|proxy| !proxy.is_ending) else { return };
        let overdue = stage.sessions.iter().find_map(|session| {
            if session.is_broken || session.excused_until > now {
                return None;
            }
            let begin = |times: &[Duration]| times.iter().copied().chain([session.excused_until]).max();
            match session.phase {
                Phase::Over | Phase::Asking => None,
                Phase::Connecting | Phase::Asked => {
                    let since = begin(&[session.since, proxy.since])?;
                    (now - since > ANSWER_MAX).then_some((session.person, "nobody answers"))
                }
                Phase::Watching => {
                    let since = begin(&[session.waiting_since?, self.flows_since?, session.since])?;
                    (now - since > SILENCE_MAX).then_some((session.person, "nothing more comes"))
                }
            }
        });
        if let Some((person, message)) = overdue {
            stage.violate(now, Promise::Live, Some(person), message.into());
        }
    }

    fn demand_bounds(&mut self, now: Duration) {
        let stage = &mut *self.stage.borrow_mut();
        let Some(proxy) = &stage.proxy else { return };
        let counters = proxy.engine.observe.stream(STREAM);
        let (viewers, connections) = (proxy.gate.viewers(), counters.connections.now());
        let ring_bytes = counters.ring_bytes.now();
        let limit = proxy.gate.limits().hard;
        if u64::from(viewers) != connections {
            let message = format!("{viewers} seats are taken and {connections} connections counted");
            stage.violate(now, Promise::Balanced, None, message);
        } else if limit != 0 && viewers > limit {
            stage.violate(now, Promise::Bounded, None, format!("{viewers} viewers, {limit} allowed"));
        } else if ring_bytes > self.plan.proxy.ring_bytes_max as u64 {
            stage.violate(now, Promise::Bounded, None, format!("the ring holds {ring_bytes} bytes"));
        }
    }

    /// The proxy gets the stream again.
    fn demand_intake(&mut self, now: Duration) {
        let mut stage = self.stage.borrow_mut();
        if self.packets_before_calm.is_none() {
            self.packets_before_calm = Some(stage.sessions.iter().map(|session| session.packets).sum());
        }
        if now.saturating_sub(self.newest_sent) > INTAKE_MAX {
            let message = format!("the newest packet in the ring was sent at {:?}", self.newest_sent);
            stage.violate(now, Promise::Live, None, message);
        }
    }
}
