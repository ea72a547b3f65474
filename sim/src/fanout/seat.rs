//! One viewer's connection: his place, his link, his player, and what the checkers remember of him.

use bytes::Bytes;
use restreamer_core::{Duration, Instant, Join, Policy, Read, Ring, Slow, StallTimer, Viewer, ViewerEnd};

use super::{EndReason, Shift, Tally};
use crate::check::{Record, Run, Scene};
use crate::decoder::{Cut, Decoder, Received};
use crate::link::Link;
use crate::marks::sometimes;
use crate::mutation::Mutation;
use crate::observer::Digest;
use crate::timeline::Moment;

/// Pieces handed to a socket at once.
const SLICES_MAX: usize = 32;

/// A viewer's connection.
#[derive(Debug)]
pub(crate) struct Seat {
    /// Index of the client.
    pub(super) client: u32,
    /// His number in the plan.
    id: u32,
    pub(super) is_blocked: bool,
    pub(super) ending: Option<EndReason>,
    pub(super) link: Link,
    pub(super) record: Record,
    pub(super) decoder: Decoder,
    pub(super) stall: StallTimer,
    pub(super) digest: Digest,
    pub(super) bytes_taken: u64,
    /// Skips that were seen.
    skips: u32,
    /// When he came.
    pub(super) since: Instant,
}

/// What is new for everybody who had all there was: looked up once per sweep.
pub(super) struct Newest {
    sequence: u64,
    data: Bytes,
    /// Packets of the stream up to its end.
    packets: u64,
    moment: Moment,
}

impl Newest {
    /// `None` when each viewer has to be looked at closely.
    pub(super) fn of(ring: &Ring, shift: &Shift<'_>) -> Option<Self> {
        let is_plain = shift.mutation.is_none() && !shift.observer.is_tracing();
        let sequence = ring.next().checked_sub(1).filter(|_| is_plain)?;
        let moment = *shift.timeline.get(sequence)?;
        Some(Newest {
            sequence,
            data: ring.get(sequence)?.data.clone(),
            packets: ring.packets_pushed(),
            moment,
        })
    }
}

/// What a round brought to one viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    CaughtUp,
    Blocked,
    Over(EndReason),
}

impl Seat {
    /// Somebody comes.
    pub(super) fn new(client: u32, id: u32, link: Link, now: Instant) -> Self {
        Seat {
            client,
            id,
            is_blocked: false,
            ending: None,
            link,
            record: Record::default(),
            decoder: Decoder::new(now),
            stall: StallTimer::new(),
            digest: Digest::default(),
            bytes_taken: 0,
            skips: 0,
            since: now,
        }
    }

    /// Sends him what there is, as far as his socket takes it.
    pub(super) fn send(
        &mut self,
        viewer: &mut Viewer,
        ring: &Ring,
        was_blocked: bool,
        tally: &mut Tally,
        shift: &mut Shift<'_>,
    ) -> Progress {
        let mut repeats = was_blocked && shift.mutation == Some(Mutation::Duplicate);
        loop {
            match self.read(viewer, ring, shift) {
                Read::Ready => {}
                Read::Idle => return Progress::CaughtUp,
                Read::Ended(end) => return Progress::Over(self.end(end, shift)),
            }
            let room = self.link.room(shift.now);
            if room == 0 {
                return Progress::Blocked;
            }
            let mut taken = 0;
            let mut pieces = viewer.pieces(ring);
            let mut slices = 0;
            let mut offered = 0;
            let is_all = loop {
                let Some(piece) = pieces.next() else { break true };
                if slices == SLICES_MAX || taken == room {
                    break false;
                }
                slices += 1;
                offered += piece.len();
                let piece = &piece[..piece.len().min(room - taken)];
                taken += piece.len();
                self.take(piece, ring, shift);
            };
            tally.writes += 1;
            tally.bytes_sent +=
                if shift.mutation == Some(Mutation::WrongCount) { offered } else { taken } as u64;
            self.bytes_taken += taken as u64;
            let (id, now) = (self.id, shift.now);
            shift.observer.trace(now, || format!("viewer {id} takes {taken} of {offered} bytes"));
            if std::mem::take(&mut repeats) && viewer.is_between_packets() {
                continue;
            }
            viewer.advance(taken, ring);
            self.stall.handle_progress();
            if is_all && taken == offered {
                return Progress::CaughtUp;
            }
            self.note_partial(viewer, ring, shift);
        }
    }

    /// The same as [`Seat::send`] for a viewer who is to get the newest segment whole and nothing else, and whose
    /// socket takes it: most of them, most of the time. Answers whether he is one; otherwise nothing has happened.
    #[inline]
    pub(super) fn send_newest(
        &mut self,
        viewer: &mut Viewer,
        ring: &Ring,
        newest: &Newest,
        tally: &mut Tally,
        shift: &Shift<'_>,
    ) -> bool {
        let length = newest.data.len();
        let is_next = self.record.is_due(newest.sequence)
            && self.link.room_without_chance(shift.now).is_some_and(|room| room >= length)
            && viewer.read(ring, shift.policy) == Read::Ready
            && viewer.pieces(ring).next().is_some_and(|piece| std::ptr::eq(piece, &*newest.data));
        if !is_next {
            return false;
        }
        self.record.pass_segment(newest.packets);
        let arrival = self.link.take(shift.now, length);
        self.digest.mix(arrival.as_nanos());
        if !self.decoder.go_on(arrival, &newest.moment) {
            self.watch(arrival, newest.sequence, (0, length, length), shift);
        }
        self.digest.mix(newest.sequence);
        viewer.advance(length, ring);
        tally.writes += 1;
        tally.bytes_sent += length as u64;
        self.bytes_taken += length as u64;
        self.stall.handle_progress();
        true
    }

    #[inline]
    fn read(&mut self, viewer: &mut Viewer, ring: &Ring, shift: &mut Shift<'_>) -> Read {
        let had_joined = viewer.has_joined();
        let read = if had_joined || shift.mutation != Some(Mutation::UnfreshJoin) {
            viewer.read(ring, shift.policy)
        } else {
            viewer.read(ring, &Policy { join: Join::Live, ..*shift.policy })
        };
        if !had_joined {
            self.note_join(viewer, ring, shift);
        }
        let skips = viewer.stats().skips;
        if skips != self.skips {
            self.note_skip(ring, shift);
            self.skips = skips;
        }
        read
    }

    fn note_join(&mut self, viewer: &Viewer, ring: &Ring, shift: &mut Shift<'_>) {
        let policy = shift.policy;
        if viewer.has_joined() {
            self.record.join(Scene { ring, policy });
            sometimes!(shift.observer, policy.join == Join::Live, JoinedLive);
            sometimes!(shift.observer, matches!(policy.join, Join::Behind(_)), JoinedBehind);
        } else {
            sometimes!(shift.observer, true, JoinedBeforeAccess);
        }
    }

    fn note_skip(&mut self, ring: &Ring, shift: &mut Shift<'_>) {
        let policy = shift.policy;
        let (before, offset) = (self.record.sequence, self.record.offset as usize);
        let verdict = self.record.skip(Scene { ring, policy });
        shift.observer.judge(shift.now, Some(self.id), verdict);
        let after = self.record.sequence;
        sometimes!(shift.observer, before < ring.first(), Lapped);
        sometimes!(shift.observer, policy.slow == Slow::Keyframe, SkippedToKeyframe);
        sometimes!(shift.observer, policy.slow == Slow::Oldest, SkippedToOldest);
        sometimes!(shift.observer, policy.slow == Slow::Live, SkippedToLive);
        if let Some(moment) = shift.timeline.get(before) {
            self.decoder.note_cut(moment.begin_ns, Cut::after(moment, offset));
            let after_ns =
                shift.timeline.get(after).map_or(shift.timeline.end_ns(), |moment| moment.begin_ns);
            self.decoder.note_skipped(after_ns.saturating_sub(moment.begin_ns));
        }
        let id = self.id;
        shift.observer.trace(shift.now, || format!("viewer {id} skips from segment {before} to {after}"));
    }

    /// His socket takes a piece.
    #[inline]
    fn take(&mut self, piece: &[u8], ring: &Ring, shift: &mut Shift<'_>) {
        let arrival = self.link.take(shift.now, piece.len());
        self.digest.mix(arrival.as_nanos());
        let sequence = self.record.sequence;
        if self.record.go_on(ring, piece)
            && let Some(moment) = shift.timeline.get(sequence)
            && self.decoder.go_on(arrival, moment)
        {
            self.digest.mix(sequence);
            return;
        }
        if self.record.sequence > sequence {
            let length = piece.len();
            self.watch(arrival, sequence, (0, length, length), shift);
            self.digest.mix(sequence);
        } else {
            self.take_carefully(arrival, piece, ring, shift);
        }
    }

    fn take_carefully(&mut self, arrival: Instant, piece: &[u8], ring: &Ring, shift: &mut Shift<'_>) {
        match self.record.receive(ring, piece) {
            Err(breach) => shift.observer.judge(shift.now, Some(self.id), Err(breach)),
            Ok(Run::Rest(rest)) => {
                self.digest.mix(rest.len() as u64);
                sometimes!(
                    shift.observer,
                    self.record.last_segment().is_some_and(|last| last < ring.first()),
                    RestAfterEviction
                );
            }
            Ok(Run::Tables { from, to, .. }) => self.digest.mix((to - from) as u64 + 1_000),
            Ok(Run::Packets { sequence, segment, from, to }) => {
                self.digest.mix(sequence);
                self.digest.mix(from as u64);
                self.digest.mix(to as u64);
                self.watch(arrival, sequence, (from, to, segment.data.len()), shift);
            }
        }
    }

    /// The player gets bytes `from..to` of a segment of `length`.
    fn watch(
        &mut self,
        at: Instant,
        sequence: u64,
        (from, to, length): (usize, usize, usize),
        shift: &Shift<'_>,
    ) {
        if let Some(moment) = shift.timeline.get(sequence) {
            let live_ns = shift.timeline.end_ns();
            self.decoder.receive(&Received { at, moment, from, to, length, live_ns });
        }
    }

    fn note_partial(&mut self, viewer: &mut Viewer, ring: &Ring, shift: &mut Shift<'_>) {
        if viewer.is_between_packets() {
            return;
        }
        sometimes!(shift.observer, true, PartialPacket);
        if shift.mutation == Some(Mutation::TornPacket) {
            let rest = viewer.pieces(ring).next().map_or(0, <[u8]>::len);
            viewer.advance(rest, ring);
        }
    }

    fn end(&mut self, end: ViewerEnd, shift: &mut Shift<'_>) -> EndReason {
        sometimes!(shift.observer, end == ViewerEnd::TooSlow, TooSlow);
        match end {
            ViewerEnd::TooSlow => EndReason::TooSlow,
            ViewerEnd::Asked => self.ending.unwrap_or(EndReason::Shutdown),
        }
    }

    pub(crate) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    /// Since when his socket has taken nothing.
    pub(crate) fn blocked_since(&self) -> Option<Instant> {
        self.stall.poll_timeout(Some(Duration::ZERO)).filter(|_| self.is_blocked)
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Index of the client.
    pub(crate) fn client(&self) -> u32 {
        self.client
    }

    pub(crate) fn since(&self) -> Instant {
        self.since
    }
}

/// A defect put in on purpose: the wake-up of a socket that was full for long is lost.
pub(super) fn is_forgotten(seat: &Seat, shift: &Shift<'_>) -> bool {
    shift.mutation == Some(Mutation::LostWakeUp)
        && seat.stall.is_stalled(shift.now, Some(Duration::from_secs(1)))
}
