//! Sockets of sources that are read now and then, and wake nobody in between.
//!
//! The kernel reports every arrival to whoever polls, wanted or not: with hundreds of streams that nobody watches,
//! those wake-ups cost more than reading. So while a source rests, its socket is told to report only larger amounts
//! than come during a rest, and is read without being asked whether there is anything.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use restreamer_core::intake::REST_BYTES_MAX;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::net::{ListenOptions, Net};

/// A network for the connections of one source.
#[derive(Clone)]
pub(crate) struct RestingNet<N> {
    net: N,
    is_resting: Arc<AtomicBool>,
}

/// One of its sockets.
pub(crate) struct RestingStream<N: Net> {
    net: N,
    stream: N::Stream,
    is_resting: Arc<AtomicBool>,
    /// Whether the kernel keeps quiet about arrivals.
    is_quiet: bool,
}

impl<N: Net> RestingNet<N> {
    /// `net`, whose connections rest between two reads while `is_resting`.
    pub(crate) fn new(net: N, is_resting: Arc<AtomicBool>) -> Self {
        RestingNet { net, is_resting }
    }
}

impl<N: Net> Net for RestingNet<N> {
    const READS_ALL: bool = N::READS_ALL;

    type Stream = RestingStream<N>;
    type Listener = N::Listener;

    async fn connect_tcp(&self, host: &str, port: u16) -> io::Result<Self::Stream> {
        let stream = self.net.connect_tcp(host, port).await?;
        let (net, is_resting) = (self.net.clone(), Arc::clone(&self.is_resting));
        Ok(RestingStream { net, stream, is_resting, is_quiet: false })
    }

    async fn listen(&self, addr: SocketAddr, options: ListenOptions) -> io::Result<Self::Listener> {
        self.net.listen(addr, options).await
    }

    async fn accept(&self, listener: &Self::Listener) -> io::Result<(Self::Stream, SocketAddr)> {
        let (stream, peer) = self.net.accept(listener).await?;
        let (net, is_resting) = (self.net.clone(), Arc::clone(&self.is_resting));
        Ok((RestingStream { net, stream, is_resting, is_quiet: false }, peer))
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
}

impl<N: Net> AsyncRead for RestingStream<N> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let is_resting = this.is_resting.load(Ordering::Relaxed);
        this.set_quiet(is_resting);
        if is_resting {
            match this.net.receive(&this.stream, buffer.initialize_unfilled()) {
                Ok(bytes) => {
                    buffer.advance(bytes);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            // Nothing has come during a whole rest: the next byte is to wake us.
            this.set_quiet(false);
        }
        Pin::new(&mut this.stream).poll_read(cx, buffer)
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

    async fn connected(is_resting: &Arc<AtomicBool>) -> (RestingStream<TokioNet>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let net = RestingNet::new(TokioNet, Arc::clone(is_resting));
        let stream = net.connect_tcp("127.0.0.1", port).await.unwrap();
        (stream, listener.accept().unwrap().0)
    }

    async fn read(stream: &mut RestingStream<TokioNet>) -> Vec<u8> {
        let mut buffer = [0; 100];
        let read = tokio::time::timeout(DEADLINE, stream.read(&mut buffer)).await;
        let bytes = read.expect("nothing wakes the reader").unwrap();
        buffer[..bytes].to_vec()
    }

    #[tokio::test]
    async fn a_resting_socket_wakes_its_reader_when_it_had_nothing_and_when_it_ends() {
        let is_resting = Arc::new(AtomicBool::new(true));
        let (mut stream, mut source) = connected(&is_resting).await;
        for word in [&b"one"[..], b"two"] {
            let (got, sent) = tokio::join!(read(&mut stream), async {
                tokio::task::yield_now().await;
                source.write_all(word)
            });
            sent.unwrap();
            assert_eq!(got, word);
        }
        let (got, ()) = tokio::join!(read(&mut stream), async {
            tokio::task::yield_now().await;
            drop(source);
        });
        assert_eq!(got, b"");
    }

    #[tokio::test]
    async fn a_socket_that_rested_reports_every_byte_again() {
        let is_resting = Arc::new(AtomicBool::new(true));
        let (mut stream, mut source) = connected(&is_resting).await;
        stream.set_quiet(true);
        is_resting.store(false, Ordering::Relaxed);
        source.write_all(b"one").unwrap();
        assert_eq!(read(&mut stream).await, b"one");
        assert!(!stream.is_quiet);
    }
}
