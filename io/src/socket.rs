//! The connection of a client, whatever it came through, as one type.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A connected byte stream.
///
/// What is written through TLS may wait in its session: `poll_flush` sends it.
#[derive(Debug)]
pub enum Socket<T> {
    /// The transport of the network as it is.
    Plain(T),
    /// TLS over it.
    Tls(Box<TlsStream<T>>),
    /// A domain socket.
    Unix(UnixStream),
    /// TLS over a domain socket.
    TlsUnix(Box<TlsStream<UnixStream>>),
}

/// Does the same with whatever stream there is.
macro_rules! with_stream {
    ($socket:expr, $stream:ident => $what:expr) => {
        match $socket {
            Socket::Plain($stream) => $what,
            Socket::Tls($stream) => $what,
            Socket::Unix($stream) => $what,
            Socket::TlsUnix($stream) => $what,
        }
    };
}

impl<T> Socket<T> {
    /// The network's transport below; there is none below a domain socket.
    pub fn transport(&self) -> Option<&T> {
        match self {
            Socket::Plain(stream) => Some(stream),
            Socket::Tls(stream) => Some(stream.get_ref().0),
            Socket::Unix(_) | Socket::TlsUnix(_) => None,
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Socket<T> {
    /// Makes it a TLS session, as its server.
    pub(crate) async fn secure(self, acceptor: &TlsAcceptor) -> io::Result<Self> {
        match self {
            Socket::Plain(stream) => Ok(Socket::Tls(Box::new(acceptor.accept(stream).await?))),
            Socket::Unix(stream) => Ok(Socket::TlsUnix(Box::new(acceptor.accept(stream).await?))),
            secure @ (Socket::Tls(_) | Socket::TlsUnix(_)) => Ok(secure),
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        with_stream!(self.get_mut(), stream => Pin::new(stream).poll_read(cx, buffer))
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        with_stream!(self.get_mut(), stream => Pin::new(stream).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        with_stream!(self.get_mut(), stream => Pin::new(stream).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        with_stream!(self, stream => stream.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self.get_mut(), stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        with_stream!(self.get_mut(), stream => Pin::new(stream).poll_shutdown(cx))
    }
}
