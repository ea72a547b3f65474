//! `restreamer-sim run`: one named scenario.

use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use restreamer_sim::scenario::{self, SCENARIOS};
use restreamer_sim::verify::verify;
use restreamer_sim::world::{Options, simulate};

use super::output::{self, Lines};

/// Run a named scenario and say what its viewers saw
///
/// The exit status is 0 when every promise was kept, 1 when one was broken, 2 when it could not be tried.
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
    /// Run it once only, without the second run that shows whether people in trouble disturb the others
    #[arg(long)]
    once: bool,
}

impl Run {
    /// Runs it.
    pub(crate) fn run(&self) -> ExitCode {
        let mut out = Lines::stdout();
        let Some(name) = &self.scenario else {
            for scenario in SCENARIOS {
                out.say(format_args!("{:16} {}", scenario.name, scenario.about));
            }
            return ExitCode::SUCCESS;
        };
        let Some(scenario) = scenario::find(name) else {
            return output::failed(format!("there is no scenario {name}; without a name, `run` lists them"));
        };
        let plan = (scenario.plan)(self.seed);
        if self.plan {
            out.say(output::as_json(&plan));
            return ExitCode::SUCCESS;
        }
        let options = Options { traces: self.trace, mutation: None };
        let begin = Instant::now();
        let outcome = if self.once { simulate(&plan, options) } else { verify(&plan, options) };
        let seconds = begin.elapsed().as_secs_f64();
        for line in &outcome.trace {
            out.say(line);
        }
        out.say(outcome.to_text());
        out.say(format_args!(
            "{} viewer-seconds in {seconds:.3} s: {:.0} per second",
            outcome.viewer_seconds,
            outcome.viewer_seconds as f64 / seconds.max(1e-9)
        ));
        if outcome.violation.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
