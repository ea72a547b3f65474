//! turmoil's sockets as a network of `restreamer-io`, with what a kernel also does: partial writes.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use restreamer_core::Rng;
use restreamer_io::net::{ListenOptions, Net};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

/// The most bytes that one write takes; each becomes one segment on the simulated wire.
const WRITE_BYTES_MAX: u64 = 64 << 10;

/// The network of one host.
#[derive(Clone, Debug)]
pub(super) struct SimNet {
    /// Sockets take odd amounts and are sometimes full for a moment.
    is_rough: bool,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    seed: u64,
    sockets: AtomicU64,
    accepted_open: AtomicI64,
    /// The peers of accepted connections that were closed on this side.
    closed: Mutex<BTreeSet<SocketAddr>>,
}

/// A connected socket.
pub(super) struct SimStream {
    inner: TcpStream,
    rng: Option<Rng>,
    accepted: Option<(SocketAddr, Arc<Shared>)>,
}

impl SimNet {
    pub(super) fn new(seed: u64, is_rough: bool) -> Self {
        let shared = Shared {
            seed,
            sockets: AtomicU64::new(0),
            accepted_open: AtomicI64::new(0),
            closed: Mutex::default(),
        };
        SimNet { is_rough, shared: Arc::new(shared) }
    }

    /// Accepted connections that have not been closed on this side.
    pub(super) fn accepted_open(&self) -> i64 {
        self.shared.accepted_open.load(Ordering::Relaxed)
    }

    /// Whether the connection of this peer was accepted and then closed on this side.
    ///
    /// A peer whose receive buffer was full does not always hear of it: the simulated network keeps the FIN back
    /// until another segment comes, which there is none.
    pub(super) fn has_closed(&self, peer: SocketAddr) -> bool {
        self.shared.closed.lock().unwrap_or_else(PoisonError::into_inner).contains(&peer)
    }

    fn wrap(&self, inner: TcpStream, accepted_from: Option<SocketAddr>) -> SimStream {
        let number = self.shared.sockets.fetch_add(1, Ordering::Relaxed);
        let rng = self.is_rough.then(|| Rng::from_seed(self.shared.seed ^ number.rotate_left(32)));
        if accepted_from.is_some() {
            self.shared.accepted_open.fetch_add(1, Ordering::Relaxed);
        }
        SimStream { inner, rng, accepted: accepted_from.map(|peer| (peer, Arc::clone(&self.shared))) }
    }
}

impl Net for SimNet {
    type Stream = SimStream;
    type Listener = TcpListener;

    async fn connect_tcp(&self, host: &str, port: u16) -> io::Result<SimStream> {
        Ok(self.wrap(TcpStream::connect((host, port)).await?, None))
    }

    async fn listen(&self, addr: SocketAddr, _: ListenOptions) -> io::Result<TcpListener> {
        TcpListener::bind(addr).await
    }

    async fn accept(&self, listener: &TcpListener) -> io::Result<(SimStream, SocketAddr)> {
        let (inner, peer) = listener.accept().await?;
        Ok((self.wrap(inner, Some(peer)), peer))
    }

    fn local_addr(&self, listener: &TcpListener) -> io::Result<SocketAddr> {
        listener.local_addr()
    }
}

impl SimStream {
    /// How many bytes the socket takes now; `None`: it is full for a moment and wakes at once.
    fn room(&mut self) -> Option<usize> {
        let Some(rng) = &mut self.rng else { return Some(WRITE_BYTES_MAX as usize) };
        let most = match rng.below(8) {
            0 => return None,
            1 => 200,
            2 => 2_000,
            _ => WRITE_BYTES_MAX,
        };
        Some(rng.between(1, most) as usize)
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        if let Some((peer, shared)) = &self.accepted {
            shared.accepted_open.fetch_sub(1, Ordering::Relaxed);
            shared.closed.lock().unwrap_or_else(PoisonError::into_inner).insert(*peer);
        }
    }
}

impl AsyncRead for SimStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Some(room) = self.room() else {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        };
        let mut taken = Vec::new();
        for slice in slices {
            let left = room - taken.len();
            taken.extend_from_slice(&slice[..slice.len().min(left)]);
        }
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &taken));
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
