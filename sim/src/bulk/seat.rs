//! One viewer's connection in bulk: core's place in the ring, a link, and a player at its end.

use restreamer_core::ts::PACKET_BYTES;
use restreamer_core::{Duration, Instant, Policy, Read, Ring, StallTimer, Viewer, ViewerEnd, ViewerStats};

use crate::decoder::{Cut, Decoder, Received};
use crate::fanout::EndReason;
use crate::link::Link;
use crate::timeline::Timeline;

/// Pieces handed to a socket at once.
const SLICES_MAX: usize = 32;

/// What is the same for all viewers of a round.
pub(crate) struct Room<'a> {
    pub(crate) now: Instant,
    pub(crate) ring: &'a Ring,
    pub(crate) timeline: &'a Timeline,
    pub(crate) policy: &'a Policy,
    pub(crate) stall_limit: Option<Duration>,
}

/// What a round brought to one viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// He has all there is.
    CaughtUp,
    /// His socket is full.
    Blocked,
    /// His response ends.
    Over(EndReason),
}

/// A viewer's connection.
#[derive(Debug)]
pub(crate) struct Seat {
    viewer: Viewer,
    link: Link,
    decoder: Decoder,
    stall: StallTimer,
    is_blocked: bool,
    after_skip: bool,
    /// Bytes of the tables before `sequence` that he is still to get.
    psi_left: u32,
    /// Where his next bytes come from; `None`: it is not known before they are offered.
    sequence: Option<u64>,
    /// Bytes of that segment which he has, whole packets.
    offset: u32,
    /// Bytes that he is still to get of the packet that was begun.
    torn: u32,
    skips: u32,
    /// Playing time up to the end of what he was sent.
    place_ns: u64,
}

impl Seat {
    /// Somebody comes at `now`.
    pub(crate) fn new(now: Instant, link: Link) -> Self {
        Seat {
            viewer: Viewer::new(),
            link,
            decoder: Decoder::new(now),
            stall: StallTimer::new(),
            is_blocked: false,
            after_skip: false,
            psi_left: 0,
            sequence: None,
            offset: 0,
            torn: 0,
            skips: 0,
            place_ns: 0,
        }
    }

    /// One round: sends what there is as far as the socket takes it. Answers the bytes that it took, too.
    pub(crate) fn serve(&mut self, room: &Room<'_>) -> (Progress, usize) {
        if self.is_blocked && !self.link.is_writable(room.now) {
            let is_stalled = self.stall.is_stalled(room.now, room.stall_limit);
            return (if is_stalled { Progress::Over(EndReason::Stalled) } else { Progress::Blocked }, 0);
        }
        self.is_blocked = false;
        let mut sent = 0;
        loop {
            match self.viewer.read(room.ring, room.policy) {
                Read::Ready => {}
                Read::Idle => {
                    self.stall.handle_progress();
                    return (Progress::CaughtUp, sent);
                }
                Read::Ended(ViewerEnd::TooSlow) => return (Progress::Over(EndReason::TooSlow), sent),
                Read::Ended(ViewerEnd::Asked) => return (Progress::Over(EndReason::Shutdown), sent),
            }
            self.note_place(room);
            let free = self.link.room(room.now);
            if free == 0 {
                self.is_blocked = true;
                self.stall.handle_blocked(room.now);
                return (Progress::Blocked, sent);
            }
            let (taken, is_all) = self.send(free, room);
            sent += taken;
            self.viewer.advance(taken, room.ring);
            self.stall.handle_progress();
            if is_all {
                return (Progress::CaughtUp, sent);
            }
        }
    }

    /// How far the picture on the screen is behind the source; `None` while there is none that moves.
    pub(crate) fn behind_ns(&self, now: Instant, timeline: &Timeline) -> Option<u64> {
        let buffered_ns = self.decoder.buffered_ns(now)?;
        Some((timeline.end_ns() + buffered_ns).saturating_sub(self.place_ns))
    }

    /// How far his place is behind live.
    pub(crate) fn lag(&self, ring: &Ring) -> Duration {
        self.viewer.lag(ring)
    }

    /// What core counted.
    pub(crate) fn stats(&self) -> ViewerStats {
        self.viewer.stats()
    }

    /// His player.
    pub(crate) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// One write. Answers how much of it was taken, and whether that was all there is.
    fn send(&mut self, free: usize, room: &Room<'_>) -> (usize, bool) {
        let viewer = std::mem::take(&mut self.viewer);
        let mut left = free;
        let mut is_all = true;
        for (count, piece) in viewer.pieces(room.ring).enumerate() {
            if count == SLICES_MAX || left == 0 {
                is_all = false;
                break;
            }
            let taken = piece.len().min(left);
            left -= taken;
            let arrival = self.link.take(room.now, taken);
            self.take(arrival, taken, room);
            is_all = taken == piece.len();
        }
        self.viewer = viewer;
        (free - left, is_all)
    }

    /// The player gets the next `bytes`, which are of one piece. A packet begun counts as a packet.
    fn take(&mut self, at: Instant, bytes: usize, room: &Room<'_>) {
        if self.torn > 0 {
            self.torn -= bytes as u32;
            return;
        }
        let whole = bytes.next_multiple_of(PACKET_BYTES);
        self.torn = (whole - bytes) as u32;
        if self.psi_left > 0 {
            self.psi_left -= whole as u32;
            return;
        }
        let Some(sequence) = self.sequence else { return };
        let (Some(segment), Some(moment)) = (room.ring.get(sequence), room.timeline.get(sequence)) else {
            return;
        };
        let length = segment.data.len();
        let (from, to) = (self.offset as usize, self.offset as usize + whole);
        let is_whole = from == 0 && to == length;
        if !(is_whole && self.decoder.go_on(at, moment)) {
            let live_ns = room.timeline.end_ns();
            if std::mem::take(&mut self.after_skip) {
                self.decoder.note_skipped(moment.begin_ns.saturating_sub(self.place_ns));
            }
            self.decoder.receive(&Received { at, moment, from, to, length, live_ns });
        }
        let playing_ns = moment.end_ns - moment.begin_ns;
        self.place_ns = moment.begin_ns + playing_ns * to as u64 / length as u64;
        (self.sequence, self.offset) =
            if to == length { (Some(sequence + 1), 0) } else { (Some(sequence), to as u32) };
    }

    /// Finds out where the viewer goes on, when he has a new place.
    fn note_place(&mut self, room: &Room<'_>) {
        let skips = self.viewer.stats().skips;
        if skips != self.skips {
            self.skips = skips;
            if let Some(moment) = self.sequence.and_then(|sequence| room.timeline.get(sequence)) {
                self.decoder.note_cut(self.place_ns, Cut::after(moment, self.offset as usize));
            }
            self.sequence = None;
            self.psi_left = 0;
            self.after_skip = true;
        }
        if self.sequence.is_some() {
            return;
        }
        // Everything from his place to live is on offer: so many bytes back it is.
        let ring = room.ring;
        let offered: usize = self.viewer.pieces(ring).map(<[u8]>::len).sum();
        let mut left = offered - self.torn as usize;
        let mut sequence = ring.next();
        while left > 0 {
            let Some(segment) = sequence.checked_sub(1).and_then(|before| ring.get(before)) else { return };
            sequence -= 1;
            left = left.saturating_sub(segment.data.len());
            if left == segment.psi.len() {
                self.psi_left = left as u32;
                self.sequence = Some(sequence);
                self.offset = 0;
                return;
            }
        }
    }
}
