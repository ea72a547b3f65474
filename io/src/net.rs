//! TCP as the rest of this crate sees it: a trait with the daemon's implementation.
//!
//! The simulator brings another one, so that the same servers and upstream connections run over simulated
//! sockets. Dispatch is static: the choice costs nothing and no feature flag can switch the daemon by accident.
//! What the simulator has no counterpart for (datagram sockets, files, domain sockets, child processes) uses
//! tokio directly.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Connections that the kernel may keep waiting for `accept`, where the system allows as many.
pub const LISTEN_BACKLOG: u32 = 4096;
/// Time that one address of a host has to itself before the next one is tried beside it (RFC 8305 §5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses of one host that are tried at most.
const ATTEMPTS_MAX: usize = 8;
/// Silence after which the kernel asks whether a TCP peer is still there, and between its questions.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Unanswered questions after which a TCP peer counts as gone.
const KEEPALIVE_PROBES: u32 = 3;

/// Bytes that the kernel takes from us for one client and has not sent yet. What is beyond stays with the drop
/// policy, and a client that stalls pins so much, not the megabytes that the send buffer may grow to.
const UNSENT_BYTES_MAX: u32 = 128 * 1024;

/// How to listen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ListenOptions {
    /// Several listeners share the address and the kernel spreads connections over them.
    pub reuse_port: bool,
    /// An IPv6 listener takes IPv6 connections only; without it, `[::]` takes IPv4 ones too.
    pub v6_only: bool,
}

/// A socket between two runtimes; called within the one that it goes to, it is a socket of that.
pub type Uprooted<S> = Box<dyn FnOnce() -> io::Result<S> + Send>;

/// Connected byte streams and where they come from.
pub trait Net: Clone + Send + Sync + 'static {
    /// A connected socket.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// A socket that accepts connections.
    type Listener: Send + Sync + 'static;

    /// Connects to `port` of `host`, a name or an address without brackets. There is no time limit here.
    fn connect_tcp(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Listens on `addr`, with a queue of [`LISTEN_BACKLOG`].
    fn listen(
        &self,
        addr: SocketAddr,
        options: ListenOptions,
    ) -> impl Future<Output = io::Result<Self::Listener>> + Send;

    /// The next connection and its peer.
    fn accept(
        &self,
        listener: &Self::Listener,
    ) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;

    /// Where `listener` listens, with the port that the system chose if 0 was asked for.
    fn local_addr(&self, listener: &Self::Listener) -> io::Result<SocketAddr>;

    /// Whether a read that leaves room in its buffer has taken all that was received.
    const READS_ALL: bool = false;

    /// Takes bytes that `stream` has received, without asking the runtime whether there are any: `WouldBlock` when
    /// there are none, `Unsupported` where nothing can be taken like that.
    fn receive(&self, _stream: &Self::Stream, _buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends what `stream` has room for, without asking the runtime whether there is any: `WouldBlock` when there is
    /// none, `Unsupported` where nothing can be sent like that.
    fn send(&self, _stream: &Self::Stream, _pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Takes `stream` off its runtime; gives it back where streams cannot leave theirs. What fails on the way is told at
    /// its end.
    fn uproot(&self, stream: Self::Stream) -> Result<Uprooted<Self::Stream>, Self::Stream> {
        Err(stream)
    }

    /// Has `stream` wake its reader only when so many bytes wait, or its end has come, where there is a kernel.
    fn set_wake_bytes(&self, _stream: &Self::Stream, _bytes: usize) -> io::Result<()> {
        Ok(())
    }

    /// Bounds what the kernel holds of `stream` on its way out, bytes, where there is a kernel.
    fn set_send_buffer(&self, _stream: &Self::Stream, _bytes: usize) -> io::Result<()> {
        Ok(())
    }
}

/// The system's network, through tokio.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokioNet;

impl Net for TokioNet {
    const READS_ALL: bool = true;

    type Stream = TcpStream;
    type Listener = TcpListener;

    async fn connect_tcp(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let found = tokio::net::lookup_host((host, port)).await?;
        let stream = connect_any(alternate_families(found)).await?;
        // A request is one small write, and a source that vanished without a word has to be noticed even when
        // no read timeout is configured.
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
        Ok(stream)
    }

    async fn listen(&self, addr: SocketAddr, options: ListenOptions) -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        // A restarted server must not wait for the connections of its predecessor to expire.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(options.reuse_port)?;
        if addr.is_ipv6() {
            socket.set_only_v6(options.v6_only)?;
        }
        // Accepted sockets inherit these. A client that vanished without a word is noticed even while there is
        // nothing to send, and the last bytes of a write do not wait for the acknowledgement of those before.
        socket.set_tcp_keepalive(&keepalive())?;
        socket.set_tcp_nodelay(true)?;
        socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
        socket.bind(&addr.into())?;
        socket.listen(LISTEN_BACKLOG as i32)?;
        TcpListener::from_std(socket.into())
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        listener.accept().await
    }

    fn local_addr(&self, listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }

    fn receive(&self, stream: &TcpStream, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        // SAFETY: nothing is written there but what the socket gave, so what was initialized stays it. hyper offers
        // 8 to 64 KiB that are not; zeroing them was 12 % of the samples of idle HTTP sources.
        let room = unsafe { buffer.unfilled_mut() };
        // Nonblocking, as all sockets of the runtime.
        let bytes = SockRef::from(stream).recv(room)?;
        // SAFETY: the system has just written so many.
        unsafe { buffer.assume_init(bytes) };
        buffer.advance(bytes);
        Ok(())
    }

    fn send(&self, stream: &TcpStream, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let (socket, flags) = (SockRef::from(stream), libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT);
        match pieces {
            // This takes a shorter way through the kernel.
            [piece] => socket.send_with_flags(piece, flags),
            pieces => socket.send_vectored_with_flags(pieces, flags),
        }
    }

    fn uproot(&self, stream: TcpStream) -> Result<Uprooted<TcpStream>, TcpStream> {
        let stream = stream.into_std();
        Ok(Box::new(|| TcpStream::from_std(stream?)))
    }

    fn set_wake_bytes(&self, stream: &TcpStream, bytes: usize) -> io::Result<()> {
        let bytes = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        // SAFETY: the option takes an int, which lives until the call has returned.
        let result = unsafe {
            libc::setsockopt(
                stream.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVLOWAT,
                (&raw const bytes).cast(),
                size_of_val(&bytes) as libc::socklen_t,
            )
        };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    fn set_send_buffer(&self, stream: &TcpStream, bytes: usize) -> io::Result<()> {
        SockRef::from(stream).set_send_buffer_size(bytes)
    }
}

/// How the kernel finds out that a peer is gone.
fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES)
}

/// Connects to the first of `addresses` that answers, starting a further attempt when the last one failed or
/// has been silent for [`ATTEMPT_DELAY`].
async fn connect_any(mut addresses: VecDeque<SocketAddr>) -> io::Result<TcpStream> {
    let mut attempts = JoinSet::new();
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        if let Some(address) = addresses.pop_front() {
            attempts.spawn(TcpStream::connect(address));
        }
        let delay = async {
            match addresses.is_empty() {
                true => std::future::pending().await,
                false => tokio::time::sleep(ATTEMPT_DELAY).await,
            }
        };
        tokio::select! {
            outcome = attempts.join_next() => match outcome {
                Some(Ok(Ok(stream))) => return Ok(stream),
                Some(Ok(Err(error))) => last_error = error,
                Some(Err(failed)) => last_error = io::Error::other(failed),
                None => return Err(last_error),
            },
            () = delay => {}
        }
    }
}

/// The first addresses in the resolver's order of preference, but families taking turns, so that a dead IPv6
/// route costs one attempt and not all of them (RFC 8305 §4).
fn alternate_families(found: impl Iterator<Item = SocketAddr>) -> VecDeque<SocketAddr> {
    let (mut turn, mut other): (VecDeque<_>, VecDeque<_>) = (VecDeque::new(), VecDeque::new());
    for address in found {
        let same = turn.front().is_none_or(|first: &SocketAddr| first.is_ipv6() == address.is_ipv6());
        if same { turn.push_back(address) } else { other.push_back(address) }
    }
    let mut ordered = VecDeque::new();
    while let Some(address) = turn.pop_front().or_else(|| other.pop_front()) {
        if ordered.len() == ATTEMPTS_MAX {
            break;
        }
        ordered.push_back(address);
        if !other.is_empty() {
            std::mem::swap(&mut turn, &mut other);
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::MaybeUninit;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn loopback() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 0))
    }

    #[tokio::test]
    async fn a_name_whose_first_address_is_closed_connects_to_the_second() {
        let listener = TokioNet.listen(loopback(), ListenOptions::default()).await.unwrap();
        let open = TokioNet.local_addr(&listener).unwrap();
        let closed = SocketAddr::from(([127, 0, 0, 2], open.port()));
        let accepted = async { TokioNet.accept(&listener).await.unwrap() };
        let (stream, (mut peer, _)) = tokio::join!(connect_any(VecDeque::from([closed, open])), accepted);
        stream.unwrap().write_all(b"G").await.unwrap();
        assert_eq!(peer.read_u8().await.unwrap(), b'G');
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_and_not_waited_for() {
        let listener = TokioNet.listen(loopback(), ListenOptions::default()).await.unwrap();
        let port = TokioNet.local_addr(&listener).unwrap().port();
        drop(listener);
        let error = TokioNet.connect_tcp("127.0.0.1", port).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }

    #[tokio::test]
    async fn an_accepted_socket_probes_its_peer_and_bounds_what_is_unsent() {
        let listener = TokioNet.listen(loopback(), ListenOptions::default()).await.unwrap();
        let port = TokioNet.local_addr(&listener).unwrap().port();
        let _client = TokioNet.connect_tcp("127.0.0.1", port).await.unwrap();
        let (accepted, _) = TokioNet.accept(&listener).await.unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE_IDLE);
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT_BYTES_MAX);
    }

    #[tokio::test]
    async fn what_was_received_is_appended_to_a_buffer_that_nobody_has_initialized() {
        let listener = TokioNet.listen(loopback(), ListenOptions::default()).await.unwrap();
        let port = TokioNet.local_addr(&listener).unwrap().port();
        let stream = TokioNet.connect_tcp("127.0.0.1", port).await.unwrap();
        let (mut peer, _) = TokioNet.accept(&listener).await.unwrap();
        let mut bytes = [MaybeUninit::uninit(); 8];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        let nothing = TokioNet.receive(&stream, &mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        buffer.put_slice(b"12");
        peer.write_all(b"345").await.unwrap();
        stream.readable().await.unwrap();
        TokioNet.receive(&stream, &mut buffer).unwrap();
        assert_eq!((buffer.filled(), buffer.initialized().len()), (&b"12345"[..], 5));
        drop(peer);
        stream.readable().await.unwrap();
        TokioNet.receive(&stream, &mut buffer).unwrap();
        assert_eq!(buffer.filled(), b"12345", "the end adds nothing");
    }

    #[tokio::test]
    async fn what_is_sent_unasked_arrives_until_there_is_no_room() {
        let listener = TokioNet.listen(loopback(), ListenOptions::default()).await.unwrap();
        let port = TokioNet.local_addr(&listener).unwrap().port();
        let stream = TokioNet.connect_tcp("127.0.0.1", port).await.unwrap();
        let (mut peer, _) = TokioNet.accept(&listener).await.unwrap();
        let mut sent = 0;
        let full = loop {
            match TokioNet.send(&stream, &[IoSlice::new(&[0; 1 << 10]), IoSlice::new(&[0; 64 << 10])]) {
                Ok(bytes) => sent += bytes,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        drop(stream);
        assert_eq!(tokio::io::copy(&mut peer, &mut tokio::io::sink()).await.unwrap(), sent as u64);
    }

    #[tokio::test]
    async fn an_uprooted_socket_lives_on_another_runtime() {
        let listener = TokioNet.listen(loopback(), ListenOptions::default()).await.unwrap();
        let port = TokioNet.local_addr(&listener).unwrap().port();
        let mut client = TokioNet.connect_tcp("127.0.0.1", port).await.unwrap();
        let (accepted, _) = TokioNet.accept(&listener).await.unwrap();
        let uprooted = TokioNet.uproot(accepted).ok().unwrap();
        let other = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut socket = uprooted().unwrap();
                let question = socket.read_u8().await.unwrap();
                socket.write_all(&[question + 1]).await.unwrap();
            });
        });
        client.write_all(&[7]).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), 8);
        other.join().unwrap();
    }

    #[tokio::test]
    async fn two_listeners_share_a_port_when_both_say_so() {
        let shared = ListenOptions { reuse_port: true, ..ListenOptions::default() };
        let first = TokioNet.listen(loopback(), shared).await.unwrap();
        let address = TokioNet.local_addr(&first).unwrap();
        assert!(TokioNet.listen(address, shared).await.is_ok());
        let error = TokioNet.listen(address, ListenOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn an_unspecified_v6_listener_takes_v4_unless_told_otherwise() {
        for v6_only in [false, true] {
            let options = ListenOptions { v6_only, ..ListenOptions::default() };
            let listener = TokioNet.listen("[::]:0".parse().unwrap(), options).await.unwrap();
            let port = TokioNet.local_addr(&listener).unwrap().port();
            assert_eq!(TokioNet.connect_tcp("127.0.0.1", port).await.is_ok(), !v6_only);
        }
    }

    #[test]
    fn families_take_turns_and_the_number_of_attempts_is_bounded() {
        let v6 = |n: u16| SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, n], 1));
        let v4 = |n: u8| SocketAddr::from(([127, 0, 0, n], 1));
        let found = [v6(1), v6(2), v6(3), v4(1), v4(2)];
        assert_eq!(alternate_families(found.into_iter()), [v6(1), v4(1), v6(2), v4(2), v6(3)]);
        assert_eq!(alternate_families((0..20).map(v4)).len(), ATTEMPTS_MAX);
    }
}
