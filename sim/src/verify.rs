//! A plan with all promises watched: the run itself, and its twin without those who are in trouble.

use crate::check::fair;
use crate::marks::Mark;
use crate::plan::Plan;
use crate::report::Outcome;
use crate::world::{Options, simulate};

/// Runs a plan, and then again without those who are in trouble, to see whether the others notice.
pub fn verify(plan: &Plan, options: Options) -> Outcome {
    let mut outcome = simulate(plan, options);
    if outcome.violation.is_none()
        && let Some(twin) = fair::twin(plan, &outcome)
    {
        let twin = simulate(&twin, Options { traces: false, ..options });
        outcome.violation = twin.violation.clone().or_else(|| fair::compare(&outcome, &twin));
        outcome.marks.note(Mark::Compared);
    }
    outcome
}
