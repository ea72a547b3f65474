//! What has happened, in numbers that can be read at any time without stopping anybody.
//!
//! Counters are relaxed atomics: each is right by itself, two of them read one after the other may be a moment
//! apart. They are added to once per sweep or per segment, not per packet.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use restreamer_core::{AccessCounts, FramerStats, QualityCounts};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::gate::Refused;
use crate::ingest::Oddity;
use crate::journal::Journal;
use crate::route::StreamId;

/// How often rates are computed.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls, never below zero.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Takes from it what was added before.
    pub fn sub(&self, amount: u64) {
        self.0.fetch_sub(amount, Ordering::Relaxed);
    }

    /// Replaces it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// What it is now.
    pub fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Why a viewer's response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The client closed the connection.
    ClientLeft,
    /// The connection broke.
    ClientLost,
    /// The client took nothing for the stall time.
    Stalled,
    /// The client lagged behind, and the drop policy of the stream is to end it.
    TooSlow,
    /// The stream has no source any more, and the grace time is over.
    UpstreamLost,
    /// The operator took the stream offline.
    Offline,
    /// The process ends.
    Shutdown,
}

impl EndReason {
    /// All of them, in the order of their counters.
    pub const ALL: [EndReason; 7] = [
        EndReason::ClientLeft,
        EndReason::ClientLost,
        EndReason::Stalled,
        EndReason::TooSlow,
        EndReason::UpstreamLost,
        EndReason::Offline,
        EndReason::Shutdown,
    ];

    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            EndReason::ClientLeft => "client_left",
            EndReason::ClientLost => "client_lost",
            EndReason::Stalled => "stalled",
            EndReason::TooSlow => "too_slow",
            EndReason::UpstreamLost => "upstream_lost",
            EndReason::Offline => "offline",
            EndReason::Shutdown => "shutdown",
        }
    }
}

/// The numbers of one stream.
#[derive(Debug, Default)]
pub struct StreamCounters {
    /// The serve path.
    pub label: Box<str>,
    /// Whole packets that the sockets of viewers took.
    pub packets_sent: Counter,
    /// Bytes that the sockets of viewers took.
    pub bytes_sent: Counter,
    /// Packets that the drop policy left out, summed over the viewers.
    pub packets_dropped: Counter,
    /// The bytes of those packets.
    pub bytes_dropped: Counter,
    /// Viewers now.
    pub connections: Gauge,
    /// Of those, whose sockets are full.
    pub blocked: Gauge,
    /// Nanoseconds that the places of viewers are behind the newest segment, summed over the viewers.
    pub lag_ns: Gauge,
    /// Nanoseconds that viewers have been connected, summed over the viewers.
    pub duration_ns: Counter,
    /// Viewers whose first byte of the stream has been sent.
    pub joins: Counter,
    /// Nanoseconds between their request and that byte, summed.
    pub join_wait_ns: Counter,
    /// Times that the drop policy acted.
    pub skips: Counter,
    /// Writes to the sockets of viewers.
    pub flushes: Counter,
    /// Bytes that the ring holds now.
    pub ring_bytes: Gauge,
    /// One entry per source, in the order of the configuration.
    pub sources: Box<[SourceCounters]>,
    ended: [Counter; EndReason::ALL.len()],
    refused: [Counter; Refused::ALL.len()],
    analysis: Mutex<Analysis>,
}

/// What core has found out about the packets of a stream; all of it only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Analysis {
    /// Packets found and bytes left out.
    pub framing: FramerStats,
    /// What a measuring receiver would complain about.
    pub quality: QualityCounts,
    /// Random access points.
    pub access: AccessCounts,
}

impl StreamCounters {
    /// What core has found out about the packets, up to the last segment.
    pub fn analysis(&self) -> Analysis {
        *self.analysis.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_analysis(&self, analysis: Analysis) {
        *self.analysis.lock().unwrap_or_else(PoisonError::into_inner) = analysis;
    }

    /// Responses that ended for this reason.
    pub fn ended(&self, reason: EndReason) -> &Counter {
        &self.ended[reason as usize]
    }

    /// Requests for the stream that were refused for this reason.
    pub fn refused(&self, reason: Refused) -> &Counter {
        let mut counters = Refused::ALL.iter().zip(&self.refused);
        counters.find(|(other, _)| **other == reason).expect("all reasons are listed").1
    }
}

/// The numbers of one source of a stream.
#[derive(Debug, Default)]
pub struct SourceCounters {
    /// The URL without credentials.
    pub label: Box<str>,
    /// 1 while it delivers, else 0.
    pub connected: Gauge,
    /// Whole packets received from it.
    pub packets_received: Counter,
    /// Bytes received from it.
    pub bytes_received: Counter,
    odd: [Counter; Oddity::ALL.len()],
}

impl SourceCounters {
    /// Times that this was observed while receiving from it.
    pub fn odd(&self, what: Oddity) -> &Counter {
        &self.odd[what as usize]
    }
}

/// The sums over all streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Packets received from all sources.
    pub packets_received: u64,
    /// Packets sent to all viewers.
    pub packets_sent: u64,
    /// Packets dropped for slow viewers.
    pub packets_dropped: u64,
    /// Bytes received from all sources.
    pub bytes_received: u64,
    /// Bytes sent to all viewers.
    pub bytes_sent: u64,
    /// Bytes dropped for slow viewers.
    pub bytes_dropped: u64,
    /// Nanoseconds that viewers have been connected.
    pub duration_ns: u64,
}

impl Totals {
    /// What came in between, per second.
    fn rate_since(&self, earlier: &Totals, elapsed: Duration) -> Totals {
        let per_second = |now: u64, then: u64| {
            let amount = u128::from(now.saturating_sub(then)) * 1_000_000_000;
            u64::try_from(amount / elapsed.as_nanos().max(1)).unwrap_or(u64::MAX)
        };
        Totals {
            packets_received: per_second(self.packets_received, earlier.packets_received),
            packets_sent: per_second(self.packets_sent, earlier.packets_sent),
            packets_dropped: per_second(self.packets_dropped, earlier.packets_dropped),
            bytes_received: per_second(self.bytes_received, earlier.bytes_received),
            bytes_sent: per_second(self.bytes_sent, earlier.bytes_sent),
            bytes_dropped: per_second(self.bytes_dropped, earlier.bytes_dropped),
            duration_ns: per_second(self.duration_ns, earlier.duration_ns),
        }
    }
}

/// The numbers of the whole process.
#[derive(Debug)]
pub struct Observe {
    streams: Box<[StreamCounters]>,
    rates: Mutex<Totals>,
    journal: OnceLock<Journal>,
}

impl Observe {
    /// Counters at zero for these streams: serve path and the URLs of the sources, without credentials.
    pub fn new<L, S>(streams: impl IntoIterator<Item = (L, S)>) -> Arc<Self>
    where
        L: Into<Box<str>>,
        S: IntoIterator<Item: Into<Box<str>>>,
    {
        let streams = streams.into_iter().map(|(label, sources)| StreamCounters {
            label: label.into(),
            sources: sources
                .into_iter()
                .map(|label| SourceCounters { label: label.into(), ..Default::default() })
                .collect(),
            ..Default::default()
        });
        Arc::new(Observe { streams: streams.collect(), rates: Mutex::default(), journal: OnceLock::new() })
    }

    /// From now on events are kept; the first journal given stays.
    pub fn keep_journal(&self, journal: Journal) {
        let _ = self.journal.set(journal);
    }

    /// The last events, when they are kept.
    pub fn journal(&self) -> Option<&Journal> {
        self.journal.get()
    }

    /// The numbers of one stream.
    ///
    /// # Panics
    /// When there is no such stream.
    pub fn stream(&self, stream: StreamId) -> &StreamCounters {
        &self.streams[stream.0 as usize]
    }

    /// The numbers of all streams; the index is the [`StreamId`].
    pub fn streams(&self) -> &[StreamCounters] {
        &self.streams
    }

    /// The sums over all streams.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for stream in &self.streams {
            totals.packets_sent += stream.packets_sent.now();
            totals.packets_dropped += stream.packets_dropped.now();
            totals.bytes_sent += stream.bytes_sent.now();
            totals.bytes_dropped += stream.bytes_dropped.now();
            totals.duration_ns += stream.duration_ns.now();
            for source in &stream.sources {
                totals.packets_received += source.packets_received.now();
                totals.bytes_received += source.bytes_received.now();
            }
        }
        totals
    }

    /// How fast the totals grew during the last full second.
    pub fn rates(&self) -> Totals {
        *self.rates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps [`Observe::rates`] up to date for as long as it is polled; one task of the process does.
    pub async fn sample(&self) {
        let mut ticks = interval(SAMPLE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut then, mut before) = (ticks.tick().await, self.totals());
        loop {
            ticks.tick().await;
            let (now, totals) = (Instant::now(), self.totals());
            let rates = totals.rate_since(&before, now - then);
            *self.rates.lock().unwrap_or_else(PoisonError::into_inner) = rates;
            (then, before) = (now, totals);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe() -> Arc<Observe> {
        Observe::new([("/a.ts", vec!["tcp://a:1", "tcp://b:1"]), ("/b.ts", vec!["tcp://c:1"])])
    }

    #[test]
    fn totals_are_the_sums_over_streams_and_sources() {
        let observe = observe();
        observe.stream(StreamId(0)).bytes_sent.add(10);
        observe.stream(StreamId(1)).bytes_sent.add(20);
        observe.stream(StreamId(0)).sources[1].packets_received.add(3);
        observe.stream(StreamId(1)).sources[0].packets_received.add(4);
        let totals = observe.totals();
        assert_eq!((totals.bytes_sent, totals.packets_received), (30, 7));
    }

    #[test]
    fn every_end_reason_has_its_own_counter() {
        let observe = observe();
        for (index, reason) in EndReason::ALL.into_iter().enumerate() {
            observe.stream(StreamId(0)).ended(reason).add(index as u64 + 1);
        }
        let counts = EndReason::ALL.map(|reason| observe.stream(StreamId(0)).ended(reason).now());
        assert_eq!(counts, [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_rate_is_per_second_of_the_time_that_really_passed() {
        let before = Totals { bytes_sent: 100, ..Default::default() };
        let now = Totals { bytes_sent: 1100, ..Default::default() };
        assert_eq!(now.rate_since(&before, Duration::from_millis(500)).bytes_sent, 2000);
        assert_eq!(now.rate_since(&before, Duration::from_secs(4)).bytes_sent, 250);
        assert_eq!(now.rate_since(&before, Duration::ZERO).bytes_received, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn rates_follow_the_counters_second_by_second() {
        let observe = observe();
        let counting = async {
            for _ in 0..3 {
                observe.stream(StreamId(0)).bytes_sent.add(5000);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let busy = observe.rates().bytes_sent;
            tokio::time::sleep(Duration::from_millis(2500)).await;
            (busy, observe.rates().bytes_sent)
        };
        let (busy, idle) = tokio::select! {
            biased;
            () = observe.sample() => unreachable!("sampling never ends"),
            rates = counting => rates,
        };
        assert_eq!((busy, idle), (5000, 0));
    }
}
