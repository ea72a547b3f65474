//! A paced source: the synthetic stream over HTTP, TCP or UDP.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use restreamer_core::time::{Duration, Instant};
use restreamer_core::ts::PACKET_BYTES;

use crate::broadcast::{Broadcast, Greeting};
use crate::epoll::Epoll;
use crate::machine;
use crate::pace::{LoopedStream, PacedStream};

/// Seven packets: what fits into a datagram on Ethernet.
pub const DATAGRAM_BYTES: usize = 7 * PACKET_BYTES;
/// Packets of a chunk when nothing paces the stream.
const UNPACED_PACKETS: usize = 1024;
/// How often a source without a client looks whether it should stop.
const IDLE_WAIT: Duration = Duration::from_millis(50);

/// Where the stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlet {
    /// Listens; whoever sends a request gets the stream.
    Http(SocketAddr),
    /// Listens; whoever connects gets the stream.
    Tcp(SocketAddr),
    /// Connects and sends.
    Connect(SocketAddr),
    /// Sends datagrams of [`DATAGRAM_BYTES`], also to a multicast group (which stays on this machine).
    Udp(SocketAddr),
}

/// How fast the stream comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// At its bit rate, in steps of this length; datagrams go out one by one when they are full and due.
    Steps(Duration),
    /// As fast as the clients take it.
    Unpaced,
}

/// What to send and how.
#[derive(Clone, Copy, Debug)]
pub struct SourceOptions {
    /// Where the stream goes.
    pub outlet: Outlet,
    /// Bits per second, at least 400,000.
    pub bitrate: u64,
    /// How fast.
    pub pace: Pace,
}

/// What a running source tells another thread, and the other way round.
#[derive(Debug, Default)]
pub struct SourceState {
    stop: AtomicBool,
    bytes: AtomicU64,
    clients: AtomicU64,
    late_max_ns: AtomicU64,
}

impl SourceState {
    /// Makes the source end within a step.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Bytes sent so far, all clients together.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Connections that are open.
    pub fn clients(&self) -> u64 {
        self.clients.load(Ordering::Relaxed)
    }

    /// How late a packet was made at worst.
    pub fn late_max(&self) -> Duration {
        Duration::from_nanos(self.late_max_ns.load(Ordering::Relaxed))
    }

    fn note(&self, clients: usize, bytes: u64, late_max: Duration) {
        self.clients.store(clients as u64, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.late_max_ns.store(late_max.as_nanos() as u64, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A source whose socket is open.
pub struct Source {
    options: SourceOptions,
    socket: OpenOutlet,
    address: SocketAddr,
}

enum OpenOutlet {
    Broadcast(Broadcast),
    Udp(UdpSocket),
}

impl Source {
    /// Opens the socket.
    pub fn open(options: SourceOptions) -> io::Result<Source> {
        let socket = match options.outlet {
            Outlet::Http(address) => OpenOutlet::Broadcast(Broadcast::listen(address, Greeting::Http)?),
            Outlet::Tcp(address) => OpenOutlet::Broadcast(Broadcast::listen(address, Greeting::Raw)?),
            Outlet::Connect(address) => OpenOutlet::Broadcast(Broadcast::connect(address)?),
            Outlet::Udp(address) => OpenOutlet::Udp(udp_to(address)?),
        };
        let address = match (&socket, options.outlet) {
            (OpenOutlet::Broadcast(broadcast), Outlet::Http(_) | Outlet::Tcp(_)) => broadcast.address()?,
            (
                _,
                Outlet::Http(address)
                | Outlet::Tcp(address)
                | Outlet::Connect(address)
                | Outlet::Udp(address),
            ) => address,
        };
        Ok(Source { options, socket, address })
    }

    /// Where it listens, or where it sends to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends until `state` says stop.
    pub fn run(self, state: &SourceState) -> io::Result<()> {
        let paced = || PacedStream::new(self.options.bitrate, machine::now());
        match (self.socket, self.options.pace) {
            (OpenOutlet::Broadcast(broadcast), Pace::Steps(step)) => steps(broadcast, paced(), step, state),
            (OpenOutlet::Broadcast(broadcast), Pace::Unpaced) => {
                flood(broadcast, LoopedStream::new(self.options.bitrate), state)
            }
            (OpenOutlet::Udp(socket), Pace::Steps(_)) => datagrams(&socket, paced(), state),
            (OpenOutlet::Udp(_), Pace::Unpaced) => {
                Err(io::Error::new(io::ErrorKind::InvalidInput, "UDP has no back-pressure: it needs a pace"))
            }
        }
    }
}

fn steps(
    mut broadcast: Broadcast,
    mut stream: PacedStream,
    step: Duration,
    state: &SourceState,
) -> io::Result<()> {
    let mut next = machine::now();
    while !state.is_stopped() {
        next += step;
        broadcast.serve(next)?;
        let now = machine::now();
        broadcast.publish(|chunk| stream.take_due(now, true, chunk));
        next = next.max(now - step);
        state.note(broadcast.clients(), broadcast.stats().bytes, stream.late_max());
    }
    Ok(())
}

fn flood(mut broadcast: Broadcast, mut stream: LoopedStream, state: &SourceState) -> io::Result<()> {
    while !state.is_stopped() {
        if broadcast.all_caught_up() {
            let now = machine::now();
            broadcast.publish(|chunk| stream.take(now, UNPACED_PACKETS, chunk));
            broadcast.serve_once(Some(Instant::ORIGIN))?;
        } else {
            broadcast.serve_once(Some(machine::now() + IDLE_WAIT))?;
        }
        state.note(broadcast.clients(), broadcast.stats().bytes, Duration::ZERO);
    }
    Ok(())
}

fn datagrams(socket: &UdpSocket, mut stream: PacedStream, state: &SourceState) -> io::Result<()> {
    let mut sleeper = Epoll::new()?;
    let mut waiting = Vec::new();
    let mut bytes = 0;
    while !state.is_stopped() {
        let now = machine::now();
        stream.take_due(now, true, &mut waiting);
        let whole = waiting.len() - waiting.len() % DATAGRAM_BYTES;
        for datagram in waiting[..whole].chunks(DATAGRAM_BYTES) {
            // Nobody listening shows as an error now and then; a datagram is sent once either way.
            bytes += socket.send(datagram).unwrap_or(0) as u64;
        }
        waiting.drain(..whole);
        state.note(0, bytes, stream.late_max());
        let due = stream.next_at().max(now);
        sleeper.wait(Some(due.min(now + IDLE_WAIT)))?;
    }
    Ok(())
}

fn udp_to(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    if address.ip().is_multicast() && address.is_ipv4() {
        let options = socket2::SockRef::from(&socket);
        options.set_multicast_if_v4(&Ipv4Addr::LOCALHOST)?;
        options.set_multicast_ttl_v4(0)?;
        options.set_multicast_loop_v4(true)?;
    }
    socket.connect(address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checker::Checker;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    const PACED: Pace = Pace::Steps(Duration::from_millis(1));

    fn loopback(port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// Runs `source` on another thread while `client` works; a client that panics stops it too.
    fn with_running<T>(source: Source, client: impl FnOnce() -> T) -> T {
        struct StopOnDrop<'a>(&'a SourceState);
        impl Drop for StopOnDrop<'_> {
            fn drop(&mut self) {
                self.0.stop();
            }
        }
        let state = SourceState::default();
        std::thread::scope(|scope| {
            scope.spawn(|| source.run(&state).unwrap());
            let _stop = StopOnDrop(&state);
            client()
        })
    }

    fn open(outlet: Outlet, pace: Pace) -> Source {
        Source::open(SourceOptions { outlet, bitrate: 20_000_000, pace }).unwrap()
    }

    /// What a client of such a source reads, `bytes` of it.
    fn read_from(outlet: Outlet, pace: Pace, request: &[u8], bytes: usize) -> Vec<u8> {
        let source = open(outlet, pace);
        let address = source.address();
        with_running(source, || {
            let mut client = TcpStream::connect(address).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            client.write_all(request).unwrap();
            let mut got = vec![0; bytes];
            client.read_exact(&mut got).unwrap();
            got
        })
    }

    fn assert_clean(bytes: &[u8]) {
        let mut checker = Checker::default();
        checker.push(machine::now(), bytes, None);
        let counts = checker.counts();
        assert!(counts.packets > 100);
        assert_eq!((counts.lost, counts.repeated, counts.stray_bytes, counts.discontinuities), (0, 0, 0, 0));
    }

    #[test]
    fn over_tcp_the_stream_comes_without_asking_and_whole() {
        assert_clean(&read_from(Outlet::Tcp(loopback(0)), PACED, b"", 100_000));
        assert_clean(&read_from(Outlet::Tcp(loopback(0)), Pace::Unpaced, b"", 10_000_000));
    }

    #[test]
    fn over_http_it_comes_behind_a_head() {
        let got = read_from(Outlet::Http(loopback(0)), PACED, b"GET / HTTP/1.0\r\n\r\n", 100_000);
        let end = got.windows(4).position(|end| end == b"\r\n\r\n").unwrap();
        assert!(got.starts_with(b"HTTP/1.1 200 OK\r\n"));
        assert_clean(&got[end + 4..]);
    }

    #[test]
    fn over_udp_it_comes_in_datagrams_of_seven_packets() {
        let receiver = UdpSocket::bind(loopback(0)).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let source = open(Outlet::Udp(receiver.local_addr().unwrap()), PACED);
        let got = with_running(source, || {
            let (mut got, mut buffer) = (Vec::new(), [0; 2048]);
            for _ in 0..20 {
                let length = receiver.recv(&mut buffer).unwrap();
                assert_eq!(length, DATAGRAM_BYTES);
                got.extend_from_slice(&buffer[..length]);
            }
            got
        });
        assert_clean(&got);
    }

    #[test]
    fn it_connects_where_it_is_told_to() {
        let listener = TcpListener::bind(loopback(0)).unwrap();
        let source = open(Outlet::Connect(listener.local_addr().unwrap()), PACED);
        let got = with_running(source, || {
            let mut got = vec![0; 50_000];
            listener.accept().unwrap().0.read_exact(&mut got).unwrap();
            got
        });
        assert_clean(&got);
    }
}
