//! The load tool: a paced source, a crowd of viewers, a bare reference loop, and the figures that they give.

use std::process::ExitCode;

use clap::Parser;
use restreamer_benches::args::Arguments;
use restreamer_benches::command;

fn main() -> ExitCode {
    match command::execute(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("restreamer-load: {error}");
            ExitCode::FAILURE
        }
    }
}
