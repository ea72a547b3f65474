//! `restreamer-sim tier2`: the real network code on simulated sockets.

use std::ops::Range;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, value_parser};
use restreamer_sim::tier2::swarm::{self, Outcome};
use restreamer_sim::tier2::{self, Plan};

use super::output::{self, Bar, Lines};
use super::swarm::parse_seeds;

/// Run the daemon's network code, hyper and all, on simulated sockets
///
/// Sources, proxy and players are hosts of a simulated network in which links are cut and held, hosts crash, and
/// clients stop reading. A seed decides about everything; a failing one is printed with its plan and the command
/// that repeats it.
#[derive(Args)]
pub(crate) struct Tier2 {
    /// Run this seed only
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run these seeds, a process each
    #[arg(long, value_name = "A..B", value_parser = parse_seeds, default_value = "0..100")]
    seeds: Range<u64>,
    /// Processes at a time
    #[arg(long, value_parser = value_parser!(u16).range(1..), default_value_t = 2)]
    jobs: u16,
    /// Run every seed in two processes and compare what people received
    #[arg(long)]
    twice: bool,
    /// With --seed: print a line for whatever happens
    #[arg(long, requires = "seed")]
    trace: bool,
    /// With --seed: print the plan and do not run it
    #[arg(long, requires = "seed")]
    plan: bool,
    /// With --seed: print the report as a line of JSON and nothing else
    #[arg(long, requires = "seed", hide = true)]
    report: bool,
}

impl Tier2 {
    /// Runs it.
    pub(crate) fn run(&self) -> ExitCode {
        match self.seed {
            Some(seed) => self.run_one(seed),
            None => self.run_many(),
        }
    }

    fn run_one(&self, seed: u64) -> ExitCode {
        let plan = Plan::from_seed(seed);
        if self.plan {
            Lines::stdout().say(output::as_json(&plan));
            return ExitCode::SUCCESS;
        }
        let begin = Instant::now();
        let report = tier2::run(&plan, self.trace);
        let mut out = Lines::stdout();
        if self.report {
            out.say(serde_json::to_string(&report).unwrap_or_default());
        } else {
            let seconds = begin.elapsed().as_secs_f64();
            out.say(format_args!("{report:#?}"));
            out.say(format_args!(
                "{:.1} virtual seconds per second",
                report.virtual_ms as f64 / 1e3 / seconds
            ));
        }
        if report.violation.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn run_many(&self) -> ExitCode {
        let program = match std::env::current_exe() {
            Ok(program) => program,
            Err(error) => {
                eprintln!("cannot find this program to start it again: {error}");
                return ExitCode::from(2);
            }
        };
        let begin = Instant::now();
        let bar = Bar::new("seeds");
        let all = self.seeds.end - self.seeds.start;
        let mut done = Vec::new();
        swarm::run(&program, self.seeds.clone(), self.jobs.into(), self.twice, |outcome| {
            if let Some(complaint) = complaint(&outcome) {
                bar.say(&complaint);
            }
            done.push(outcome);
            bar.show(done.len() as u64, all, String::new);
        });
        bar.finish();
        let failed = done.iter().filter(|outcome| outcome.failure().is_some()).count();
        let reports = || done.iter().filter_map(|outcome| outcome.report.as_ref().ok());
        let virtual_seconds = reports().map(|report| report.virtual_ms).sum::<u64>() as f64 / 1e3;
        let mut out = Lines::stdout();
        out.say(format_args!("{} seeds, {failed} failed", done.len()));
        out.say(format_args!(
            "{} requests, {} packets received, {} arrivals checked, {} seams, {} skips",
            reports().map(|report| report.sessions).sum::<u64>(),
            reports().map(|report| report.packets).sum::<u64>(),
            reports().map(|report| report.arrivals).sum::<u64>(),
            reports().map(|report| report.seams).sum::<u64>(),
            reports().map(|report| report.skips).sum::<u64>(),
        ));
        out.say(format_args!(
            "{virtual_seconds:.0} virtual seconds, {:.1} per second",
            virtual_seconds / begin.elapsed().as_secs_f64()
        ));
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// What is needed to repeat a failure.
fn complaint(outcome: &Outcome) -> Option<String> {
    let (seed, failure) = (outcome.seed, outcome.failure()?);
    let plan = output::as_json(&Plan::from_seed(seed));
    Some(format!("seed {seed}: {failure}\n{plan}\nrepeat: restreamer-sim tier2 --seed {seed} --trace"))
}
