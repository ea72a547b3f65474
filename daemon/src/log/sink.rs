//! Where lines end up, and the thread that takes them there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::layer::line_of_loss;
use super::queue::{Line, Queue};
use crate::config::LogTarget;

/// Between two tries on a descriptor that is non-blocking and full.
const RETRY: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Sink {
    out: File,
    /// The file's name; `None` on standard output.
    path: Option<PathBuf>,
    /// The last write failed within a line.
    torn: bool,
}

impl Sink {
    pub(super) fn open(target: &LogTarget) -> io::Result<Sink> {
        let (out, path) = match target {
            LogTarget::Stdout => (File::from(io::stdout().as_fd().try_clone_to_owned()?), None),
            LogTarget::File(path) => (append_to(path)?, Some(path.clone())),
        };
        Ok(Sink { out, path, torn: false })
    }

    /// A sink that has no name, and so is never opened again.
    #[cfg(test)]
    pub(super) fn to(out: File) -> Sink {
        Sink { out, path: None, torn: false }
    }

    /// Writes what is queued, for ever.
    pub(super) fn drain(&mut self, queue: &Queue) {
        let mut reported = 0;
        loop {
            let work = queue.take();
            for line in work.lines {
                if self.write(&line).is_err() {
                    queue.count_dropped();
                }
            }
            if work.reopen {
                self.reopen();
            }
            let dropped = queue.lines_dropped();
            if dropped > reported && self.write(&line_of_loss(dropped - reported)).is_ok() {
                reported = dropped;
            }
        }
    }

    /// When the file cannot be opened again, lines go on into the old one.
    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match append_to(path) {
            Ok(out) => {
                self.out = out;
                self.torn = false;
            }
            Err(error) => {
                tracing::error!(module = "main", event = "log_not_reopened", %error, "the old log file stays in use");
            }
        }
    }

    /// One line, whole: on a file that takes no more the rest is lost, and the next line begins a new one.
    fn write(&mut self, line: &Line) -> io::Result<()> {
        let Line { time, json } = line;
        let end = if self.torn { "\n" } else { "" };
        let text = match self.path {
            Some(_) => format!("{end}[{time}] {json}\n"),
            None => format!("{end}{json}\n"),
        };
        let mut left = text.as_bytes();
        while !left.is_empty() {
            match self.out.write(left) {
                Ok(written) => left = &left[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
                Err(error) => {
                    self.torn |= left.len() < text.len();
                    return Err(error);
                }
            }
        }
        self.torn = false;
        Ok(())
    }
}

/// Opens a log file at its end. A FIFO is opened for reading too: it opens at once then, and does not break when
/// its reader leaves, however long there is none (fifo(7)).
fn append_to(path: &Path) -> io::Result<File> {
    let is_fifo = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    OpenOptions::new().read(is_fifo).append(true).create(true).open(path)
}
