//! Sockets of sources that are read now and then, and wake nobody in between.
//!
//! The kernel reports every arrival to whoever polls, wanted or not: with hundreds of streams that nobody watches,
//! those wake-ups cost more than reading. So while a source rests, its socket is told to report only larger amounts
//! than come during a rest, and is read without being asked whether there is anything.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use restreamer_core::intake::REST_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop::consume_budget;

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

    /// Whether the socket has given all that had come. Then a reader that rests is not woken: it has to wait for its
    /// next turn.
    pub(crate) fn is_drained(&self) -> bool {
        self.has_found(Found::Everything)
    }

    fn is_resting(&self) -> bool {
        self.is_resting.load(Ordering::Relaxed)
    }

    fn has_found(&self, found: Found) -> bool {
        self.found.load(Ordering::Relaxed) == found as u8
    }

    fn set_found(&self, found: Found) {
        self.found.store(found as u8, Ordering::Relaxed);
    }
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
            ready!(pin!(consume_budget()).poll(cx));
            match this.net.receive(&this.stream, buffer.initialize_unfilled()) {
                Ok(bytes) => {
                    buffer.advance(bytes);
                    this.note_read(bytes, room, true);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            // Nothing has come during a whole rest: the next byte is to wake us.
            this.set_quiet(false);
        }
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        match polled {
            Poll::Ready(_) => this.note_read(room - buffer.remaining(), room, N::READS_ALL),
            Poll::Pending if this.rest.has_found(Found::Something) => this.rest.set_found(Found::Everything),
            Poll::Pending => {}
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
