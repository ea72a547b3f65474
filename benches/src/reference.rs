//! The bare loop that every server is measured against.
//!
//! One thread, one stream: it collects what came in, and once per flush interval writes that to every socket
//! ([`Broadcast`]). No routing, no framing, no access points, no ring policy, no limits: what is left is what the
//! kernel asks for the same bytes at the same rhythm. [`drain`] is the same for streams that nobody watches.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpStream};

use restreamer_core::time::Duration;
use restreamer_core::ts::PACKET_BYTES;

use crate::broadcast::{Broadcast, Greeting, RING_BYTES_MAX};
use crate::epoll::{Epoll, Interest};
use crate::machine;
use crate::pace::PacedStream;
use crate::response::Response;
use crate::target::{Origin, Target};

const READ_BYTES: usize = 256 << 10;
/// Most bytes of a chunk: a source without a pace is read at the pace of the flushes.
const CHUNK_BYTES_MAX: usize = RING_BYTES_MAX / 4;

/// Where the reference gets its chunks from.
pub enum Feed {
    /// It makes them itself: what a stream of this many bits per second has had due since the last flush.
    Own(u64),
    /// A source; it is read once per flush.
    Source(Target),
}

/// Serves `feed` to whoever asks on `listen`, a chunk every `flush`, until the source ends.
///
/// `ready` is called with the address once the socket listens.
pub fn serve(
    listen: SocketAddr,
    feed: &Feed,
    flush: Duration,
    ready: impl FnOnce(SocketAddr),
) -> io::Result<()> {
    let mut broadcast = Broadcast::listen(listen, Greeting::Http)?;
    ready(broadcast.address()?);
    let mut next = machine::now();
    let mut input = match feed {
        Feed::Own(bitrate) => Input::Own(Box::new(PacedStream::new(*bitrate, next))),
        Feed::Source(target) => Input::Source(Upstream::connect(target)?),
    };
    loop {
        next += flush;
        broadcast.serve(next)?;
        let now = machine::now();
        let mut result = Ok(());
        broadcast.publish(|chunk| match &mut input {
            Input::Own(stream) => stream.take_due(now, false, chunk),
            Input::Source(upstream) => result = upstream.read(chunk),
        });
        match result {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            result => result?,
        }
        next = next.max(now - flush);
    }
}

/// Reads `origin` on so many `sockets` as the bytes come and throws them away, until one of them ends.
pub fn drain(origin: &Origin, sockets: usize) -> io::Result<()> {
    let mut epoll = Epoll::new()?;
    let mut sockets = (0..sockets).map(|_| origin.open()).collect::<io::Result<Vec<_>>>()?;
    for (token, socket) in sockets.iter().enumerate() {
        epoll.add(socket, token as u64, Interest::Readable)?;
    }
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let count = epoll.wait(None)?;
        for index in 0..count {
            match sockets[epoll.ready(index).token as usize].read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

enum Input {
    Own(Box<PacedStream>),
    Source(Upstream),
}

/// A connection to the source, read without waiting.
struct Upstream {
    socket: TcpStream,
    response: Response,
    buffer: Vec<u8>,
    torn: Vec<u8>,
}

impl Upstream {
    fn connect(target: &Target) -> io::Result<Upstream> {
        let socket = target.open()?;
        let response = if target.is_http() { Response::default() } else { Response::Plain };
        Ok(Upstream { socket, response, buffer: vec![0; READ_BYTES], torn: Vec::new() })
    }

    /// Appends the whole packets that have come.
    fn read(&mut self, chunk: &mut Vec<u8>) -> io::Result<()> {
        chunk.append(&mut self.torn);
        loop {
            match self.socket.read(&mut self.buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    let pushed =
                        self.response.push(&self.buffer[..count], |body| chunk.extend_from_slice(body));
                    pushed.map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why.to_string()))?;
                    if count < self.buffer.len() || chunk.len() > CHUNK_BYTES_MAX {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let whole = chunk.len() - chunk.len() % PACKET_BYTES;
        self.torn.extend_from_slice(&chunk[whole..]);
        chunk.truncate(whole);
        Ok(())
    }
}
