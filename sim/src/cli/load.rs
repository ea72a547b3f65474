//! `restreamer-sim load`: a configuration under an audience.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;
use restreamer::config::Config;
use restreamer_sim::load::{Audience, Load as Question, LoadReport};

use super::output::{self, Bar, Lines, ResultFile};

const FORMAT: &str = r#"The audience is a JSON file (sim/examples/audience.json is one):

{
  "seed": 1,                      decides about everything that is left to chance; default 1
  "seconds": 600,                 how long it is looked at
  "streams": [                    default for each: 4000 kbit/s, a key frame every 50 frames of 25 per second
    { "serve": "/news.ts", "kbps": 4000, "gop_frames": 50 } ],
  "groups": [
    { "name": "at home",          default: the name of the network
      "network": "Wi-Fi",         fibre, cable, DSL at the edge, Wi-Fi or mobile, as compare has them, or in full:
                                  { "name": "hotel", "link": { "kbps": 6000, "delay_ms": 20, "jitter_ms": 5,
                                    "loss_ppm": 100, "buffer_bytes": 262144 }, "spells": [ { "every_ms": 60000,
                                    "for_ms": [1000, 5000], "percent": [0, 30] } ] }
                                  buffer_bytes is replaced by the configuration's sendbuffer, unless that is 0
      "stream": "/news.ts",       a path of the configuration
      "viewers": 300,
      "arrive_s": [0, 60],        they come evenly between these
      "stay_s": 120,              each stays half to one and a half of it; default: to the end
      "back_s": 30 } ],           comes back after leaving or being turned away; default: never
  "outages": [                    a part of a group has a bad link
    { "at_s": 200, "for_s": 10, "group": "at home", "percent": 50, "kbps": 0 } ],
  "faults": [                     whatever a plan of `run --plan` can have: sources, operator, pauses
    { "at_ms": 300000, "fault": { "source": { "stream": 0, "source": 0, "what": { "refuse": { "for_ms": 20000 } } } } } ]
}"#;

/// Put your own configuration under an audience of your own
///
/// Reads a restreamer.json as the daemon does, lets an audience watch its streams (made ones: nothing is fetched), and
/// reports viewers, lag, skips, memory against the worst case by the formula, limits that were hit, and what people
/// saw. The checkers of `run` watch; a broken promise ends the run and gives exit code 1.
#[derive(Args)]
#[command(after_long_help = FORMAT)]
pub(crate) struct Load {
    /// The restreamer.json
    config: PathBuf,
    /// The audience, see below (--help)
    audience: PathBuf,
    /// Print everything that will happen as JSON and do not run it
    #[arg(long)]
    plan: bool,
    /// Write a page with charts to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Load {
    /// Runs it.
    pub(crate) fn run(&self) -> ExitCode {
        self.question().and_then(|question| self.answer(question)).unwrap_or_else(output::failed)
    }

    fn question(&self) -> Result<Question, String> {
        let (config, _) = Config::load(&self.config).map_err(|error| error.to_string())?;
        let file = self.audience.display();
        let text = std::fs::read_to_string(&self.audience).map_err(|error| format!("{file}: {error}"))?;
        let audience = Audience::parse(&text).map_err(|error| format!("{file}: {error}"))?;
        Question::new(&config, &audience).map_err(|error| format!("{file}: {error}"))
    }

    fn answer(&self, question: Question) -> Result<ExitCode, String> {
        if self.plan {
            Lines::stdout().say(output::as_json(question.plan()));
            return Ok(ExitCode::SUCCESS);
        }
        let html = ResultFile::open(self.html.as_deref())?;
        let json = ResultFile::open(self.json.as_deref())?;
        let begin = Instant::now();
        let bar = Bar::new("ms");
        let report: LoadReport = question.run(|done, all| bar.show(done, all, String::new));
        bar.finish();
        let seconds = begin.elapsed().as_secs_f64();
        let mut out = Lines::stdout();
        out.say(report.to_text());
        let rate = report.viewer_seconds as f64 / seconds;
        out.say(format_args!(
            "{} viewer-seconds in {seconds:.1} s: {rate:.0} per second",
            report.viewer_seconds
        ));
        html.write(|| Ok(report.to_html()))?;
        json.write(|| serde_json::to_string_pretty(&report))?;
        Ok(if report.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
