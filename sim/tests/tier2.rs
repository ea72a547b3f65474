//! The daemon's network code on simulated sockets: fixed seeds, each in two processes of its own.

use std::ops::Range;
use std::path::Path;

use restreamer_sim::tier2::swarm;

/// Runs of about a minute of virtual time each. In those that stand alone, and in 22 and 24, a stream that nobody
/// watched once fell behind.
const SEEDS: [Range<u64>; 3] = [0..25, 56..57, 63..64];

#[test]
fn fixed_seeds_keep_every_promise_and_are_the_same_in_two_processes() {
    let program = Path::new(env!("CARGO_BIN_EXE_restreamer-sim"));
    let mut reports = Vec::new();
    let mut failures = Vec::new();
    for seeds in SEEDS {
        swarm::run(program, seeds, 2, true, |outcome| {
            failures.extend(outcome.failure().map(|failure| format!("seed {}: {failure}", outcome.seed)));
            reports.extend(outcome.report.ok());
        });
    }
    assert!(failures.is_empty(), "repeat with `restreamer-sim tier2 --seed N --trace`: {failures:#?}");

    // Runs in which nothing happens would prove nothing.
    let sum = |part: fn(&swarm::Report) -> u64| reports.iter().map(part).sum::<u64>();
    assert!(sum(|report| report.packets) > 100_000);
    assert!(sum(|report| report.arrivals) > 1_000);
    assert!(sum(|report| report.seams) > 5);
}
