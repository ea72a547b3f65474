//! `restreamer-sim run`: one named scenario.

use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use restreamer_sim::scenario::{self, SCENARIOS};
use restreamer_sim::world::{Options, simulate};

/// Run a named scenario and say what its viewers saw
#[derive(Args)]
pub(crate) struct Run {
    /// Which; without it, all are listed
    scenario: Option<String>,
    /// Decides about everything that the scenario leaves to chance
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print a line for whatever happens
    #[arg(long)]
    trace: bool,
    /// Print the plan as JSON and do not run it
    #[arg(long)]
    plan: bool,
}

impl Run {
    /// Runs it.
    pub(crate) fn run(&self) -> ExitCode {
        let Some(name) = &self.scenario else {
            for scenario in SCENARIOS {
                println!("{:12} {}", scenario.name, scenario.about);
            }
            return ExitCode::SUCCESS;
        };
        let Some(scenario) = scenario::find(name) else {
            eprintln!("there is no scenario {name}; without a name, `run` lists them");
            return ExitCode::from(2);
        };
        let plan = (scenario.plan)(self.seed);
        let begin = Instant::now();
        let outcome = simulate(&plan, Options { traces: self.trace, mutation: None });
        let seconds = begin.elapsed().as_secs_f64();
        for line in &outcome.trace {
            println!("{line}");
        }
        println!(
            "viewer-seconds {} in {seconds:.3} s: {:.0} per s",
            outcome.viewer_seconds,
            outcome.viewer_seconds as f64 / seconds
        );
        println!("digest {:016x}", outcome.digest);
        for viewer in outcome.viewers.iter().take(3) {
            println!("{viewer:?}");
        }
        println!("{:?}", outcome.sent);
        match &outcome.violation {
            None => ExitCode::SUCCESS,
            Some(violation) => {
                println!("{violation}");
                ExitCode::FAILURE
            }
        }
    }
}
