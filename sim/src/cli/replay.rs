//! `restreamer-sim replay`: one plan again, with a line for whatever happens.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use restreamer_sim::failure::Replayable;
use restreamer_sim::mutation::Mutation;
use restreamer_sim::swarm;
use restreamer_sim::verify::verify;
use restreamer_sim::world::Options;

use super::output::{self, Lines};

/// Run one plan again and print what happens
///
/// FILE is a failure that `swarm` wrote, a plan that `run --plan` or `replay --plan` printed and somebody may have
/// edited, or a journal: what an `events` resource of the daemon answered. A journal has no packets; its run has
/// synthetic television at the rates that were received, and everybody comes, goes and suffers when they did.
///
/// The exit status is 0 when every promise was kept, 1 when one was broken, 2 when it could not be tried.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Replay {
    /// A failure, a plan or a journal
    #[arg(required_unless_present = "seed")]
    file: Option<PathBuf>,
    /// The plan of this seed of the swarm
    #[arg(long, conflicts_with = "file")]
    seed: Option<u64>,
    /// Put a defect in, as `swarm --mutation` does
    #[arg(long, value_name = "DEFECT", conflicts_with = "file")]
    mutation: Option<Mutation>,
    /// Print the plan as JSON and do not run it
    #[arg(long)]
    plan: bool,
    /// Print only how it ended
    #[arg(long)]
    brief: bool,
}

impl Replay {
    /// Runs it.
    pub(crate) fn run(&self) -> ExitCode {
        match self.read() {
            Err(error) => output::failed(error),
            Ok(what) if self.plan => {
                Lines::stdout().say(output::as_json(what.plan()));
                ExitCode::SUCCESS
            }
            Ok(what) => self.replay(&what),
        }
    }

    fn read(&self) -> Result<Replayable, String> {
        match (&self.file, self.seed) {
            (Some(file), _) => read(file),
            (None, seed) => Ok(Replayable::Plan(Box::new(swarm::plan(seed.unwrap_or_default())))),
        }
    }

    fn replay(&self, what: &Replayable) -> ExitCode {
        let options = Options { traces: !self.brief, mutation: self.mutation.or(what.mutation()) };
        let outcome = verify(what.plan(), options);
        let mut out = Lines::stdout();
        for line in &outcome.trace {
            out.say(line);
        }
        out.say(format_args!("{}\n{}", outcome.name, outcome.to_text()));
        if let Some(mutation) = options.mutation {
            out.say(format_args!("with a defect put in: {mutation:?}"));
        }
        if let Replayable::Failure(failure) = what {
            let is_same = outcome.violation.as_ref() == Some(&failure.violation);
            failure.about.iter().for_each(|about| out.say(about));
            out.say(match is_same {
                true => "the promise is broken as it was",
                false => {
                    "this differs from what the file says: the program is another one, or the file was edited"
                }
            });
        }
        if outcome.violation.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn read(file: &Path) -> Result<Replayable, String> {
    let text =
        std::fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    Replayable::read(&text).map_err(|error| format!("{}: {error}", file.display()))
}
