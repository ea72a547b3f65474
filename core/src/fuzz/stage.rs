//! A ring, a copy of it and their viewers, driven step by step beside plain models of what they promise.

use alloc::vec::Vec;

use crate::policy::{Join, Policy, Slow};
use crate::ring::{RING_SEGMENTS_MAX, Ring, RingLimits};
use crate::testing::{Frame, Reel, Transcript};
use crate::time::{Duration, Instant};
use crate::ts::PACKET_BYTES;
use crate::viewer::{Read, Viewer, ViewerEnd};

/// What happens next on a [`Stage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A segment of so many packets (at least one) is published, so long after the one before.
    Push {
        /// Time since the segment before.
        wait: Duration,
        /// How many packets it has.
        packets: u64,
        /// Whether it begins with an access point.
        is_access: bool,
    },
    /// The segments that follow have so many packets of new PSI before them.
    ChangePsi(u64),
    /// The ring is emptied.
    Clear,
    /// The copy of the ring catches up.
    CatchUp,
    /// A viewer comes.
    Enter {
        /// Its rules.
        policy: Policy,
        /// Whether it reads from the copy.
        on_copy: bool,
    },
    /// A viewer's socket takes a part of what is offered.
    Read {
        /// Which viewer, modulo their number.
        viewer: usize,
        /// How many bytes it takes, modulo one more than there are; `usize::MAX`: all.
        taken: usize,
    },
    /// The driver ends a viewer's response.
    End {
        /// Which viewer, modulo their number.
        viewer: usize,
    },
}

/// Rings, viewers and their models.
#[derive(Debug)]
pub struct Stage {
    reel: Reel,
    now: Instant,
    ring: Side,
    copy: Side,
    seats: Vec<Seat>,
}

/// A ring and its model.
#[derive(Debug)]
struct Side {
    ring: Ring,
    model: Held,
}

/// What a ring holds, the plain way.
#[derive(Clone, Debug)]
struct Held {
    limits: RingLimits,
    frames: Vec<Frame>,
    /// Segments and packets pushed.
    next: u64,
    packets: u64,
}

/// A viewer and its model.
#[derive(Debug)]
struct Seat {
    viewer: Viewer,
    policy: Policy,
    on_copy: bool,
    transcript: Transcript,
    /// The least it lagged since its join; zero once it has skipped.
    lag_min: Duration,
    skipped: u64,
    skips: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Joining,
    Placed,
    /// Waits for an access point with this sequence number or a later one.
    Waiting(u64),
    Ending(ViewerEnd),
}

impl Stage {
    /// An empty ring and nobody there.
    pub fn new(limits: RingLimits) -> Self {
        let side = || Side { ring: Ring::new(limits), model: Held::new(limits) };
        Stage { reel: Reel::new(), now: Instant::ORIGIN, ring: side(), copy: side(), seats: Vec::new() }
    }

    /// Does the next step and checks everything that can be seen of its outcome.
    ///
    /// # Panics
    /// When a promise is broken.
    pub fn step(&mut self, step: Step) {
        match step {
            Step::Push { wait, packets, is_access } => {
                self.now += wait;
                let segment = self.reel.segment(self.now, packets.max(1), is_access);
                let sequence = self.ring.ring.push(segment);
                assert!(sequence == self.ring.model.next, "sequence numbers count segments");
                self.ring.model.push(self.reel.frames()[sequence as usize]);
                self.ring.check();
            }
            Step::ChangePsi(packets) => self.reel.change_psi(packets),
            Step::Clear => {
                self.ring.ring.clear();
                self.ring.model.frames.clear();
                self.ring.check();
            }
            Step::CatchUp => {
                self.copy.ring.catch_up(&self.ring.ring);
                self.copy.model = self.ring.model.clone();
                self.copy.check();
            }
            Step::Enter { policy, on_copy } => self.seats.push(Seat::new(policy, on_copy)),
            Step::Read { viewer, taken } => {
                if let Some((seat, side)) = self.seat(viewer) {
                    seat.read(side.0, side.1, taken);
                }
            }
            Step::End { viewer } => {
                if let Some((seat, _)) = self.seat(viewer) {
                    seat.viewer.end();
                    if !matches!(seat.state, State::Ending(_)) {
                        seat.state = State::Ending(ViewerEnd::Asked);
                    }
                }
            }
        }
    }

    /// Lets every viewer take everything, and checks that it then has everything but what it skipped.
    pub fn drain(&mut self) {
        for viewer in 0..self.seats.len() {
            let Some((seat, (reel, side))) = self.seat(viewer) else { return };
            seat.read(reel, side, usize::MAX);
            assert!(seat.viewer.is_between_packets());
            if seat.state == State::Placed {
                assert!(
                    seat.transcript.place() == Some(side.model.packets),
                    "a viewer that takes all gets all"
                );
            }
        }
    }

    fn seat(&mut self, viewer: usize) -> Option<(&mut Seat, (&Reel, &Side))> {
        let index = viewer.checked_rem(self.seats.len())?;
        let seat = &mut self.seats[index];
        let side = if seat.on_copy { &self.copy } else { &self.ring };
        Some((seat, (&self.reel, side)))
    }
}

impl Side {
    fn check(&self) {
        let (ring, model) = (&self.ring, &self.model);
        assert!(ring.next() == model.next, "every segment gets the next number");
        let held: Vec<_> = (0..ring.next()).filter_map(|sequence| ring.get(sequence)).collect();
        assert!(held.len() == model.frames.len(), "held are {}, not {}", model.frames.len(), held.len());
        assert!(ring.first() == ring.next() - held.len() as u64, "what is held is the newest");
        for ((sequence, segment), frame) in (ring.first()..).zip(&held).zip(&model.frames) {
            assert!(segment.at == frame.at && segment.packets() == frame.packets);
            assert!(segment.access.is_some() == frame.is_access);
            assert!(ring.packets_before(sequence) == frame.first);
        }
        assert!(ring.packets_before(ring.next()) == model.packets);
        assert!(ring.packets() == model.packets - model.first_packet());
        assert!(ring.packets_pushed() == model.packets && ring.packets_evicted() == model.first_packet());
        assert!(ring.bytes() == Frame::bytes(&model.frames));
        assert!(ring.latest_access().map(|sequence| ring.packets_before(sequence)) == model.latest_access());
        assert!(ring.newest().map(|segment| segment.at) == model.frames.last().map(|frame| frame.at));
    }
}

impl Held {
    fn new(limits: RingLimits) -> Self {
        Held { limits, frames: Vec::new(), next: 0, packets: 0 }
    }

    fn push(&mut self, frame: Frame) {
        self.frames.push(frame);
        self.next += 1;
        self.packets += frame.packets;
        while self.frames.len() > 1 && (self.is_over() || self.is_enough_without_first()) {
            self.frames.remove(0);
        }
    }

    fn is_over(&self) -> bool {
        Frame::bytes(&self.frames) > self.limits.bytes_max || self.frames.len() > RING_SEGMENTS_MAX
    }

    /// Whether everything that must be held is held without the first.
    fn is_enough_without_first(&self) -> bool {
        let [oldest, left @ ..] = &self.frames[..] else { return false };
        let (Some(first), Some(last)) = (left.first(), left.last()) else { return false };
        let has_access = |frames: &[Frame]| frames.iter().any(|frame| frame.is_access);
        self.packets - first.first >= self.limits.packets_min
            && last.at.saturating_since(first.at) >= self.limits.span_min
            && oldest.at < last.at
            && (has_access(left) || !has_access(&self.frames))
    }

    fn first_packet(&self) -> u64 {
        self.frames.first().map_or(self.packets, |frame| frame.first)
    }

    fn access(&self) -> impl DoubleEndedIterator<Item = &Frame> {
        self.frames.iter().filter(|frame| frame.is_access)
    }

    fn latest_access(&self) -> Option<u64> {
        self.access().next_back().map(|frame| frame.first)
    }

    /// Zero when there is none.
    fn latest_access_sequence(&self) -> u64 {
        let age = self.frames.iter().rev().position(|frame| frame.is_access);
        age.map_or(0, |age| self.next - 1 - age as u64)
    }

    fn join(&self, join: Join) -> Option<u64> {
        match join {
            Join::Keyframe => self.latest_access(),
            Join::Live => Some(self.packets),
            Join::Behind(delay) => {
                let latest = self.frames.last()?.at - delay;
                let old_enough = self.access().rfind(|frame| frame.at <= latest);
                old_enough.or_else(|| self.access().next()).map(|frame| frame.first)
            }
        }
    }

    fn lag(&self, reel: &Reel, place: u64) -> Duration {
        match (self.frames.last(), reel.frame_of(place)) {
            (Some(newest), Some(frame)) if place < self.packets => newest.at.saturating_since(frame.at),
            _ => Duration::ZERO,
        }
    }
}

impl Seat {
    fn new(policy: Policy, on_copy: bool) -> Self {
        Seat {
            viewer: Viewer::new(),
            policy,
            on_copy,
            transcript: Transcript::new(),
            lag_min: Duration::ZERO,
            skipped: 0,
            skips: 0,
            state: State::Joining,
        }
    }

    /// Reads, takes, and compares with the model. Answers how many bytes were offered.
    fn read(&mut self, reel: &Reel, side: &Side, taken: usize) -> usize {
        self.decide(reel, &side.model);
        let read = self.viewer.read(&side.ring, &self.policy);
        let stats = self.viewer.stats();
        assert!(
            stats.packets_skipped == self.skipped,
            "skipped are {}, not {}",
            self.skipped,
            stats.packets_skipped
        );
        assert!(stats.skips == self.skips, "skips are {}, not {}", self.skips, stats.skips);
        assert!(self.viewer.has_joined() == (self.state != State::Joining));
        self.transcript.skip(self.skipped);

        let is_torn = !self.transcript.is_between_packets();
        let is_behind = self.transcript.place().is_some_and(|place| place < side.model.packets);
        let expected = match self.state {
            State::Ending(end) if !is_torn => Read::Ended(end),
            State::Placed if is_behind => Read::Ready,
            _ if is_torn => Read::Ready,
            _ => Read::Idle,
        };
        assert!(read == expected, "expected {expected:?}, not {read:?}");
        if read != Read::Ready {
            return 0;
        }

        let offered: Vec<u8> = self.viewer.pieces(&side.ring).flatten().copied().collect();
        assert!(self.viewer.pieces(&side.ring).all(|piece| !piece.is_empty()));
        let mut all = self.transcript.clone();
        all.take(reel, &offered);
        assert!(all.is_between_packets() && !offered.is_empty(), "whole packets are offered");
        if self.state == State::Placed {
            assert!(all.place() == Some(side.model.packets), "all there is is offered");
        } else {
            assert!(offered.len() < PACKET_BYTES, "nothing but the rest of a packet is offered");
        }
        let taken = if taken == usize::MAX { offered.len() } else { taken % (offered.len() + 1) };
        self.viewer.advance(taken, &side.ring);
        self.transcript.take(reel, &offered[..taken]);
        assert!(self.viewer.is_between_packets() == self.transcript.is_between_packets());
        assert!(self.viewer.stats().bytes_sent == self.transcript.bytes());
        offered.len()
    }

    /// What the policies do to the viewer at this moment.
    fn decide(&mut self, reel: &Reel, held: &Held) {
        if self.state == State::Joining
            && let Some(place) = held.join(self.policy.join)
        {
            self.transcript.begin(place);
            self.state = State::Placed;
            self.lag_min = held.lag(reel, place);
        }
        let Some(place) = self.transcript.place() else { return };
        match self.state {
            State::Placed => self.decide_placed(reel, held, place),
            State::Waiting(from) => {
                if let Some(access) = held.latest_access().filter(|_| held.latest_access_sequence() >= from) {
                    self.skip_to(place, access);
                }
            }
            State::Joining | State::Ending(_) => {}
        }
    }

    fn decide_placed(&mut self, reel: &Reel, held: &Held, place: u64) {
        let is_lapped = place < held.first_packet();
        let wanted = match self.policy.join {
            Join::Behind(delay) => delay,
            Join::Keyframe | Join::Live => Duration::ZERO,
        };
        let packets_min = u64::from(self.policy.lag_packets_min);
        let lags = !is_lapped
            && self.policy.lag_max.is_some_and(|lag_max| {
                let lag = held.lag(reel, place);
                self.lag_min = self.lag_min.min(lag);
                lag > lag_max + wanted.max(self.lag_min) && held.packets - place > packets_min
            });
        if !is_lapped && !lags {
            return;
        }
        match self.policy.slow {
            Slow::Keyframe => match held.latest_access().filter(|&access| access > place) {
                Some(access) => self.skip_to(place, access),
                None if is_lapped => self.state = State::Waiting(held.next),
                None => {}
            },
            Slow::Oldest => {
                let newest = held.frames.last();
                let is_allowed = |frame: &&Frame| match (self.policy.lag_max, newest) {
                    (Some(lag_max), Some(newest)) => {
                        newest.at.saturating_since(frame.at) <= lag_max + wanted
                            || held.packets - frame.first <= packets_min
                    }
                    _ => true,
                };
                let oldest = held.frames.iter().find(is_allowed).map_or(held.packets, |frame| frame.first);
                self.skip_to(place, oldest);
            }
            Slow::Live => self.skip_to(place, held.packets),
            Slow::Disconnect => self.state = State::Ending(ViewerEnd::TooSlow),
        }
    }

    fn skip_to(&mut self, place: u64, target: u64) {
        assert!(target > place, "a skip goes forward");
        self.state = State::Placed;
        self.lag_min = Duration::ZERO;
        self.skipped += target - place;
        self.skips += 1;
        self.transcript.skip(self.skipped);
    }
}
