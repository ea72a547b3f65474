//! What can be asked about the streams, and the one thing that can be ordered.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};
use restreamer_core::stream::{Availability, Operator};

use crate::answer::{self, Answer};
use crate::journal::Journal;
use crate::route::StreamId;
use crate::service::Service;

/// A stream without a packet for this long does not count as connected.
const CHECK_SILENCE_MAX: Duration = Duration::from_secs(5);

/// What an API resource answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// How many viewers there are, for a load balancer.
    Health,
    /// Totals and rates.
    Statistics,
    /// Whether a stream is connected.
    Check(StreamId),
    /// Takes a stream offline and online.
    Control(StreamId),
    /// Metrics in the text format of Prometheus.
    Prometheus,
    /// The last events, one JSON object a line.
    Events,
}

/// Renders all metrics when asked.
#[derive(Clone)]
pub struct Metrics {
    /// The media type of what is rendered.
    pub content_type: HeaderValue,
    /// Renders them. Must not block.
    pub render: Arc<dyn Fn() -> Vec<u8> + Send + Sync>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("content_type", &self.content_type).finish_non_exhaustive()
    }
}

/// Answers one request.
pub(crate) fn answer(service: &Service, api: Api, query: Option<&str>) -> Answer {
    let mut answer = match api {
        Api::Health => json(health(service)),
        Api::Statistics => json(statistics(service)),
        Api::Check(stream) => check(service, stream),
        Api::Control(stream) => control(service, stream, query.unwrap_or("")),
        Api::Events => {
            let events = service.observe.journal().map(Journal::render).unwrap_or_default();
            answer::with_body(StatusCode::OK, HeaderValue::from_static("application/x-ndjson"), events)
        }
        Api::Prometheus => answer::with_body(
            StatusCode::OK,
            service.metrics.content_type.clone(),
            (service.metrics.render)(),
        ),
    };
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn health(service: &Service) -> String {
    let viewers = service.gate.viewers();
    let limits = service.gate.limits();
    let status = match reaches(viewers, limits.hard) || reaches(viewers, limits.soft) {
        true => "full",
        false => "ok",
    };
    let bandwidth_kbit = u128::from(service.observe.rates().bytes_sent) * 8 / 1024;
    format!(
        r#"{{"status":"{status}","viewer":{viewers},"limit":{},"max":{},"bandwidth":{bandwidth_kbit}}}"#,
        limits.soft, limits.hard
    )
}

fn statistics(service: &Service) -> String {
    let viewers = service.gate.viewers();
    let limits = service.gate.limits();
    let status = match () {
        () if reaches(viewers, limits.hard) => "overload",
        () if reaches(viewers, limits.soft) => "full",
        () => "ok",
    };
    let total = service.observe.totals();
    let rate = service.observe.rates();
    let numbers: [(&str, u64); 16] = [
        ("connections", viewers.into()),
        ("max_connections", limits.hard.into()),
        ("full_connections", limits.soft.into()),
        ("total_packets_received", total.packets_received),
        ("total_packets_sent", total.packets_sent),
        ("total_packets_dropped", total.packets_dropped),
        ("total_bytes_received", total.bytes_received),
        ("total_bytes_sent", total.bytes_sent),
        ("total_bytes_dropped", total.bytes_dropped),
        ("total_stream_time_ns", total.duration_ns),
        ("packets_per_second_received", rate.packets_received),
        ("packets_per_second_sent", rate.packets_sent),
        ("packets_per_second_dropped", rate.packets_dropped),
        ("bytes_per_second_received", rate.bytes_received),
        ("bytes_per_second_sent", rate.bytes_sent),
        ("bytes_per_second_dropped", rate.bytes_dropped),
    ];
    let mut json = format!(r#"{{"status":"{status}""#);
    for (name, number) in numbers {
        json.push_str(&format!(r#","{name}":{number}"#));
    }
    json.push('}');
    json
}

/// A limit of 0 is never reached.
fn reaches(viewers: u32, limit: u32) -> bool {
    limit != 0 && viewers >= limit
}

fn check(service: &Service, stream: StreamId) -> Answer {
    let is_connected = service.channels.availability(stream) != Availability::Offline
        && service.channels.connected_within(stream, CHECK_SILENCE_MAX);
    match is_connected {
        true => answer::text(StatusCode::OK, "200 ok"),
        false => answer::text(StatusCode::NOT_FOUND, "404 not found"),
    }
}

fn control(service: &Service, stream: StreamId, query: &str) -> Answer {
    let has =
        |wanted| query.split('&').any(|pair| pair.split_once('=').map_or(pair, |(name, _)| name) == wanted);
    let order = match (has("offline"), has("online")) {
        (true, _) => Operator::Offline,
        (false, true) => Operator::Online,
        (false, false) => return answer::text(StatusCode::BAD_REQUEST, "400 bad request"),
    };
    tracing::info!(
        module = "api",
        event = match order {
            Operator::Offline => "offline",
            Operator::Online => "online",
        },
        stream = &*service.observe.stream(stream).label,
        "ordered by the operator"
    );
    service.channels.operator(stream, order);
    answer::text(StatusCode::ACCEPTED, "202 accepted")
}

fn json(body: String) -> Answer {
    answer::with_body(StatusCode::OK, HeaderValue::from_static("application/json"), body)
}
