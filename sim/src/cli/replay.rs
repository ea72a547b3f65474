//! `restreamer-sim replay`: one plan again, with a line for whatever happens.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use restreamer_sim::swarm;
use restreamer_sim::verify::verify;
use restreamer_sim::world::Options;

/// Run one plan again and print what happens
#[derive(Args)]
pub(crate) struct Replay {
    /// A file that `swarm` wrote
    file: Option<PathBuf>,
    /// The plan of this seed of the swarm
    #[arg(long, conflicts_with = "file")]
    seed: Option<u64>,
    #[arg(long)]
    twin: bool,
}

impl Replay {
    pub(crate) fn run(&self) -> ExitCode {
        let plan = swarm::plan(self.seed.unwrap_or(0));
        println!("{}", serde_json::to_string_pretty(&plan).unwrap());
        let plan = if self.twin {
            let outcome = restreamer_sim::world::simulate(&plan, Options::default());
            restreamer_sim::check::fair::twin(&plan, &outcome).unwrap()
        } else {
            plan
        };
        let outcome = verify(&plan, Options { traces: true, mutation: None });
        for line in &outcome.trace {
            println!("{line}");
        }
        println!("{:?}", outcome.violation);
        ExitCode::SUCCESS
    }
}
