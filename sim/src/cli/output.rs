//! What people see: lines, progress, and where reports go.

use std::cell::Cell;
use std::fmt::Display;
use std::fs::File;
use std::io::{BufWriter, IsTerminal, StdoutLock, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// How often a log, where nobody looks at a bar, gets a line about how far it is.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Where a result goes, if it is wanted in a file. It is opened before the run, so that nobody waits for what cannot be
/// kept; what is in it stays until the new result is there, and a new file is empty until then.
pub(crate) struct ResultFile(Option<(PathBuf, File)>);

impl ResultFile {
    /// `path` as it was asked for; the error is a sentence.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, String> {
        let Some(path) = path else { return Ok(ResultFile(None)) };
        let opened = File::options().write(true).create(true).truncate(false).open(path);
        let file = opened.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(ResultFile(Some((path.to_owned(), file))))
    }

    /// Writes what `content` makes, if it is wanted; the error is a sentence.
    pub(crate) fn write(self, content: impl FnOnce() -> serde_json::Result<String>) -> Result<(), String> {
        let Some((path, mut file)) = self.0 else { return Ok(()) };
        let content = content().map_err(|error| format!("cannot make {}: {error}", path.display()))?;
        // A pipe or a device has no length.
        let is_regular = file.metadata().is_ok_and(|about| about.is_file());
        let emptied = if is_regular { file.set_len(0) } else { Ok(()) };
        let written = emptied.and_then(|()| file.write_all(content.as_bytes()));
        written.map_err(|error| format!("cannot write {}: {error}", path.display()))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_result_stays_until_the_new_one_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        std::fs::write(&path, "the old one, longer").unwrap();
        drop(ResultFile::open(Some(&path)).unwrap());
        let result = ResultFile::open(Some(&path)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "the old one, longer");
        result.write(|| Ok("the new one".into())).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "the new one");
    }

    #[test]
    fn a_result_that_cannot_be_made_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        std::fs::write(&path, "the old one").unwrap();
        let result = ResultFile::open(Some(&path)).unwrap();
        let error = result.write(|| serde_json::from_str("no JSON")).unwrap_err();
        assert!(error.starts_with("cannot make ") && error.contains("a.json"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "the old one");
    }
}
