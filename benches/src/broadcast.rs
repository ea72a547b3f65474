//! One thread that writes the same chunks to every socket that asks for them.
//!
//! This is the common part of the paced source (steps of a few milliseconds, one client: the server under test)
//! and of the reference loop (one chunk per flush interval, as many clients as viewers). It is as bare as such a
//! loop can be without losing bytes: one non-blocking `send` per client and chunk, no parsing of HTTP beyond the
//! blank line, a client whose socket is full waits for the edge of its `EPOLLOUT` and goes on where it stood.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use restreamer_core::time::Instant;
use socket2::{Domain, Protocol, Socket, Type};

use crate::epoll::{Epoll, Interest};
use crate::machine;

/// Chunks that a client may lag behind are kept up to this many bytes together.
pub const RING_BYTES_MAX: usize = 8 << 20;
/// A request that is longer than this is no request.
const REQUEST_BYTES_MAX: usize = 8 << 10;
const BACKLOG: i32 = 16_384;
const LISTENER: u64 = u64::MAX;
const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nCache-Control: no-cache\r\nConnection: close\r\n\r\n";

/// What a new connection has to say before it gets the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Nothing: bare TCP.
    Raw,
    /// A request, ended by a blank line, whatever it asks for; it is answered with a fixed head.
    Http,
}

/// What a [`Broadcast`] has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct BroadcastStats {
    /// Connections accepted or made.
    pub joined: u64,
    /// Connections that are gone.
    pub left: u64,
    /// Bytes of chunks that sockets took.
    pub bytes: u64,
    /// Chunks that a client missed because it was further behind than [`RING_BYTES_MAX`].
    pub chunks_missed: u64,
}

/// A listener, its clients and the chunks that they are being sent.
pub struct Broadcast {
    epoll: Epoll,
    listener: Option<Socket>,
    greeting: Greeting,
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    chunks: Chunks,
    stats: BroadcastStats,
}

impl Broadcast {
    /// Listens on `address` (port 0: the system picks one, see [`Broadcast::address`]).
    pub fn listen(address: SocketAddr, greeting: Greeting) -> io::Result<Broadcast> {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        listener.set_reuse_address(true)?;
        listener.bind(&address.into())?;
        listener.listen(BACKLOG)?;
        listener.set_nonblocking(true)?;
        let mut broadcast = Broadcast::empty(greeting)?;
        broadcast.epoll.add(&listener, LISTENER, Interest::Readable)?;
        broadcast.listener = Some(listener);
        Ok(broadcast)
    }

    /// Connects to `address`, which gets the stream without asking.
    pub fn connect(address: SocketAddr) -> io::Result<Broadcast> {
        let mut broadcast = Broadcast::empty(Greeting::Raw)?;
        broadcast.enter(TcpStream::connect(address)?)?;
        Ok(broadcast)
    }

    fn empty(greeting: Greeting) -> io::Result<Broadcast> {
        Ok(Broadcast {
            epoll: Epoll::new()?,
            listener: None,
            greeting,
            clients: Vec::new(),
            free: Vec::new(),
            chunks: Chunks::default(),
            stats: BroadcastStats::default(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        let listener = self.listener.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        listener.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable.into())
    }

    /// Sends a chunk to every client whose socket has room. `fill` writes it into a buffer that is empty but may
    /// have capacity; a chunk that stays empty is not sent.
    pub fn publish(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        let mut chunk = self.chunks.spare.pop().unwrap_or_default();
        fill(&mut chunk);
        if chunk.is_empty() {
            self.chunks.spare.push(chunk);
            return;
        }
        self.chunks.push(chunk);
        for slot in 0..self.clients.len() {
            if matches!(&self.clients[slot], Some(Client { stage: Stage::Stream { blocked: false, .. }, .. }))
            {
                self.send(slot);
            }
        }
    }

    /// Handles joins, requests, sockets that have room again and hang-ups until `until`.
    pub fn serve(&mut self, until: Instant) -> io::Result<()> {
        loop {
            self.serve_once(Some(until))?;
            if machine::now() >= until {
                return Ok(());
            }
        }
    }

    /// The same until anything has happened, or until `until`.
    pub fn serve_once(&mut self, until: Option<Instant>) -> io::Result<()> {
        let count = self.epoll.wait(until)?;
        for index in 0..count {
            let ready = self.epoll.ready(index);
            if ready.token == LISTENER {
                self.accept()?;
                continue;
            }
            if ready.readable {
                self.receive(ready.token as usize);
            }
            if ready.writable {
                self.send(ready.token as usize);
            }
        }
        Ok(())
    }

    /// Connections that are open.
    pub fn clients(&self) -> usize {
        self.clients.len() - self.free.len()
    }

    /// Whether somebody gets the stream and nobody's socket is full.
    pub fn all_caught_up(&self) -> bool {
        let blocked = |client: &Client| !matches!(client.stage, Stage::Stream { blocked: false, .. });
        self.clients() > 0 && !self.clients.iter().flatten().any(blocked)
    }

    /// What was done so far.
    pub fn stats(&self) -> BroadcastStats {
        self.stats
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let Some(listener) = &self.listener else { return Ok(()) };
            match listener.accept() {
                Ok((socket, _)) => self.enter(socket.into())?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn enter(&mut self, socket: TcpStream) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        socket.set_nodelay(true)?;
        let slot = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            self.clients.len() - 1
        });
        self.epoll.add(&socket, slot as u64, Interest::Edges)?;
        let stage = match self.greeting {
            Greeting::Raw => self.chunks.join(),
            Greeting::Http => Stage::Request(Vec::new()),
        };
        self.clients[slot] = Some(Client { socket, stage });
        self.stats.joined += 1;
        Ok(())
    }

    fn receive(&mut self, slot: usize) {
        let Some(client) = self.clients[slot].as_mut() else { return };
        match client.receive() {
            Heard::Nothing => {}
            Heard::Request => client.stage = self.chunks.join(),
            Heard::End => self.leave(slot),
        }
    }

    fn send(&mut self, slot: usize) {
        let Some(client) = self.clients[slot].as_mut() else { return };
        if client.send(&self.chunks, &mut self.stats).is_err() {
            self.leave(slot);
        }
    }

    fn leave(&mut self, slot: usize) {
        self.clients[slot] = None;
        self.free.push(slot);
        self.stats.left += 1;
    }
}

/// The last chunks, numbered from 0.
#[derive(Default)]
struct Chunks {
    ring: VecDeque<Arc<Vec<u8>>>,
    bytes: usize,
    first: u64,
    spare: Vec<Vec<u8>>,
}

impl Chunks {
    fn push(&mut self, chunk: Vec<u8>) {
        self.bytes += chunk.len();
        self.ring.push_back(Arc::new(chunk));
        while self.bytes > RING_BYTES_MAX && self.ring.len() > 1 {
            let Some(old) = self.ring.pop_front() else { break };
            self.bytes -= old.len();
            self.first += 1;
            if let Ok(mut buffer) = Arc::try_unwrap(old) {
                buffer.clear();
                self.spare.push(buffer);
            }
        }
    }

    fn next(&self) -> u64 {
        self.first + self.ring.len() as u64
    }

    fn get(&self, number: u64) -> Option<&Arc<Vec<u8>>> {
        self.ring.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    fn join(&self) -> Stage {
        Stage::Stream { next: self.next(), torn: None, blocked: false }
    }
}

struct Client {
    socket: TcpStream,
    stage: Stage,
}

enum Stage {
    /// What came of the request so far.
    Request(Vec<u8>),
    Stream {
        /// The chunk to send next, or the one that is being sent.
        next: u64,
        /// The chunk that was sent in part, and how much of it.
        torn: Option<(Arc<Vec<u8>>, usize)>,
        /// The socket is full; an event will tell when it no longer is.
        blocked: bool,
    },
}

enum Heard {
    Nothing,
    Request,
    End,
}

impl Client {
    fn receive(&mut self) -> Heard {
        let mut buffer = [0; 2048];
        loop {
            let count = match self.socket.read(&mut buffer) {
                Ok(0) => return Heard::End,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Heard::Nothing,
                Err(_) => return Heard::End,
            };
            let Stage::Request(request) = &mut self.stage else { continue };
            request.extend_from_slice(&buffer[..count]);
            if request.windows(4).any(|end| end == b"\r\n\r\n") {
                // A fresh socket has room for these few bytes; one that does not is broken.
                return match self.socket.write(HEAD) {
                    Ok(HEAD_BYTES) => Heard::Request,
                    _ => Heard::End,
                };
            }
            if request.len() > REQUEST_BYTES_MAX {
                return Heard::End;
            }
        }
    }

    /// Sends until the newest chunk is out or the socket is full.
    fn send(&mut self, chunks: &Chunks, stats: &mut BroadcastStats) -> io::Result<()> {
        let Client { socket, stage: Stage::Stream { next, torn, blocked } } = self else { return Ok(()) };
        *blocked = false;
        loop {
            let (chunk, sent) = match torn {
                Some((chunk, sent)) => (&*chunk, *sent),
                None => {
                    if *next < chunks.first {
                        stats.chunks_missed += chunks.next() - *next;
                        *next = chunks.next();
                    }
                    match chunks.get(*next) {
                        Some(chunk) => (chunk, 0),
                        None => return Ok(()),
                    }
                }
            };
            let count = match socket.write(&chunk[sent..]) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            stats.bytes += count as u64;
            if sent + count < chunk.len() {
                *blocked = true;
                if sent + count > 0 {
                    *torn = Some((Arc::clone(chunk), sent + count));
                }
                return Ok(());
            }
            *torn = None;
            *next += 1;
        }
    }
}

const HEAD_BYTES: usize = HEAD.len();

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Shutdown;

    fn loopback(greeting: Greeting) -> Broadcast {
        Broadcast::listen(SocketAddr::from(([127, 0, 0, 1], 0)), greeting).unwrap()
    }

    fn wait_for(broadcast: &mut Broadcast, done: impl Fn(&Broadcast) -> bool) {
        while !done(broadcast) {
            broadcast.serve_once(None).unwrap();
        }
    }

    #[test]
    fn a_request_is_answered_with_a_head_and_the_next_chunks() {
        let mut broadcast = loopback(Greeting::Http);
        let mut client = TcpStream::connect(broadcast.address().unwrap()).unwrap();
        broadcast.publish(|chunk| chunk.extend_from_slice(b"too early"));
        client.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        client.write_all(b"Host: x\r\n\r\n").unwrap();
        wait_for(&mut broadcast, Broadcast::all_caught_up);
        broadcast.publish(|chunk| chunk.extend_from_slice(b"one "));
        broadcast.publish(|_| {});
        broadcast.publish(|chunk| chunk.extend_from_slice(b"two"));
        drop(broadcast);
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert_eq!(got, [HEAD, b"one two"].concat());
    }

    #[test]
    fn a_client_whose_socket_was_full_gets_every_byte_later() {
        let mut broadcast = loopback(Greeting::Raw);
        let mut client = TcpStream::connect(broadcast.address().unwrap()).unwrap();
        wait_for(&mut broadcast, |broadcast| broadcast.clients() == 1);
        let mut expected = Vec::new();
        let mut number = 0u8;
        while broadcast.all_caught_up() {
            broadcast.publish(|chunk| chunk.resize(1 << 20, number));
            expected.resize(expected.len() + (1 << 20), number);
            number += 1;
        }
        let reader = std::thread::spawn(move || {
            let mut got = vec![0; expected.len()];
            client.read_exact(&mut got).unwrap();
            assert!(got == expected, "bytes differ");
        });
        wait_for(&mut broadcast, Broadcast::all_caught_up);
        reader.join().unwrap();
        assert_eq!(broadcast.stats().chunks_missed, 0);
    }

    #[test]
    fn a_client_that_left_frees_its_place() {
        let mut broadcast = loopback(Greeting::Raw);
        let client = TcpStream::connect(broadcast.address().unwrap()).unwrap();
        wait_for(&mut broadcast, |broadcast| broadcast.clients() == 1);
        client.shutdown(Shutdown::Both).unwrap();
        drop(client);
        wait_for(&mut broadcast, |broadcast| broadcast.clients() == 0);
        assert_eq!((broadcast.stats().joined, broadcast.stats().left), (1, 1));
    }
}
