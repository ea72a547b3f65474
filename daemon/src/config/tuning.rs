//! How one stream behaves: the keys that may stand at the top, for all streams, and in a stream, which wins.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use restreamer_core::{Join, Order, Slow};
use restreamer_io::answer::Framing;

use super::json::Value;
use super::reader::{Field, Section};

/// The behaviour of a stream towards its sources and its viewers.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    /// In which order the sources are tried (`order`).
    pub order: Order,
    /// How long viewers are held while every source is lost; zero ends their responses at once (`grace`).
    pub grace: Duration,
    /// A viewer that takes nothing for so long is disconnected; `None`: never (`stalltimeout`).
    pub stall_limit: Option<Duration>,
    /// The `Content-Type` of the stream (`contenttype`).
    pub content_type: HeaderValue,
    /// How the end of the body is told to HTTP/1.1 clients (`framing`).
    pub framing: Framing,
    /// The status that refuses a viewer (`refusestatus`).
    pub refuse_status: StatusCode,
    /// Where a viewer starts (`join`).
    pub join: Join,
    /// What happens to a viewer that lags too much (`slow`).
    pub slow: Slow,
    /// How far behind live a viewer may be; `None`: as far as the ring reaches (`maxlag`).
    pub lag_max: Option<Duration>,
    /// How long bytes may wait to be sent together (`latency`).
    pub latency: Duration,
    /// What the ring may hold, in bytes; `None`: the default, or more where the buffers need it (`ringlimit`).
    pub ring_bytes_max: Option<u32>,
    /// The kernel's send buffer for one viewer, in bytes; `None`: as the system tunes it (`sendbuffer`).
    pub send_buffer_bytes: Option<u32>,
}

/// The keys that [`Tuning`] reads.
pub(super) const TUNING_KEYS: [&str; 12] = [
    "order",
    "grace",
    "stalltimeout",
    "contenttype",
    "framing",
    "refusestatus",
    "join",
    "slow",
    "maxlag",
    "latency",
    "ringlimit",
    "sendbuffer",
];

const ORDERS: [(&str, Order); 2] = [("shuffle", Order::Shuffle), ("priority", Order::Priority)];
const FRAMINGS: [(&str, Framing); 2] = [("close", Framing::Close), ("chunked", Framing::Chunked)];
const JOINS: [(&str, Join); 2] = [("keyframe", Join::Keyframe), ("live", Join::Live)];
const SLOWS: [(&str, Slow); 4] = [
    ("keyframe", Slow::Keyframe),
    ("oldest", Slow::Oldest),
    ("live", Slow::Live),
    ("disconnect", Slow::Disconnect),
];

/// A ring smaller than one full segment (64 KiB) could never be read from.
const RING_BYTES_MIN: u32 = 64 * 1024;
/// Smaller kernel buffers would make every write a partial one.
const SEND_BUFFER_BYTES: std::ops::RangeInclusive<u32> = 4096..=64 * 1024 * 1024;
/// Beyond this, bytes wait longer than players buffer.
const LATENCY_USUAL_MAX: Duration = Duration::from_secs(1);

impl Tuning {
    /// Reads the keys of `section`; what it does not say is as in `base`.
    pub(super) fn read(section: &mut Section<'_>, base: &Tuning) -> Tuning {
        let latency = section.milliseconds("latency").unwrap_or(base.latency);
        if latency > LATENCY_USUAL_MAX && latency != base.latency {
            section.warning("latency", "is in milliseconds; more than a second makes players run dry");
        }
        Tuning {
            order: section.choice("order", &ORDERS).unwrap_or(base.order),
            grace: section.seconds("grace").unwrap_or(base.grace),
            stall_limit: section.seconds("stalltimeout").map_or(base.stall_limit, unless_zero),
            content_type: section
                .take("contenttype")
                .and_then(content_type)
                .unwrap_or_else(|| base.content_type.clone()),
            framing: section.choice("framing", &FRAMINGS).unwrap_or(base.framing),
            refuse_status: section.take("refusestatus").and_then(refuse_status).unwrap_or(base.refuse_status),
            join: section.take("join").and_then(join).unwrap_or(base.join),
            slow: section.choice("slow", &SLOWS).unwrap_or(base.slow),
            lag_max: section.milliseconds("maxlag").map_or(base.lag_max, unless_zero),
            latency,
            ring_bytes_max: section
                .take("ringlimit")
                .and_then(|field| field.count(RING_BYTES_MIN..=u32::MAX))
                .or(base.ring_bytes_max),
            send_buffer_bytes: match section.take("sendbuffer") {
                Some(field) if *field.value() == Value::Integer(0) => None,
                Some(field) => field.count(SEND_BUFFER_BYTES).or(base.send_buffer_bytes),
                None => base.send_buffer_bytes,
            },
        }
    }
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            order: Order::default(),
            grace: Duration::from_secs(15),
            stall_limit: Some(Duration::from_secs(30)),
            content_type: HeaderValue::from_static("video/mpeg"),
            framing: Framing::default(),
            refuse_status: StatusCode::NOT_FOUND,
            join: Join::default(),
            slow: Slow::default(),
            lag_max: None,
            latency: Duration::from_millis(20),
            ring_bytes_max: None,
            send_buffer_bytes: Some(256 * 1024),
        }
    }
}

/// Zero switches a limit off.
pub(super) fn unless_zero(limit: Duration) -> Option<Duration> {
    (!limit.is_zero()).then_some(limit)
}

fn join(field: Field<'_>) -> Option<Join> {
    match field.value() {
        Value::Text(_) => field.choice(&JOINS),
        Value::Integer(_) => {
            let behind = field.count(0..=u32::MAX)?;
            Some(Join::Behind(Duration::from_millis(u64::from(behind))))
        }
        _ => field.wrong_type("keyframe, live or milliseconds behind live"),
    }
}

fn refuse_status(field: Field<'_>) -> Option<StatusCode> {
    let status = field.count(400..=599)?;
    u16::try_from(status).ok().and_then(|status| StatusCode::from_u16(status).ok())
}

fn content_type(field: Field<'_>) -> Option<HeaderValue> {
    let text = field.text().filter(|text| !text.is_empty())?;
    let is_type = text.split_once('/').is_some_and(|(kind, subtype)| !kind.is_empty() && !subtype.is_empty());
    match HeaderValue::from_str(text) {
        Ok(value) if is_type => Some(value),
        _ => field.fails(format!("{text:?} is not a media type like video/mp2t")),
    }
}
