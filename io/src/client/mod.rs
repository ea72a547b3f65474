//! HTTP requests of our own: one GET, one connection, one answer whose body is read as it comes.
//!
//! Upstreams, static resources and notifications all go through here, so that proxies, redirects, credentials,
//! TLS and time limits are the same for them. A request and its answer are one future and one value: dropping
//! them closes the connection, and no task is left behind.

mod connect;
mod proxies;
mod target;
mod tls;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::response::Parts;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use restreamer_core::{CloseCause, CloseKind};

pub(crate) use self::connect::unreachable;
use self::connect::{Channel, Route};
pub use self::proxies::Proxies;
pub use self::target::Target;
pub use self::tls::Tls;
use crate::net::Net;
use crate::url;

/// What this program calls itself towards servers.
pub const USER_AGENT: &str = concat!("restreamer/", env!("CARGO_PKG_VERSION"));

/// Redirects that one request follows.
pub const REDIRECTS_MAX: u32 = 10;
/// Bytes of an answer that are read ahead; a header section that does not fit ends the request.
const READ_BYTES_MAX: usize = 64 * 1024;

/// How requests are made.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions {
    /// Limit for each of: TCP connection, proxy answer, TLS handshake, header section. `None` waits for ever.
    pub timeout: Option<Duration>,
    /// Proxies to go through.
    pub proxies: Proxies,
    /// Certificates to believe.
    pub tls: Tls,
}

/// An answer whose header section has arrived.
#[derive(Debug)]
pub struct Answer {
    /// Status and headers.
    pub head: Parts,
    /// What follows.
    pub body: Body,
    /// Who answered, after redirects.
    pub target: Target,
}

/// The body of an answer and the connection that it arrives on.
#[derive(Debug)]
pub struct Body {
    connection: Option<Connection>,
    incoming: Incoming,
}

type Connection = http1::Connection<TokioIo<Channel>, Empty<Bytes>>;

/// Sends a GET for `target` with `headers` and follows redirects.
///
/// Whatever the status of the answer is, it is `Ok`; an error means that there was none. `Authorization` and
/// `Cookie` in `headers` do not go along to another host.
pub async fn get<N: Net>(
    net: &N,
    target: &Target,
    headers: &HeaderMap,
    options: &ClientOptions,
) -> Result<Answer, CloseCause> {
    let mut headers = headers.clone();
    let mut target = target.clone();
    for _ in 0..=REDIRECTS_MAX {
        let (head, body) = get_once(net, &target, &headers, options).await?;
        let Some(location) = location(&head) else {
            return Ok(Answer { head, body, target });
        };
        let next = target.resolve(&location).map_err(|error| {
            let detail =
                format!("status {} leads to a URL that cannot be used: {error}", head.status.as_u16());
            CloseCause::new(CloseKind::Refused, &detail)
        })?;
        tracing::debug!(module = "protocol", event = "redirect", from = %target, to = %next, "redirected");
        if !target.same_origin(&next) {
            headers.remove(header::AUTHORIZATION);
            headers.remove(header::COOKIE);
        }
        target = next;
    }
    Err(CloseCause::new(CloseKind::Refused, &format!("more than {REDIRECTS_MAX} redirects")))
}

impl Body {
    /// The next piece, as it arrives; `None` at the end that the server meant.
    ///
    /// Cancel-safe: dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Bytes, CloseCause>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The same, for who has to know that there is nothing now.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, CloseCause>>> {
        loop {
            drive(&mut self.connection, cx);
            return Poll::Ready(match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                // Trailers are not data.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => Some(Ok(data)),
                    Err(_) => continue,
                },
                Some(Err(error)) => Some(Err(broken(&error))),
                None => None,
            });
        }
    }
}

async fn get_once<N: Net>(
    net: &N,
    target: &Target,
    headers: &HeaderMap,
    options: &ClientOptions,
) -> Result<(Parts, Body), CloseCause> {
    let (channel, route) = connect::open(net, target, options).await?;
    let request = request(target, headers, &route)?;
    let waiting = format!("{} to answer", target.authority());
    limited(options.timeout, &waiting, async {
        let (mut sender, connection) = handshake(channel).await?;
        let mut connection = Some(connection);
        let mut response = pin!(sender.send_request(request));
        let response = poll_fn(|cx| {
            drive(&mut connection, cx);
            response.as_mut().poll(cx)
        });
        let (head, incoming) = response.await.map_err(|error| broken(&error))?.into_parts();
        Ok((head, Body { connection, incoming }))
    })
    .await
}

/// Lets the connection work. What ends it comes out of the request or the body as well.
fn drive(connection: &mut Option<Connection>, cx: &mut Context<'_>) {
    if connection.as_mut().is_some_and(|ongoing| Pin::new(ongoing).poll(cx).is_ready()) {
        *connection = None;
    }
}

async fn handshake(channel: Channel) -> Result<(http1::SendRequest<Empty<Bytes>>, Connection), CloseCause> {
    http1::Builder::new()
        .max_buf_size(READ_BYTES_MAX)
        // Encoders answer with headers that no server would send.
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true)
        .ignore_invalid_headers_in_responses(true)
        .handshake(TokioIo::new(channel))
        .await
        .map_err(|error| broken(&error))
}

fn request(target: &Target, headers: &HeaderMap, route: &Route) -> Result<Request<Empty<Bytes>>, CloseCause> {
    let uri = match route {
        Route::Direct => target.path().to_owned(),
        // The proxy has to be told where to go (RFC 9112 §3.2.2).
        Route::Forwarded(_) => target.to_string(),
    };
    let unusable = |error: &dyn std::fmt::Display| CloseCause::new(CloseKind::Config, &error.to_string());
    let mut request = Request::get(uri).body(Empty::new()).map_err(|error| unusable(&error))?;
    let to = request.headers_mut();
    to.insert(header::HOST, HeaderValue::try_from(target.host_header()).map_err(|error| unusable(&error))?);
    to.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    to.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    to.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    to.insert(header::CONNECTION, HeaderValue::from_static("close"));
    if let Some(authorization) = target.authorization() {
        to.insert(header::AUTHORIZATION, authorization);
    }
    if let Route::Forwarded(Some(authorization)) = route {
        to.insert(header::PROXY_AUTHORIZATION, authorization.clone());
    }
    to.extend(headers.clone());
    Ok(request)
}

/// Where a redirect leads; `None` for every other answer.
fn location(head: &Parts) -> Option<String> {
    let redirect = matches!(
        head.status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let value = head.headers.get(header::LOCATION).filter(|_| redirect)?;
    Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Waits for `outcome` at most `limit`; `waiting` says for what, if that is too long.
pub(crate) async fn limited<T>(
    limit: Option<Duration>,
    waiting: &str,
    outcome: impl Future<Output = Result<T, CloseCause>>,
) -> Result<T, CloseCause> {
    let Some(limit) = limit else { return outcome.await };
    match tokio::time::timeout(limit, outcome).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let detail = format!("waited {limit:?} for {waiting}");
            Err(CloseCause::new(CloseKind::Timeout, &detail))
        }
    }
}

/// A connection that failed in use.
fn broken(error: &hyper::Error) -> CloseCause {
    let mut detail = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(deeper) = source {
        detail = format!("{detail}: {deeper}");
        source = deeper.source();
    }
    CloseCause::new(CloseKind::Io, &url::redact(&detail))
}
