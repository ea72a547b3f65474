//! `restreamer-sim compare`: drop and join policies on good and bad networks.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, value_parser};
use restreamer_sim::compare::Question;
use restreamer_sim::source::{GOP_FRAMES_MAX, KBPS};

use super::output::{self, Bar, Lines, ResultFile};

/// Compare what drop and join policies do to viewers
///
/// The same people watch the same stream on the same links, with the same bad spells, under every policy: slow =
/// keyframe, oldest, live and disconnect, with and without maxlag, join = keyframe, live and 3 seconds behind, and, as
/// the program before this one did it, a queue of 400 packets per client that leaves out single packets. Networks:
/// fibre, cable, DSL at the edge, Wi-Fi with stalls, mobile.
///
/// A model of a player says what they see: how long until the first picture, broken pictures, seconds without a moving
/// picture, what is left out, the delay behind live, how often they are thrown out. Runs are repeatable: the same
/// seed gives the same figures.
#[derive(Args)]
pub(crate) struct Compare {
    /// Decides about everything that is left to chance
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Rate of the stream; the networks are made for 4000
    #[arg(long, value_name = "KBIT/S", value_parser = value_parser!(u64).range(KBPS), default_value_t = 4_000)]
    kbps: u64,
    /// How long everybody watches
    #[arg(long, value_parser = value_parser!(u64).range(1..=1_440), default_value_t = 10)]
    minutes: u64,
    /// People on each network
    #[arg(long, value_parser = value_parser!(u32).range(1..), default_value_t = 20)]
    viewers: u32,
    /// Frames from one key frame to the next, at 25 frames per second
    #[arg(long, value_name = "FRAMES", value_delimiter = ',', default_value = "12,50,200")]
    #[arg(value_parser = value_parser!(u32).range(1..=i64::from(GOP_FRAMES_MAX)))]
    gops: Vec<u32>,
    /// Write a page with charts to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Compare {
    /// Answers it.
    pub(crate) fn run(&self) -> ExitCode {
        self.answer().map_or_else(output::failed, |()| ExitCode::SUCCESS)
    }

    fn answer(&self) -> Result<(), String> {
        let html = ResultFile::open(self.html.as_deref())?;
        let json = ResultFile::open(self.json.as_deref())?;
        let question = Question {
            seed: self.seed,
            kbps: self.kbps,
            watch_ms: self.minutes * 60_000,
            viewers: self.viewers,
            gops: self.gops.clone(),
            ..Question::default()
        };
        let bar = Bar::new("runs");
        let comparison = question.answer(|done, all| bar.show(done, all, String::new));
        bar.finish();
        Lines::stdout().say(comparison.to_text().trim_end());
        html.write(|| Ok(comparison.to_html()))?;
        json.write(|| serde_json::to_string_pretty(&comparison))
    }
}
