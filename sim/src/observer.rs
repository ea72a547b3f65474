//! What a run writes down about itself: marks, the first violation, a trace for people, a digest for machines.

use restreamer_core::Instant;

use crate::check::{Verdict, Violation};
use crate::marks::Marks;

/// The lines of a trace are cut off after so many.
pub const TRACE_LINES_MAX: usize = 1_000_000;

/// Everything that is noted in a run.
#[derive(Debug, Default)]
pub struct Observer {
    /// Rare branches reached.
    pub marks: Marks,
    /// What was published, and when.
    pub digest: Digest,
    violation: Option<Violation>,
    trace: Option<Vec<String>>,
}

impl Observer {
    /// An observer; `traces`: it keeps a line for whatever happens.
    pub fn new(traces: bool) -> Self {
        Observer { trace: traces.then(Vec::new), ..Observer::default() }
    }

    /// Takes a checker's verdict; the first breach counts.
    #[inline]
    pub fn judge(&mut self, now: Instant, viewer: Option<u32>, verdict: Verdict) {
        if let Err(breach) = verdict
            && self.violation.is_none()
        {
            self.violation = Some(breach.at(now, viewer));
        }
    }

    /// The first violation.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Whether lines are kept.
    pub fn is_tracing(&self) -> bool {
        self.trace.is_some()
    }

    /// Adds a line to the trace, if there is one.
    #[inline]
    pub fn trace(&mut self, now: Instant, line: impl FnOnce() -> String) {
        if self.trace.is_some() {
            self.push_line(now, &line());
        }
    }

    #[cold]
    #[inline(never)]
    fn push_line(&mut self, now: Instant, line: &str) {
        if let Some(lines) = self.trace.as_mut().filter(|lines| lines.len() < TRACE_LINES_MAX) {
            lines.push(format!("{:12.6} {line}", now.as_nanos() as f64 / 1e9));
        }
    }

    /// The lines, once.
    pub fn take_trace(&mut self) -> Vec<String> {
        self.trace.take().unwrap_or_default()
    }
}

/// A number that depends on everything that was mixed in, and on the order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u64);

impl Digest {
    /// Mixes in a number.
    #[inline]
    pub fn mix(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 = mixed ^ mixed >> 29;
    }

    /// The number.
    pub fn value(self) -> u64 {
        self.0
    }
}
