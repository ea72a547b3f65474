//! A defect put into each promise is found within a few seeds, made small, and found again from its file.

use restreamer_sim::check::Checker;
use restreamer_sim::failure::{Failure, Replayable};
use restreamer_sim::mutation::Mutation;
use restreamer_sim::swarm;
use restreamer_sim::verify::verify;
use restreamer_sim::world::{Options, simulate};

/// A defect has to show within so many seeds.
const SEEDS_MAX: u64 = 1_000;
/// Viewers and events that may be left of a plan.
const SIZE_MAX: usize = 10;

/// Finds the defect, shrinks the plan, writes it, reads it, runs it again.
fn is_found(mutation: Mutation, by: Checker) {
    let failure = (0..SEEDS_MAX).find_map(|seed| Failure::find(&swarm::plan(seed), Some(mutation)));
    let failure = failure.unwrap_or_else(|| panic!("{mutation:?} was not found within {SEEDS_MAX} seeds"));
    assert_eq!(failure.violation.checker, by, "{}", failure.violation);
    assert!(failure.plan.size() <= SIZE_MAX, "{} are left", failure.plan.size());

    let file = serde_json::to_string_pretty(&failure).unwrap();
    let read = Replayable::read(&file).unwrap();
    let again = verify(read.plan(), Options { mutation: read.mutation(), traces: false });
    assert_eq!(again.violation, Some(failure.violation));

    let without = verify(&failure.plan, Options::default());
    assert_eq!(without.violation, None, "the defect alone is to blame");
}

#[test]
fn a_torn_packet_is_not_whole() {
    is_found(Mutation::TornPacket, Checker::Whole);
}

#[test]
fn a_duplicate_is_not_legal() {
    is_found(Mutation::Duplicate, Checker::Legal);
}

#[test]
fn an_unfresh_join_is_not_fresh() {
    is_found(Mutation::UnfreshJoin, Checker::Fresh);
}

#[test]
fn a_leaked_ticket_is_not_balanced() {
    is_found(Mutation::LeakedTicket, Checker::Balanced);
}

#[test]
fn an_unbounded_ring_is_not_bounded() {
    is_found(Mutation::UnboundedRing, Checker::Bounded);
}

#[test]
fn a_slow_viewer_who_delays_others_is_not_fair() {
    is_found(Mutation::SlowDelaysOthers, Checker::Fair);
}

#[test]
fn a_lost_wake_up_is_not_live() {
    is_found(Mutation::LostWakeUp, Checker::Live);
}

#[test]
fn a_wrong_count_is_not_counted() {
    is_found(Mutation::WrongCount, Checker::Counted);
}

#[test]
fn the_same_failure_becomes_the_same_plan() {
    let plan = swarm::plan(0);
    let find = || Failure::find(&plan, Some(Mutation::SlowDelaysOthers));
    let failure = find().unwrap();
    assert_eq!(Some(&failure), find().as_ref());
    let outcome = simulate(&failure.plan, Options::default());
    assert!(outcome.end_ns < 60_000_000_000, "less time than the 60 s of the seed");
}
