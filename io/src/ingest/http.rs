//! `http://` and `https://`: the body of an answer to a GET.

use hyper::header::{self, HeaderMap};
use hyper::http::response::Parts;
use restreamer_core::{CloseCause, CloseKind, Patience};

use super::resting::unless_drained;
use super::{Sink, SourceOptions};
use crate::client::{self, ClientOptions, Target};
use crate::net::Net;
use crate::url::UrlError;

#[derive(Clone)]
pub(super) struct Place {
    target: Target,
    options: ClientOptions,
}

impl Place {
    pub(super) fn parse(url: &str, options: &SourceOptions) -> Result<Self, UrlError> {
        let client = ClientOptions {
            timeout: options.connect_timeout,
            proxies: options.proxies.clone(),
            tls: options.tls.clone(),
        };
        Ok(Place { target: Target::parse(url)?, options: client })
    }

    pub(super) async fn run<N: Net>(&self, net: &N, sink: &mut impl Sink) -> CloseCause {
        let mut answer = match client::get(net, &self.target, &HeaderMap::new(), &self.options).await {
            Ok(answer) => answer,
            Err(cause) => return cause,
        };
        if let Some(cause) = refusal(&answer.head) {
            return cause;
        }
        sink.connected();
        let mut patience = Patience::Backlog;
        loop {
            sink.ready(patience).await;
            // Chunked coding and TLS may have taken more from the socket than one piece: only a body that has no
            // further one tells that the drained socket was all.
            patience = match unless_drained(sink, |cx| answer.body.poll_next(cx)).await {
                None => Patience::Waits,
                Some(Some(Ok(chunk))) => {
                    sink.data(&chunk);
                    Patience::Backlog
                }
                Some(Some(Err(cause))) => return cause,
                Some(None) => return CloseCause::new(CloseKind::Ended, "the server ended its answer"),
            };
        }
    }
}

/// Why an answer is no stream, if it is none.
fn refusal(head: &Parts) -> Option<CloseCause> {
    if !head.status.is_success() {
        let reason = head.status.canonical_reason().unwrap_or("");
        let detail = format!("the server answered {} {reason}", head.status.as_u16());
        return Some(CloseCause::new(CloseKind::Refused, detail.trim_end()));
    }
    let value = |name| head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    if let Some(coding) =
        value(header::CONTENT_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case("identity"))
    {
        let detail = format!("the server sends content encoding {coding:?} although it was asked not to");
        return Some(CloseCause::new(CloseKind::NotAStream, &detail));
    }
    let content_type = value(header::CONTENT_TYPE)?;
    let essence = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let what = never_a_stream(&essence)?;
    let detail = format!("the server sends {what} ({essence:?}) and not a transport stream");
    Some(CloseCause::new(CloseKind::NotAStream, &detail))
}

/// What a media type stands for, if that cannot be a transport stream.
fn never_a_stream(essence: &str) -> Option<&'static str> {
    match essence {
        // What the tables of common systems say about files that end in `.ts`.
        "text/vnd.trolltech.linguist" | "text/vnd.qt.linguist" | "text/texmacs" => None,
        "text/html" | "application/xhtml+xml" => Some("a web page"),
        "application/vnd.apple.mpegurl" | "application/x-mpegurl" | "audio/mpegurl" | "audio/x-mpegurl" => {
            Some("a playlist")
        }
        "application/dash+xml" => Some("a DASH manifest"),
        "application/json" | "application/xml" => Some("a document"),
        _ if essence.starts_with("text/") => Some("text"),
        _ if essence.starts_with("image/") => Some("a picture"),
        _ if essence.ends_with("+json") || essence.ends_with("+xml") => Some("a document"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::resting::testing::{Rester, beside};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn answer(status: u16, headers: &[(&str, &str)]) -> Parts {
        let mut response = hyper::Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap().into_parts().0
    }

    #[test]
    fn only_a_2xx_answer_that_may_be_a_stream_is_one() {
        use CloseKind::{NotAStream, Refused};
        let cases: [(u16, &str, Option<CloseKind>); 14] = [
            (200, "video/mp2t", None),
            (206, "video/mpeg", None),
            (200, "application/octet-stream", None),
            (200, "text/vnd.trolltech.linguist", None),
            (200, "", None),
            (404, "video/mp2t", Some(Refused)),
            (304, "video/mp2t", Some(Refused)),
            (503, "text/html", Some(Refused)),
            (200, "Text/HTML; charset=utf-8", Some(NotAStream)),
            (200, "text/plain", Some(NotAStream)),
            (200, "application/problem+json", Some(NotAStream)),
            (200, "application/xml", Some(NotAStream)),
            (200, "application/vnd.apple.mpegurl", Some(NotAStream)),
            (200, "image/png", Some(NotAStream)),
        ];
        for (status, content_type, kind) in cases {
            let cause = refusal(&answer(status, &[("content-type", content_type)]));
            assert_eq!(cause.map(|cause| cause.kind), kind, "{status} {content_type}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_rests_only_when_every_chunk_that_came_has_been_handed_on() {
        let place = Place::parse("http://h/", &SourceOptions::default()).unwrap();
        for is_resting in [true, false] {
            let (net, mut sink, mut server) = Rester::new(is_resting);
            let go_on = sink.go_on();
            let answer = async {
                while server.read_u8().await.unwrap() != b'\n' {}
                let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
                for _ in 0..40 {
                    answer.extend([&b"3e8\r\n"[..], &[0x47; 1_000], b"\r\n"].concat());
                }
                server.write_all(&answer).await.unwrap();
                go_on.notified().await;
                server.write_all(b"1\r\nG\r\n0\r\n\r\n").await.unwrap();
            };
            let cause = beside(answer, place.run(&net, &mut sink)).await;
            assert_eq!(cause.kind, CloseKind::Ended, "{cause}");
            assert_eq!((&sink.at_rests[..], sink.bytes), (&[40_000][..], 40_001));
        }
    }

    #[test]
    fn a_refusal_says_what_came() {
        let text = |head: &Parts| refusal(head).unwrap().to_string();
        assert_eq!(text(&answer(404, &[])), "the server answered 404 Not Found");
        assert_eq!(
            text(&answer(200, &[("content-type", "text/html;charset=x")])),
            "the server sends a web page (\"text/html\") and not a transport stream"
        );
        assert!(text(&answer(200, &[("content-encoding", "gzip")])).contains("\"gzip\""));
    }
}
