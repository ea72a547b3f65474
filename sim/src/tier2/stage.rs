//! What the hosts of a run share with the one who watches them: the truth, the sessions, the first violation.

use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use restreamer_io::engine::Engine;
use restreamer_io::gate::Gate;
use tokio_util::sync::CancellationToken;

use super::check::Session;
use super::net::SimNet;
use super::plan::Plan;
use super::source::Programme;

/// A promise was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// Which one.
    pub(super) promise: Promise,
    /// When it was noticed.
    pub(super) at: Duration,
    /// By whom, if it was a viewer.
    pub(super) person: Option<usize>,
    /// How.
    pub(super) message: String,
}

/// What a run promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// Whole, aligned packets.
    Whole,
    /// Packets of the sources, in order, none twice, gaps only where they may be.
    Legal,
    /// The first packets are PAT, PMT and an access point.
    Fresh,
    /// Every seat and socket is given back.
    Balanced,
    /// Ring and viewers stay within their limits.
    Bounded,
    /// Who asks is answered, what is published arrives, and all is well again after the faults.
    Live,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let promise = match self.promise {
            Promise::Whole => "whole",
            Promise::Legal => "legal",
            Promise::Fresh => "fresh",
            Promise::Balanced => "balanced",
            Promise::Bounded => "bounded",
            Promise::Live => "live",
        };
        write!(f, "{promise} at {:?}", self.at)?;
        if let Some(person) = self.person {
            write!(f, ", person {person}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// One life of the proxy.
#[derive(Clone)]
pub(super) struct Incarnation {
    pub(super) engine: Arc<Engine>,
    pub(super) gate: Arc<Gate>,
    pub(super) shutdown: CancellationToken,
    pub(super) net: SimNet,
    pub(super) since: Duration,
    /// It was told to end.
    pub(super) is_ending: bool,
    /// It came to its end.
    pub(super) has_ended: bool,
}

/// See the [module](self).
pub(super) struct Stage {
    pub(super) programmes: Vec<Programme>,
    /// Sources that send nothing.
    pub(super) silent: Vec<bool>,
    switches: Vec<[u64; 2]>,
    /// Every session of every person, those that ended too.
    pub(super) sessions: Vec<Session>,
    /// The proxy, while it runs.
    pub(super) proxy: Option<Incarnation>,
    pub(super) violation: Option<Violation>,
    pub(super) digest: Digest,
    /// The faults are over, and what they broke has had its time.
    pub(super) is_calm: bool,
    traces: bool,
}

impl Stage {
    pub(super) fn new(plan: &Plan, traces: bool) -> Self {
        let programmes = plan.sources.iter().enumerate();
        Stage {
            programmes: programmes
                .map(|(number, source)| Programme::new(plan.seed, number, source))
                .collect(),
            silent: vec![false; plan.sources.len()],
            switches: vec![[0; 2]; plan.sources.len()],
            sessions: Vec::new(),
            proxy: None,
            violation: None,
            digest: Digest::default(),
            is_calm: false,
            traces,
        }
    }

    /// How often a source was told to hang up, and to close its side.
    pub(super) fn switches(&self, source: usize) -> [u64; 2] {
        self.switches[source]
    }

    pub(super) fn hang_up(&mut self, source: usize) {
        self.switches[source][0] += 1;
    }

    pub(super) fn half_close(&mut self, source: usize) {
        self.switches[source][1] += 1;
    }

    /// Notes a broken promise; the first one counts.
    pub(super) fn violate(&mut self, at: Duration, promise: Promise, person: Option<usize>, message: String) {
        let violation = Violation { promise, at, person, message };
        self.trace(at, || violation.to_string());
        self.violation.get_or_insert(violation);
    }

    pub(super) fn trace(&self, at: Duration, line: impl FnOnce() -> String) {
        if self.traces {
            // Who closed the pipe has read enough.
            let _ = writeln!(std::io::stdout(), "{:10.4} {}", at.as_secs_f64(), line());
        }
    }
}

/// A running hash (FNV-1a, 64 bits) of everything that viewers saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Digest(0xCBF2_9CE4_8422_2325)
    }
}

impl Digest {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }

    pub(super) fn value(self) -> u64 {
        self.0
    }
}

/// The virtual time since the run began, for what runs on a host.
pub(super) fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}
