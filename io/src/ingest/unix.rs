//! `unix://`, `unixgram://`, `unixpacket://`: domain sockets.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use restreamer_core::{CloseCause, CloseKind};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{UnixDatagram, UnixStream};
use tokio::task::coop::consume_budget;

use super::datagram::Batch;
use super::tcp::read_to_end;
use super::{Note, Oddity, Sink, SourceOptions};
use crate::url::{self, SOCKET_PATH_BYTES_MAX, UrlError};

/// Largest message that is read whole, bytes, unless `mru` is larger.
const MESSAGE_BYTES_MIN: usize = 64 * 1024;
/// Largest message, bytes, that `mru` can ask for.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Messages that are taken with one system call.
const MESSAGES: usize = 8;

#[derive(Clone)]
pub(super) struct Place {
    kind: Kind,
    path: PathBuf,
    message_bytes_max: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Connect, and find out what it is.
    Unknown,
    /// Bind, and receive datagrams.
    Datagram,
    /// Connect, and receive messages.
    Packet,
}

impl Place {
    pub(super) fn parse(
        kind: Kind,
        scheme: &str,
        rest: &str,
        options: &SourceOptions,
    ) -> Result<Self, UrlError> {
        let path = url::decode_path(scheme, rest)?;
        let bytes = path.as_os_str().as_bytes().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            return Err(UrlError::LongPath(bytes));
        }
        Ok(Place { kind, path, message_bytes_max: options.mru.clamp(MESSAGE_BYTES_MIN, MESSAGE_BYTES_MAX) })
    }

    /// Whether the socket is one that others send to.
    pub(super) fn binds(&self) -> bool {
        self.kind == Kind::Datagram
    }

    pub(super) async fn run(&self, sink: &mut impl Sink) -> CloseCause {
        match self.kind {
            Kind::Unknown => match UnixStream::connect(&self.path).await {
                Ok(mut stream) => {
                    sink.connected();
                    read_to_end(&mut stream, sink).await
                }
                Err(error) if is_other_type(&error) => self.run_packet(sink).await,
                Err(error) => self.unreachable(&error),
            },
            Kind::Datagram => self.run_datagram(sink).await,
            Kind::Packet => self.run_packet(sink).await,
        }
    }

    async fn run_datagram(&self, sink: &mut impl Sink) -> CloseCause {
        let (socket, _file) = match bind(&self.path) {
            Ok(bound) => bound,
            Err(cause) => return cause,
        };
        sink.connected();
        let mut batch = Batch::new(self.message_bytes_max, MESSAGES);
        loop {
            // A socket that always has something would otherwise never let others have a turn.
            consume_budget().await;
            let ready = socket.readable().await;
            let received =
                ready.and_then(|()| socket.try_io(Interest::READABLE, || batch.receive(socket.as_fd())));
            if let Err(error) = hand_on(received, &mut batch, sink) {
                return CloseCause::new(CloseKind::Io, &format!("cannot receive: {error}"));
            }
        }
    }

    async fn run_packet(&self, sink: &mut impl Sink) -> CloseCause {
        let socket = match connect_packet(&self.path) {
            Ok(socket) => socket,
            Err(error) if is_other_type(&error) => {
                let hint = match self.kind {
                    Kind::Packet => "use unix:// to find out its type",
                    _ => "use unixgram:// with a path of its own, and have the sender send there",
                };
                let detail =
                    format!("{} is not a socket to connect to like this: {hint}", self.path.display());
                return CloseCause::new(CloseKind::Config, &detail);
            }
            Err(error) => return self.unreachable(&error),
        };
        sink.connected();
        let mut batch = Batch::new(self.message_bytes_max, MESSAGES);
        loop {
            consume_budget().await;
            let mut ready = match socket.readable().await {
                Ok(ready) => ready,
                Err(error) => return CloseCause::new(CloseKind::Io, &format!("cannot receive: {error}")),
            };
            let is_closed = ready.ready().is_read_closed();
            let received = match ready.try_io(|socket| batch.receive(socket.as_fd())) {
                Ok(received) => received,
                Err(_would_block) => continue,
            };
            // An empty message looks like the end; but only after the end there is nothing else.
            let is_end = received.is_ok() && is_closed && batch.is_all_empty();
            if let Err(error) = hand_on(received, &mut batch, sink) {
                return CloseCause::new(CloseKind::Io, &format!("cannot receive: {error}"));
            }
            if is_end {
                return CloseCause::new(CloseKind::Ended, "the source closed the connection");
            }
        }
    }

    fn unreachable(&self, error: &io::Error) -> CloseCause {
        let kind = match error.kind() {
            io::ErrorKind::PermissionDenied => CloseKind::Refused,
            _ => CloseKind::Unreachable,
        };
        CloseCause::new(kind, &format!("cannot connect to {}: {error}", self.path.display()))
    }
}

/// What a call has received goes to `sink`; a call that found nothing is no error.
fn hand_on(received: io::Result<()>, batch: &mut Batch, sink: &mut impl Sink) -> io::Result<()> {
    match received {
        Ok(()) => {
            batch.datagrams().filter(|datagram| !datagram.is_empty()).for_each(|datagram| sink.data(datagram))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
        Err(error) => return Err(error),
    }
    let truncated = batch.take_truncated();
    if truncated > 0 {
        sink.note(Note::Counted(Oddity::Truncated, truncated));
    }
    Ok(())
}

fn is_other_type(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPROTOTYPE)
}

fn connect_packet(path: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
    // Before it is connected: connecting must not wait for a listener whose queue is full.
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)?;
    // SAFETY: an OwnedFd is open and stays the same until the AsyncFd, which owns it, is dropped.
    Ok(unsafe { AsyncFd::register_with_interest(OwnedFd::from(socket), Interest::READABLE) }?)
}

/// A socket at `path`, and its file, which goes with it.
fn bind(path: &Path) -> Result<(UnixDatagram, SocketFile), CloseCause> {
    let failed =
        |what: &str| CloseCause::new(CloseKind::Config, &format!("cannot bind {}: {what}", path.display()));
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(failed("there is another file, which is no socket"));
        }
        // A path that is left from a process that is gone refuses connections.
        Ok(_) => match std::os::unix::net::UnixDatagram::unbound().and_then(|probe| probe.connect(path)) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(|error| failed(&error.to_string()))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            _ => return Err(failed("another stream or program receives there")),
        },
        Err(_) => {}
    }
    let socket = UnixDatagram::bind(path).map_err(|error| failed(&error.to_string()))?;
    let file = SocketFile::of(path).map_err(|error| failed(&error.to_string()))?;
    Ok((socket, file))
}

/// The file of a socket of ours; removed with it, unless somebody has put another one there.
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(SocketFile { path: path.to_owned(), inode: inode(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|found| found == self.inode) {
            // What cannot be removed is found refusing connections by the next one who binds here.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}
