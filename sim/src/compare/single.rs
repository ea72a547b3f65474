//! The program before this one: each client has a queue of 400 packets, filled whether or not its socket is. A packet
//! for which there is no room is left out, alone, wherever in the picture it is.

use std::collections::VecDeque;

use restreamer_core::ts::PACKET_BYTES;
use restreamer_core::{Instant, StallTimer};

use crate::bulk::{Progress, Room};
use crate::decoder::{Cut, Decoder, Received};
use crate::fanout::EndReason;
use crate::link::Link;
use crate::timeline::Timeline;

/// Packets in the queue of a client.
pub(super) const QUEUE_PACKETS: usize = 400;

/// A client's connection.
#[derive(Debug)]
pub(super) struct OldSeat {
    link: Link,
    decoder: Decoder,
    stall: StallTimer,
    is_blocked: bool,
    /// Packets that wait.
    queue: VecDeque<Place>,
    /// The next segment to be queued.
    sequence: u64,
    /// The packet after the last one sent.
    expected: Option<(u64, u64)>,
    place_ns: u64,
    skipped_ns: u64,
}

/// A packet: the number of its segment, which has `packets`, and its own in there.
#[derive(Clone, Copy, Debug)]
struct Place {
    sequence: u64,
    packet: u64,
    packets: u64,
}

impl OldSeat {
    /// Somebody comes at `now`; `sequence` is the first segment that he can get.
    pub(super) fn new(now: Instant, link: Link, sequence: u64) -> Self {
        OldSeat {
            link,
            decoder: Decoder::new(now),
            stall: StallTimer::new(),
            is_blocked: false,
            queue: VecDeque::with_capacity(QUEUE_PACKETS),
            sequence,
            expected: None,
            place_ns: 0,
            skipped_ns: 0,
        }
    }

    /// One round: the packets of the new segments come one by one, each when it came from the source.
    pub(super) fn serve(&mut self, room: &Room<'_>) -> Progress {
        while let Some(segment) = room.ring.get(self.sequence) {
            let sequence = self.sequence;
            self.sequence += 1;
            let packets = segment.packets();
            let span_ns = room.now.saturating_since(segment.at).as_nanos() as u64;
            if self.queue.is_empty() && !self.is_blocked && self.link.room(room.now) >= segment.data.len() {
                self.send(room.now, Place { sequence, packet: 0, packets }, packets, room);
                continue;
            }
            for packet in 0..packets {
                let now = Instant::from_nanos(segment.at.as_nanos() + span_ns * packet / packets);
                self.drain(now, room);
                if self.queue.len() < QUEUE_PACKETS {
                    self.queue.push_back(Place { sequence, packet, packets });
                } else if let Some(moment) = room.timeline.get(sequence) {
                    self.skipped_ns += (moment.end_ns - moment.begin_ns) / packets;
                }
            }
        }
        self.drain(room.now, room);
        if self.stall.is_stalled(room.now, room.stall_limit) {
            return Progress::Over(EndReason::Stalled);
        }
        if self.is_blocked { Progress::Blocked } else { Progress::CaughtUp }
    }

    pub(super) fn behind_ns(&self, now: Instant, timeline: &Timeline) -> Option<u64> {
        let buffered_ns = self.decoder.buffered_ns(now)?;
        Some((timeline.end_ns() + buffered_ns).saturating_sub(self.place_ns))
    }

    pub(super) fn into_decoder(mut self) -> Decoder {
        self.decoder.note_skipped(self.skipped_ns);
        self.decoder
    }

    /// The writer takes packets from the queue as long as the socket takes them.
    fn drain(&mut self, now: Instant, room: &Room<'_>) {
        if self.is_blocked && !self.link.is_writable(now) {
            return;
        }
        self.is_blocked = false;
        while let Some(&place) = self.queue.front() {
            if self.link.room(now) < PACKET_BYTES {
                self.is_blocked = true;
                self.stall.handle_blocked(now);
                return;
            }
            self.queue.pop_front();
            self.send(now, place, 1, room);
        }
        self.stall.handle_progress();
    }

    /// `count` packets of a segment, from `place` on.
    fn send(&mut self, now: Instant, place: Place, count: u64, room: &Room<'_>) {
        let Place { sequence, packet, packets } = place;
        let at = self.link.take(now, count as usize * PACKET_BYTES);
        self.stall.handle_progress();
        let Some(moment) = room.timeline.get(sequence) else { return };
        let [from, to, length] = [packet, packet + count, packets].map(|it| it as usize * PACKET_BYTES);
        if let Some((sequence, packet)) = self.expected.filter(|&expected| expected != (sequence, packet))
            && let Some(moment) = room.timeline.get(sequence)
        {
            self.decoder.note_cut(self.place_ns, Cut::after(moment, packet as usize));
        }
        let live_ns = room.timeline.end_ns();
        if !(count == packets && self.decoder.go_on(at, moment)) {
            self.decoder.receive(&Received { at, moment, from, to, length, live_ns });
        }
        self.place_ns = moment.begin_ns + (moment.end_ns - moment.begin_ns) * (packet + count) / packets;
        self.expected = Some(if to == length { (sequence + 1, 0) } else { (sequence, packet + count) });
    }
}
