//! The last events of all streams, for the day after an incident: times, sizes and decisions, no payload, no
//! addresses, no secrets.
//!
//! Kept only when a resource of the API serves it. The simulator turns what it serves into a plan.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use restreamer_core::{Availability, CloseKind, Instant, Join, Operator, Output, Slow, StreamEvent};

use crate::observe::EndReason;
use crate::registry::StreamPlan;
use crate::route::StreamId;

/// Events that are kept; the oldest ones go first. Two to three megabytes.
pub const EVENTS_MAX: usize = 65_536;
/// What arrives within this time is one event.
const RECEIVED_EVERY: Duration = Duration::from_millis(100);

/// Something that happened to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A connection to this source was begun.
    Connecting(usize),
    /// Its first packet arrived.
    Connected(usize),
    /// It ended.
    Closed(usize, CloseKind),
    /// So many bytes arrived since the event of this kind before.
    Received(u64),
    /// Whether the stream can be watched.
    Availability(Availability),
    /// The operator gave an order.
    Operator(Operator),
    /// A viewer came; viewers are numbered from 1.
    Joined(u64),
    /// A viewer is gone.
    Left {
        /// Its number.
        viewer: u64,
        /// Bytes that its socket took.
        bytes: u64,
        /// Packets that the drop policy left out.
        skipped_packets: u64,
        /// Why.
        reason: EndReason,
    },
}

impl Event {
    /// What an output of a stream says, if it is worth keeping.
    pub(crate) fn of(output: &Output) -> Option<Self> {
        match output {
            Output::Availability(availability) => Some(Event::Availability(*availability)),
            Output::Event(StreamEvent::Connecting { source }) => Some(Event::Connecting(*source)),
            Output::Event(StreamEvent::Connected { source }) => Some(Event::Connected(*source)),
            Output::Event(StreamEvent::Closed { source, cause }) => Some(Event::Closed(*source, cause.kind)),
            _ => None,
        }
    }
}

/// A bounded list of events.
#[derive(Debug)]
pub struct Journal {
    /// What a reader has to know about each stream, as JSON objects.
    streams: Vec<String>,
    viewers: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    events: VecDeque<(Instant, StreamId, Event)>,
    dropped: u64,
    /// By stream: since when, and how much, has arrived without an event.
    received: Vec<(Instant, u64)>,
}

impl Journal {
    /// An empty journal of these streams.
    pub fn new<'a>(streams: impl IntoIterator<Item = &'a StreamPlan>) -> Self {
        Journal {
            streams: streams.into_iter().map(describe).collect(),
            viewers: AtomicU64::new(0),
            kept: Mutex::default(),
        }
    }

    /// Notes an event.
    pub(crate) fn note(&self, now: Instant, stream: StreamId, event: Event) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(now, stream, event);
    }

    /// Notes that a viewer came; answers its number.
    pub(crate) fn note_viewer(&self, now: Instant, stream: StreamId) -> u64 {
        let viewer = self.viewers.fetch_add(1, Ordering::Relaxed) + 1;
        self.note(now, stream, Event::Joined(viewer));
        viewer
    }

    /// Notes that bytes arrived.
    pub(crate) fn note_received(&self, now: Instant, stream: StreamId, bytes: u64) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let index = stream.0 as usize;
        if kept.received.len() <= index {
            kept.received.resize(index + 1, (Instant::ORIGIN, 0));
        }
        let (since, waiting) = &mut kept.received[index];
        *waiting += bytes;
        if now.saturating_since(*since) >= RECEIVED_EVERY {
            let sum = std::mem::take(waiting);
            *since = now;
            kept.push(now, stream, Event::Received(sum));
        }
    }

    /// One JSON object a line: the streams first, then the events, oldest first; times in microseconds.
    pub fn render(&self) -> String {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::with_capacity(128 + kept.events.len() * 64);
        let streams = self.streams.join(",");
        let _ = writeln!(
            text,
            r#"{{"events_of":"restreamer","form":1,"dropped":{},"streams":[{streams}]}}"#,
            kept.dropped
        );
        for (at, stream, event) in &kept.events {
            let _ = write!(text, r#"{{"us":{},"stream":{},"#, at.as_nanos() / 1_000, stream.0);
            let _ = match event {
                Event::Connecting(source) => writeln!(text, r#""event":"connecting","source":{source}}}"#),
                Event::Connected(source) => writeln!(text, r#""event":"connected","source":{source}}}"#),
                Event::Closed(source, kind) => {
                    writeln!(text, r#""event":"closed","source":{source},"kind":"{}"}}"#, kind.as_str())
                }
                Event::Received(bytes) => writeln!(text, r#""event":"received","bytes":{bytes}}}"#),
                Event::Availability(availability) => {
                    let name = format!("{availability:?}").to_lowercase();
                    writeln!(text, r#""event":"availability","is":"{name}"}}"#)
                }
                Event::Operator(Operator::Online) => writeln!(text, r#""event":"online"}}"#),
                Event::Operator(Operator::Offline) => writeln!(text, r#""event":"offline"}}"#),
                Event::Joined(viewer) => writeln!(text, r#""event":"joined","viewer":{viewer}}}"#),
                Event::Left { viewer, bytes, skipped_packets, reason } => {
                    let reason = reason.name();
                    writeln!(
                        text,
                        r#""event":"left","viewer":{viewer},"bytes":{bytes},"skipped_packets":{skipped_packets},"reason":"{reason}"}}"#
                    )
                }
            };
        }
        text
    }
}

impl Kept {
    fn push(&mut self, now: Instant, stream: StreamId, event: Event) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
            self.dropped += 1;
        }
        self.events.push_back((now, stream, event));
    }
}

/// How a stream is set up, as far as the simulator needs it.
fn describe(plan: &StreamPlan) -> String {
    let ms = |duration: Option<Duration>| match duration {
        Some(duration) => duration.as_millis().to_string(),
        None => "null".to_owned(),
    };
    let policy = plan.viewers.policy;
    let join = match policy.join {
        Join::Keyframe => "\"keyframe\"".to_owned(),
        Join::Live => "\"live\"".to_owned(),
        Join::Behind(delay) => format!(r#"{{"behind_ms":{}}}"#, delay.as_millis()),
    };
    let slow = match policy.slow {
        Slow::Keyframe => "keyframe",
        Slow::Oldest => "oldest",
        Slow::Live => "live",
        Slow::Disconnect => "disconnect",
    };
    format!(
        concat!(
            r#"{{"sources":{},"reconnect_ms":{},"read_timeout_ms":{},"grace_ms":{},"latency_ms":{},"#,
            r#""stall_limit_ms":{},"ring":{{"packets_min":{},"span_min_ms":{},"bytes_max":{}}},"#,
            r#""policy":{{"join":{},"slow":"{}","lag_max_ms":{},"lag_packets_min":{}}}}}"#
        ),
        plan.sources.len(),
        ms(plan.config.upstream.reconnect),
        ms(plan.config.upstream.read_timeout),
        plan.config.grace.as_millis(),
        plan.config.latency.as_millis(),
        ms(plan.viewers.stall_timeout),
        plan.ring.packets_min,
        plan.ring.span_min.as_millis(),
        plan.ring.bytes_max,
        join,
        slow,
        ms(policy.lag_max),
        policy.lag_packets_min,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId(0);

    #[test]
    fn arrivals_are_summed_up_and_silence_shows_as_a_gap() {
        let journal = Journal::new([]);
        for ms in (0..250).chain(1_000..1_010) {
            journal.note_received(Instant::from_millis(ms), STREAM, 10);
        }
        let text = journal.render();
        let received: Vec<_> = text.lines().skip(1).collect();
        assert_eq!(
            received,
            [
                r#"{"us":100000,"stream":0,"event":"received","bytes":1010}"#,
                r#"{"us":200000,"stream":0,"event":"received","bytes":1000}"#,
                r#"{"us":1000000,"stream":0,"event":"received","bytes":500}"#,
            ]
        );
    }

    #[test]
    fn the_oldest_events_go_first_and_are_counted() {
        let journal = Journal::new([]);
        for ms in 0..EVENTS_MAX as u64 + 3 {
            journal.note(Instant::from_millis(ms), STREAM, Event::Connecting(0));
        }
        let text = journal.render();
        assert!(text.starts_with(r#"{"events_of":"restreamer","form":1,"dropped":3,"streams":[]}"#));
        assert_eq!(text.lines().nth(1).unwrap(), r#"{"us":3000,"stream":0,"event":"connecting","source":0}"#);
    }

    #[test]
    fn viewers_are_numbered() {
        let journal = Journal::new([]);
        assert_eq!(journal.note_viewer(Instant::ORIGIN, STREAM), 1);
        assert_eq!(journal.note_viewer(Instant::ORIGIN, STREAM), 2);
        let left = Event::Left { viewer: 2, bytes: 376, skipped_packets: 1, reason: EndReason::Stalled };
        journal.note(Instant::from_millis(1), STREAM, left);
        let text = journal.render();
        assert_eq!(
            text.lines().last().unwrap(),
            r#"{"us":1000,"stream":0,"event":"left","viewer":2,"bytes":376,"skipped_packets":1,"reason":"stalled"}"#
        );
    }
}
