//! The answers of this server, written once for both ways they leave: through hyper, or as the raw head of a
//! response whose socket the fan-out takes over.

use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode, Version};

/// What hyper sends for us: every body is in memory and small, or a shared static resource.
pub type Answer = Response<Full<Bytes>>;

/// How the end of a stream's body is marked on the wire (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// The body ends with the connection. Every player takes this.
    #[default]
    Close,
    /// `Transfer-Encoding: chunked`; HTTP/1.0 clients still get [`Framing::Close`].
    Chunked,
}

/// What a stream looks like from outside.
#[derive(Clone, Debug)]
pub struct StreamFace {
    /// The media type of the stream, `video/mpeg` unless the operator says otherwise.
    pub content_type: HeaderValue,
    /// How the body is framed for HTTP/1.1 clients.
    pub framing: Framing,
    /// Bytes that every viewer gets before the first live packet.
    pub preamble: Bytes,
    /// The status of a refusal. Many TV sets mishandle 503, so it is 404 by default.
    pub refuse_status: StatusCode,
}

impl Default for StreamFace {
    fn default() -> Self {
        StreamFace {
            content_type: HeaderValue::from_static("video/mpeg"),
            framing: Framing::default(),
            preamble: Bytes::new(),
            refuse_status: StatusCode::NOT_FOUND,
        }
    }
}

impl StreamFace {
    /// The headers of a stream, which a refusal carries too.
    pub(crate) fn headers(&self, now: SystemTime) -> HeaderMap {
        let date = http_date(now);
        let mut headers = HeaderMap::with_capacity(16);
        headers.insert(header::CONTENT_TYPE, self.content_type.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache,no-store,no-transform"));
        headers.insert(header::LAST_MODIFIED, date.clone());
        headers.insert(header::DATE, date);
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("none"));
        // Misspelt for as long as the predecessor was deployed; something may have come to look for it.
        headers.insert(HeaderName::from_static("accept-range"), HeaderValue::from_static("none"));
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        headers
    }
}

/// Renders a response head for a socket that hyper no longer holds.
///
/// Names are written as hyper writes them with `title_case_headers`, so that both ways look the same.
pub(crate) fn render_head(version: Version, status: StatusCode, headers: &HeaderMap) -> Bytes {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(match version {
        Version::HTTP_10 => b"HTTP/1.0 ",
        _ => b"HTTP/1.1 ",
    });
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(status.canonical_reason().unwrap_or("").as_bytes());
    head.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        let mut is_first = true;
        head.extend(name.as_str().bytes().map(|byte| {
            let byte = if is_first { byte.to_ascii_uppercase() } else { byte };
            is_first = byte == b'-';
            byte
        }));
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

/// Whether an operator may add this header to the answers of a resource.
///
/// The ones that frame the message are the server's own.
pub fn may_be_added(name: &HeaderName) -> bool {
    ![
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::DATE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ]
    .contains(name)
}

/// An answer with these bytes as its body.
pub(crate) fn with_body(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, content_type);
    answer
}

/// A plain text answer.
pub(crate) fn text(status: StatusCode, body: &'static str) -> Answer {
    let mut answer = with_body(
        status,
        HeaderValue::from_static("text/plain; charset=utf-8"),
        Bytes::from_static(body.as_bytes()),
    );
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// Nothing is served at this path.
pub(crate) fn page_not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// The request itself is wrong.
pub(crate) fn bad_request() -> Answer {
    text(StatusCode::BAD_REQUEST, "400 bad request\n")
}

/// The resource does not know this method (RFC 9110 §15.5.6).
pub(crate) fn method_not_allowed(allow: &'static str) -> Answer {
    let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed\n");
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    answer
}

/// The same request belongs to another path.
pub(crate) fn moved<B>(path: &str, request: &Request<B>) -> Answer {
    let location = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let Ok(location) = HeaderValue::try_from(location) else {
        return bad_request();
    };
    let mut answer = text(StatusCode::MOVED_PERMANENTLY, "301 moved permanently\n");
    answer.headers_mut().insert(header::LOCATION, location);
    answer
}

/// A point in time as HTTP writes it (RFC 9110 §5.6.7).
pub(crate) fn http_date(at: SystemTime) -> HeaderValue {
    HeaderValue::try_from(httpdate::fmt_http_date(at)).expect("an HTTP date is visible ASCII")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_stream_head_is_rendered_as_players_expect_it() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let head = render_head(Version::HTTP_10, StatusCode::OK, &StreamFace::default().headers(now));
        assert_eq!(
            std::str::from_utf8(&head).unwrap(),
            "HTTP/1.0 200 OK\r\n\
             Content-Type: video/mpeg\r\n\
             Cache-Control: no-cache,no-store,no-transform\r\n\
             Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Accept-Ranges: none\r\n\
             Accept-Range: none\r\n\
             X-Accel-Buffering: no\r\n\
             Connection: close\r\n\
             \r\n"
        );
    }

    #[test]
    fn headers_that_frame_the_message_cannot_be_added() {
        assert!(may_be_added(&HeaderName::from_static("x-served-by")));
        assert!(may_be_added(&header::CACHE_CONTROL));
        assert!(!may_be_added(&header::TRANSFER_ENCODING));
        assert!(!may_be_added(&header::CONTENT_LENGTH));
    }
}
