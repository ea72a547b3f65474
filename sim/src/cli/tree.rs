//! `restreamer-sim tree`: an origin, edges, and up to a million viewers.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Args, ValueEnum, value_parser};
use restreamer_sim::source::{GOP_FRAMES_MAX, KBPS};
use restreamer_sim::tree::{Question, Report, Story};

use super::output::{self, Bar, Lines, ResultFile};

/// Ask what an origin, its edges and a million viewers have to do
///
/// Each edge takes the stream from the origin as any viewer does and serves it to its own viewers; all of them run
/// the daemon's machines with the daemon's defaults. Stories: steady (everybody comes within twenty seconds and zaps every
/// three minutes), crash (the same, and then a tenth of the edges crash at once: reconnect storm), kickoff (a tenth of
/// the viewers are there, then all others come within ten seconds: join storm).
///
/// Viewers who came to the same edge in the same tenth of a second over the same kind of link are in the same state
/// and are simulated together, which changes no figure (--singly shows it). Links are 60 % fibre (100 Mbit/s),
/// 25 % cable (30 Mbit/s), 15 % DSL (8 Mbit/s).
#[derive(Args)]
pub(crate) struct Tree {
    /// What happens; without it, one after the other
    story: Option<StoryName>,
    /// Machines between the origin and the viewers
    #[arg(long, value_parser = value_parser!(u32).range(1..), default_value_t = 100)]
    edges: u32,
    /// Viewers
    #[arg(long, value_parser = value_parser!(u32).range(1..), default_value_t = 1_000_000)]
    viewers: u32,
    /// Rate of the stream
    #[arg(long, value_name = "KBIT/S", value_parser = value_parser!(u64).range(KBPS), default_value_t = 4_000)]
    kbps: u64,
    /// Frames from one key frame to the next, at 25 frames per second
    #[arg(long, value_name = "FRAMES", default_value_t = 50)]
    #[arg(value_parser = value_parser!(u32).range(1..=i64::from(GOP_FRAMES_MAX)))]
    gop: u32,
    /// How long it is looked at; a story that would not come to its end says how long it takes
    #[arg(long, value_parser = value_parser!(u64).range(1..=86_400), default_value_t = 60)]
    seconds: u64,
    /// Decides about everything that is left to chance
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Simulate every viewer on his own
    #[arg(long)]
    singly: bool,
    /// Write a page with charts to this file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write all figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum StoryName {
    Steady,
    Crash,
    Kickoff,
}

impl Tree {
    /// Tells the stories.
    pub(crate) fn run(&self) -> ExitCode {
        self.answer().map_or_else(output::failed, |()| ExitCode::SUCCESS)
    }

    fn answer(&self) -> Result<(), String> {
        let stories = match self.story {
            None => Story::ALL.to_vec(),
            Some(StoryName::Steady) => vec![Story::Steady],
            Some(StoryName::Crash) => vec![Story::Crash],
            Some(StoryName::Kickoff) => vec![Story::Kickoff],
        };
        stories.iter().try_for_each(|&story| self.check_time(story))?;
        let html = ResultFile::open(self.html.as_deref())?;
        let json = ResultFile::open(self.json.as_deref())?;
        let reports: Vec<Report> = stories.into_iter().map(|story| self.tell(story)).collect();
        html.write(|| Ok(Report::to_html(&reports)))?;
        json.write(|| serde_json::to_string_pretty(&reports))
    }

    fn check_time(&self, story: Story) -> Result<(), String> {
        let (given, least) = (self.seconds, story.duration_ms_min().div_ceil(1_000));
        match given < least {
            false => Ok(()),
            true => Err(format!("--seconds {given}: {least} at least, in which {}", story.describe())),
        }
    }

    fn tell(&self, story: Story) -> Report {
        let question = Question {
            seed: self.seed,
            edges: self.edges,
            viewers: self.viewers,
            kbps: self.kbps,
            gop_frames: self.gop,
            duration_ms: self.seconds * 1_000,
            singly: self.singly,
            ..Question::new(story)
        };
        let begin = Instant::now();
        let bar = Bar::new("ms");
        let report = question.answer(|done, all| bar.show(done, all, String::new));
        bar.finish();
        let seconds = begin.elapsed().as_secs_f64();
        let viewer_seconds = report.people.watched_s;
        Lines::stdout().say(format_args!(
            "{}{viewer_seconds:.0} viewer-seconds in {seconds:.1} s: {:.0} per second; at most {} viewers in {} crowds\n",
            report.to_text(),
            viewer_seconds / seconds,
            report.viewers_max,
            report.crowds_max
        ));
        report
    }
}
