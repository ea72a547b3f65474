//! Many seeds, a process for each.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

pub use super::Report;
use crate::jobs::for_each_seed;

/// How a seed went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What its process said, or why it said nothing: a panic, mostly.
    pub report: Result<Report, String>,
}

impl Outcome {
    /// What is wrong, if anything.
    pub fn failure(&self) -> Option<&str> {
        match &self.report {
            Ok(report) => report.violation.as_deref(),
            Err(message) => Some(message),
        }
    }
}

/// Runs every seed of `seeds` in `jobs` processes at a time of `program`, which is `restreamer-sim`. With `twice`,
/// each seed runs in two processes, whose reports have to be equal. `tell` hears of every seed when it is done.
pub fn run(program: &Path, seeds: Range<u64>, jobs: usize, twice: bool, mut tell: impl FnMut(Outcome)) {
    for_each_seed(
        seeds,
        jobs,
        |seed| run_seed(program, seed, twice),
        |outcome| {
            tell(outcome);
            true
        },
    );
}

fn run_seed(program: &Path, seed: u64, twice: bool) -> Outcome {
    let mut report = run_process(program, seed);
    if let (true, Ok(first)) = (twice, &report) {
        match run_process(program, seed) {
            Ok(second) if second == *first => {}
            Ok(second) => {
                let (first, second) = (&first.digest, second.digest);
                report = Err(format!("two processes differ: digest {first} and {second}"));
            }
            Err(message) => report = Err(message),
        }
    }
    Outcome { seed, report }
}

fn run_process(program: &Path, seed: u64) -> Result<Report, String> {
    let started = Command::new(program).args(["tier2", "--report", "--seed", &seed.to_string()]).output();
    let output = started.map_err(|error: io::Error| format!("cannot start a process: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let report = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
    report.ok_or_else(|| {
        let complaint = String::from_utf8_lossy(&output.stderr);
        format!("{}: {}", output.status, complaint.trim())
    })
}
