//! Makes the faults of a plan happen, and takes them back.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use restreamer_core::Operator;
use restreamer_io::gate::Channels;
use turmoil::Sim;

use super::check::Phase;
use super::plan::{Fault, FaultKind, Plan};
use super::player::SETTLE;
use super::proxy::STREAM;
use super::stage::{Incarnation, Promise, Stage};

/// Time that a proxy has to end after it was told to.
const FAREWELL_MAX: Duration = Duration::from_millis(3_500);

/// The faults of a run.
pub(super) struct Faults {
    stage: Rc<RefCell<Stage>>,
    /// When what begins or ends, latest first.
    agenda: Vec<(Duration, Edge, Fault)>,
    active: Vec<FaultKind>,
    farewell_by: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Edge {
    End,
    Begin,
}

impl Faults {
    pub(super) fn new(plan: &Plan, stage: Rc<RefCell<Stage>>) -> Self {
        let mut agenda = Vec::new();
        for fault in &plan.faults {
            agenda.push((Plan::time(fault.at_ms), Edge::Begin, fault.clone()));
            agenda.push((Plan::time(fault.at_ms + fault.for_ms), Edge::End, fault.clone()));
        }
        agenda.sort_by_key(|&(at, edge, _)| std::cmp::Reverse((at, edge)));
        Faults { stage, agenda, active: Vec::new(), farewell_by: None }
    }

    /// Does what is due; to be called before every step.
    pub(super) fn act(&mut self, now: Duration, sim: &mut Sim<'_>) {
        while self.agenda.last().is_some_and(|&(at, ..)| at <= now) {
            let Some((_, edge, fault)) = self.agenda.pop() else { break };
            self.stage.borrow().trace(now, || format!("{edge:?} {:?}", fault.kind));
            match edge {
                Edge::Begin => self.begin(now, sim, fault.kind),
                Edge::End => self.end(now, sim, fault.kind),
            }
        }
        self.excuse(now);
        if self.farewell_by.is_some_and(|by| by <= now) {
            self.farewell_by = None;
            let mut stage = self.stage.borrow_mut();
            if stage.proxy.as_ref().is_some_and(|proxy| !proxy.has_ended) {
                stage.violate(now, Promise::Live, None, "the proxy was told to end and does not".into());
            }
        }
    }

    fn begin(&mut self, now: Duration, sim: &mut Sim<'_>, kind: FaultKind) {
        self.active.push(kind);
        match kind {
            FaultKind::CutSource(source) => sim.partition("proxy", source_name(source)),
            FaultKind::HoldSource(source) => sim.hold("proxy", source_name(source)),
            FaultKind::CrashSource(source) => sim.crash(source_name(source)),
            FaultKind::SilenceSource(source) => self.stage.borrow_mut().silent[source] = true,
            FaultKind::HangUpSource(source) => self.stage.borrow_mut().hang_up(source),
            FaultKind::HalfCloseSource(source) => self.stage.borrow_mut().half_close(source),
            FaultKind::CutHome(home) => sim.partition("proxy", home_name(home)),
            FaultKind::CutToHome(home) => sim.partition_oneway("proxy", home_name(home)),
            FaultKind::CutFromHome(home) => sim.partition_oneway(home_name(home), "proxy"),
            FaultKind::HoldHome(home) => sim.hold("proxy", home_name(home)),
            FaultKind::CrashHome(home) => sim.crash(home_name(home)),
            FaultKind::CrashProxy => {
                let proxy = self.abandon_proxy();
                sim.crash("proxy");
                self.demand_empty(now, proxy);
            }
            FaultKind::RestartProxy => self.shut_down(now),
            FaultKind::Offline => self.order(Operator::Offline),
        }
    }

    fn end(&mut self, now: Duration, sim: &mut Sim<'_>, kind: FaultKind) {
        self.active.retain(|&active| active != kind);
        match kind {
            FaultKind::CutSource(source) => sim.repair("proxy", source_name(source)),
            FaultKind::HoldSource(source) => sim.release("proxy", source_name(source)),
            FaultKind::CrashSource(source) => sim.bounce(source_name(source)),
            FaultKind::SilenceSource(source) => self.stage.borrow_mut().silent[source] = false,
            FaultKind::HangUpSource(_) | FaultKind::HalfCloseSource(_) => {}
            FaultKind::CutHome(home) => sim.repair("proxy", home_name(home)),
            FaultKind::CutToHome(home) => sim.repair_oneway("proxy", home_name(home)),
            FaultKind::CutFromHome(home) => sim.repair_oneway(home_name(home), "proxy"),
            FaultKind::HoldHome(home) => sim.release("proxy", home_name(home)),
            FaultKind::CrashHome(home) => sim.bounce(home_name(home)),
            FaultKind::CrashProxy => sim.bounce("proxy"),
            FaultKind::RestartProxy => {
                let proxy = self.abandon_proxy();
                sim.bounce("proxy");
                self.demand_empty(now, proxy);
            }
            FaultKind::Offline => self.order(Operator::Online),
        }
    }

    /// Whoever depends on what is broken now has an excuse.
    fn excuse(&self, now: Duration) {
        let mut stage = self.stage.borrow_mut();
        for session in stage.sessions.iter_mut().filter(|session| session.phase != Phase::Over) {
            for kind in &self.active {
                match *kind {
                    FaultKind::CutHome(home)
                    | FaultKind::CutToHome(home)
                    | FaultKind::CutFromHome(home)
                    | FaultKind::CrashHome(home)
                        if home == session.home =>
                    {
                        session.is_broken = true;
                    }
                    FaultKind::HoldHome(home) if home == session.home => session.excuse(now + SETTLE),
                    _ => {}
                }
            }
        }
    }

    fn abandon_proxy(&self) -> Option<Incarnation> {
        let mut stage = self.stage.borrow_mut();
        for session in stage.sessions.iter_mut().filter(|session| session.phase != Phase::Over) {
            session.is_broken = true;
        }
        stage.proxy.take()
    }

    fn shut_down(&mut self, now: Duration) {
        let mut stage = self.stage.borrow_mut();
        for session in stage.sessions.iter_mut().filter(|session| session.phase != Phase::Over) {
            match session.phase {
                Phase::Watching => session.may_end = true,
                _ => session.is_broken = true,
            }
        }
        if let Some(proxy) = &mut stage.proxy {
            proxy.is_ending = true;
            proxy.shutdown.cancel();
            self.farewell_by = Some(now + FAREWELL_MAX);
        }
    }

    fn order(&self, order: Operator) {
        if let Some(proxy) = &self.stage.borrow().proxy {
            proxy.engine.registry.operator(STREAM, order);
        }
    }

    /// A proxy that is gone has given everything back.
    fn demand_empty(&self, now: Duration, proxy: Option<Incarnation>) {
        if let Some(left) = proxy.as_ref().and_then(what_is_left) {
            self.stage.borrow_mut().violate(now, Promise::Balanced, None, format!("after its end: {left}"));
        }
    }
}

/// What a proxy without clients still holds, if anything.
pub(super) fn what_is_left(proxy: &Incarnation) -> Option<String> {
    let connections = proxy.engine.observe.stream(STREAM).connections.now();
    let left = (proxy.gate.viewers(), connections, proxy.net.accepted_open());
    (left != (0, 0, 0)).then(|| {
        let (seats, connections, sockets) = left;
        format!("{seats} seats, {connections} connections counted, {sockets} sockets")
    })
}

/// The name of a source's host.
pub(super) fn source_name(source: usize) -> String {
    format!("source-{source}")
}

/// The name of a home's host.
pub(super) fn home_name(home: usize) -> String {
    format!("home-{home}")
}
