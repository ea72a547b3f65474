//! What one stream publishes, without its bytes.

use bytes::Bytes;
use restreamer_core::testing::{StreamSpec, SyntheticStream};
use restreamer_core::ts::PACKET_BYTES;
use restreamer_core::{
    AccessKind, Duration, Input, Instant, Order, Output, SEGMENT_BYTES_MAX, Segment, Stream, StreamConfig,
    UpstreamConfig,
};

use crate::timeline::Timeline;

/// How often a source sends what is due.
const SEND_EVERY: Duration = Duration::from_millis(5);
/// All segments without content are a part of this.
static NOTHING: [u8; SEGMENT_BYTES_MAX + 8 * PACKET_BYTES] = [0; SEGMENT_BYTES_MAX + 8 * PACKET_BYTES];

/// A segment as it was published.
#[derive(Clone, Copy, Debug)]
struct Cue {
    /// When it was published.
    at: Instant,
    /// When its first byte arrived.
    since: Instant,
    bytes: u32,
    psi_bytes: u32,
    access: Option<AccessKind>,
    /// When the source played its first packet, and the one after its last.
    span_ns: (u64, u64),
}

/// What one stream publishes, in order.
#[derive(Clone, Debug)]
pub struct Feed {
    cues: Vec<Cue>,
    psi: Bytes,
    kbps: u64,
}

impl Feed {
    /// Lets core's `Stream` publish `duration` of synthetic television with a key frame every `gop_frames` of 25
    /// frames per second, flushed after `latency`.
    pub fn record(seed: u64, kbps: u64, gop_frames: u32, duration: Duration, latency: Duration) -> Feed {
        let mut spec = StreamSpec::new(seed, kbps * 1_000);
        if let Some(video) = &mut spec.video {
            video.gop_frames = gop_frames;
        }
        let mut source = SyntheticStream::new(spec);
        let upstream =
            UpstreamConfig { sources: 1, order: Order::Priority, reconnect: None, read_timeout: None };
        let mut stream = Stream::new(StreamConfig { upstream, grace: Duration::ZERO, latency }, seed);
        stream.handle(Instant::ORIGIN, Input::Start);
        let mut conn = None;
        while let Some(output) = stream.poll_output() {
            if let Output::Connect { conn: asked, .. } = output {
                conn = Some(asked);
            }
        }
        let mut feed = Feed { cues: Vec::new(), psi: Bytes::new(), kbps };
        let Some(conn) = conn else { return feed };
        stream.handle(Instant::ORIGIN, Input::Connected(conn));
        let mut chunk = Vec::new();
        let mut now = Instant::ORIGIN;
        while now < Instant::ORIGIN + duration {
            now += SEND_EVERY;
            while let Some(due) = stream.poll_timeout().filter(|&due| due < now) {
                stream.handle(due, Input::Timeout);
                feed.note(due, &mut stream);
            }
            chunk.clear();
            while source.next_at() < now {
                chunk.extend_from_slice(&source.next_packet().bytes);
            }
            stream.handle(now, Input::Data(conn, &chunk));
            feed.note(now, &mut stream);
        }
        feed
    }

    /// Number of segments.
    pub fn len(&self) -> usize {
        self.cues.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.cues.is_empty()
    }

    /// The segment with this number; it becomes the next moment of `timeline`.
    pub(crate) fn play(&self, index: usize, timeline: &mut Timeline) -> Option<Segment> {
        let cue = self.cues.get(index)?;
        timeline.push(cue.at, Some(cue.span_ns), cue.access.is_some(), false);
        Some(Segment {
            data: Bytes::from_static(&NOTHING[..cue.bytes as usize]),
            psi: self.psi.slice(..cue.psi_bytes as usize),
            access: cue.access,
            seam: false,
            at: cue.since,
        })
    }

    /// When the segment with this number is published.
    pub(crate) fn at(&self, index: usize) -> Option<Instant> {
        self.cues.get(index).map(|cue| cue.at)
    }

    fn note(&mut self, now: Instant, stream: &mut Stream) {
        while let Some(output) = stream.poll_output() {
            let Output::Publish(segment) = output else { continue };
            if segment.psi.len() > self.psi.len() {
                self.psi = Bytes::from_static(&NOTHING[..segment.psi.len()]);
            }
            let begin_ns = self.cues.last().map_or(0, |cue| cue.span_ns.1);
            // The multiplex has a constant rate.
            let playing_ns = segment.data.len() as u64 * 8 * 1_000_000 / self.kbps;
            self.cues.push(Cue {
                at: now,
                since: segment.at,
                bytes: segment.data.len() as u32,
                psi_bytes: segment.psi.len() as u32,
                access: segment.access,
                span_ns: (begin_ns, begin_ns + playing_ns),
            });
        }
    }
}

/// The same segment without its content.
pub(crate) fn hollow(segment: &Segment) -> Segment {
    let nothing = |bytes: usize| Bytes::from_static(&NOTHING[..bytes.min(NOTHING.len())]);
    Segment { data: nothing(segment.data.len()), psi: nothing(segment.psi.len()), ..*segment }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feed_has_the_lengths_and_the_access_points_of_the_stream() {
        let seconds = Duration::from_secs(10);
        let feed = Feed::record(1, 4_000, 50, seconds, Duration::from_millis(20));
        let bytes: u64 = feed.cues.iter().map(|cue| u64::from(cue.bytes)).sum();
        assert!(bytes.abs_diff(5_000_000) < 25_000, "{bytes}");
        let access = feed.cues.iter().filter(|cue| cue.access.is_some()).count();
        assert_eq!(access, 5);
        assert!(feed.cues.is_sorted_by_key(|cue| cue.at));
        assert!(feed.len() >= 400, "{}", feed.len());
    }
}
