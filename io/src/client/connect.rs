//! From a target to a channel that HTTP can be spoken on: directly, through a proxy, with TLS.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::header::{self, HeaderValue};
use restreamer_core::{CloseCause, CloseKind};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::proxies::Proxy;
use super::target::{Security, Target};
use super::{ClientOptions, USER_AGENT, broken, handshake, limited};
use crate::net::Net;

/// A connected byte stream, with or without TLS. What is inside costs one indirect call per read, and its
/// type would otherwise be part of every answer's.
pub(crate) struct Channel(Box<dyn Duplex>);

/// How the request on a channel reaches its target.
pub(crate) enum Route {
    /// The other end is the target, or a tunnel to it.
    Direct,
    /// The other end is a proxy that forwards, with the credentials it wants.
    Forwarded(Option<HeaderValue>),
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// Connects to `target`, or to the proxy on the way to it.
pub(crate) async fn open<N: Net>(
    net: &N,
    target: &Target,
    options: &ClientOptions,
) -> Result<(Channel, Route), CloseCause> {
    let proxy = match options.proxies.choose(target) {
        None => {
            let channel = reach(net, target, options).await?;
            return Ok((channel, Route::Direct));
        }
        Some(Proxy::Unusable(reason)) => return Err(CloseCause::new(CloseKind::Config, reason)),
        Some(Proxy::Http(proxy)) => proxy,
    };
    tracing::debug!(module = "protocol", event = "proxy", %proxy, url = %target, "through a proxy");
    let channel = reach(net, proxy, options).await?;
    match target.security() {
        Security::Plain => Ok((channel, Route::Forwarded(proxy.authorization()))),
        Security::Tls => {
            let waiting = format!("the proxy {} to answer", proxy.authority());
            let tunnel = limited(options.timeout, &waiting, tunnel(channel, target, proxy)).await?;
            Ok((secure(tunnel, target, options).await?, Route::Direct))
        }
    }
}

/// A channel to the host of `target` itself.
async fn reach<N: Net>(net: &N, target: &Target, options: &ClientOptions) -> Result<Channel, CloseCause> {
    let waiting = format!("a connection to {}", target.authority());
    let connect = async {
        let connected = net.connect_tcp(target.host(), target.port()).await;
        connected.map_err(|error| unreachable(&target.authority(), &error))
    };
    let channel = Channel(Box::new(limited(options.timeout, &waiting, connect).await?));
    match target.security() {
        Security::Plain => Ok(channel),
        Security::Tls => secure(channel, target, options).await,
    }
}

async fn secure(channel: Channel, target: &Target, options: &ClientOptions) -> Result<Channel, CloseCause> {
    let waiting = format!("the TLS handshake with {}", target.authority());
    let session = options.tls.connect(target.host(), channel);
    Ok(Channel(Box::new(limited(options.timeout, &waiting, session).await?)))
}

/// Has `proxy` connect to `target` (RFC 9110 §9.3.6).
async fn tunnel(channel: Channel, target: &Target, proxy: &Target) -> Result<Channel, CloseCause> {
    let mut request = Request::connect(target.authority())
        .header(header::HOST, target.authority())
        .header(header::USER_AGENT, USER_AGENT);
    if let Some(authorization) = proxy.authorization() {
        request = request.header(header::PROXY_AUTHORIZATION, authorization);
    }
    let request = request.body(Empty::<Bytes>::new());
    let request = request.map_err(|error| CloseCause::new(CloseKind::Config, &error.to_string()))?;
    let (mut sender, mut connection) = handshake(channel).await?;
    let status = {
        let mut response = pin!(sender.send_request(request));
        let response = poll_fn(|cx| {
            if let Poll::Ready(Err(error)) = connection.poll_without_shutdown(cx) {
                return Poll::Ready(Err(error));
            }
            response.as_mut().poll(cx)
        });
        response.await.map_err(|error| broken(&error))?.status()
    };
    if !status.is_success() {
        let detail =
            format!("the proxy {} answered status {} to CONNECT", proxy.authority(), status.as_u16());
        return Err(CloseCause::new(CloseKind::Refused, &detail));
    }
    let parts = connection.into_parts();
    if !parts.read_buf.is_empty() {
        let detail = format!("the proxy {} sent bytes before the target could", proxy.authority());
        return Err(CloseCause::new(CloseKind::Io, &detail));
    }
    Ok(parts.io.into_inner())
}

/// A connection that did not come about.
pub(crate) fn unreachable(place: &str, error: &io::Error) -> CloseCause {
    let kind = match error.kind() {
        io::ErrorKind::TimedOut => CloseKind::Timeout,
        _ => CloseKind::Unreachable,
    };
    CloseCause::new(kind, &format!("cannot connect to {place}: {error}"))
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Channel")
    }
}

impl AsyncRead for Channel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Channel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
