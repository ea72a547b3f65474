//! The `resources` of the file: streams, static files and API answers.

use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use restreamer_io::answer;
use restreamer_io::api::Api;
use restreamer_io::client::{ClientOptions, Proxies};
use restreamer_io::route::{Serve, StreamId};
use restreamer_io::service::Cors;

use super::TOP_KEYS;
use super::access::{Authentication, UserList};
use super::json::Value;
use super::reader::{Field, Section};
use super::report::nearest;
use super::stream::StreamResource;
use super::target::{self, Document};
use super::tuning::{TUNING_KEYS, Tuning, unless_zero};

/// What every resource has: where it is served, to whom, and with which headers.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The path.
    pub serve: Serve,
    /// Who may use it.
    pub authentication: Authentication,
    /// Which web pages may read it.
    pub cors: Cors,
    /// Headers that every answer carries beside its own.
    pub headers: HeaderMap,
}

/// A file or a page that is served as it is.
#[derive(Clone, Debug)]
pub struct StaticResource {
    /// Where it is served.
    pub endpoint: Endpoint,
    /// Where it comes from.
    pub remote: Document,
    /// How long a copy is used; zero: it is fetched for every request.
    pub cache: Duration,
}

/// An answer that the program makes itself.
#[derive(Clone, Debug)]
pub struct ApiResource {
    /// Where it is served.
    pub endpoint: Endpoint,
    /// Which.
    pub api: Api,
}

/// What the top of the file says for all resources.
pub(super) struct Defaults {
    pub(super) users: UserList,
    pub(super) tuning: Tuning,
    pub(super) input_packets: u32,
    pub(super) output_packets: u32,
    pub(super) client: ClientOptions,
    pub(super) reconnect: Option<Duration>,
    pub(super) read_timeout: Option<Duration>,
}

impl Defaults {
    pub(super) fn read(top: &mut Section<'_>, proxies: Proxies) -> Defaults {
        let standard = Defaults::default();
        Defaults {
            users: UserList::read(top),
            tuning: Tuning::read(top, &standard.tuning),
            input_packets: top.count("inputbuffer").unwrap_or(standard.input_packets),
            output_packets: top.count("outputbuffer").unwrap_or(standard.output_packets),
            client: ClientOptions {
                timeout: top.seconds("timeout").and_then(unless_zero),
                proxies,
                ..standard.client
            },
            reconnect: top.seconds("reconnect").map_or(standard.reconnect, unless_zero),
            read_timeout: top.seconds("readtimeout").and_then(unless_zero),
        }
    }
}

impl Default for Defaults {
    fn default() -> Defaults {
        Defaults {
            users: UserList::default(),
            tuning: Tuning::default(),
            input_packets: 1000,
            output_packets: 400,
            client: ClientOptions::default(),
            reconnect: Some(Duration::from_secs(10)),
            read_timeout: None,
        }
    }
}

/// The resources, by kind, each kind in the order of the file.
#[derive(Default)]
pub(super) struct Resources {
    pub(super) streams: Vec<StreamResource>,
    pub(super) statics: Vec<StaticResource>,
    pub(super) apis: Vec<ApiResource>,
}

/// The keys that some resource has, beside those of [`Tuning`].
pub(super) const RESOURCE_KEYS: [&str; 13] = [
    "type",
    "api",
    "serve",
    "remote",
    "remotes",
    "clientinterface",
    "cache",
    "mru",
    "preamble",
    "authentication",
    "loop",
    "cors",
    "headers",
];

#[derive(Clone, Copy)]
enum Kind {
    Stream,
    Static,
    Api,
}

#[derive(Clone, Copy)]
enum ApiKind {
    Health,
    Statistics,
    Check,
    Control,
    Prometheus,
    Events,
}

const KINDS: [(&str, Kind); 3] = [("stream", Kind::Stream), ("static", Kind::Static), ("api", Kind::Api)];
const APIS: [(&str, ApiKind); 6] = [
    ("health", ApiKind::Health),
    ("statistics", ApiKind::Statistics),
    ("check", ApiKind::Check),
    ("control", ApiKind::Control),
    ("prometheus", ApiKind::Prometheus),
    ("events", ApiKind::Events),
];

impl Resources {
    /// Reads the list; an API may name a stream that stands after it.
    pub(super) fn read(fields: Vec<Field<'_>>, defaults: &Defaults) -> Resources {
        let mut resources = Resources::default();
        let mut served: Vec<(Serve, String)> = Vec::new();
        let mut waiting: Vec<(Endpoint, ApiKind, Option<Field<'_>>)> = Vec::new();
        for field in fields {
            let path = field.path().to_owned();
            let Some(mut section) = field.section() else { continue };
            let kind = match section.take("type") {
                Some(kind) => kind.choice(&KINDS),
                None => {
                    section.error("type", "is missing; expected stream, static or api");
                    None
                }
            };
            // A resource with a bad `serve` is read to its end all the same, for its other errors.
            let endpoint = match Endpoint::read(&mut section, defaults) {
                Some(endpoint) => {
                    if let Some((_, earlier)) =
                        served.iter().find(|(serve, _)| serve.same_place(&endpoint.serve))
                    {
                        let text = format!("{:?} is what {earlier} serves already", endpoint.serve.label());
                        section.error("serve", text);
                    }
                    served.push((endpoint.serve.clone(), path));
                    endpoint
                }
                None => Endpoint::open("/"),
            };
            match kind {
                Some(Kind::Stream) => {
                    resources.streams.push(StreamResource::read(&mut section, endpoint, defaults));
                    finish(section, "has no effect on a stream");
                }
                Some(Kind::Static) => {
                    resources.statics.extend(StaticResource::read(&mut section, endpoint));
                    finish(section, "has no effect on a static resource");
                }
                Some(Kind::Api) => {
                    if let Some((api, stream)) = read_api(&mut section) {
                        waiting.push((endpoint, api, stream));
                    }
                    finish(section, "has no effect on an API");
                }
                None => {}
            }
        }
        for (endpoint, kind, stream) in waiting {
            let stream = stream.and_then(|field| find_stream(&field, &resources.streams));
            let api = match (kind, stream) {
                (ApiKind::Health, _) => Api::Health,
                (ApiKind::Statistics, _) => Api::Statistics,
                (ApiKind::Prometheus, _) => Api::Prometheus,
                (ApiKind::Events, _) => Api::Events,
                (ApiKind::Check, Some(stream)) => Api::Check(stream),
                (ApiKind::Control, Some(stream)) => Api::Control(stream),
                // Reported when the name of the stream was looked for.
                (ApiKind::Check | ApiKind::Control, None) => continue,
            };
            resources.apis.push(ApiResource { endpoint, api });
        }
        resources
    }
}

impl Endpoint {
    /// A path of our own, open and without extras.
    pub(super) fn open(path: &'static str) -> Endpoint {
        let serve = Serve::parse(path).expect("a path of our own is clean");
        Endpoint {
            serve,
            authentication: Authentication::Open,
            cors: Cors::SameOrigin,
            headers: HeaderMap::new(),
        }
    }

    /// `None` when `serve` is missing or wrong.
    fn read(section: &mut Section<'_>, defaults: &Defaults) -> Option<Endpoint> {
        let serve = section.take("serve").filter(|field| *field.value() != Value::Text(String::new()));
        if serve.is_none() {
            section.error("serve", "is missing; a resource needs a path");
        }
        let authentication = Authentication::read(section, &defaults.users);
        let cors = section.take("cors").map_or(Cors::SameOrigin, cors);
        let headers = section.section("headers").map(headers).unwrap_or_default();
        let serve = serve?;
        let text = serve.text()?;
        match Serve::parse(text) {
            Ok(serve) => Some(Endpoint { serve, authentication, cors, headers }),
            Err(wrong) => serve.fails(format!("{text:?}: {wrong}")),
        }
    }
}

impl StaticResource {
    fn read(section: &mut Section<'_>, endpoint: Endpoint) -> Option<StaticResource> {
        let cache = section.seconds("cache").unwrap_or_default();
        let Some(remote) = section.take("remote") else {
            section.error("remote", "is missing; a static resource needs a URL to come from");
            return None;
        };
        Some(StaticResource { endpoint, remote: target::document(&remote)?, cache })
    }
}

/// Which API, and the stream that it names.
fn read_api<'r>(section: &mut Section<'r>) -> Option<(ApiKind, Option<Field<'r>>)> {
    let Some(field) = section.take("api") else {
        section.error("api", "is missing; expected health, statistics, check, control, prometheus or events");
        return None;
    };
    let kind = field.choice(&APIS)?;
    if !matches!(kind, ApiKind::Check | ApiKind::Control) {
        return Some((kind, None));
    }
    let stream = section.take("remote");
    if stream.is_none() {
        section.error("remote", "is missing; it names the stream by its serve path");
    }
    Some((kind, stream))
}

fn find_stream(field: &Field<'_>, streams: &[StreamResource]) -> Option<StreamId> {
    let text = field.text()?;
    let wanted = Serve::parse(text).ok();
    let found = streams
        .iter()
        .zip(0..)
        .find(|(stream, _)| wanted.as_ref().is_some_and(|wanted| stream.endpoint.serve.same_place(wanted)));
    if let Some((_, index)) = found {
        return Some(StreamId(index));
    }
    match nearest(text, streams.iter().map(|stream| stream.endpoint.serve.label())) {
        Some(meant) => field.fails(format!("no stream is served at {text:?}: did you mean {meant:?}?")),
        None => field.fails(format!("no stream is served at {text:?}")),
    }
}

/// `"*"`, one origin, or a list of them.
fn cors(field: Field<'_>) -> Cors {
    let origins = match field.value() {
        Value::Text(text) if text.is_empty() => return Cors::SameOrigin,
        Value::Text(_) => vec![field],
        Value::List(_) => field.list(),
        _ => return field.wrong_type("\"*\" or a list of origins").unwrap_or_default(),
    };
    if origins.iter().any(|origin| *origin.value() == Value::Text("*".to_owned())) {
        return Cors::Any;
    }
    let origins: Vec<HeaderValue> = origins.iter().filter_map(origin).collect();
    if origins.is_empty() { Cors::SameOrigin } else { Cors::Origins(origins) }
}

fn origin(field: &Field<'_>) -> Option<HeaderValue> {
    let text = field.text()?;
    let host = text.split_once("://").map(|(_, host)| host);
    match HeaderValue::from_str(&text.to_ascii_lowercase()) {
        Ok(value) if host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '@', ' '])) => {
            Some(value)
        }
        _ => field.fails(format!("{text:?} is not an origin; write scheme://host[:port], without a path")),
    }
}

fn headers(section: Section<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, field) in section.named() {
        let Ok(name) = name.parse::<HeaderName>() else {
            field.fails::<()>("is not a header name");
            continue;
        };
        if !answer::may_be_added(&name) {
            field.fails::<()>("is a header that the server itself decides on");
            continue;
        }
        let Some(text) = field.text() else { continue };
        match HeaderValue::from_str(text) {
            Ok(value) => {
                headers.insert(name, value);
            }
            Err(_) => {
                field.fails::<()>("is not a header value: it holds a control character");
            }
        }
    }
    headers
}

fn finish(section: Section<'_>, no_effect: &str) {
    let misplaced = "has no effect in a resource; it belongs at the top";
    section.finish_beside(&[(&RESOURCE_KEYS, no_effect), (&TUNING_KEYS, no_effect), (&TOP_KEYS, misplaced)]);
}
