//! A `resource` of type `stream`.

use std::path::PathBuf;
use std::time::Duration;

use restreamer_core::{Join, Policy, RingLimits, StreamConfig, UpstreamConfig};
use restreamer_io::fanout::ViewerConfig;

use super::json::Value;
use super::reader::{Field, Section};
use super::resource::{Defaults, Endpoint};
use super::tuning::Tuning;
use super::url::{Scheme, Url};

/// Bytes of one transport-stream packet (ISO/IEC 13818-1 §2.4.3.2).
const PACKET_BYTES: u64 = 188;
/// What a ring may hold unless `ringlimit` says otherwise.
const RING_BYTES_MAX_DEFAULT: u64 = 16 * 1024 * 1024;
/// The payload of an Ethernet frame.
const DATAGRAM_BYTES_DEFAULT: u32 = 1500;
/// No datagram that the kernel hands out is larger.
const DATAGRAM_BYTES_MAX: u32 = 64 * 1024;

/// One channel: where it comes from, and how it goes out.
#[derive(Clone, Debug)]
pub struct StreamResource {
    /// Where it is served.
    pub endpoint: Endpoint,
    /// Where it comes from, in the order of the file; never empty.
    pub sources: Vec<Source>,
    /// How the sources are read.
    pub reading: Reading,
    /// How it behaves towards sources and viewers.
    pub tuning: Tuning,
    /// Packets that the ring holds at least (`inputbuffer`).
    pub ring_packets_min: u32,
    /// Bytes that the ring holds at most (`ringlimit`, filled in); enough for both buffers.
    pub ring_bytes_max: u64,
    /// Packets that every viewer may fall behind (`outputbuffer`).
    pub lag_packets_min: u32,
    /// A file that every viewer gets first.
    pub preamble: Option<PathBuf>,
}

/// Where a stream comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// From a URL with one of [`Scheme::SOURCES`].
    Url(Url),
    /// From the program itself: the built-in test stream.
    Demo,
}

/// How the sources of a stream are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The network interface on which multicast groups are joined; `None`: the system chooses.
    pub interface: Option<String>,
    /// The largest datagram (`mru`).
    pub datagram_bytes_max: u32,
    /// The kernel's receive buffer of datagram sockets.
    pub receive_buffer_bytes: u64,
    /// A regular file starts again at its end without a jump in time.
    pub looped: bool,
    /// The longest that connecting, the TLS handshake and the response head may take; `None`: no limit.
    pub connect_timeout: Option<Duration>,
    /// From the start of one attempt on a source to the next one; `None`: each source is tried once.
    pub reconnect: Option<Duration>,
    /// Silence after which a source is closed; `None`: never.
    pub read_timeout: Option<Duration>,
}

impl StreamResource {
    /// Reads what only a stream has; `endpoint` has been read.
    pub(super) fn read(section: &mut Section<'_>, endpoint: Endpoint, defaults: &Defaults) -> StreamResource {
        let sources = sources(section);
        let tuning = Tuning::read(section, &defaults.tuning);
        let looped = section.flag("loop").unwrap_or(false);
        let has = |schemes: &[Scheme]| {
            sources.iter().any(|source| matches!(source, Source::Url(url) if schemes.contains(&url.scheme())))
        };
        if looped && !has(&[Scheme::File]) {
            section.warning("loop", "has no effect: no remote is a file");
        }
        let interface = section.text("clientinterface");
        if interface.is_some() && !has(&[Scheme::Udp, Scheme::Rtp]) {
            section.warning("clientinterface", "has no effect: no remote is udp or rtp");
        }
        StreamResource {
            ring_bytes_max: ring_bytes_max(section, &tuning, defaults),
            endpoint,
            sources,
            reading: Reading {
                interface,
                datagram_bytes_max: section.take("mru").map_or(DATAGRAM_BYTES_DEFAULT, mru),
                receive_buffer_bytes: u64::from(defaults.input_packets) * PACKET_BYTES,
                looped,
                connect_timeout: defaults.connect_timeout,
                reconnect: defaults.reconnect,
                read_timeout: defaults.read_timeout,
            },
            tuning,
            ring_packets_min: defaults.input_packets,
            lag_packets_min: defaults.output_packets,
            preamble: section.text("preamble").map(PathBuf::from),
        }
    }

    /// The built-in test stream.
    pub(super) fn demo(endpoint: Endpoint, defaults: &Defaults) -> StreamResource {
        StreamResource {
            endpoint,
            sources: vec![Source::Demo],
            reading: Reading {
                interface: None,
                datagram_bytes_max: DATAGRAM_BYTES_DEFAULT,
                receive_buffer_bytes: u64::from(defaults.input_packets) * PACKET_BYTES,
                looped: true,
                connect_timeout: defaults.connect_timeout,
                reconnect: defaults.reconnect,
                read_timeout: defaults.read_timeout,
            },
            tuning: defaults.tuning.clone(),
            ring_packets_min: defaults.input_packets,
            ring_bytes_max: RING_BYTES_MAX_DEFAULT,
            lag_packets_min: defaults.output_packets,
            preamble: None,
        }
    }

    /// The upstream side, as core takes it.
    pub fn config(&self) -> StreamConfig {
        StreamConfig {
            upstream: UpstreamConfig {
                sources: self.sources.len(),
                order: self.tuning.order,
                reconnect: self.reading.reconnect,
                read_timeout: self.reading.read_timeout,
            },
            grace: self.tuning.grace,
            latency: self.tuning.latency,
        }
    }

    /// The bounds of the ring: as far back as the viewers' policy lets them be, within `ringlimit`.
    pub fn ring_limits(&self) -> RingLimits {
        let behind = self.viewers().policy.lag_allowed().unwrap_or(match self.tuning.join {
            Join::Behind(delay) => delay,
            Join::Keyframe | Join::Live => Duration::ZERO,
        });
        RingLimits {
            packets_min: u64::from(self.ring_packets_min.max(self.lag_packets_min)),
            span_min: RingLimits::default().span_min + behind,
            bytes_max: usize::try_from(self.ring_bytes_max).unwrap_or(usize::MAX),
        }
    }

    /// The viewers' side.
    pub fn viewers(&self) -> ViewerConfig {
        ViewerConfig {
            policy: Policy {
                join: self.tuning.join,
                slow: self.tuning.slow,
                lag_max: self.tuning.lag_max,
                lag_packets_min: self.lag_packets_min,
            },
            stall_timeout: self.tuning.stall_limit,
        }
    }
}

/// `remote`, then `remotes`.
fn sources(section: &mut Section<'_>) -> Vec<Source> {
    let remote = section.take("remote").filter(|field| *field.value() != Value::Text(String::new()));
    let listed: Vec<_> = remote.into_iter().chain(section.list("remotes")).collect();
    if listed.is_empty() {
        section.error("remote", "is missing; a stream needs a URL to come from");
    }
    listed.iter().filter_map(|field| url(field, &Scheme::SOURCES)).map(Source::Url).collect()
}

/// Reads a URL; an error names the field.
fn url(field: &Field<'_>, schemes: &[Scheme]) -> Option<Url> {
    match Url::parse(field.text()?, schemes) {
        Ok(url) => Some(url),
        Err(wrong) => field.fails(wrong),
    }
}

/// A datagram size; 0 stands for the default.
fn mru(field: Field<'_>) -> u32 {
    match field.count(0..=DATAGRAM_BYTES_MAX) {
        None | Some(0) => DATAGRAM_BYTES_DEFAULT,
        Some(bytes) => {
            if u64::from(bytes) < PACKET_BYTES {
                field.warning(format!("{bytes} bytes do not hold one packet ({PACKET_BYTES} bytes)"));
            }
            bytes
        }
    }
}

/// The ring's limit: as configured, or the default, which grows with the buffers.
fn ring_bytes_max(section: &Section<'_>, tuning: &Tuning, defaults: &Defaults) -> u64 {
    let packets_needed = u64::from(defaults.input_packets.max(defaults.output_packets));
    let needed = packets_needed * PACKET_BYTES;
    let Some(limit) = tuning.ring_bytes_max.map(u64::from) else {
        return RING_BYTES_MAX_DEFAULT.max(needed);
    };
    if limit < needed {
        let held = limit / PACKET_BYTES;
        section.error(
            "ringlimit",
            format!(
                "{limit} bytes hold {held} packets, and inputbuffer and outputbuffer ask for {packets_needed}"
            ),
        );
    }
    limit
}
