//! A `resource` of type `stream`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use restreamer_core::{Join, Policy, RingLimits, StreamConfig, UpstreamConfig};
use restreamer_io::fanout::ViewerConfig;
use restreamer_io::ingest::{Source, SourceError, SourceOptions};

use super::json::Value;
use super::reader::{Field, Section};
use super::report::nearest;
use super::resource::{Defaults, Endpoint};
use super::tuning::Tuning;

/// Bytes of one transport-stream packet (ISO/IEC 13818-1 §2.4.3.2).
const PACKET_BYTES: u64 = 188;
/// What a ring may hold unless `ringlimit` says otherwise.
const RING_BYTES_MAX_DEFAULT: u64 = 16 * 1024 * 1024;
const SCHEMES: [&str; 10] =
    ["http", "https", "tcp", "udp", "rtp", "file", "unix", "unixgram", "unixpacket", "fork"];
/// The built-in test stream; `assets/make-demo.sh` makes it.
static DEMO: &[u8] = include_bytes!("../../assets/demo.ts");
/// No datagram that the kernel hands out is larger.
const DATAGRAM_BYTES_MAX: u32 = 64 * 1024;

/// One channel: where it comes from, and how it goes out.
#[derive(Clone, Debug)]
pub struct StreamResource {
    /// Where it is served.
    pub endpoint: Endpoint,
    /// Where it comes from, in the order of the file; never empty.
    pub sources: Arc<[Source]>,
    /// With what they were read.
    pub options: SourceOptions,
    /// From the start of one attempt on a source to the next one; `None`: each source is tried once.
    pub reconnect: Option<Duration>,
    /// Silence after which a source is closed; `None`: never.
    pub read_timeout: Option<Duration>,
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

impl StreamResource {
    /// Reads what only a stream has; `endpoint` has been read.
    pub(super) fn read(section: &mut Section<'_>, endpoint: Endpoint, defaults: &Defaults) -> StreamResource {
        let standard = defaults.source_options();
        let options = SourceOptions {
            interface: section.text("clientinterface"),
            mru: section.take("mru").and_then(mru).unwrap_or(standard.mru),
            looped: section.flag("loop").unwrap_or(false),
            ..standard
        };
        let tuning = Tuning::read(section, &defaults.tuning);
        StreamResource {
            endpoint,
            sources: sources(section, &options),
            options,
            reconnect: defaults.reconnect,
            read_timeout: defaults.read_timeout,
            ring_packets_min: defaults.input_packets,
            ring_bytes_max: ring_bytes_max(section, &tuning, defaults),
            lag_packets_min: defaults.output_packets,
            tuning,
            preamble: section.text("preamble").map(PathBuf::from),
        }
    }

    /// The built-in test stream.
    pub(super) fn demo(endpoint: Endpoint) -> StreamResource {
        let defaults = Defaults::default();
        StreamResource {
            endpoint,
            sources: Arc::new([Source::recording("demo", DEMO)]),
            options: defaults.source_options(),
            reconnect: defaults.reconnect,
            read_timeout: defaults.read_timeout,
            ring_packets_min: defaults.input_packets,
            ring_bytes_max: RING_BYTES_MAX_DEFAULT,
            lag_packets_min: defaults.output_packets,
            tuning: defaults.tuning,
            preamble: None,
        }
    }

    /// The upstream side, as core takes it.
    pub fn config(&self) -> StreamConfig {
        StreamConfig {
            upstream: UpstreamConfig {
                sources: self.sources.len(),
                order: self.tuning.order,
                reconnect: self.reconnect,
                read_timeout: self.read_timeout,
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
            send_buffer: self.tuning.send_buffer_bytes.map(|bytes| bytes as usize),
        }
    }
}

impl Defaults {
    fn source_options(&self) -> SourceOptions {
        let receive_buffer = u64::from(self.input_packets) * PACKET_BYTES;
        SourceOptions {
            receive_buffer: usize::try_from(receive_buffer).unwrap_or(usize::MAX),
            connect_timeout: self.client.timeout,
            proxies: self.client.proxies.clone(),
            tls: self.client.tls.clone(),
            ..SourceOptions::default()
        }
    }
}

/// `remote`, then `remotes`.
fn sources(section: &mut Section<'_>, options: &SourceOptions) -> Arc<[Source]> {
    let remote = section.take("remote").filter(|field| *field.value() != Value::Text(String::new()));
    let listed: Vec<_> = remote.into_iter().chain(section.list("remotes")).collect();
    if listed.is_empty() {
        section.error("remote", "is missing; a stream needs a URL to come from");
    }
    let has = |schemes: &[&str]| {
        let scheme = |field: &Field<'_>| Some(field.text()?.trim().split_once("://")?.0.to_ascii_lowercase());
        listed.iter().filter_map(scheme).any(|scheme| schemes.contains(&scheme.as_str()))
    };
    if options.looped && !has(&["file"]) {
        section.warning("loop", "has no effect: no remote is a file");
    }
    if options.interface.is_some() && !has(&["udp", "rtp"]) {
        section.warning("clientinterface", "has no effect: no remote is udp or rtp");
    }
    listed.iter().filter_map(|field| source(field, options)).collect()
}

/// The errors do not repeat the URL, because nobody knows where in a mistyped one the password is.
fn source(field: &Field<'_>, options: &SourceOptions) -> Option<Source> {
    match Source::parse(field.text()?, options) {
        Ok(source) => Some(source),
        Err(error) => {
            let meant = match &error {
                SourceError::UnknownScheme(scheme) => nearest(scheme, SCHEMES),
                _ => None,
            };
            let hint = meant.map_or_else(String::new, |scheme| format!(" (did you mean {scheme}?)"));
            field.fails(format!("{error}{hint}"))
        }
    }
}

/// A datagram size; 0 stands for the default.
fn mru(field: Field<'_>) -> Option<usize> {
    let bytes = field.count(0..=DATAGRAM_BYTES_MAX).filter(|bytes| *bytes > 0)?;
    if u64::from(bytes) < PACKET_BYTES {
        field.warning(format!("{bytes} bytes do not hold one packet ({PACKET_BYTES} bytes)"));
    }
    usize::try_from(bytes).ok()
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
