//! **Fair.** What one viewer does changes nothing for another one: the same plan without those who are in trouble
//! gives everybody else the same bytes at the same times, and the upstream the same segments.
//!
//! Limits on viewers are the one thing that viewers do share; where they turned somebody away, or could have,
//! nothing is compared.

use std::collections::BTreeSet;

use super::{Checker, Violation};
use crate::faults::Fault;
use crate::plan::{Plan, ViewerPlan};
use crate::report::Outcome;

/// The plan without the viewers who are in trouble; `None` when nothing can be compared.
pub fn twin(plan: &Plan, outcome: &Outcome) -> Option<Plan> {
    if outcome.refused_by_limit > 0 {
        return None;
    }
    let mut troubled: BTreeSet<u32> =
        plan.viewers.iter().filter(|viewer| is_slow(plan, viewer)).map(|viewer| viewer.id).collect();
    troubled.extend(plan.events.iter().filter_map(|event| match event.fault {
        Fault::Viewer { id, .. } => Some(id),
        _ => None,
    }));
    let mut twin = plan.clone();
    twin.viewers.retain(|viewer| !troubled.contains(&viewer.id));
    twin.events.retain(|event| !matches!(event.fault, Fault::Viewer { .. }));
    (twin.viewers.len() < plan.viewers.len()).then_some(twin)
}

/// Compares a run with its twin.
pub fn compare(outcome: &Outcome, twin: &Outcome) -> Option<Violation> {
    let others = outcome.viewers.iter().filter_map(|viewer| Some((viewer, twin.viewer(viewer.id)?)));
    let unlike = others.into_iter().find(|(viewer, other)| viewer.digest != other.digest);
    let (viewer, message) = match unlike {
        Some((viewer, _)) => (Some(viewer.id), "is served differently when others have no trouble"),
        None if outcome.published_digest != twin.published_digest => {
            (None, "the upstream is different when viewers have no trouble")
        }
        None => return None,
    };
    Some(Violation { checker: Checker::Fair, at_ns: outcome.end_ns, viewer, message: message.into() })
}

fn is_slow(plan: &Plan, viewer: &ViewerPlan) -> bool {
    let needed = plan
        .streams
        .get(viewer.stream as usize)
        .map_or(0, |stream| stream.sources.iter().map(|source| source.kbps).max().unwrap_or(0));
    viewer.link.kbps < 2 * needed
}
