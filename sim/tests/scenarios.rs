//! Every named scenario keeps every promise, and shows what it is there for.

use restreamer_sim::EndReason;
use restreamer_sim::marks::Mark;
use restreamer_sim::report::Outcome;
use restreamer_sim::scenario::{self, SCENARIOS};
use restreamer_sim::verify::verify;
use restreamer_sim::world::Options;

const SEEDS: [u64; 2] = [1, 2026];

/// Runs a scenario with fixed seeds; each has to reach these marks.
fn run(name: &str, marks: &[Mark], look: impl Fn(&Outcome)) {
    let scenario = scenario::find(name).unwrap();
    for seed in SEEDS {
        let outcome = verify(&(scenario.plan)(seed), Options::default());
        assert_eq!(outcome.violation, None, "{name}, seed {seed}");
        for &mark in marks {
            assert!(outcome.marks.has(mark), "{name}, seed {seed}: never {}", mark.describe());
        }
        look(&outcome);
    }
}

/// Everybody saw a picture.
fn all_saw_it(outcome: &Outcome) {
    for viewer in &outcome.viewers {
        assert!(viewer.seen.first_picture_ns.is_some(), "{}: viewer {}", outcome.name, viewer.id);
    }
}

/// Nobody missed a thing.
fn all_is_well(outcome: &Outcome) {
    all_saw_it(outcome);
    for viewer in &outcome.viewers {
        let (skips, seen) = (viewer.skips, viewer.seen);
        assert_eq!((skips, seen.stalled_ns, seen.broken_ns), (0, 0, 0), "viewer {}", viewer.id);
    }
}

#[test]
fn every_scenario_is_tried_here() {
    let file = include_str!("scenarios.rs");
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.name != "bulk") {
        assert!(file.contains(&format!("run(\"{}\"", scenario.name)), "{}", scenario.name);
    }
}

#[test]
fn calm() {
    run("calm", &[], all_is_well);
}

#[test]
fn busy() {
    run("busy", &[Mark::LateSweep], all_saw_it);
}

#[test]
fn captures() {
    run("captures", &[Mark::Form192], all_saw_it);
}

#[test]
fn failover() {
    run("failover", &[Mark::Refused, Mark::Seam, Mark::ReturnedToBetter], all_saw_it);
}

#[test]
fn flapping() {
    run("flapping", &[Mark::Seam, Mark::WatchedSeam], all_saw_it);
}

#[test]
fn forms() {
    run("forms", &[Mark::Form192, Mark::Form204, Mark::SniffedAccess], all_is_well);
}

#[test]
fn garbage() {
    run("garbage", &[Mark::SyncLoss], all_saw_it);
}

#[test]
fn kickoff() {
    run("kickoff", &[], all_is_well);
}

#[test]
fn limits() {
    run("limits", &[Mark::LimitPeer, Mark::LimitStream, Mark::LimitAll, Mark::SoftLimit], |outcome| {
        assert!(outcome.refused_by_limit > 0 && outcome.viewers_max <= 30);
    });
}

#[test]
fn operator() {
    run("operator", &[Mark::TakenOffline, Mark::Shutdown], |outcome| {
        assert!(outcome.viewers.iter().all(|viewer| viewer.last_end == Some(EndReason::Shutdown)));
    });
}

#[test]
fn page() {
    run("page", &[Mark::HeldThroughGrace, Mark::Seam], all_saw_it);
}

#[test]
fn restart() {
    run("restart", &[Mark::Seam, Mark::WatchedSeam], all_saw_it);
}

#[test]
fn silence() {
    run("silence", &[Mark::Seam, Mark::ReadTimeout], all_saw_it);
}

#[test]
fn slow() {
    let marks =
        [Mark::SkippedToKeyframe, Mark::SkippedToOldest, Mark::SkippedToLive, Mark::TooSlow, Mark::Lapped];
    run("slow", &marks, |outcome| {
        all_saw_it(outcome);
        // Those of the first two streams skip to key frames.
        let to_key_frames = || outcome.viewers.iter().filter(|viewer| viewer.id % 5 < 2);
        for viewer in to_key_frames() {
            let broken = viewer.seen.broken_pictures();
            assert!(broken <= viewer.skips, "viewer {}: {broken} of {} skips", viewer.id, viewer.skips);
        }
        assert!(to_key_frames().any(|viewer| viewer.seen.broken_pictures() > 0));
    });
}

#[test]
fn stuck() {
    run("stuck", &[Mark::Stalled], |outcome| {
        let (stuck, others) = outcome.viewers.split_at(20);
        assert!(stuck.iter().all(|viewer| viewer.last_end == Some(EndReason::Stalled)));
        for viewer in others {
            assert_eq!((viewer.skips, viewer.seen.stalled_ns), (0, 0), "viewer {}", viewer.id);
        }
    });
}

#[test]
fn tables() {
    run("tables", &[Mark::JoinedBehind], |outcome| {
        all_saw_it(outcome);
        let mut plan = (scenario::find("tables").unwrap().plan)(outcome.seed);
        plan.events.clear();
        let undisturbed = verify(&plan, Options::default());
        assert_ne!(undisturbed.published_digest, outcome.published_digest);
        for (viewer, other) in outcome.viewers.iter().zip(&undisturbed.viewers) {
            assert_eq!(viewer.seen.stalls, other.seen.stalls, "viewer {}", viewer.id);
        }
    });
}

#[test]
fn zapping() {
    run("zapping", &[Mark::Probed, Mark::CameBack], |outcome| assert!(outcome.joins > 1_000));
}
