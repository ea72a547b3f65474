//! Tier 2: the crate `restreamer-io` as the daemon runs it, hyper and all, on simulated sockets in virtual time.
//!
//! Hosts of a [turmoil] simulation are the sources, one proxy with one worker, and the homes of the people who
//! watch. A [`Plan`] is a function of its seed and says everything that happens: configuration, people, and what
//! goes wrong when. Faults here are those of glue: links cut and held, hosts that crash and come back, connections
//! closed on one side, sockets that take odd amounts, clients that stop reading or are gone without a word.
//!
//! | promise | watched in |
//! | --- | --- |
//! | whole, legal, fresh: what a person receives | `check` |
//! | live: everybody is answered, what was published arrives in time, all is well after the faults | `watch` |
//! | balanced, bounded: seats, sockets, ring | `watch`, `faults` |
//!
//! The simulated network has neither bandwidth nor retransmission: what a cut link swallows is gone, and the
//! connection with it. It is not always deterministic for a second run in one process, therefore one process runs
//! one seed, and [`swarm`] starts a process per seed.

mod check;
mod faults;
mod net;
mod plan;
mod player;
mod proxy;
mod source;
mod stage;
pub mod swarm;
mod watch;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use self::faults::{Faults, home_name, source_name};
pub use self::plan::{
    Ask, Fault, FaultKind, NetworkPlan, Person, Plan, ProxyPlan, SlowPlan, SourcePlan, Watch,
};
use self::stage::Stage;
use self::watch::Watcher;

/// How much time passes between two looks at the network.
const TICK: Duration = Duration::from_millis(5);
/// After everybody left: time to notice that a client is gone whose connection is full.
const CLEAR_MS: u64 = 20_000;

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// A hash of every byte that people received, and when; hexadecimal.
    pub digest: String,
    /// Virtual time.
    pub virtual_ms: u64,
    /// Requests that were made.
    pub sessions: u64,
    /// Packets that arrived.
    pub packets: u64,
    /// Gaps over a change of source or a new connection.
    pub seams: u64,
    /// Gaps that the drop policy made.
    pub skips: u64,
    /// How often it was checked that something published has arrived at somebody.
    pub arrivals: u64,
    /// The first broken promise.
    pub violation: Option<String>,
}

/// Runs a plan. At most once in a process, see the [module](self).
pub fn run(plan: &Plan, traces: bool) -> Report {
    let plan = Rc::new(plan.clone());
    let stage = Rc::new(RefCell::new(Stage::new(&plan, traces)));
    let mut sim = turmoil::Builder::new()
        .rng_seed(plan.seed)
        .epoch(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000))
        .simulation_duration(Duration::from_secs(3_600))
        .tick_duration(TICK)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Plan::time(plan.network.delay_ms_max))
        .tcp_capacity(plan.network.segments_max)
        .enable_random_order()
        .build();
    for source in 0..plan.sources.len() {
        let (stage, plan) = (Rc::clone(&stage), Rc::clone(&plan));
        sim.host(source_name(source), move || source::host(Rc::clone(&stage), Rc::clone(&plan), source));
    }
    let (shared, configuration) = (Rc::clone(&stage), Rc::clone(&plan));
    sim.host("proxy", move || proxy::host(Rc::clone(&shared), Rc::clone(&configuration)));
    for home in 0..plan.homes {
        let (stage, plan) = (Rc::clone(&stage), Rc::clone(&plan));
        sim.host(home_name(home), move || player::host(Rc::clone(&stage), Rc::clone(&plan), home));
    }

    let mut faults = Faults::new(&plan, Rc::clone(&stage));
    let mut watcher = Watcher::new(Rc::clone(&plan), Rc::clone(&stage));
    let end = Plan::time(plan.leave_ms + CLEAR_MS + fill_ms(&plan));
    while sim.elapsed() < end && stage.borrow().violation.is_none() {
        faults.act(sim.elapsed(), &mut sim);
        if let Err(error) = sim.step() {
            let message = format!("a host failed: {error}");
            stage.borrow_mut().violate(sim.elapsed(), stage::Promise::Live, None, message);
        }
        watcher.look(sim.elapsed());
    }
    if stage.borrow().violation.is_none() {
        watcher.conclude(sim.elapsed());
    }
    let stage = stage.borrow();
    let sum = |part: fn(&check::Session) -> u64| stage.sessions.iter().map(part).sum();
    let report = Report {
        seed: plan.seed,
        digest: format!("{:016x}", stage.digest.value()),
        virtual_ms: sim.elapsed().as_millis() as u64,
        sessions: stage.sessions.len() as u64,
        packets: sum(|session| session.packets),
        seams: sum(|session| session.seams),
        skips: sum(|session| session.skips),
        arrivals: watcher.arrivals,
        violation: stage.violation.as_ref().map(ToString::to_string),
    };
    // The process ends here anyway, and hosts that are taken down now would only close connections.
    std::mem::forget(sim);
    report
}

/// How long the connection of a client that is gone without a word takes to fill up. The simulated network has no
/// keep-alive: nothing else gives such a client away.
fn fill_ms(plan: &Plan) -> u64 {
    let flush_ms = plan.sources.iter().map(|source| source.flush_ms).max().unwrap_or(0);
    plan.network.segments_max as u64 * flush_ms.max(plan.proxy.latency_ms)
}
