//! The upstream side of a channel, its clock, and what it said.

#![allow(dead_code, reason = "every test file uses a part of it")]

use restreamer_core::testing::{StreamSpec, SyntheticStream};
use restreamer_core::{
    Availability, CloseCause, CloseKind, ConnId, Duration, Input, Instant, Order, Output, Segment, Stream,
    StreamConfig, StreamEvent, UpstreamConfig,
};

const BITRATE: u64 = 4_000_000;

/// A stream, its clock, and everything it has said.
pub(crate) struct Channel {
    pub(crate) stream: Stream,
    pub(crate) now: Instant,
    pub(crate) segments: Vec<Segment>,
    /// Connections asked for: number, source, when.
    pub(crate) connects: Vec<(ConnId, usize, Instant)>,
    pub(crate) hung_up: Vec<ConnId>,
    pub(crate) events: Vec<StreamEvent>,
    pub(crate) availabilities: Vec<Availability>,
    pub(crate) forgotten: usize,
}

impl Channel {
    pub(crate) fn new(config: StreamConfig) -> Self {
        let mut channel = Channel {
            stream: Stream::new(config, 1),
            now: Instant::ORIGIN,
            segments: Vec::new(),
            connects: Vec::new(),
            hung_up: Vec::new(),
            events: Vec::new(),
            availabilities: Vec::new(),
            forgotten: 0,
        };
        channel.say(Input::Start);
        channel
    }

    pub(crate) fn say(&mut self, input: Input<'_>) {
        self.stream.handle(self.now, input);
        while let Some(output) = self.stream.poll_output() {
            match output {
                Output::Connect { conn, source } => self.connects.push((conn, source, self.now)),
                Output::HangUp { conn } => self.hung_up.push(conn),
                Output::Publish(segment) => self.segments.push(segment),
                Output::Forget => self.forgotten += 1,
                Output::Availability(availability) => self.availabilities.push(availability),
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    /// Lets time pass, answering every timeout on its way.
    pub(crate) fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        let mut at_once = 0;
        while let Some(due) = self.stream.poll_timeout().filter(|&due| due <= end) {
            at_once = if due > self.now { 0 } else { at_once + 1 };
            assert!(at_once < 16, "a timeout that was answered is not due again at once");
            self.now = self.now.max(due);
            self.say(Input::Timeout);
        }
        self.now = end;
    }

    pub(crate) fn last_conn(&self) -> ConnId {
        self.connects.last().unwrap().0
    }

    pub(crate) fn data(&mut self, bytes: &[u8]) {
        self.say(Input::Data(self.last_conn(), bytes));
    }

    /// Plays `packets` of a synthetic stream in real time on the newest connection.
    pub(crate) fn play(&mut self, source: &mut SyntheticStream, packets: usize) -> Vec<u8> {
        let conn = self.last_conn();
        let begin = source.next_at();
        let start = self.now;
        let mut all = Vec::new();
        for _ in 0..packets {
            let packet = source.next_packet();
            self.wait((start + packet.at.saturating_since(begin)).saturating_since(self.now));
            self.say(Input::Data(conn, &packet.bytes));
            all.extend_from_slice(&packet.bytes);
        }
        all
    }

    pub(crate) fn close(&mut self, kind: CloseKind) {
        self.say(Input::Closed(self.last_conn(), CloseCause::new(kind, "")));
    }

    pub(crate) fn published(&self) -> Vec<u8> {
        self.segments.iter().flat_map(|segment| segment.data.iter().copied()).collect()
    }
}

pub(crate) fn config() -> StreamConfig {
    StreamConfig {
        upstream: UpstreamConfig {
            sources: 1,
            order: Order::Priority,
            reconnect: Some(Duration::from_secs(10)),
            read_timeout: None,
        },
        grace: Duration::from_secs(15),
        latency: Duration::from_millis(20),
    }
}

pub(crate) fn with_sources(sources: usize) -> StreamConfig {
    let mut config = config();
    config.upstream.sources = sources;
    config
}

pub(crate) fn synthetic(seed: u64) -> SyntheticStream {
    SyntheticStream::new(StreamSpec::new(seed, BITRATE))
}
