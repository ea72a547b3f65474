//! `restreamer-sim meta`: whether the simulator itself is deterministic.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;
use restreamer_sim::observer::Digest;
use restreamer_sim::swarm;
use restreamer_sim::verify::verify;
use restreamer_sim::world::Options;

use super::output::{self, Bar, Lines};
use super::swarm::parse_seeds;

/// Check that the same seed gives the same run
///
/// Each seed is run twice in this process and once in another one, and with --against in other builds of this
/// program as well (debug and release, or another machine's). The hash of a run depends on every segment that was
/// published, every piece that a viewer's socket took, and when.
///
/// The exit status is 0 when all hashes are equal, 1 when not, 2 when it could not be tried.
#[derive(Args)]
pub(crate) struct Meta {
    /// Run these seeds
    #[arg(long, value_name = "A..B", value_parser = parse_seeds, default_value = "0..20")]
    seeds: Range<u64>,
    /// Another build of restreamer-sim
    #[arg(long, value_name = "PROGRAM")]
    against: Vec<PathBuf>,
    /// Print the hashes, a line each, and compare nothing
    #[arg(long)]
    hashes: bool,
}

impl Meta {
    /// Compares.
    pub(crate) fn run(&self) -> ExitCode {
        let mut out = Lines::stdout();
        if self.hashes {
            self.seeds.clone().for_each(|seed| out.say(hash(seed)));
            return ExitCode::SUCCESS;
        }
        match self.differences() {
            Err(error) => output::failed(error),
            Ok(differences) => {
                differences.iter().for_each(|difference| out.say(difference));
                let seeds = output::count((self.seeds.end - self.seeds.start) as usize, "seed");
                let builds = output::count(self.against.len(), "other build");
                let different = output::count(differences.len(), "difference");
                out.say(format_args!(
                    "{seeds}, twice in this process, once in another one and in {builds}: {different}"
                ));
                if differences.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
        }
    }

    fn differences(&self) -> Result<Vec<String>, String> {
        let bar = Bar::new("rounds");
        let rounds = 3 + self.against.len() as u64;
        let here: Vec<_> = self.seeds.clone().map(hash).collect();
        bar.show(1, rounds, String::new);
        let mut others = vec![("the same process".into(), self.seeds.clone().map(hash).collect())];
        let this = std::env::current_exe()
            .map_err(|error| format!("cannot find this program to start it again: {error}"))?;
        for program in [&this].into_iter().chain(&self.against) {
            bar.show(others.len() as u64 + 1, rounds, String::new);
            others.push((program.display().to_string(), self.hashes_of(program)?));
        }
        bar.finish();
        let mut differences = Vec::new();
        for (name, hashes) in &others {
            if hashes.len() != here.len() {
                return Err(format!("{name} printed {} hashes, not {}", hashes.len(), here.len()));
            }
            for ((seed, one), other) in self.seeds.clone().zip(&here).zip(hashes) {
                if one != other {
                    differences.push(format!("seed {seed}: {one} here, {other} in {name}"));
                }
            }
        }
        Ok(differences)
    }

    fn hashes_of(&self, program: &Path) -> Result<Vec<String>, String> {
        let seeds = format!("{}..{}", self.seeds.start, self.seeds.end);
        let output = Command::new(program)
            .args(["meta", "--hashes", "--seeds", &seeds])
            .output()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{}: {}: {}", program.display(), output.status, complaint.trim()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
    }
}

fn hash(seed: u64) -> String {
    let outcome = verify(&swarm::plan(seed), Options::default());
    let people = outcome.viewers.iter().fold(Digest::default(), |mut digest, viewer| {
        format!("{viewer:?}").bytes().for_each(|byte| digest.mix(byte.into()));
        digest
    });
    let violation = outcome.violation.map_or_else(String::new, |violation| format!(" {violation}"));
    format!("{:016x}{:016x}{violation}", outcome.digest, people.value())
}
