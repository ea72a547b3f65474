//! `file:///path`: a recording that is played in real time, a FIFO, or a device. All are opened read-only.
//!
//! A FIFO is opened without waiting for a writer, and opened again when its last writer has left. Holding a
//! writing end of our own would avoid the second part, but takes a permission that a reader need not have, and
//! hides that the writer is gone.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use restreamer_core::playout::AtEnd;
use restreamer_core::{CloseCause, CloseKind, Patience};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe;
use tokio::task::coop::consume_budget;

use super::recording::play;
use super::{Note, Oddity, READ_BYTES, Sink, SourceOptions};
use crate::url::{self, UrlError};

/// How often a FIFO that nobody writes to is looked up again, as its path may lead to another one by now.
const LOOK_EVERY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(super) struct Place {
    path: PathBuf,
    at_end: AtEnd,
}

impl Place {
    pub(super) fn parse(scheme: &str, rest: &str, options: &SourceOptions) -> Result<Self, UrlError> {
        let at_end = if options.looped { AtEnd::Repeat } else { AtEnd::Finish };
        Ok(Place { path: url::decode_path(scheme, rest)?, at_end })
    }

    pub(super) fn missing(&self) -> Option<String> {
        match std::fs::metadata(&self.path) {
            Ok(found) if found.is_dir() => Some("it is a directory: name a file in it".to_owned()),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        }
    }

    pub(super) async fn run(&self, sink: &mut impl Sink) -> CloseCause {
        let (file, found) = match open(&self.path).await {
            Ok(opened) => opened,
            Err(error) => return self.failure("open", &error),
        };
        let kind = found.file_type();
        if kind.is_dir() {
            let detail = format!("{} is a directory: name a file in it", self.path.display());
            return CloseCause::new(CloseKind::Config, &detail);
        }
        if kind.is_fifo() {
            self.run_fifo(file, found, sink).await
        } else if kind.is_char_device() {
            self.run_device(file, sink).await
        } else {
            play(tokio::fs::File::from_std(file), self.at_end, sink).await
        }
    }

    /// Reads a FIFO for as long as its path leads to one, whoever writes to it in between.
    async fn run_fifo(&self, file: File, found: Metadata, sink: &mut impl Sink) -> CloseCause {
        let mut buffer = vec![0; READ_BYTES];
        let (mut fifo, mut found) = match pipe::Receiver::from_file(file) {
            Ok(fifo) => (fifo, found),
            Err(error) => return self.failure("read", &error),
        };
        sink.connected();
        loop {
            // How much a pipe holds is its writer's to say: it may be less than comes during a rest.
            sink.ready(Patience::Backlog).await;
            match tokio::time::timeout(LOOK_EVERY, fifo.read(&mut buffer)).await {
                Ok(Ok(n)) if n > 0 => {
                    sink.data(&buffer[..n]);
                    continue;
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return self.failure("read", &error),
                Err(_silence) => match tokio::fs::metadata(&self.path).await {
                    Ok(now) if is_same(&now, &found) => continue,
                    _ => {}
                },
            }
            // The last writer has left, or the path leads elsewhere. A file descriptor whose writer has left
            // reports that for ever; a fresh one waits. The old one stays open until the new one is there, so
            // that what another writer has written meanwhile is not lost.
            match open(&self.path).await {
                Ok((file, now)) if now.file_type().is_fifo() => match pipe::Receiver::from_file(file) {
                    Ok(again) => (fifo, found) = (again, now),
                    Err(error) => return self.failure("read", &error),
                },
                Ok(_) => {
                    let detail = format!("{} is no FIFO any more", self.path.display());
                    return CloseCause::new(CloseKind::Ended, &detail);
                }
                Err(error) => return self.failure("open", &error),
            }
        }
    }

    async fn run_device(&self, file: File, sink: &mut impl Sink) -> CloseCause {
        sink.connected();
        // SAFETY: a File is open and stays the same until the AsyncFd, which owns it, is dropped.
        match unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) } {
            Ok(device) => self.read_device(&device, sink).await,
            // Devices that cannot be waited for always have something to read.
            Err(failed) => {
                let (file, _) = failed.into_parts();
                let mut file = tokio::fs::File::from_std(file);
                super::tcp::read_to_end(&mut file, sink).await
            }
        }
    }

    async fn read_device(&self, device: &AsyncFd<File>, sink: &mut impl Sink) -> CloseCause {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            // A device that always has something would otherwise never let others have a turn.
            consume_budget().await;
            let read = match device.readable().await {
                Ok(mut ready) => ready.try_io(|device| device.get_ref().read(&mut buffer)),
                Err(error) => return self.failure("read", &error),
            };
            match read {
                Ok(Ok(0)) => return CloseCause::new(CloseKind::Ended, "the device has no more data"),
                Ok(Ok(n)) => sink.data(&buffer[..n]),
                // A tuner's buffer was full: it has dropped something and goes on.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EOVERFLOW) => {
                    sink.note(Note::Counted(Oddity::DeviceOverrun, 1));
                }
                Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(Err(error)) => return self.failure("read", &error),
                Err(_would_block) => {}
            }
        }
    }

    fn failure(&self, what: &str, error: &io::Error) -> CloseCause {
        let (kind, hint) = match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, _) => (CloseKind::Unreachable, ""),
            (io::ErrorKind::PermissionDenied, _) => (CloseKind::Refused, ""),
            (_, Some(libc::ENXIO)) => (CloseKind::Config, ": if it is a socket, use unix://"),
            _ => (CloseKind::Io, ""),
        };
        CloseCause::new(kind, &format!("cannot {what} {}: {error}{hint}", self.path.display()))
    }
}

/// Opens without waiting for a writer; off the runtime's thread, as the path may lead over a network.
async fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || {
        let file =
            OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
        let found = file.metadata()?;
        Ok((file, found))
    });
    opened.await.map_err(io::Error::other)?
}

fn is_same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}
