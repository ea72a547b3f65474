//! What each policy does to the people who watch: join and drop policies, and the program that came before this one,
//! on the same links with the same bad spells, for streams with short and long GOPs.

mod figures;
mod person;
mod report;
mod single;

use restreamer_core::{Duration, Instant, Join, Policy, Ring, RingLimits, Rng};
use serde::{Deserialize, Serialize};

use self::figures::Account;
pub use self::figures::Figures;
use self::person::Person;
use crate::bulk::{Feed, Room};
use crate::network::Network;
use crate::plan::{JoinPlan, PolicyPlan, SlowPlan};
use crate::timeline::Timeline;

/// People come from here on, when the ring is full.
const ARRIVALS_FROM_MS: u64 = 12_000;
/// How long it takes until all are there.
const ARRIVALS_FOR_MS: u64 = 8_000;
/// The stall limit, as the daemon has it by default.
const STALL_LIMIT: Duration = Duration::from_secs(30);
const LATENCY: Duration = Duration::from_millis(20);
/// How often the delay on the screen is looked at, in rounds.
const LOOK_EVERY: usize = 50;

/// What is compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Decides about everything that is left to chance.
    pub seed: u64,
    /// Rate of the stream, kilobits per second.
    pub kbps: u64,
    /// How long people watch.
    pub watch_ms: u64,
    /// People on each network.
    pub viewers: u32,
    /// Frames from one key frame to the next, at 25 frames per second.
    pub gops: Vec<u32>,
    /// The networks.
    pub networks: Vec<Network>,
    /// The rules.
    pub rules: Vec<Rule>,
}

/// A way to treat viewers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// What it is called.
    pub name: String,
    /// `None`: the program before this one. It gave each client a queue of 400 packets and left out every packet
    /// for which there was no room.
    pub policy: Option<PolicyPlan>,
}

/// The figures of one rule on one network with one GOP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// The rule.
    pub rule: String,
    /// The network.
    pub network: String,
    /// Frames from one key frame to the next.
    pub gop_frames: u32,
    /// What people saw.
    pub figures: Figures,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What was asked.
    pub question: Question,
    /// By GOP, then network, then rule, each in the order of the question.
    pub cells: Vec<Cell>,
}

impl Default for Question {
    fn default() -> Self {
        Question {
            seed: 1,
            kbps: 4_000,
            watch_ms: 600_000,
            viewers: 20,
            gops: vec![12, 50, 200],
            networks: Network::classes(),
            rules: Rule::all(),
        }
    }
}

impl Rule {
    /// The rules that are compared: every drop policy with and without `maxlag`, the other joins, and the old program.
    pub fn all() -> Vec<Rule> {
        let defaults = PolicyPlan::default();
        let mut rules = Vec::new();
        let slows = [
            ("keyframe", SlowPlan::Keyframe),
            ("oldest", SlowPlan::Oldest),
            ("live", SlowPlan::Live),
            ("disconnect", SlowPlan::Disconnect),
        ];
        for (name, slow) in slows {
            for (suffix, lag_max_ms) in [("", None), (", maxlag 3 s", Some(3_000))] {
                let name = format!("slow={name}{suffix}");
                rules.push(Rule { name, policy: Some(PolicyPlan { slow, lag_max_ms, ..defaults }) });
            }
        }
        for (name, join) in [("live", JoinPlan::Live), ("3 s behind", JoinPlan::BehindMs(3_000))] {
            rules.push(Rule { name: format!("join={name}"), policy: Some(PolicyPlan { join, ..defaults }) });
        }
        rules.push(Rule { name: RANDOM_DROP.into(), policy: None });
        rules
    }
}

/// Name of the rule of the old program.
pub const RANDOM_DROP: &str = "random drop (old)";
/// Name of the default rule.
pub const DEFAULT_RULE: &str = "slow=keyframe";

impl Question {
    /// Runs everything. `progress` is told how many of how many runs are done.
    pub fn answer(&self, mut progress: impl FnMut(u64, u64)) -> Comparison {
        let mut cells = Vec::new();
        let runs = self.gops.len() * self.rules.len();
        for (number, &gop_frames) in self.gops.iter().enumerate() {
            let duration = Duration::from_millis(ARRIVALS_FROM_MS + ARRIVALS_FOR_MS + self.watch_ms);
            let feed = Feed::record(self.seed, self.kbps, gop_frames, duration, LATENCY);
            let by_rule: Vec<Vec<Figures>> = self
                .rules
                .iter()
                .enumerate()
                .map(|(index, rule)| {
                    progress((number * self.rules.len() + index) as u64, runs as u64);
                    self.watch(&feed, rule)
                })
                .collect();
            for (column, network) in self.networks.iter().enumerate() {
                for (rule, figures) in self.rules.iter().zip(&by_rule) {
                    let (rule, network) = (rule.name.clone(), network.name.clone());
                    cells.push(Cell { rule, network, gop_frames, figures: figures[column] });
                }
            }
        }
        Comparison { question: self.clone(), cells }
    }

    /// Lets everybody watch under one rule; the figures of each network.
    fn watch(&self, feed: &Feed, rule: &Rule) -> Vec<Figures> {
        let policy = rule.policy.map(Policy::from).unwrap_or_default();
        let mut ring = Ring::new(ring_limits(&policy));
        let mut timeline = Timeline::default();
        let mut people = self.people(rule.policy.is_some());
        let mut index = 0;
        while let (Some(now), Some(segment)) = (feed.at(index), feed.play(index, &mut timeline)) {
            ring.push(segment);
            let room = Room {
                now,
                ring: &ring,
                timeline: &timeline,
                policy: &policy,
                stall_limit: Some(STALL_LIMIT),
            };
            for (_, person) in &mut people {
                person.live(&room);
                if index % LOOK_EVERY == 0 {
                    person.look(&room);
                }
            }
            index += 1;
        }
        let mut accounts = vec![Account::default(); self.networks.len()];
        for (network, person) in people {
            accounts[network].add(person.leave());
        }
        accounts.into_iter().map(Account::into_figures).collect()
    }

    /// The same people for every rule and GOP, with the index of their network.
    fn people(&self, is_ours: bool) -> Vec<(usize, Person)> {
        let mut rng = Rng::from_seed(self.seed ^ 0x7065_6F70_6C65);
        let mut people = Vec::new();
        for (index, network) in self.networks.iter().enumerate() {
            for _ in 0..self.viewers {
                let mut rng = rng.fork();
                let at = Instant::from_millis(ARRIVALS_FROM_MS + rng.below(ARRIVALS_FOR_MS));
                let until = at + Duration::from_millis(self.watch_ms);
                let weather = network.weather(&mut rng, until);
                people.push((index, Person::new(at, until, network.link, weather, rng.next_u64(), is_ours)));
            }
        }
        people
    }
}

/// The limits that the daemon gives a ring under this policy, by default.
fn ring_limits(policy: &Policy) -> RingLimits {
    let limits = RingLimits::default();
    let behind = policy.lag_allowed().unwrap_or(match policy.join {
        Join::Behind(delay) => delay,
        Join::Keyframe | Join::Live => Duration::ZERO,
    });
    RingLimits { span_min: limits.span_min + behind, ..limits }
}
