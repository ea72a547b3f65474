//! Metrics in the text format of Prometheus.
//!
//! The numbers are counted in `restreamer-io`, whether anybody asks or not; here they are only named. Labels are
//! `stream` (the serve path) and `url` (the source, without credentials): as many as the configuration has, never
//! one per viewer. Names without a unit are those that dashboards of existing deployments know.

use std::sync::Arc;

use http::HeaderValue;
use prometheus::core::{Collector, Desc};
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder, Registry, TextEncoder};
use restreamer_core::AccessCounts;
use restreamer_io::api::Metrics;
use restreamer_io::gate::Refused;
use restreamer_io::ingest::Oddity;
use restreamer_io::notify::Notifier;
use restreamer_io::observe::{Analysis, EndReason, Observe, SourceCounters, StreamCounters};

use crate::log::LogHandle;

/// What `prometheus` resources answer with.
pub fn metrics(observe: Arc<Observe>, notifier: Arc<Notifier>, log: LogHandle) -> Metrics {
    let registry = Registry::new();
    let collectors: [Box<dyn Collector>; 2] =
        [Box::new(ProcessCollector::for_self()), Box::new(Streams { observe, notifier, log })];
    for collector in collectors {
        registry.register(collector).expect("no two collectors describe the same metric");
    }
    let encoder = TextEncoder::new();
    let content_type = HeaderValue::from_str(encoder.format_type()).expect("the format's type is ASCII");
    let render = move || {
        let mut text = Vec::new();
        let mut families = registry.gather();
        refine_cpu_time(&mut families);
        // Writing into memory does not fail, and the names below are valid ones.
        let _ = encoder.encode(&families, &mut text);
        text
    };
    Metrics { content_type, render: Arc::new(render) }
}

/// The library counts whole seconds of CPU time, which makes rates over a minute worthless.
fn refine_cpu_time(families: &mut [MetricFamily]) {
    let family = families.iter_mut().find(|family| family.name() == "process_cpu_seconds_total");
    let Some((family, seconds)) = family.zip(cpu_seconds()) else { return };
    for metric in family.mut_metric() {
        let mut counter = Counter::default();
        counter.set_value(seconds);
        metric.set_counter(counter);
    }
}

/// User and system time of this process, in hundredths (proc_pid_stat(5)); Linux counts no finer there.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name before it may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: Vec<u64> = fields.split(' ').skip(11).take(2).map_while(|ticks| ticks.parse().ok()).collect();
    (ticks.len() == 2).then(|| ticks.iter().sum::<u64>() as f64 / 100.0)
}

/// How to read one number.
type Read<T> = fn(&T) -> u64;

use MetricType::{COUNTER, GAUGE};

#[rustfmt::skip]
const OF_STREAMS: [(&str, MetricType, &str, Read<StreamCounters>); 13] = [
    ("streaming_packets_sent", COUNTER, "Packets that the sockets of viewers took.", |s| s.packets_sent.now()),
    ("streaming_bytes_sent", COUNTER, "Bytes that the sockets of viewers took.", |s| s.bytes_sent.now()),
    ("streaming_packets_dropped", COUNTER, "Packets left out for viewers that were too slow.", |s| s.packets_dropped.now()),
    ("streaming_bytes_dropped", COUNTER, "Bytes left out for viewers that were too slow.", |s| s.bytes_dropped.now()),
    ("streaming_connections", GAUGE, "Viewers connected now.", |s| s.connections.now()),
    ("restreamer_viewers_blocked", GAUGE, "Viewers whose sockets are full, of the last second.", |s| s.blocked.now()),
    ("restreamer_viewer_lag_nanoseconds", GAUGE, "How far viewers are behind live, summed over viewers, of the last second.", |s| s.lag_ns.now()),
    ("streaming_duration", COUNTER, "Nanoseconds that viewers were connected, counted when they leave.", |s| s.duration_ns.now()),
    ("restreamer_joins_total", COUNTER, "Viewers that got their first byte of the stream.", |s| s.joins.now()),
    ("restreamer_join_wait_nanoseconds_total", COUNTER, "Time from the request to the first byte of the stream, summed over joins.", |s| s.join_wait_ns.now()),
    ("restreamer_skips_total", COUNTER, "Times that the drop policy moved a viewer forward.", |s| s.skips.now()),
    ("restreamer_writes_total", COUNTER, "Writes to the sockets of viewers; streaming_bytes_sent over this is the size of a flush.", |s| s.flushes.now()),
    ("restreamer_ring_bytes", GAUGE, "Bytes of packets that the ring holds.", |s| s.ring_bytes.now()),
];

#[rustfmt::skip]
const OF_SOURCES: [(&str, MetricType, &str, Read<SourceCounters>); 3] = [
    ("streaming_source_connected", GAUGE, "1 while packets arrive from the source, else 0.", |s| s.connected.now()),
    ("streaming_packets_received", COUNTER, "Packets received from the source.", |s| s.packets_received.now()),
    ("streaming_bytes_received", COUNTER, "Bytes received from the source.", |s| s.bytes_received.now()),
];

/// All numbers of all streams.
struct Streams {
    observe: Arc<Observe>,
    notifier: Arc<Notifier>,
    log: LogHandle,
}

impl Collector for Streams {
    /// None: the families are made anew each time, and nobody else registers them.
    fn desc(&self) -> Vec<&Desc> {
        Vec::new()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let streams = self.observe.streams();
        let mut families = Vec::new();
        for (name, kind, help, read) in OF_STREAMS {
            let rows = streams.iter().map(|stream| metric(kind, &[("stream", &stream.label)], read(stream)));
            families.push(family(name, kind, help, rows.collect()));
        }
        let sources = || streams.iter().flat_map(|stream| by_url(stream).map(move |source| (stream, source)));
        for (name, kind, help, read) in OF_SOURCES {
            let rows = sources().map(|(stream, (url, sources))| {
                let values = sources.into_iter().map(read);
                let value = if kind == GAUGE { values.max().unwrap_or(0) } else { values.sum() };
                metric(kind, &[("stream", &stream.label), ("url", url)], value)
            });
            families.push(family(name, kind, help, rows.collect()));
        }
        let oddities = sources().flat_map(|(stream, (url, sources))| {
            Oddity::ALL.map(|oddity| {
                let labels = [("stream", &*stream.label), ("url", url), ("kind", oddity.as_str())];
                metric(COUNTER, &labels, sources.iter().map(|source| source.odd(oddity).now()).sum())
            })
        });
        let help = "What a source did beside delivering: datagrams lost, cut or foreign, by kind.";
        families.push(family("restreamer_source_oddities_total", COUNTER, help, oddities.collect()));
        let by_reason = |stream: &StreamCounters, reason, value| {
            metric(COUNTER, &[("stream", &*stream.label), ("reason", reason)], value)
        };
        let refusals = streams.iter().flat_map(|stream| {
            Refused::ALL.map(|reason| by_reason(stream, reason.name(), stream.refused(reason).now()))
        });
        let help = "Requests for the stream that were refused, by reason.";
        families.push(family("restreamer_refusals_total", COUNTER, help, refusals.collect()));
        let ends = streams.iter().flat_map(|stream| {
            EndReason::ALL.map(|reason| by_reason(stream, reason.name(), stream.ended(reason).now()))
        });
        let help = "Responses that ended, by reason.";
        families.push(family("restreamer_viewer_ends_total", COUNTER, help, ends.collect()));
        families.extend(analyses(streams));
        let dropped = vec![metric(COUNTER, &[], self.log.lines_dropped())];
        let help = "Log lines dropped because their sink did not keep up.";
        families.push(family("restreamer_log_lines_dropped_total", COUNTER, help, dropped));
        let dropped = vec![metric(COUNTER, &[], self.notifier.dropped())];
        let help = "Notifications dropped because their server did not keep up.";
        families.push(family("restreamer_notifications_dropped_total", COUNTER, help, dropped));
        // The encoder refuses a family without rows, and with it everything after it.
        families.retain(|family| !family.get_metric().is_empty());
        families
    }
}

/// The sources of a stream by their label: those that differ in user and password only are one series, as a series
/// may not come twice.
fn by_url(stream: &StreamCounters) -> impl Iterator<Item = (&str, Vec<&SourceCounters>)> {
    let sources = &stream.sources;
    let first = |index: usize| sources[..index].iter().all(|source| source.label != sources[index].label);
    (0..sources.len()).filter(move |index| first(*index)).map(|index| {
        let label = &*sources[index].label;
        (label, sources.iter().filter(|source| &*source.label == label).collect())
    })
}

/// What the packets themselves are like.
fn analyses(streams: &[StreamCounters]) -> [MetricFamily; 4] {
    let rows = |label: &'static str, read: fn(&Analysis) -> Vec<(&'static str, u64)>| {
        let of_stream = move |stream: &StreamCounters| {
            let labelled =
                |(name, value)| metric(COUNTER, &[("stream", &*stream.label), (label, name)], value);
            read(&stream.analysis()).into_iter().map(labelled).collect::<Vec<_>>()
        };
        streams.iter().flat_map(of_stream).collect()
    };
    let skipped = streams
        .iter()
        .map(|stream| metric(COUNTER, &[("stream", &stream.label)], stream.analysis().framing.skipped_bytes));
    [
        family(
            "restreamer_skipped_bytes_total",
            COUNTER,
            "Bytes received that belong to no whole packet.",
            skipped.collect(),
        ),
        family(
            "restreamer_sync_errors_total",
            COUNTER,
            "TS_sync_loss and Sync_byte_error of ETSI TR 101 290, 1.1 and 1.2.",
            rows("check", |found| {
                vec![("sync_loss", found.framing.sync_losses), ("sync_byte", found.framing.sync_byte_errors)]
            }),
        ),
        family(
            "restreamer_quality_errors_total",
            COUNTER,
            "First- and second-priority errors of ETSI TR 101 290 from 1.3 on, by check.",
            rows("check", |found| found.quality.by_name().to_vec()),
        ),
        family(
            "restreamer_access_points_total",
            COUNTER,
            "Random access points, by how they were recognised.",
            rows("kind", |found| {
                let AccessCounts { indicator, sniffed, fallback } = found.access;
                vec![("indicator", indicator), ("sniffed", sniffed), ("fallback", fallback)]
            }),
        ),
    ]
}

fn family(name: &str, kind: MetricType, help: &str, rows: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(rows);
    family
}

fn metric(kind: MetricType, labels: &[(&str, &str)], value: u64) -> Metric {
    let pairs = labels.iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    });
    let mut metric = Metric::default();
    metric.set_label(pairs.collect());
    // Exact up to 2^53, like every number of this format.
    let value = value as f64;
    if kind == GAUGE {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    } else {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    }
    metric
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LogTarget;
    use crate::log::Log;
    use restreamer_io::route::StreamId;

    #[test]
    fn the_cpu_time_is_no_whole_number_of_seconds() {
        let log = Log::open(&LogTarget::File("/dev/null".into())).unwrap();
        let render =
            metrics(Observe::new([("/a.ts", ["http://a/"])]), Notifier::new([]), log.handle()).render;
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        loop {
            let text = String::from_utf8(render()).unwrap();
            let mut rows = text.lines().filter_map(|row| row.strip_prefix("process_cpu_seconds_total "));
            let seconds: f64 = rows.next().unwrap().parse().unwrap();
            if seconds.fract() > 0.0 {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{seconds} s and no fraction");
        }
    }

    #[test]
    fn sources_with_one_label_are_one_series() {
        let observe =
            Observe::new([("/a.ts", ["http://a/", "http://b/", "http://a/"]), ("/b.ts", ["http://a/"; 3])]);
        let sources = &observe.stream(StreamId(0)).sources;
        for (source, packets) in sources.iter().zip([1, 10, 100]) {
            source.packets_received.add(packets);
            source.connected.set(1);
        }
        let log = Log::open(&LogTarget::File("/dev/null".into())).unwrap();
        let text = (metrics(observe, Notifier::new([]), log.handle()).render)();
        let text = String::from_utf8(text).unwrap();
        let mut series: Vec<_> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.rsplit_once(' ').unwrap().0)
            .collect();
        for row in [
            r#"streaming_packets_received{stream="/a.ts",url="http://a/"} 101"#,
            r#"streaming_packets_received{stream="/a.ts",url="http://b/"} 10"#,
            r#"streaming_source_connected{stream="/a.ts",url="http://a/"} 1"#,
            r#"streaming_source_connected{stream="/b.ts",url="http://a/"} 0"#,
        ] {
            assert!(text.lines().any(|line| line == row), "{row}\n{text}");
        }
        let rows = series.len();
        series.sort_unstable();
        series.dedup();
        assert_eq!(series.len(), rows, "no series comes twice");
    }
}
