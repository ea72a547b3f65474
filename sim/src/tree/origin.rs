//! The machine that has the stream: core's upstream side, fed by a source, a ring, and a viewer for each edge.

use std::collections::VecDeque;

use restreamer_core::testing::{StreamSpec, SyntheticStream};
use restreamer_core::ts::PACKET_BYTES;
use restreamer_core::{
    ConnId, Duration, Input, Instant, Order, Output, Policy, Read, Ring, RingLimits, Stream, StreamConfig,
    UpstreamConfig, Viewer,
};

use super::Load;
use super::edge::Edge;
use crate::link::{Link, LinkSpec};

/// Between origin and edge: a gigabit, and some way.
const UPLINK: LinkSpec = LinkSpec { delay_ms: 15, buffer_bytes: 1 << 20, ..LinkSpec::FAST };

/// How the daemon treats a stream with one source, by default.
pub(super) fn config() -> StreamConfig {
    let upstream = UpstreamConfig {
        sources: 1,
        order: Order::Priority,
        reconnect: Some(Duration::from_secs(10)),
        read_timeout: None,
    };
    StreamConfig { upstream, grace: Duration::from_secs(15), latency: Duration::from_millis(20) }
}

pub(super) struct Origin {
    source: SyntheticStream,
    stream: Stream,
    conn: Option<ConnId>,
    ring: Ring,
    chunk: Vec<u8>,
    packet_ns: u64,
}

/// The connection of one edge, at the origin, and what is on its way.
pub(super) struct Uplink {
    viewer: Viewer,
    link: Link,
    on_its_way: VecDeque<(Instant, Vec<u8>)>,
}

impl Origin {
    pub(super) fn new(seed: u64, kbps: u64, gop_frames: u32) -> Self {
        let mut spec = StreamSpec::new(seed, kbps * 1_000);
        if let Some(video) = &mut spec.video {
            video.gop_frames = gop_frames;
        }
        let mut origin = Origin {
            source: SyntheticStream::new(spec),
            stream: Stream::new(config(), seed),
            conn: None,
            ring: Ring::new(RingLimits::default()),
            chunk: Vec::new(),
            packet_ns: PACKET_BYTES as u64 * 8 * 1_000_000 / kbps.max(1),
        };
        origin.stream.handle(Instant::ORIGIN, Input::Start);
        origin.drain();
        if let Some(conn) = origin.conn {
            origin.stream.handle(Instant::ORIGIN, Input::Connected(conn));
        }
        origin
    }

    /// Takes in what its source has sent.
    pub(super) fn step(&mut self, now: Instant) {
        while let Some(due) = self.stream.poll_timeout().filter(|&due| due < now) {
            self.stream.handle(due, Input::Timeout);
            self.drain();
        }
        self.chunk.clear();
        while self.source.next_at() < now {
            self.chunk.extend_from_slice(&self.source.next_packet().bytes);
        }
        if let Some(conn) = self.conn {
            self.stream.handle(now, Input::Data(conn, &self.chunk));
            self.drain();
        }
    }

    /// Playing time of a packet.
    pub(super) fn packet_ns(&self) -> u64 {
        self.packet_ns
    }

    /// An edge connects.
    pub(super) fn accept(&self, now: Instant) -> Uplink {
        Uplink { viewer: Viewer::new(), link: Link::new(now, &UPLINK, &[], 0), on_its_way: VecDeque::new() }
    }

    /// Sends an edge what there is for it. Answers how much it took.
    pub(super) fn serve(&self, now: Instant, uplink: &mut Uplink) -> u64 {
        let policy = Policy::default();
        let mut sent = 0;
        while uplink.viewer.read(&self.ring, &policy) == Read::Ready {
            let free = uplink.link.room(now);
            let mut bytes = Vec::new();
            for piece in uplink.viewer.pieces(&self.ring) {
                let piece = &piece[..piece.len().min(free - bytes.len())];
                bytes.extend_from_slice(piece);
            }
            if bytes.is_empty() {
                break;
            }
            uplink.viewer.advance(bytes.len(), &self.ring);
            sent += bytes.len() as u64;
            let arrival = uplink.link.take(now, bytes.len());
            uplink.on_its_way.push_back((arrival, bytes));
        }
        sent
    }

    /// Its readers at the end of a second.
    pub(super) fn note(&self, edges: &[Edge], load: &mut Load) {
        for uplink in edges.iter().filter_map(Edge::uplink) {
            load.connections += 1;
            let lag_ms = uplink.viewer.lag(&self.ring).as_millis() as u64;
            load.lag_ms_max = load.lag_ms_max.max(lag_ms);
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.stream.poll_output() {
            match output {
                Output::Connect { conn, .. } => self.conn = Some(conn),
                Output::Publish(segment) => {
                    self.ring.push(segment);
                }
                _ => {}
            }
        }
    }
}

impl Uplink {
    /// The next bytes that have arrived by `now`, and when they did.
    pub(super) fn arrived(&mut self, now: Instant) -> Option<(Instant, Vec<u8>)> {
        self.on_its_way.front().is_some_and(|(at, _)| *at <= now).then(|| self.on_its_way.pop_front())?
    }
}
