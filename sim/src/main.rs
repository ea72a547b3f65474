//! Runs the daemon's machines in virtual time: scenarios, swarms of seeds, replays.

mod cli;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use restreamer_sim::panics;

#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(cli::run::Run),
    Replay(cli::replay::Replay),
    Swarm(cli::swarm::Swarm),
    Meta(cli::meta::Meta),
    Compare(cli::compare::Compare),
    Load(cli::load::Load),
    Tree(cli::tree::Tree),
    Tier2(cli::tier2::Tier2),
}

fn main() -> ExitCode {
    panics::keep();
    match Arguments::parse().command {
        Command::Run(run) => run.run(),
        Command::Replay(replay) => replay.run(),
        Command::Swarm(swarm) => swarm.run(),
        Command::Meta(meta) => meta.run(),
        Command::Compare(compare) => compare.run(),
        Command::Load(load) => load.run(),
        Command::Tree(tree) => tree.run(),
        Command::Tier2(tier2) => tier2.run(),
    }
}
