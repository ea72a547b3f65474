//! From a request to a decision: what is served where, to whom, and with which headers.
//!
//! Nothing of the configuration file is known here; the caller builds [`Resource`]s.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, StatusCode, Version};

use crate::answer::{self, Answer, Framing, StreamFace};
use crate::api::{self, Api};
use crate::auth::Access;
use crate::gate::{Channels, Gate, Peer, Refused, Seat};
use crate::observe::Observe;
use crate::proxy::Static;
use crate::route::{Duplicate, Found, Routes, Serve, StreamId};

/// How long a browser may remember what CORS allows, in seconds.
const CORS_MAX_AGE: HeaderValue = HeaderValue::from_static("86400");

/// One thing that is served.
#[derive(Debug)]
pub struct Resource {
    /// Where.
    pub serve: Serve,
    /// To whom.
    pub access: Access,
    /// To the pages of which origins.
    pub cors: Cors,
    /// Further headers of every answer; [`answer::may_be_added`] says which ones are possible.
    pub headers: HeaderMap,
    /// What.
    pub kind: Kind,
}

/// What a resource is.
#[derive(Debug)]
pub enum Kind {
    /// A live stream.
    Stream(StreamId, StreamFace),
    /// A file, or a document of another server.
    Static(Static),
    /// Something about the streams.
    Api(Api),
}

/// Which pages may read a resource from a script (the Fetch standard, §3.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// Only pages of the same origin; no CORS header is ever sent.
    #[default]
    SameOrigin,
    /// All pages.
    Any,
    /// The pages of these origins, as a browser writes them: `https://tv.example`.
    Origins(Vec<HeaderValue>),
}

/// Everything that one server answers. Shared by all runtimes.
pub struct Service {
    routes: Routes,
    resources: Vec<Resource>,
    /// The streams behind the resources.
    pub(crate) channels: Arc<dyn Channels>,
    /// The door to them.
    pub(crate) gate: Arc<Gate>,
    /// What is counted.
    pub(crate) observe: Arc<Observe>,
    /// What renders the metrics.
    pub(crate) metrics: api::Metrics,
    /// The calendar, which the simulator replaces.
    wall: fn() -> SystemTime,
}

/// The parts that a [`Service`] works with.
pub struct Parts {
    /// What is served.
    pub resources: Vec<Resource>,
    /// The streams behind the resources.
    pub channels: Arc<dyn Channels>,
    /// The door to them.
    pub gate: Arc<Gate>,
    /// What is counted.
    pub observe: Arc<Observe>,
    /// What renders the metrics.
    pub metrics: api::Metrics,
    /// The calendar: `SystemTime::now` in a daemon.
    pub wall: fn() -> SystemTime,
}

/// Who asked for a stream, and how. For the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// The other end of the connection.
    pub peer: Peer,
    /// The `User-Agent` header, shortened, with bytes that are not UTF-8 replaced. Not escaped.
    pub user_agent: Box<str>,
    /// The version of HTTP that the client speaks.
    pub version: Version,
}

/// A stream was asked for and granted; the socket goes to the fan-out with this.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) stream: StreamId,
    pub(crate) head: Bytes,
    pub(crate) preamble: Bytes,
    pub(crate) framing: Framing,
    pub(crate) seat: Seat,
    pub(crate) visitor: Box<Visitor>,
}

/// What to do with a request.
pub(crate) enum Decision {
    Answer(Answer),
    Later(Pin<Box<dyn Future<Output = Answer> + Send>>),
    Stream(Claim),
}

impl Service {
    /// A service with these parts; two resources with the same serve path are refused.
    pub fn new(parts: Parts) -> Result<Arc<Self>, Duplicate> {
        let routes = Routes::new(parts.resources.iter().map(|resource| &resource.serve))?;
        let Parts { resources, channels, gate, observe, metrics, wall } = parts;
        Ok(Arc::new(Service { routes, resources, channels, gate, observe, metrics, wall }))
    }

    /// Decides about one request. Never blocks.
    pub(crate) fn decide<B>(&self, peer: Peer, request: &Request<B>) -> Decision {
        let host = match requested_host(request) {
            Ok(host) => host,
            Err(BadHost) => return Decision::Answer(answer::bad_request()),
        };
        if request.method() == Method::OPTIONS && request.uri().path() == "*" {
            return Decision::Answer(no_content());
        }
        let resource = match self.routes.find(host.as_ref(), request.uri().path()) {
            Found::Resource(index) => &self.resources[index],
            Found::Elsewhere(path) => return Decision::Answer(answer::moved(&path, request)),
            Found::Nothing => return Decision::Answer(answer::page_not_found()),
            Found::Malformed => return Decision::Answer(answer::bad_request()),
        };
        let added = resource.added_headers(request);
        match self.serve(resource, peer, request, &added) {
            Decision::Answer(mut answer) => {
                add(answer.headers_mut(), &added);
                Decision::Answer(answer)
            }
            Decision::Later(answer) => Decision::Later(Box::pin(async move {
                let mut answer = answer.await;
                add(answer.headers_mut(), &added);
                answer
            })),
            stream @ Decision::Stream(_) => stream,
        }
    }

    fn serve<B>(&self, resource: &Resource, peer: Peer, request: &Request<B>, added: &HeaderMap) -> Decision {
        let allow = resource.allowed_methods();
        if request.method() == Method::OPTIONS && resource.cors != Cors::SameOrigin {
            // A browser asks without credentials, before the request that carries them.
            return Decision::Answer(preflight(request, allow));
        }
        if let Err(denied) = resource.access.check(request.headers()) {
            tracing::info!(
                module = "auth",
                event = "denied",
                resource = resource.serve.label(),
                remote = %peer,
                reason = denied.name(),
                "request without the right credentials"
            );
            return Decision::Answer(resource.access.refuse());
        }
        let is_allowed = match request.method() {
            &Method::GET | &Method::HEAD => true,
            &Method::POST | &Method::PUT => matches!(resource.kind, Kind::Api(Api::Control(_))),
            _ => false,
        };
        if !is_allowed {
            return Decision::Answer(answer::method_not_allowed(allow));
        }
        match &resource.kind {
            Kind::Stream(stream, face) => self.stream(resource, *stream, face, peer, request, added),
            Kind::Static(document) => Decision::Later(Box::pin(document.answer(request.headers()))),
            Kind::Api(api) => Decision::Answer(api::answer(self, *api, request.uri().query())),
        }
    }

    fn stream<B>(
        &self,
        resource: &Resource,
        stream: StreamId,
        face: &StreamFace,
        peer: Peer,
        request: &Request<B>,
        added: &HeaderMap,
    ) -> Decision {
        let availability = self.channels.availability(stream);
        let mut headers = face.headers((self.wall)());
        if request.method() == Method::HEAD {
            // `Transfer-Encoding` may be left out here (RFC 9112 §6.1), and hyper does.
            return Decision::Answer(match self.gate.would_enter(stream, availability, peer) {
                Ok(()) => bare(StatusCode::OK, headers),
                Err(_) => {
                    // hyper writes it for a GET only.
                    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
                    bare(face.refuse_status, headers)
                }
            });
        }
        let seat = match self.gate.enter(stream, availability, peer) {
            Ok(seat) => seat,
            Err(refused) => {
                self.observe.stream(stream).refused(refused).add(1);
                log_refused(resource, peer, refused);
                return Decision::Answer(bare(face.refuse_status, headers));
            }
        };
        let framing = match request.version() {
            Version::HTTP_11 => face.framing,
            _ => Framing::Close,
        };
        if framing == Framing::Chunked {
            headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        add(&mut headers, added);
        Decision::Stream(Claim {
            stream,
            head: answer::render_head(request.version(), StatusCode::OK, &headers),
            preamble: face.preamble.clone(),
            framing,
            seat,
            visitor: Box::new(Visitor {
                peer,
                user_agent: user_agent(request.headers()),
                version: request.version(),
            }),
        })
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("resources", &self.resources).finish_non_exhaustive()
    }
}

impl Resource {
    /// The headers that every answer of this resource to this request carries.
    fn added_headers<B>(&self, request: &Request<B>) -> HeaderMap {
        let mut headers = self.headers.clone();
        let origin = request.headers().get(header::ORIGIN);
        match (&self.cors, origin) {
            (Cors::SameOrigin, _) => {}
            (Cors::Any, _) => {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            (Cors::Origins(allowed), origin) => {
                headers.append(header::VARY, HeaderValue::from_static("Origin"));
                if let Some(origin) = origin.filter(|origin| allowed.contains(origin)) {
                    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                }
            }
        }
        headers
    }

    fn allowed_methods(&self) -> &'static str {
        match (&self.kind, &self.cors) {
            (Kind::Api(Api::Control(_)), Cors::SameOrigin) => "GET, HEAD, POST, PUT",
            (Kind::Api(Api::Control(_)), _) => "GET, HEAD, POST, PUT, OPTIONS",
            (_, Cors::SameOrigin) => "GET, HEAD",
            (_, _) => "GET, HEAD, OPTIONS",
        }
    }
}

struct BadHost;

/// The host that a request is for.
///
/// An HTTP/1.1 request has exactly one `Host` (RFC 9112 §3.2), which yields to the authority of a target in
/// absolute form.
fn requested_host<B>(request: &Request<B>) -> Result<Option<Authority>, BadHost> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(BadHost),
        (None, None) if request.version() == Version::HTTP_11 => return Err(BadHost),
        (None, None) => None,
        (Some(host), None) if host.is_empty() => None,
        (Some(host), None) => Some(Authority::try_from(host.as_bytes()).map_err(|_| BadHost)?),
    };
    Ok(request.uri().authority().cloned().or(host))
}

/// The answer to the question that a browser asks before a request across origins.
fn preflight<B>(request: &Request<B>, methods: &'static str) -> Answer {
    let mut answer = no_content();
    let headers = answer.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(methods));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
    if let Some(wanted) = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, CORS_MAX_AGE);
    answer
}

fn no_content() -> Answer {
    bare(StatusCode::NO_CONTENT, HeaderMap::new())
}

/// An answer without a body.
fn bare(status: StatusCode, headers: HeaderMap) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    *answer.headers_mut() = headers;
    answer
}

/// Lays the headers of the resource over those of the answer; `Vary` adds up.
fn add(headers: &mut HeaderMap, added: &HeaderMap) {
    for name in added.keys().filter(|&name| answer::may_be_added(name)) {
        let mut values = added.get_all(name).iter().cloned();
        if name != header::VARY
            && let Some(first) = values.next()
        {
            headers.insert(name, first);
        }
        for value in values {
            headers.append(name, value);
        }
    }
}

/// The longest `User-Agent` that is kept for the access log, in bytes.
const USER_AGENT_BYTES_MAX: usize = 256;

fn user_agent(headers: &HeaderMap) -> Box<str> {
    let bytes = headers.get(header::USER_AGENT).map_or(&[][..], HeaderValue::as_bytes);
    let bytes = &bytes[..bytes.len().min(USER_AGENT_BYTES_MAX)];
    String::from_utf8_lossy(bytes).into()
}

fn log_refused(resource: &Resource, peer: Peer, refused: Refused) {
    tracing::info!(
        module = "streaming",
        event = "refused",
        stream = resource.serve.label(),
        remote = %peer,
        reason = %refused,
        "viewer not let in"
    );
}
