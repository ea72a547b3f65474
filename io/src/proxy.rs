//! Static resources: one file, or one document of another server, held for a while.
//!
//! The document is fetched when it is asked for and what is held is older than the cache time. However many
//! requests find it stale, one fetch serves them all, and it goes on when the client that caused it leaves.
//! Errors are never held.

use std::fmt;
use std::future::Future;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use restreamer_core::CloseCause;
use ring::digest::{SHA256, digest};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::answer::{self, Answer};
use crate::client::{self, ClientOptions, Target};
use crate::net::Net;

/// The largest document that is served, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 10 * 1024 * 1024;
/// A document has to arrive whole in this time.
const FETCH_TIME_MAX: Duration = Duration::from_secs(60);

/// A resource whose content stands somewhere else.
#[derive(Clone)]
pub struct Static(Arc<Shared>);

struct Shared {
    label: Box<str>,
    fetch: Fetch,
    cache: Duration,
    cache_control: HeaderValue,
    state: Mutex<State>,
}

/// Gets the document from where it stands; the argument is what makes the request conditional.
type Fetch = Box<dyn Fn(HeaderMap) -> Fetching + Send + Sync>;
type Fetching = Pin<Box<dyn Future<Output = Result<Fetched, Failure>> + Send>>;

#[derive(Default)]
struct State {
    held: Option<Held>,
    flight: Option<watch::Receiver<Option<Outcome>>>,
}

struct Held {
    document: Arc<Document>,
    fetched_at: Instant,
}

type Outcome = Result<Arc<Document>, Failure>;

enum Fetched {
    Document(Arc<Document>),
    /// What is held is what there is.
    Unchanged,
}

/// Content and what a client has to know about it.
struct Document {
    body: Bytes,
    etag: HeaderValue,
    content_type: HeaderValue,
    content_encoding: Option<HeaderValue>,
    /// The headers of a request that asks for it only if it has changed.
    condition: HeaderMap,
}

/// Why there is no document.
#[derive(Clone, Debug)]
enum Failure {
    /// There is no such file.
    Missing,
    /// The file may not be read.
    Forbidden,
    /// It could not be had, for this reason.
    Unavailable(Arc<str>),
    /// The other server says that the request is wrong; its words.
    Passed { status: StatusCode, content_type: Option<HeaderValue>, body: Bytes },
}

impl Static {
    /// A document of another server, held for `cache`; `Duration::ZERO` asks for it every time.
    pub fn remote<N: Net>(net: N, target: Target, options: ClientOptions, cache: Duration) -> Self {
        let label = target.to_string();
        let asked = Arc::new((net, target, options));
        let fetch = move |condition: HeaderMap| -> Fetching {
            let asked = Arc::clone(&asked);
            Box::pin(async move {
                let (net, target, options) = &*asked;
                fetch_remote(net, target, options, &condition).await
            })
        };
        Self::new(label, Box::new(fetch), cache)
    }

    /// A file of this machine, held for `cache`; `Duration::ZERO` reads it every time.
    pub fn file(path: PathBuf, cache: Duration) -> Self {
        let label = format!("file://{}", path.display());
        let path: Arc<Path> = path.into();
        let fetch = move |_| -> Fetching {
            let path = Arc::clone(&path);
            Box::pin(async move {
                let reading = tokio::task::spawn_blocking(move || read_file(&path));
                reading.await.unwrap_or_else(|failed| Err(Failure::unavailable(failed)))
            })
        };
        Self::new(label, Box::new(fetch), cache)
    }

    fn new(label: String, fetch: Fetch, cache: Duration) -> Self {
        Static(Arc::new(Shared {
            label: label.into(),
            fetch,
            cache,
            cache_control: HeaderValue::try_from(format!("max-age={}", cache.as_secs()))
                .expect("digits are visible ASCII"),
            state: Mutex::default(),
        }))
    }

    /// Answers a request with these headers, after a fetch if need be.
    pub(crate) fn answer(&self, headers: &HeaderMap) -> impl Future<Output = Answer> + Send + use<> {
        let known: Vec<HeaderValue> = headers.get_all(header::IF_NONE_MATCH).iter().cloned().collect();
        let shared = Arc::clone(&self.0);
        async move {
            match Arc::clone(&shared).document().await {
                Ok(document) => shared.answer_with(&document, &known),
                Err(failure) => failure.into_answer(),
            }
        }
    }
}

impl fmt::Debug for Static {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Static").field("remote", &self.0.label).field("cache", &self.0.cache).finish()
    }
}

impl Shared {
    /// What is held if it is fresh, else the outcome of a fetch that is under way or begins now.
    async fn document(self: Arc<Self>) -> Outcome {
        let (land, mut flight) = watch::channel(None);
        let is_ours = {
            let mut state = self.lock();
            if let Some(held) = state.held.as_ref().filter(|held| held.fetched_at.elapsed() < self.cache) {
                return Ok(Arc::clone(&held.document));
            }
            match &state.flight {
                Some(ongoing) => {
                    flight = ongoing.clone();
                    false
                }
                None => {
                    state.flight = Some(flight.clone());
                    true
                }
            }
        };
        if is_ours {
            tokio::spawn(fly(EndOfFlight(self), land));
        }
        let landed = flight.wait_for(Option::is_some).await;
        match landed.ok().and_then(|outcome| outcome.clone()) {
            Some(outcome) => outcome,
            None => Err(Failure::unavailable("the fetch was given up")),
        }
    }

    fn hold(&self, fetched: Fetched) -> Outcome {
        let mut state = self.lock();
        let document = match (fetched, &state.held) {
            (Fetched::Document(document), _) => document,
            (Fetched::Unchanged, Some(held)) => Arc::clone(&held.document),
            (Fetched::Unchanged, None) => return Err(Failure::unavailable("status 304 without a condition")),
        };
        state.held = Some(Held { document: Arc::clone(&document), fetched_at: Instant::now() });
        Ok(document)
    }

    fn answer_with(&self, document: &Document, known: &[HeaderValue]) -> Answer {
        let is_known = known.iter().any(|list| names(list, &document.etag));
        let mut answer = match is_known {
            true => Response::new(Full::default()),
            false => answer::with_body(StatusCode::OK, document.content_type.clone(), document.body.clone()),
        };
        if is_known {
            *answer.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = answer.headers_mut();
        headers.insert(header::ETAG, document.etag.clone());
        headers.insert(header::CACHE_CONTROL, self.cache_control.clone());
        if let Some(encoding) = document.content_encoding.as_ref().filter(|_| !is_known) {
            headers.insert(header::CONTENT_ENCODING, encoding.clone());
        }
        answer
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches once, for everybody who waits.
async fn fly(over: EndOfFlight, land: watch::Sender<Option<Outcome>>) {
    let EndOfFlight(shared) = &over;
    let condition = shared.lock().held.as_ref().map(|held| held.document.condition.clone());
    let outcome = match timeout(FETCH_TIME_MAX, (shared.fetch)(condition.unwrap_or_default())).await {
        Ok(fetched) => fetched.and_then(|fetched| shared.hold(fetched)),
        Err(_) => Err(Failure::unavailable(format_args!("not complete within {FETCH_TIME_MAX:?}"))),
    };
    if let Err(failure) = &outcome {
        tracing::warn!(
            module = "protocol",
            event = "fetch_failed",
            url = &*shared.label,
            reason = %failure,
            "static resource not available"
        );
    }
    land.send_replace(Some(outcome));
}

/// Lets the next request fetch again, however this fetch ends.
struct EndOfFlight(Arc<Shared>);

impl Drop for EndOfFlight {
    fn drop(&mut self) {
        self.0.lock().flight = None;
    }
}

impl Document {
    fn new(body: Bytes, content_type: HeaderValue) -> Self {
        let hash = digest(&SHA256, &body);
        let mut etag = String::with_capacity(34);
        etag.push('"');
        for byte in &hash.as_ref()[..16] {
            etag.push_str(&format!("{byte:02x}"));
        }
        etag.push('"');
        let etag = HeaderValue::try_from(etag).expect("hexadecimal digits are visible ASCII");
        Document { body, etag, content_type, content_encoding: None, condition: HeaderMap::new() }
    }
}

impl Failure {
    fn unavailable(reason: impl fmt::Display) -> Self {
        Failure::Unavailable(reason.to_string().into())
    }

    fn into_answer(self) -> Answer {
        match self {
            Failure::Missing => answer::page_not_found(),
            Failure::Forbidden => answer::text(StatusCode::FORBIDDEN, "403 forbidden\n"),
            Failure::Unavailable(_) => answer::text(StatusCode::BAD_GATEWAY, "502 bad gateway\n"),
            Failure::Passed { status, content_type, body } => {
                let mut answer = Response::new(Full::new(body));
                *answer.status_mut() = status;
                answer.headers_mut().extend(content_type.map(|value| (header::CONTENT_TYPE, value)));
                answer
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Missing => f.write_str("there is no such file"),
            Failure::Forbidden => f.write_str("the file may not be read"),
            Failure::Unavailable(reason) => f.write_str(reason),
            Failure::Passed { status, .. } => write!(f, "the server answered {status}"),
        }
    }
}

impl From<CloseCause> for Failure {
    fn from(cause: CloseCause) -> Self {
        Failure::unavailable(cause)
    }
}

async fn fetch_remote<N: Net>(
    net: &N,
    target: &Target,
    options: &ClientOptions,
    condition: &HeaderMap,
) -> Result<Fetched, Failure> {
    let mut answer = client::get(net, target, condition, options).await?;
    let status = answer.head.status;
    if status == StatusCode::NOT_MODIFIED {
        return Ok(Fetched::Unchanged);
    }
    if !(status.is_success() || status.is_client_error()) || status == StatusCode::PARTIAL_CONTENT {
        return Err(Failure::unavailable(format_args!("the server answered {status}")));
    }
    let body = read_body(&mut answer).await?;
    let headers = &answer.head.headers;
    let content_type = headers.get(header::CONTENT_TYPE).cloned();
    if status.is_client_error() {
        return Err(Failure::Passed { status, content_type, body });
    }
    let guessed = || content_type_of(answer.target.path().split('?').next().unwrap_or(""));
    let mut document = Document::new(body, content_type.unwrap_or_else(guessed));
    document.content_encoding = headers.get(header::CONTENT_ENCODING).cloned();
    document.condition.extend(
        [(header::ETAG, header::IF_NONE_MATCH), (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE)]
            .into_iter()
            .filter_map(|(from, to)| Some((to, headers.get(from)?.clone()))),
    );
    Ok(Fetched::Document(document.into()))
}

async fn read_body(answer: &mut client::Answer) -> Result<Bytes, Failure> {
    let length = answer.head.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
    if length > DOCUMENT_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let mut body = BytesMut::with_capacity(length as usize);
    while let Some(piece) = answer.body.next().await {
        let piece = piece?;
        if body.len() + piece.len() > DOCUMENT_BYTES_MAX {
            return Err(too_large());
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

/// Reads a regular file; nothing else is one document, and a FIFO would wait for its writer.
fn read_file(path: &Path) -> Result<Fetched, Failure> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(file_failure)?;
    let metadata = file.metadata().map_err(file_failure)?;
    if !metadata.is_file() {
        return Err(Failure::Missing);
    }
    if metadata.len() > DOCUMENT_BYTES_MAX as u64 {
        return Err(too_large());
    }
    let mut body = Vec::with_capacity(metadata.len() as usize);
    let size = file.take(DOCUMENT_BYTES_MAX as u64 + 1).read_to_end(&mut body).map_err(file_failure)?;
    if size > DOCUMENT_BYTES_MAX {
        return Err(too_large());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(Fetched::Document(Document::new(body.into(), content_type_of(&name)).into()))
}

fn file_failure(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Failure::Missing,
        io::ErrorKind::PermissionDenied => Failure::Forbidden,
        _ => Failure::unavailable(error),
    }
}

fn too_large() -> Failure {
    Failure::unavailable(format_args!("it is larger than {DOCUMENT_BYTES_MAX} bytes"))
}

/// Whether an `If-None-Match` list names this tag; the comparison is weak (RFC 9110 §13.1.2).
fn names(list: &HeaderValue, etag: &HeaderValue) -> bool {
    list.as_bytes()
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .any(|known| known == b"*" || known.strip_prefix(b"W/").unwrap_or(known) == etag.as_bytes())
}

/// The media type that a file extension stands for.
fn content_type_of(name: &str) -> HeaderValue {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    HeaderValue::from_static(match extension.as_str() {
        "aac" => "audio/aac",
        "ait" => "application/vnd.dvb.ait",
        "aitx" => "application/vnd.dvb.ait+xml",
        "cehtml" => "application/vnd.hbbtv.xhtml+xml",
        "css" => "text/css; charset=utf-8",
        "csv" => "text/csv; charset=utf-8",
        "gif" => "image/gif",
        "htm" | "html" => "text/html; charset=utf-8",
        "ico" => "image/vnd.microsoft.icon",
        "jpeg" | "jpg" => "image/jpeg",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "m3u" | "m3u8" => "application/vnd.apple.mpegurl",
        "mp2t" | "ts" => "video/mp2t",
        "mp3" => "audio/mpeg",
        "mp4" => "video/mp4",
        "mpd" => "application/dash+xml",
        "mpeg" | "mpg" => "video/mpeg",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "svg" => "image/svg+xml",
        "ttf" => "font/ttf",
        "txt" => "text/plain; charset=utf-8",
        "wasm" => "application/wasm",
        "webp" => "image/webp",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "xhtml" => "application/xhtml+xml",
        "xml" => "text/xml; charset=utf-8",
        "zip" => "application/zip",
        _ => "application/octet-stream",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_depends_on_the_content_alone() {
        let etag = |body: &'static [u8]| Document::new(body.into(), content_type_of("x")).etag;
        assert_eq!(etag(b""), "\"e3b0c44298fc1c149afbf4c8996fb924\"");
        assert_eq!(etag(b"a"), etag(b"a"));
        assert_ne!(etag(b"a"), etag(b"b"));
    }

    #[test]
    fn if_none_match_is_a_list_with_weak_comparison() {
        let etag = HeaderValue::from_static("\"abc\"");
        for (list, hit) in [
            ("\"abc\"", true),
            ("W/\"abc\"", true),
            ("\"x\", \"abc\" , \"y\"", true),
            ("*", true),
            ("\"ab\"", false),
            ("abc", false),
            ("", false),
        ] {
            assert_eq!(names(&HeaderValue::from_static(list), &etag), hit, "{list}");
        }
    }

    #[test]
    fn the_extension_is_what_follows_the_last_dot() {
        for (name, content_type) in [
            ("index.html", "text/html; charset=utf-8"),
            ("A.B.PNG", "image/png"),
            ("app.aitx", "application/vnd.dvb.ait+xml"),
            ("html", "application/octet-stream"),
            ("x.", "application/octet-stream"),
            ("", "application/octet-stream"),
        ] {
            assert_eq!(content_type_of(name), content_type, "{name}");
        }
    }
}
