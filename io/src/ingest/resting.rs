//! Sockets of sources that are read now and then, and wake nobody in between.
//!
//! The kernel reports every arrival to whoever polls, wanted or not: with hundreds of streams that nobody watches,
//! those wake-ups cost more than reading. So while a source rests, its socket is told to report only larger amounts
//! than come during a rest, and is read without being asked whether there is anything.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use restreamer_core::intake::REST_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::{has_budget_remaining, poll_proceed};

use super::Sink;
use crate::net::{ListenOptions, Net};

/// What a source's socket and its reader tell each other.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    is_resting: AtomicBool,
    found: AtomicU8,
}

/// What reads have found since the last rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Found {
    Nothing,
    Something,
    Everything,
}

impl Rest {
    /// The reader has waited for its turn; from now on it rests between all turns, or does not.
    pub(crate) fn begin_turn(&self, is_resting: bool) {
        self.is_resting.store(is_resting, Ordering::Relaxed);
        self.set_found(Found::Nothing);
    }

    /// Whether the reader has waited for its turn, and has not been woken since because it found nothing.
    pub(crate) fn is_resting(&self) -> bool {
        self.is_resting.load(Ordering::Relaxed)
    }

    /// Whether the socket has given all that had come. Then a reader that rests is woken by nothing: it has to wait
    /// for its next turn.
    pub(crate) fn is_drained(&self) -> bool {
        self.has_found(Found::Everything)
    }

    fn has_found(&self, found: Found) -> bool {
        self.found.load(Ordering::Relaxed) == found as u8
    }

    fn set_found(&self, found: Found) {
        self.found.store(found as u8, Ordering::Relaxed);
    }
}

/// What `poll` gives; `None` when it gives nothing because the socket below it is drained. Then the reader has to wait
/// with [`Sink::ready`] before it asks again.
pub(super) async fn unless_drained<T>(
    sink: &impl Sink,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    poll_fn(|cx| match poll(cx) {
        Poll::Pending if sink.is_drained() => Poll::Ready(None),
        polled => polled.map(Some),
    })
    .await
}

/// A network for the connections of one source.
#[derive(Clone)]
pub(crate) struct RestingNet<N> {
    net: N,
    rest: Arc<Rest>,
}

/// One of its sockets.
pub(crate) struct RestingStream<N: Net> {
    net: N,
    stream: N::Stream,
    rest: Arc<Rest>,
    /// Whether the kernel keeps quiet about arrivals.
    is_quiet: bool,
}

impl<N: Net> RestingNet<N> {
    /// `net`, whose connections rest between two reads as `rest` says.
    pub(crate) fn new(net: N, rest: Arc<Rest>) -> Self {
        RestingNet { net, rest }
    }

    fn wrap(&self, stream: N::Stream) -> RestingStream<N> {
        RestingStream { net: self.net.clone(), stream, rest: Arc::clone(&self.rest), is_quiet: false }
    }
}

impl<N: Net> Net for RestingNet<N> {
    const READS_ALL: bool = N::READS_ALL;

    type Stream = RestingStream<N>;
    type Listener = N::Listener;

    async fn connect_tcp(&self, host: &str, port: u16) -> io::Result<Self::Stream> {
        Ok(self.wrap(self.net.connect_tcp(host, port).await?))
    }

    async fn listen(&self, addr: SocketAddr, options: ListenOptions) -> io::Result<Self::Listener> {
        self.net.listen(addr, options).await
    }

    async fn accept(&self, listener: &Self::Listener) -> io::Result<(Self::Stream, SocketAddr)> {
        let (stream, peer) = self.net.accept(listener).await?;
        Ok((self.wrap(stream), peer))
    }

    fn local_addr(&self, listener: &Self::Listener) -> io::Result<SocketAddr> {
        self.net.local_addr(listener)
    }
}

// Neither part is ever pinned.
impl<N: Net> Unpin for RestingStream<N> {}

impl<N: Net> RestingStream<N> {
    /// What cannot be set stays as it is: that costs wake-ups and nothing else.
    fn set_quiet(&mut self, is_quiet: bool) {
        if self.is_quiet != is_quiet {
            let bytes = if is_quiet { REST_BYTES_MAX } else { 1 };
            let _ = self.net.set_wake_bytes(&self.stream, bytes);
            self.is_quiet = is_quiet;
        }
    }

    /// So many bytes were read, where so many fitted.
    fn note_read(&self, bytes: usize, room: usize, reads_all: bool) {
        let is_all = reads_all && 0 < bytes && bytes < room;
        self.rest.set_found(if is_all { Found::Everything } else { Found::Something });
    }
}

impl<N: Net> AsyncRead for RestingStream<N> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let is_resting = this.rest.is_resting();
        if is_resting && this.rest.is_drained() {
            return Poll::Pending;
        }
        this.set_quiet(is_resting);
        let room = buffer.remaining();
        if is_resting {
            // A socket that always has something would otherwise never let others have a turn.
            ready!(poll_proceed(cx)).made_progress();
            match this.net.receive(&this.stream, buffer) {
                Ok(()) => {
                    this.note_read(room - buffer.remaining(), room, true);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if this.rest.has_found(Found::Something) {
                        this.rest.set_found(Found::Everything);
                        return Poll::Pending;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Unsupported => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            // Perhaps nothing has come during a whole rest: then the next byte is to wake us.
            this.set_quiet(false);
        }
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        match polled {
            Poll::Ready(_) => this.note_read(room - buffer.remaining(), room, N::READS_ALL),
            Poll::Pending if !has_budget_remaining() => {}
            Poll::Pending if this.rest.has_found(Found::Something) => this.rest.set_found(Found::Everything),
            Poll::Pending => this.rest.is_resting.store(false, Ordering::Relaxed),
        }
        polled
    }
}

impl<N: Net> AsyncWrite for RestingStream<N> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::future::Future;
    use std::sync::Mutex;
    use std::time::Duration;

    use restreamer_core::{CloseCause, Patience};
    use tokio::io::{DuplexStream, duplex};
    use tokio::sync::Notify;

    use super::*;
    use crate::ingest::Note;

    /// A network with one connection, to a server within the test.
    #[derive(Clone)]
    pub(crate) struct OneServer(Arc<Mutex<Option<DuplexStream>>>);

    /// A reader that lets the server go on whenever nothing is left to read.
    pub(in crate::ingest) struct Rester {
        rest: Arc<Rest>,
        is_resting: bool,
        go_on: Arc<Notify>,
        /// Bytes that were handed on.
        pub(in crate::ingest) bytes: usize,
        /// How many they were each time when nothing was left.
        pub(in crate::ingest) at_rests: Vec<usize>,
    }

    impl OneServer {
        /// With the server's end of the connection.
        pub(crate) fn new() -> (OneServer, DuplexStream) {
            let (server, client) = duplex(1 << 20);
            (OneServer(Arc::new(Mutex::new(Some(client)))), server)
        }
    }

    impl Rester {
        /// With the network that it reads from, and the server's end of the connection.
        pub(in crate::ingest) fn new(is_resting: bool) -> (RestingNet<OneServer>, Rester, DuplexStream) {
            let (net, server) = OneServer::new();
            let rest = Arc::new(Rest::default());
            let net = RestingNet::new(net, Arc::clone(&rest));
            let rester = Rester { rest, is_resting, go_on: Arc::default(), bytes: 0, at_rests: Vec::new() };
            (net, rester, server)
        }

        /// Rings when nothing is left to read.
        pub(in crate::ingest) fn go_on(&self) -> Arc<Notify> {
            Arc::clone(&self.go_on)
        }
    }

    /// What comes of reading while the server does its part. Time is the test's: nothing that moves takes a second.
    pub(in crate::ingest) async fn beside(
        server: impl Future<Output = ()>,
        reading: impl Future<Output = CloseCause>,
    ) -> CloseCause {
        let both = async { tokio::join!(reading, server) };
        let (cause, ()) =
            tokio::time::timeout(Duration::from_secs(1), both).await.expect("nothing wakes the reader");
        cause
    }

    impl Sink for Rester {
        fn connected(&mut self) {}

        fn data(&mut self, chunk: &[u8]) {
            self.bytes += chunk.len();
        }

        fn note(&mut self, _: Note) {}

        async fn ready(&mut self, patience: Patience) {
            if patience == Patience::Waits {
                self.at_rests.push(self.bytes);
                self.go_on.notify_one();
                tokio::task::yield_now().await;
                self.rest.begin_turn(self.is_resting);
            }
        }

        fn is_drained(&self) -> bool {
            self.rest.is_drained()
        }
    }

    impl Net for OneServer {
        const READS_ALL: bool = true;

        type Stream = DuplexStream;
        type Listener = ();

        async fn connect_tcp(&self, _: &str, _: u16) -> io::Result<DuplexStream> {
            self.0.lock().unwrap().take().ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
        }

        async fn listen(&self, _: SocketAddr, _: ListenOptions) -> io::Result<()> {
            Err(io::ErrorKind::Unsupported.into())
        }

        async fn accept(&self, (): &()) -> io::Result<(DuplexStream, SocketAddr)> {
            Err(io::ErrorKind::Unsupported.into())
        }

        fn local_addr(&self, (): &()) -> io::Result<SocketAddr> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::TokioNet;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;
    use tokio::io::AsyncReadExt;

    const DEADLINE: Duration = Duration::from_secs(20);

    /// A socket whose reader rests between its turns, and the source at its other end.
    async fn resting() -> (Arc<Rest>, RestingStream<TokioNet>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let rest = Arc::new(Rest::default());
        rest.begin_turn(true);
        let stream =
            RestingNet::new(TokioNet, Arc::clone(&rest)).connect_tcp("127.0.0.1", port).await.unwrap();
        (rest, stream, listener.accept().unwrap().0)
    }

    async fn read(stream: &mut RestingStream<TokioNet>, room: usize) -> Vec<u8> {
        let mut buffer = vec![0; room];
        let read = tokio::time::timeout(DEADLINE, stream.read(&mut buffer)).await;
        let bytes = read.expect("nothing wakes the reader").unwrap();
        buffer.truncate(bytes);
        buffer
    }

    #[tokio::test]
    async fn a_resting_socket_wakes_its_reader_when_it_had_nothing_and_when_it_ends() {
        let (rest, mut stream, mut source) = resting().await;
        for word in [&b"one"[..], b"two"] {
            rest.begin_turn(true);
            let (got, sent) = tokio::join!(read(&mut stream, 100), async {
                tokio::task::yield_now().await;
                source.write_all(word)
            });
            sent.unwrap();
            assert_eq!(got, word);
            assert!(!rest.is_resting(), "it came when it came, and not with a turn");
        }
        rest.begin_turn(true);
        let (got, ()) = tokio::join!(read(&mut stream, 100), async {
            tokio::task::yield_now().await;
            drop(source);
        });
        assert_eq!(got, b"");
        assert!(!rest.is_drained(), "the end is not slept through");
    }

    #[tokio::test]
    async fn a_turn_takes_all_that_has_come_and_what_comes_later_waits_for_the_next() {
        let (rest, mut stream, mut source) = resting().await;
        source.write_all(b"abcd").unwrap();
        assert_eq!(read(&mut stream, 3).await, b"abc");
        assert!(!rest.is_drained(), "there may be more than fitted");
        assert_eq!(read(&mut stream, 3).await, b"d");
        assert!(rest.is_drained());

        source.write_all(b"ef").unwrap();
        let mut buffer = [0; 3];
        let early = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut buffer)).await;
        assert!(early.is_err(), "read before its turn");
        rest.begin_turn(true);
        assert_eq!(read(&mut stream, 3).await, b"ef");

        rest.begin_turn(true);
        source.write_all(b"ghi").unwrap();
        assert_eq!(read(&mut stream, 3).await, b"ghi");
        let more = tokio::time::timeout(Duration::from_millis(1), stream.read(&mut buffer)).await;
        assert!(more.is_err() && rest.is_drained() && rest.is_resting(), "exactly all is a turn as well");
        assert!(stream.is_quiet);
    }

    #[tokio::test]
    async fn a_socket_that_rested_reports_every_byte_again() {
        let (rest, mut stream, mut source) = resting().await;
        stream.set_quiet(true);
        rest.begin_turn(false);
        source.write_all(b"one").unwrap();
        assert_eq!(read(&mut stream, 100).await, b"one");
        assert!(!stream.is_quiet);
    }
}
