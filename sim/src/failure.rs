//! A broken promise as a file: the plan that breaks it, made small, and what was seen.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::check::Violation;
use crate::incident::{self, IncidentError};
use crate::mutation::Mutation;
use crate::plan::Plan;
use crate::report::Outcome;
use crate::shrink::shrink;
use crate::verify::verify;
use crate::world::Options;

/// A plan that breaks a promise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// What somebody has found out about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The promise, and how it was broken when the failure was found.
    pub found: Violation,
    /// How the plan below breaks it.
    pub violation: Violation,
    /// A defect that was put in on purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mutation: Option<Mutation>,
    /// What breaks it, made small.
    pub plan: Plan,
}

/// What can be run again: what one of these files holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Replayable {
    /// A failure that was found before.
    Failure(Box<Failure>),
    /// A plan, by hand or from `run --plan`, or a journal of the daemon.
    Plan(Box<Plan>),
}

/// Why a text is neither.
#[derive(Debug)]
pub enum ReadError {
    /// It is a journal that makes no sense.
    Incident(IncidentError),
    /// It is no JSON, or not of one of these forms.
    Form(serde_json::Error),
    /// It is a plan that makes no sense: where, and why.
    Plan(String),
}

impl Failure {
    /// The smallest plan found that breaks the same promise as `plan` does, if it breaks one.
    pub fn find(plan: &Plan, mutation: Option<Mutation>) -> Option<Failure> {
        Failure::of(plan, &verify(plan, Options { mutation, traces: false }), mutation)
    }

    /// The same for a plan that was run already.
    pub(crate) fn of(plan: &Plan, outcome: &Outcome, mutation: Option<Mutation>) -> Option<Failure> {
        let found = outcome.violation.clone()?;
        let (plan, violation) = shrink(plan, found.clone(), Options { mutation, traces: false });
        Some(Failure { about: None, found, violation, mutation, plan })
    }
}

impl Replayable {
    /// Reads what a file holds.
    pub fn read(text: &str) -> Result<Self, ReadError> {
        if incident::is_journal(text) {
            let plan = incident::plan(text).map_err(ReadError::Incident)?;
            return Ok(Replayable::Plan(Box::new(plan)));
        }
        let value: Value = serde_json::from_str(text).map_err(ReadError::Form)?;
        // Read again as what it is, so that an error names its line.
        let read = match value.get("violation") {
            Some(_) => serde_json::from_str(text).map(Replayable::Failure),
            None => serde_json::from_str(text).map(Replayable::Plan),
        };
        let read = read.map_err(ReadError::Form)?;
        read.plan().check().map_err(ReadError::Plan)?;
        Ok(read)
    }

    /// What to run.
    pub fn plan(&self) -> &Plan {
        match self {
            Replayable::Failure(failure) => &failure.plan,
            Replayable::Plan(plan) => plan,
        }
    }

    /// The defect to put in.
    pub fn mutation(&self) -> Option<Mutation> {
        match self {
            Replayable::Failure(failure) => failure.mutation,
            Replayable::Plan(_) => None,
        }
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Incident(error) => error.fmt(f),
            ReadError::Plan(error) => write!(f, "the plan makes no sense: {error}"),
            ReadError::Form(error) => write!(
                f,
                "not a failure that `swarm` wrote, not a plan of `run --plan`, and not a journal of an `events` \
                 resource: {error}"
            ),
        }
    }
}

impl std::error::Error for ReadError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm;

    #[test]
    fn a_file_is_read_as_what_it_is() {
        let plan = swarm::plan(7);
        let text = serde_json::to_string_pretty(&plan).unwrap();
        let read = Replayable::read(&text).unwrap();
        assert_eq!((read.plan(), read.mutation()), (&plan, None));
        let error = Replayable::read(&text.replace("\"runtimes\"", "\"runtime\"")).unwrap_err().to_string();
        assert!(error.contains("unknown field `runtime`") && error.contains("line "), "{error}");
        let senseless = serde_json::to_string(&Plan { runtimes: 0, ..plan }).unwrap();
        assert!(Replayable::read(&senseless).unwrap_err().to_string().contains("runtimes: "));
        assert!(Replayable::read("nothing").unwrap_err().to_string().contains("line 1 column 2"));
    }

    #[test]
    fn who_breaks_no_promise_is_no_failure() {
        assert!(Failure::find(&Plan { duration_ms: 100, runtimes: 1, ..Plan::default() }, None).is_none());
    }
}
