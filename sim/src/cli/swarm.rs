//! `restreamer-sim swarm`: many seeds, each with every promise watched.

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, value_parser};
use restreamer_sim::failure::Failure;
use restreamer_sim::marks::Mark;
use restreamer_sim::mutation::Mutation;
use restreamer_sim::swarm::hunt::Hunt;
use restreamer_sim::swarm::report::Report;

use super::output::{self, Bar, Lines, ResultFile};

/// Run the plans of many seeds with every checker on
///
/// A seed becomes a plan: streams, sources, 50 viewers on good and bad links, and what goes wrong within 60 virtual
/// seconds; most kinds of trouble are left out of each run and some are frequent. A run that breaks a promise is made
/// small (fewer events, fewer viewers, less time) and written to a file that `restreamer-sim replay` runs again.
///
/// Marks are rare branches that some run should reach; with --all-marks, one that no run reached is a failure too.
///
/// The exit status is 0 when every promise was kept, 1 when one was broken, 2 when it could not be tried or a file could
/// not be written.
#[derive(Args)]
pub(crate) struct Swarm {
    /// Run these seeds
    #[arg(long, value_name = "A..B", value_parser = parse_seeds, default_value = "0..1000")]
    seeds: Range<u64>,
    /// Begin runs, from the first seed on, for so long, whatever the last is: 60s, 10m, 8h
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// Runs at a time; all processors without it
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Begin no more runs after so many failures
    #[arg(long, value_name = "N", value_parser = value_parser!(u16).range(1..), default_value_t = 10)]
    failures_max: u16,
    /// Write each failure to a file in this folder
    #[arg(long, value_name = "FOLDER", default_value = "failures")]
    failures: PathBuf,
    /// Fail when a mark was not reached
    #[arg(long)]
    all_marks: bool,
    /// Write a test case for each promise to this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write figures, marks and failures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Put a defect in, to see that it is found
    #[arg(long, value_name = "DEFECT")]
    mutation: Option<Mutation>,
}

impl Swarm {
    /// Runs them.
    pub(crate) fn run(&self) -> ExitCode {
        let junit = ResultFile::open(self.junit.as_deref());
        let json = ResultFile::open(self.json.as_deref());
        match (junit, json) {
            (Ok(junit), Ok(json)) => self.hunt(junit, json),
            (Err(error), _) | (_, Err(error)) => output::failed(error),
        }
    }

    fn hunt(&self, junit: ResultFile, json: ResultFile) -> ExitCode {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        let hunt = Hunt {
            seeds: self.seeds.start..if self.time.is_some() { u64::MAX } else { self.seeds.end },
            jobs: self.jobs.map_or_else(processors, usize::from),
            mutation: self.mutation,
            failures_max: self.failures_max.into(),
        };
        let begin = Instant::now();
        let bar = Bar::new(if self.time.is_some() { "seconds" } else { "seeds" });
        let mut errors = Vec::new();
        let mut told = 0;
        let bag = hunt.run(|bag| {
            for (seed, failure) in &bag.failures[told..] {
                bar.say(&self.describe(*seed, failure));
                errors.extend(self.keep(*seed, failure).err());
            }
            told = bag.failures.len();
            let elapsed = begin.elapsed();
            let seeds = (bag.seeds, hunt.seeds.end - hunt.seeds.start);
            let (done, all) = self.time.map_or(seeds, |time| (elapsed.as_secs(), time.as_secs()));
            bar.show(done, all, || {
                let rate = bag.seeds as f64 / elapsed.as_secs_f64().max(1e-9);
                let missing = bag.reached.missing().count();
                format!("{rate:.0} seeds/s, {missing} marks missing, {told} failed")
            });
            self.time.is_none_or(|time| elapsed < time)
        });
        bar.finish();
        let report = Report { hunt: &hunt, bag: &bag, seconds: begin.elapsed().as_secs_f64() };
        self.tell(&report);
        errors.extend(junit.write(|| Ok(report.to_junit(self.all_marks))).err());
        errors.extend(json.write(|| report.to_json()).err());
        let is_written = errors.is_empty();
        errors.iter().for_each(|error| eprintln!("{error}"));
        let are_marks_missing = self.all_marks && bag.reached.missing().next().is_some();
        match bag.failures.is_empty() && !are_marks_missing {
            false => ExitCode::FAILURE,
            true if is_written => ExitCode::SUCCESS,
            true => ExitCode::from(2),
        }
    }

    fn tell(&self, report: &Report<'_>) {
        let bag = report.bag;
        let mut out = Lines::stdout();
        out.say(format_args!(
            "{}, {} broke a promise; {:.1} s, {:.0} seeds per minute and job, {}",
            output::count(bag.seeds as usize, "seed"),
            bag.failures.len(),
            report.seconds,
            report.seeds_per_minute_and_job(),
            output::count(report.hunt.jobs, "job"),
        ));
        let missing: Vec<_> = bag.reached.missing().collect();
        let hint = if missing.is_empty() || self.all_marks { "" } else { "; --all-marks lists the others" };
        out.say(format_args!(
            "{} of {} marks reached{hint}",
            Mark::ALL.len() - missing.len(),
            Mark::ALL.len()
        ));
        for mark in missing.into_iter().filter(|_| self.all_marks) {
            out.say(format_args!("    never: {}", mark.describe()));
        }
    }

    fn describe(&self, seed: u64, failure: &Failure) -> String {
        let Failure { found, violation, plan, .. } = failure;
        format!(
            "seed {seed}: {found}\n    made small: {}, {}, {:.1} s: {violation}\n    restreamer-sim replay {}",
            output::count(plan.viewers.len(), "viewer"),
            output::count(plan.events.len(), "event"),
            plan.duration_ms as f64 / 1e3,
            self.file(seed).display(),
        )
    }

    fn file(&self, seed: u64) -> PathBuf {
        self.failures.join(format!("seed-{seed}.json"))
    }

    fn keep(&self, seed: u64, failure: &Failure) -> Result<(), String> {
        std::fs::create_dir_all(&self.failures)
            .map_err(|error| format!("cannot make the folder {}: {error}", self.failures.display()))?;
        ResultFile::open(Some(&self.file(seed)))?.write(|| serde_json::to_string_pretty(failure))
    }
}

/// `0..1000`.
pub(crate) fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let range = text.split_once("..").and_then(|(begin, end)| Some(begin.parse().ok()?..end.parse().ok()?));
    range
        .filter(|range| !range.is_empty())
        .ok_or_else(|| "two numbers with two dots between them, the smaller one first, such as 0..100".into())
}

/// `60s`.
fn parse_time(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.trim_end_matches(char::is_alphabetic).len());
    let seconds = match unit {
        "s" | "" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => 0,
    };
    let time =
        number.parse::<u64>().ok().and_then(|number| number.checked_mul(seconds)).filter(|&time| time > 0);
    time.map(Duration::from_secs).ok_or_else(|| "a number and a unit, such as 60s, 10m or 8h".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_seeds_are_understood() {
        assert_eq!(parse_time("60s").unwrap(), Duration::from_secs(60));
        assert_eq!(parse_time("8h").unwrap(), Duration::from_secs(28_800));
        assert_eq!(parse_time("90").unwrap(), Duration::from_secs(90));
        for wrong in ["", "s", "0s", "1d", "-1s", "99999999999999999999h"] {
            assert!(parse_time(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_seeds("3..9").unwrap(), 3..9);
        for wrong in ["", "3", "9..3", "3..3", "a..b"] {
            assert!(parse_seeds(wrong).is_err(), "{wrong}");
        }
    }
}
