//! The `resources` of the file: streams, static files and API answers.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};

use super::TOP_KEYS;
use super::access::{Authentication, UserList};
use super::json::Value;
use super::reader::{Field, Section};
use super::report::nearest;
use super::serve::Serve;
use super::stream::{StreamConfig, url};
use super::tuning::{TUNING_KEYS, Tuning, unless_zero};
use super::url::{Scheme, Url};

/// What every resource has: where it is served, to whom, and with which headers.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// The path.
    pub serve: Serve,
    /// Who may use it.
    pub authentication: Authentication,
    /// Which web pages may read it.
    pub cors: Cors,
    /// Headers that every answer carries beside its own.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Which origins may read a resource from a web page.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Cors {
    /// None is told that it may.
    #[default]
    Off,
    /// All.
    Any,
    /// These, as `scheme://host[:port]`.
    Origins(Vec<HeaderValue>),
}

/// A file or a page that is served as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct StaticConfig {
    /// Where it is served.
    pub endpoint: Endpoint,
    /// Where it comes from; one of [`Scheme::STATIC`].
    pub remote: Url,
    /// How long a copy is used; `None`: it is fetched for every request.
    pub cache: Option<Duration>,
}

/// An answer that the program makes itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiConfig {
    /// Where it is served.
    pub endpoint: Endpoint,
    /// Which.
    pub api: Api,
}

/// The answers that the program makes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// How full the service is.
    Health,
    /// What it has done so far.
    Statistics,
    /// Whether a stream is connected.
    Check(StreamIndex),
    /// Takes a stream offline and back.
    Control(StreamIndex),
    /// The metrics.
    Prometheus,
}

/// A place in [`Config::streams`](super::Config::streams).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamIndex(pub usize);

/// What the top of the file says for all resources.
pub(super) struct Defaults {
    pub(super) users: UserList,
    pub(super) tuning: Tuning,
    pub(super) input_packets: u32,
    pub(super) output_packets: u32,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) reconnect: Option<Duration>,
    pub(super) read_timeout: Option<Duration>,
}

/// The resources, by kind, each kind in the order of the file.
#[derive(Default)]
pub(super) struct Resources {
    pub(super) streams: Vec<StreamConfig>,
    pub(super) statics: Vec<StaticConfig>,
    pub(super) apis: Vec<ApiConfig>,
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
}

const KINDS: [(&str, Kind); 3] = [("stream", Kind::Stream), ("static", Kind::Static), ("api", Kind::Api)];
const APIS: [(&str, ApiKind); 5] = [
    ("health", ApiKind::Health),
    ("statistics", ApiKind::Statistics),
    ("check", ApiKind::Check),
    ("control", ApiKind::Control),
    ("prometheus", ApiKind::Prometheus),
];

/// Headers that the server itself decides on, because they frame the message or say what it is.
const RESERVED_HEADERS: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::DATE,
    header::TRANSFER_ENCODING,
    header::TRAILER,
    header::UPGRADE,
];

impl Resources {
    /// Reads the list; an API may name a stream that stands after it.
    pub(super) fn read(fields: Vec<Field<'_>>, defaults: &Defaults) -> Resources {
        let mut resources = Resources::default();
        let mut served: BTreeMap<Serve, String> = BTreeMap::new();
        let mut named_streams: BTreeMap<Serve, StreamIndex> = BTreeMap::new();
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
            let endpoint = Endpoint::read(&mut section, defaults);
            if let Some(endpoint) = &endpoint {
                if let Some(earlier) = served.get(&endpoint.serve) {
                    section
                        .error("serve", format!("\"{}\" is what {earlier} serves already", endpoint.serve));
                } else {
                    served.insert(endpoint.serve.clone(), path);
                }
            }
            // A resource with a bad `serve` is read to its end all the same, for its other errors.
            let found = endpoint.is_some();
            let endpoint = endpoint.unwrap_or_else(|| Endpoint::open(Serve::exact("/")));
            match kind {
                Some(Kind::Stream) => {
                    let serve = endpoint.serve.clone();
                    let stream = StreamConfig::read(&mut section, endpoint, defaults);
                    if found {
                        named_streams.entry(serve).or_insert(StreamIndex(resources.streams.len()));
                    }
                    resources.streams.push(stream);
                    finish(section, "has no effect on a stream");
                }
                Some(Kind::Static) => {
                    resources.statics.extend(StaticConfig::read(&mut section, endpoint));
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
            let stream = stream.and_then(|field| find_stream(&field, &named_streams));
            let api = match (kind, stream) {
                (ApiKind::Health, _) => Api::Health,
                (ApiKind::Statistics, _) => Api::Statistics,
                (ApiKind::Prometheus, _) => Api::Prometheus,
                (ApiKind::Check, Some(stream)) => Api::Check(stream),
                (ApiKind::Control, Some(stream)) => Api::Control(stream),
                // Reported when the name of the stream was looked for.
                (ApiKind::Check | ApiKind::Control, None) => continue,
            };
            resources.apis.push(ApiConfig { endpoint, api });
        }
        resources
    }
}

impl Endpoint {
    /// An open path without extras.
    pub(super) fn open(serve: Serve) -> Endpoint {
        Endpoint { serve, authentication: Authentication::Open, cors: Cors::Off, headers: Vec::new() }
    }

    /// `None` when `serve` is missing or wrong.
    fn read(section: &mut Section<'_>, defaults: &Defaults) -> Option<Endpoint> {
        let serve = section.take("serve").filter(|field| *field.value() != Value::Text(String::new()));
        if serve.is_none() {
            section.error("serve", "is missing; a resource needs a path");
        }
        let authentication = Authentication::read(section, &defaults.users);
        let cors = section.take("cors").map_or(Cors::Off, cors);
        let headers = section.section("headers").map(headers).unwrap_or_default();
        let serve = serve?;
        match Serve::parse(serve.text()?) {
            Ok(serve) => Some(Endpoint { serve, authentication, cors, headers }),
            Err(wrong) => serve.fails(wrong),
        }
    }
}

impl StaticConfig {
    fn read(section: &mut Section<'_>, endpoint: Endpoint) -> Option<StaticConfig> {
        let cache = section.seconds("cache").and_then(unless_zero);
        let Some(remote) = section.take("remote") else {
            section.error("remote", "is missing; a static resource needs a URL to come from");
            return None;
        };
        Some(StaticConfig { endpoint, remote: url(&remote, &Scheme::STATIC)?, cache })
    }
}

/// Which API, and the stream that it names.
fn read_api<'r>(section: &mut Section<'r>) -> Option<(ApiKind, Option<Field<'r>>)> {
    let Some(field) = section.take("api") else {
        section.error("api", "is missing; expected health, statistics, check, control or prometheus");
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

fn find_stream(field: &Field<'_>, streams: &BTreeMap<Serve, StreamIndex>) -> Option<StreamIndex> {
    let text = field.text()?;
    if let Some(stream) = Serve::parse(text).ok().and_then(|serve| streams.get(&serve)) {
        return Some(*stream);
    }
    let names: Vec<String> = streams.keys().map(ToString::to_string).collect();
    match nearest(text, names.iter().map(String::as_str)) {
        Some(meant) => field.fails(format!("no stream is served at {text:?}: did you mean {meant:?}?")),
        None => field.fails(format!("no stream is served at {text:?}")),
    }
}

/// `"*"`, one origin, or a list of them.
fn cors(field: Field<'_>) -> Cors {
    let origins = match field.value() {
        Value::Text(text) if text.is_empty() => return Cors::Off,
        Value::Text(_) => vec![field],
        Value::List(_) => field.list(),
        _ => return field.wrong_type("\"*\" or a list of origins").unwrap_or_default(),
    };
    if origins.iter().any(|origin| *origin.value() == Value::Text("*".to_owned())) {
        return Cors::Any;
    }
    let origins: Vec<HeaderValue> = origins.iter().filter_map(origin).collect();
    if origins.is_empty() { Cors::Off } else { Cors::Origins(origins) }
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

fn headers(section: Section<'_>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (name, field) in section.named() {
        let Ok(name) = name.parse::<HeaderName>() else {
            field.fails::<()>("is not a header name");
            continue;
        };
        if RESERVED_HEADERS.contains(&name) {
            field.fails::<()>("is a header that the server itself decides on");
            continue;
        }
        let Some(text) = field.text() else { continue };
        match HeaderValue::from_str(text) {
            Ok(value) => {
                headers.retain(|(earlier, _)| *earlier != name);
                headers.push((name, value));
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
