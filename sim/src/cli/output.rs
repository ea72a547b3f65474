//! What people see: lines, progress, and where reports go.

use std::cell::Cell;
use std::fmt::Display;
use std::io::{BufWriter, IsTerminal, StdoutLock, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// How often a log, where nobody looks at a bar, gets a line about how far it is.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Writes what `content` makes to `file`, if one is wanted; the error is a sentence.
pub(crate) fn write(
    file: Option<&Path>,
    content: impl FnOnce() -> serde_json::Result<String>,
) -> Result<(), String> {
    let Some(file) = file else { return Ok(()) };
    let content = content().map_err(|error| format!("cannot make {}: {error}", file.display()))?;
    std::fs::write(file, content).map_err(|error| format!("cannot write {}: {error}", file.display()))
}

/// Says what went wrong.
pub(crate) fn failed(error: String) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(2)
}

/// A value for people and programs.
pub(crate) fn as_json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_else(|error| error.to_string())
}

/// So many of them, in words.
pub(crate) fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Many lines to somebody who may stop reading.
pub(crate) struct Lines(BufWriter<StdoutLock<'static>>);

impl Lines {
    /// To the standard output.
    pub(crate) fn stdout() -> Self {
        Lines(BufWriter::new(std::io::stdout().lock()))
    }

    /// One more.
    pub(crate) fn say(&mut self, line: impl Display) {
        // Who closed the pipe has read enough.
        let _ = writeln!(self.0, "{line}");
    }
}

/// How far something is: a bar where somebody looks, a line from time to time elsewhere.
pub(crate) struct Bar {
    bar: ProgressBar,
    /// When the next line is due; `None` with a bar.
    line_at: Option<Cell<Instant>>,
    unit: &'static str,
}

impl Bar {
    /// At the beginning.
    pub(crate) fn new(unit: &'static str) -> Self {
        let is_watched = std::io::stderr().is_terminal();
        let bar = if is_watched { ProgressBar::new(1) } else { ProgressBar::hidden() };
        let template = format!("{{bar:30}} {{pos}} of {{len}} {unit}, {{eta}} left {{msg}}");
        bar.set_style(
            ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        let line_at = (!is_watched).then(|| Cell::new(Instant::now() + LINE_EVERY));
        Bar { bar, line_at, unit }
    }

    /// `done` of `all` are done, and there is this to say.
    pub(crate) fn show(&self, done: u64, all: u64, message: impl FnOnce() -> String) {
        match &self.line_at {
            None => {
                self.bar.set_length(all);
                self.bar.set_position(done);
                self.bar.set_message(message());
            }
            Some(line_at) if Instant::now() >= line_at.get() => {
                line_at.set(Instant::now() + LINE_EVERY);
                eprintln!("{done} of {all} {} {}", self.unit, message());
            }
            Some(_) => {}
        }
    }

    /// Says something that cannot wait for the end.
    pub(crate) fn say(&self, line: &str) {
        self.bar.suspend(|| Lines::stdout().say(line));
    }

    /// Makes room for the result.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
