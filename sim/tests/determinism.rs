//! The same plan gives the same run, whoever runs it and how often.

use restreamer_sim::report::Outcome;
use restreamer_sim::scenario::SCENARIOS;
use restreamer_sim::swarm;
use restreamer_sim::swarm::hunt::Hunt;
use restreamer_sim::world::{Options, simulate};

#[test]
fn a_seed_gives_the_same_run_twice_in_a_process() {
    for seed in 0..10 {
        let plan = swarm::plan(seed);
        assert_eq!(plan, swarm::plan(seed));
        let traced = Options { traces: true, mutation: None };
        let (one, other) = (simulate(&plan, traced), simulate(&plan, traced));
        assert_eq!(one.trace, other.trace, "seed {seed}");
        let figures =
            |outcome: &Outcome| (outcome.digest, outcome.sent, outcome.marks, outcome.viewers.clone());
        assert_eq!(figures(&one), figures(&other), "seed {seed}");
        // Without a trace, viewers who keep up are served by a shorter way.
        assert_eq!(figures(&simulate(&plan, Options::default())), figures(&one), "seed {seed}, untraced");
    }
}

#[test]
fn another_seed_gives_another_run() {
    let digests = |seeds: std::ops::Range<u64>| {
        seeds.map(|seed| simulate(&swarm::plan(seed), Options::default()).digest).collect::<Vec<_>>()
    };
    let mut all = digests(0..10);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 10);
}

#[test]
fn scenarios_depend_on_nothing_but_their_seed() {
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.name != "bulk") {
        let digest = |seed| simulate(&(scenario.plan)(seed), Options::default()).digest;
        assert_eq!(digest(3), digest(3), "{}", scenario.name);
    }
}

#[test]
fn threads_change_nothing() {
    let found = |jobs| {
        let hunt = Hunt { seeds: 0..8, jobs, mutation: None, failures_max: 1 };
        let bag = hunt.run(|_| true);
        (bag.seeds, bag.virtual_seconds, bag.viewer_seconds, bag.reached, bag.failures.len())
    };
    assert_eq!(found(1), found(4));
}
