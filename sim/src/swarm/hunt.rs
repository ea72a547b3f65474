//! Runs the plans of many seeds, and keeps what came of it.

use std::ops::Range;

use crate::failure::Failure;
use crate::jobs::for_each_seed;
use crate::marks::{Marks, Reached};
use crate::mutation::Mutation;
use crate::verify::verify;
use crate::world::Options;

/// What to run, and how.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The seeds.
    pub seeds: Range<u64>,
    /// At a time.
    pub jobs: usize,
    /// A defect to put in.
    pub mutation: Option<Mutation>,
    /// Enough failures: the hunt ends.
    pub failures_max: usize,
}

/// What came of a hunt.
#[derive(Clone, Debug, Default)]
pub struct Bag {
    /// Seeds that were run.
    pub seeds: u64,
    /// Seconds of virtual time, summed over runs.
    pub virtual_seconds: u64,
    /// The same, summed over viewers.
    pub viewer_seconds: u64,
    /// How many runs reached each mark.
    pub reached: Reached,
    /// Those that broke a promise, by seed.
    pub failures: Vec<(u64, Failure)>,
}

struct Done {
    seed: u64,
    virtual_seconds: u64,
    viewer_seconds: u64,
    marks: Marks,
    failure: Option<Failure>,
}

impl Hunt {
    /// Runs every seed; failures are shrunk where they were found. `tell` sees how it goes after each seed, and says
    /// whether to go on.
    pub fn run(&self, mut tell: impl FnMut(&Bag) -> bool) -> Bag {
        let mut bag = Bag::default();
        for_each_seed(
            self.seeds.clone(),
            self.jobs,
            |seed| self.run_seed(seed),
            |done| {
                bag.add(done);
                tell(&bag) && bag.failures.len() < self.failures_max
            },
        );
        bag.failures.sort_by_key(|(seed, _)| *seed);
        bag
    }

    fn run_seed(&self, seed: u64) -> Done {
        let plan = super::plan(seed);
        let outcome = verify(&plan, Options { mutation: self.mutation, traces: false });
        Done {
            seed,
            virtual_seconds: outcome.end_ns / 1_000_000_000,
            viewer_seconds: outcome.viewer_seconds,
            marks: outcome.marks,
            failure: Failure::of(&plan, &outcome, self.mutation),
        }
    }
}

impl Bag {
    fn add(&mut self, done: Done) {
        self.seeds += 1;
        self.virtual_seconds += done.virtual_seconds;
        self.viewer_seconds += done.viewer_seconds;
        self.reached.add(done.marks);
        self.failures.extend(done.failure.map(|failure| (done.seed, failure)));
    }
}
