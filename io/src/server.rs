//! Accepts connections, lets hyper speak HTTP on them, and takes the socket of a stream away from it.
//!
//! A stream is no response that hyper sends. The service notes its decision as a claim beside the connection
//! and answers with a future that never completes; whoever polls the connection sees the claim, takes the
//! socket back out of hyper and hands it to the fan-out with a head that is ready to send. Bytes that the
//! client sent after the request are dropped with hyper's buffers.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::answer::{Answer, Framing};
use crate::gate::{Peer, Seat};
use crate::net::Net;
use crate::route::StreamId;
use crate::service::{Claim, Decision, Service, Visitor};
use crate::socket::Socket;

/// A request head has to be complete this long after the connection was ready for it.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes that hyper buffers of one connection, and so the longest request head.
const BUFFER_BYTES_MAX: usize = 16 * 1024;
/// A client that takes nothing of an answer for this long is given up. (Viewers have their own stall time.)
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// Time that a client has to close its side after ours, so that our last bytes are not lost to a reset.
const LINGER_MAX: Duration = Duration::from_secs(1);
/// Bytes that are read and dropped meanwhile.
const LINGER_BYTES_MAX: u64 = 64 * 1024;
/// Time for answers that are under way when the server is told to end.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// Pause after an `accept` that failed for want of a resource of this machine.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// At most one log line about failing `accept`s in this time.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// Where connections come from.
pub enum Listener<N: Net> {
    /// A listener of the network.
    Tcp(N::Listener),
    /// A domain socket.
    Unix(UnixListener),
    /// Another listener, with TLS over its connections.
    Secure(Box<Listener<N>>, TlsAcceptor),
}

/// Takes over the socket of a viewer.
pub trait Handover<S>: Send + Sync + 'static {
    /// Serves `viewer` from here on. Called within the runtime that accepted the connection; must not block.
    fn take(&self, stream: StreamId, viewer: NewViewer<S>);
}

/// A client that was let in to a stream and has not been sent anything yet.
#[derive(Debug)]
pub struct NewViewer<S> {
    /// The connection, with nothing buffered on our side.
    pub io: S,
    /// The response head, to be sent first, as it is.
    pub head: Bytes,
    /// The first bytes of the body, subject to `framing`; often empty.
    pub preamble: Bytes,
    /// How the body is framed.
    pub framing: Framing,
    /// To be dropped when the viewer is gone.
    pub seat: Seat,
    /// For the access log.
    pub visitor: Box<Visitor>,
}

impl<S> NewViewer<S> {
    /// The connection apart from all else.
    pub(crate) fn split(self) -> (S, NewViewer<()>) {
        let NewViewer { io, head, preamble, framing, seat, visitor } = self;
        (io, NewViewer { io: (), head, preamble, framing, seat, visitor })
    }
}

impl NewViewer<()> {
    /// Together again.
    pub(crate) fn with<S>(self, io: S) -> NewViewer<S> {
        let NewViewer { io: (), head, preamble, framing, seat, visitor } = self;
        NewViewer { io, head, preamble, framing, seat, visitor }
    }
}

/// Serves the connections of one listener until `shutdown`, then ends idle ones and waits a moment for the
/// others. Viewers are not waited for: they are no longer the server's.
///
/// Runs on the current runtime; start it once in each, with a listener of its own.
pub async fn serve<N, H>(
    net: N,
    listener: Listener<N>,
    service: Arc<Service>,
    handover: Arc<H>,
    shutdown: CancellationToken,
) where
    N: Net,
    H: Handover<Socket<N::Stream>>,
{
    let mut connections = JoinSet::new();
    let mut troubles = Troubles::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept(&net) => accepted,
        };
        match accepted {
            Ok((io, peer)) => {
                troubles.are_over();
                let (service, handover) = (Arc::clone(&service), Arc::clone(&handover));
                let (acceptor, shutdown) = (listener.acceptor().cloned(), shutdown.clone());
                connections.spawn(async move {
                    if let Some(io) = secure(io, peer, acceptor, &shutdown).await {
                        converse(io, peer, service, handover, shutdown).await;
                    }
                });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                troubles.log(&error);
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = sleep(ACCEPT_PAUSE) => {}
                }
            }
        }
    }
    drop(listener);
    let _ = timeout(DRAIN_MAX, async { while connections.join_next().await.is_some() {} }).await;
}

impl<N: Net> Listener<N> {
    /// Listens on a domain socket at `path`, in the place of a dead one.
    pub fn bind_unix(path: &Path) -> io::Result<Self> {
        let bound = match UnixListener::bind(path) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_dead(path) => {
                std::fs::remove_file(path)?;
                UnixListener::bind(path)
            }
            bound => bound,
        };
        bound.map(Listener::Unix)
    }

    fn acceptor(&self) -> Option<&TlsAcceptor> {
        match self {
            Listener::Secure(_, acceptor) => Some(acceptor),
            Listener::Tcp(_) | Listener::Unix(_) => None,
        }
    }

    /// The next connection, without TLS so far, and whose it is.
    pub async fn accept(&self, net: &N) -> io::Result<(Socket<N::Stream>, Peer)> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, address) = net.accept(listener).await?;
                Ok((Socket::Plain(stream), Peer::Ip(address)))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Socket::Unix(stream), Peer::Local))
            }
            Listener::Secure(listener, _) => Box::pin(listener.accept(net)).await,
        }
    }
}

/// Whether `path` is a socket that nobody listens on any more.
fn is_dead(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    use std::os::unix::net::UnixStream;
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket())
        && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Whether the fault lies in the connection that was about to be accepted: the next one may be fine at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(error.kind(), Kind::ConnectionAborted | Kind::ConnectionReset | Kind::Interrupted)
        || matches!(error.raw_os_error(), Some(libc::EPROTO | libc::EPERM | libc::EHOSTUNREACH))
}

/// Says that connections cannot be accepted, without filling the log.
#[derive(Default)]
struct Troubles {
    last_logged: Option<Instant>,
    unlogged: u64,
}

impl Troubles {
    fn log(&mut self, error: &io::Error) {
        self.unlogged += 1;
        if self.last_logged.is_some_and(|then| then.elapsed() < COMPLAIN_EVERY) {
            return;
        }
        tracing::error!(
            module = "main",
            event = "accept_failed",
            error = %error,
            attempts = self.unlogged,
            "cannot accept connections, those that are open go on"
        );
        self.last_logged = Some(Instant::now());
        self.unlogged = 0;
    }

    fn are_over(&mut self) {
        if self.last_logged.is_some_and(|then| then.elapsed() >= COMPLAIN_EVERY) {
            tracing::info!(module = "main", event = "accept_recovered", "accepting connections again");
            *self = Troubles::default();
        }
    }
}

/// Agrees on TLS with the client, where the listener asks for it.
async fn secure<T: AsyncRead + AsyncWrite + Unpin>(
    io: Socket<T>,
    peer: Peer,
    acceptor: Option<TlsAcceptor>,
    shutdown: &CancellationToken,
) -> Option<Socket<T>> {
    let Some(acceptor) = acceptor else { return Some(io) };
    let secured = tokio::select! {
        () = shutdown.cancelled() => return None,
        secured = timeout(HEAD_TIME_MAX, io.secure(&acceptor)) => secured,
    };
    match secured.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(io) => Some(io),
        Err(error) => {
            tracing::debug!(module = "protocol", event = "tls_failed", remote = %peer, error = %error, "no TLS session");
            None
        }
    }
}

/// Speaks HTTP on one connection until it ends or becomes a viewer.
async fn converse<S, H>(
    io: S,
    peer: Peer,
    service: Arc<Service>,
    handover: Arc<H>,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin,
    H: Handover<S>,
{
    let slot = Arc::new(Slot::default());
    let exchange = Exchange { service, slot: Arc::clone(&slot), peer };
    let io = TokioIo::new(Watched { io, slot: Arc::clone(&slot), stall: None });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        // A script that has sent its request may close its side (`nc -N`) and still wants the answer.
        .half_close(true)
        .max_buf_size(BUFFER_BYTES_MAX)
        .title_case_headers(true)
        .serve_connection(io, exchange);

    let mut ending = Some(pin!(shutdown.cancelled()));
    let is_taken = poll_fn(|cx| {
        if ending.as_mut().is_some_and(|ending| ending.as_mut().poll(cx).is_ready()) {
            ending = None;
            Pin::new(&mut connection).graceful_shutdown();
        }
        match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(outcome) => {
                if let Err(error) = outcome {
                    tracing::debug!(module = "protocol", event = "closed", remote = %peer, error = %error, "connection ended");
                }
                Poll::Ready(false)
            }
            Poll::Pending if slot.is_ready() => Poll::Ready(true),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;

    let mut io = connection.into_parts().io.into_inner().io;
    // A claim that is left when hyper ended the connection is dropped here, and its seat with it.
    match slot.take().filter(|_| is_taken) {
        Some(Claim { stream, head, preamble, framing, seat, visitor }) => {
            handover.take(stream, NewViewer { io, head, preamble, framing, seat, visitor });
        }
        None => part(&mut io).await,
    }
}

/// Closes our side first and waits a moment for the client's, so that unread bytes of the client do not make
/// the kernel reset the connection under our answer.
async fn part(io: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let _ = timeout(LINGER_MAX, async {
        // hyper has done so already, unless the connection failed.
        let _ = io.shutdown().await;
        tokio::io::copy(&mut io.take(LINGER_BYTES_MAX), &mut tokio::io::sink()).await
    })
    .await;
}

/// hyper's view of the service, for one connection.
struct Exchange {
    service: Arc<Service>,
    slot: Arc<Slot>,
    peer: Peer,
}

impl hyper::service::Service<Request<Incoming>> for Exchange {
    type Response = Answer;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        match self.service.decide(self.peer, &request) {
            Decision::Answer(answer) => Answering::Now(Some(answer)),
            Decision::Later(answer) => Answering::Later(answer),
            Decision::Stream(claim) => {
                self.slot.put(claim);
                Answering::Never
            }
        }
    }
}

/// The answer to one request, or none because the connection is about to be taken over.
enum Answering {
    Now(Option<Answer>),
    Later(Pin<Box<dyn Future<Output = Answer> + Send>>),
    Never,
}

impl Future for Answering {
    type Output = Result<Answer, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Answering::Now(answer) => answer.take().map_or(Poll::Pending, |answer| Poll::Ready(Ok(answer))),
            Answering::Later(answer) => answer.as_mut().poll(cx).map(Ok),
            Answering::Never => Poll::Pending,
        }
    }
}

/// Where a claim waits until hyper has nothing more to send.
///
/// Answers to earlier requests on the connection could still be in hyper's buffer when the claim is made. hyper
/// flushes the socket exactly when that buffer is empty, so a flush after the claim is the sign to go ahead.
#[derive(Default)]
struct Slot {
    claim: Mutex<Option<Claim>>,
    is_claimed: AtomicBool,
    is_flushed: AtomicBool,
}

impl Slot {
    fn put(&self, claim: Claim) {
        self.is_flushed.store(false, Ordering::Relaxed);
        *self.claim.lock().unwrap_or_else(PoisonError::into_inner) = Some(claim);
        self.is_claimed.store(true, Ordering::Release);
    }

    fn take(&self) -> Option<Claim> {
        self.claim.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn is_ready(&self) -> bool {
        self.is_claimed.load(Ordering::Acquire) && self.is_flushed.load(Ordering::Relaxed)
    }
}

/// The socket as hyper sees it: tells the slot about flushes, and fails when a client takes nothing any more.
struct Watched<S> {
    io: S,
    slot: Arc<Slot>,
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> Watched<S> {
    /// Passes the outcome of a write on, with an end to waiting.
    fn watch<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(WRITE_STALL_MAX)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.watch(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        let flushed = this.watch(cx, flushed);
        if let Poll::Ready(Ok(())) = flushed {
            this.slot.is_flushed.store(true, Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::gate::Gate;
    use hyper::Version;
    use restreamer_core::Availability;

    /// Somebody who is let in to the first stream.
    pub(crate) fn viewer<S>(gate: &Arc<Gate>, io: S) -> NewViewer<S> {
        NewViewer {
            io,
            head: Bytes::from_static(b"head"),
            preamble: Bytes::new(),
            framing: Framing::Close,
            seat: gate.enter(StreamId(0), Availability::Live, Peer::Local).unwrap(),
            visitor: Box::new(Visitor {
                peer: Peer::Local,
                user_agent: "".into(),
                version: Version::HTTP_11,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use restreamer_core::{AdmissionLimits, Availability};
    use tokio::io::duplex;

    use super::*;
    use crate::gate::Gate;
    use crate::observe::Observe;

    fn claim() -> Claim {
        let observe = Observe::new([("/a.ts", ["tcp://a:1"])]);
        let gate = Gate::new(AdmissionLimits::default(), observe, Box::new(drop));
        Claim {
            stream: StreamId(0),
            head: Bytes::new(),
            preamble: Bytes::new(),
            framing: Framing::Close,
            seat: gate.enter(StreamId(0), Availability::Live, Peer::Local).unwrap(),
            visitor: Box::new(Visitor {
                peer: Peer::Local,
                user_agent: "".into(),
                version: hyper::Version::HTTP_11,
            }),
        }
    }

    #[tokio::test]
    async fn a_claim_is_ready_only_after_a_flush_that_follows_it() {
        let slot = Arc::new(Slot::default());
        let (io, _client) = duplex(64);
        let mut watched = Watched { io, slot: Arc::clone(&slot), stall: None };
        watched.flush().await.unwrap();
        assert!(!slot.is_ready());
        slot.put(claim());
        assert!(!slot.is_ready());
        watched.write_all(b"the end of an earlier answer").await.unwrap();
        assert!(!slot.is_ready());
        watched.flush().await.unwrap();
        assert!(slot.is_ready());
    }
}
