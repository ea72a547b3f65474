//! The promises, each with the checker that watches over it.
//!
//! | checker | watches |
//! | --- | --- |
//! | [`whole`] | every byte that a viewer's socket takes |
//! | [`legal`] | every packet that is published, and the order in which viewers get them |
//! | [`fresh`] | every place where a viewer joins or goes on after a skip |
//! | [`bounded`] | rings and viewers, at every push and inspection |
//! | [`balanced`] | tickets, at every inspection and at the end |
//! | [`fair`] | a second run without those who are in trouble |
//! | [`live`] | what works again after the troubles end |
//! | [`counted`] | all counters, at the end of every viewer and of the run |
//!
//! They know core's public interface and the truth about what was sent; they do not ask the machines whether what
//! they did was right.

pub mod balanced;
pub mod bounded;
pub mod counted;
pub mod fair;
pub mod fresh;
pub mod legal;
pub mod live;
mod record;
pub mod whole;

use std::fmt;

use restreamer_core::Instant;
use serde::{Deserialize, Serialize};

pub(crate) use self::record::{Record, Run, Scene};

/// Which promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checker {
    /// See [`whole`].
    Whole,
    /// See [`legal`].
    Legal,
    /// See [`fresh`].
    Fresh,
    /// See [`bounded`].
    Bounded,
    /// See [`balanced`].
    Balanced,
    /// See [`fair`].
    Fair,
    /// See [`live`].
    Live,
    /// See [`counted`].
    Counted,
    /// Not a promise of its own: a machine panicked.
    Panic,
}

/// A promise was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which one.
    pub checker: Checker,
    /// When it was noticed, nanoseconds.
    pub at_ns: u64,
    /// By whose stream, if it was a viewer's.
    pub viewer: Option<u32>,
    /// How.
    pub message: String,
}

/// What a checker says about one observation.
pub type Verdict = Result<(), Breach>;

/// A promise was broken; the observer adds when and by whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which one.
    pub checker: Checker,
    /// How.
    pub message: String,
}

impl Checker {
    /// All of them.
    pub const ALL: &[Checker] = &[
        Checker::Whole,
        Checker::Legal,
        Checker::Fresh,
        Checker::Bounded,
        Checker::Balanced,
        Checker::Fair,
        Checker::Live,
        Checker::Counted,
        Checker::Panic,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Checker::Whole => "whole",
            Checker::Legal => "legal",
            Checker::Fresh => "fresh",
            Checker::Bounded => "bounded",
            Checker::Balanced => "balanced",
            Checker::Fair => "fair",
            Checker::Live => "live",
            Checker::Counted => "counted",
            Checker::Panic => "panic",
        }
    }

    /// Says how this promise was broken.
    #[cold]
    pub fn breach(self, message: impl Into<String>) -> Verdict {
        Err(Breach { checker: self, message: message.into() })
    }

    /// Nothing, if the promise was kept.
    pub fn demand(self, is_kept: bool, message: impl FnOnce() -> String) -> Verdict {
        if is_kept { Ok(()) } else { self.breach(message()) }
    }
}

impl Breach {
    /// The same with when and by whom.
    pub fn at(self, now: Instant, viewer: Option<u32>) -> Violation {
        Violation { checker: self.checker, at_ns: now.as_nanos(), viewer, message: self.message }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:?}", self.checker.name(), Instant::from_nanos(self.at_ns))?;
        if let Some(viewer) = self.viewer {
            write!(f, ", viewer {viewer}")?;
        }
        write!(f, ": {}", self.message)
    }
}
