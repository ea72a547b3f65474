//! What a person sees: a player that is fed with what a viewer receives, when he receives it.
//!
//! It has no pictures, only their playing time. It begins at an access point when it has buffered
//! [`START_BUFFER_NS`], stands still when it has nothing left until it has buffered as much again, and shows
//! broken pictures after packets are missing until the next access point.

use restreamer_core::Instant;
use serde::{Deserialize, Serialize};

use crate::timeline::Moment;

/// Playing time that is buffered before a player begins, and after it stood still.
pub const START_BUFFER_NS: u64 = 300_000_000;
/// Playing time of a picture.
pub const PICTURE_NS: u64 = 40_000_000;

/// A player.
#[derive(Clone, Debug)]
pub struct Decoder {
    state: State,
    /// Playing: when the buffer will be empty. Otherwise: since when the person waits. Nanoseconds.
    mark_ns: u64,
    /// Playing time buffered while waiting.
    buffered_ns: u64,
    is_broken: bool,
    seen: Box<Seen>,
}

/// What the person saw in one go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// From the request to the first picture; `None` when there was none.
    pub first_picture_ns: Option<u64>,
    /// Time without a moving picture after that.
    pub stalled_ns: u64,
    /// How often the picture stood still.
    pub stalls: u32,
    /// Playing time of broken pictures, because of what the server left out.
    pub broken_ns: u64,
    /// The same, because of what the source lost.
    pub broken_by_source_ns: u64,
    /// Playing time that was left out.
    pub skipped_ns: u64,
    /// How far the picture was behind the source at worst when it began, or went on, to move.
    pub behind_ns_max: u64,
    /// The same, the last time.
    pub behind_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waits for a place to begin.
    Searching,
    /// Buffers for the first picture.
    Starting,
    Playing,
    /// Buffers after it ran dry.
    Stalled,
}

/// A part of a segment that reached the player.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// When its last byte did.
    pub at: Instant,
    /// The segment.
    pub moment: &'a Moment,
    /// Where the part begins and ends, bytes.
    pub from: usize,
    /// See `from`.
    pub to: usize,
    /// Length of the segment, bytes.
    pub length: usize,
    /// Something was left out right before it.
    pub after_skip: bool,
    /// Playing time of everything that the server had by then.
    pub live_ns: u64,
}

impl Decoder {
    /// The player of somebody who asks for a stream at `now`.
    pub fn new(now: Instant) -> Self {
        Decoder {
            state: State::Searching,
            mark_ns: now.as_nanos(),
            buffered_ns: 0,
            is_broken: false,
            seen: Box::default(),
        }
    }

    /// The quickest way: a whole segment follows the last one and arrives in time. Answers whether it was that.
    #[inline]
    pub fn go_on(&mut self, at: Instant, moment: &Moment) -> bool {
        let is_plain = self.state == State::Playing
            && at.as_nanos() <= self.mark_ns
            && !self.is_broken
            && !moment.is_damaged;
        if is_plain {
            self.mark_ns += moment.end_ns - moment.begin_ns;
        }
        is_plain
    }

    /// Takes what arrived, in order of arrival.
    pub fn receive(&mut self, part: &Received<'_>) {
        let Received { moment, from, to, length, .. } = *part;
        let duration = moment.end_ns - moment.begin_ns;
        let share = |bytes: usize| (u128::from(duration) * bytes as u128 / length.max(1) as u128) as u64;
        let playing_ns = share(to) - share(from);
        if from == 0 && moment.is_access {
            self.is_broken = false;
            if self.state == State::Searching {
                self.state = State::Starting;
            }
        } else if part.after_skip {
            self.is_broken = true;
        }
        if self.state == State::Searching {
            return;
        }
        if self.is_broken {
            self.seen.broken_ns += playing_ns;
        } else if moment.is_damaged {
            self.seen.broken_by_source_ns += playing_ns;
        }
        let at = part.at.as_nanos();
        if self.state == State::Playing && at > self.mark_ns {
            self.state = State::Stalled;
            self.buffered_ns = 0;
            self.seen.stalls += 1;
        }
        if self.state == State::Playing {
            self.mark_ns += playing_ns;
            return;
        }
        self.buffered_ns += playing_ns;
        if self.buffered_ns < START_BUFFER_NS {
            return;
        }
        let waited = at.saturating_sub(self.mark_ns);
        match self.state {
            State::Starting => self.seen.first_picture_ns = Some(waited),
            _ => self.seen.stalled_ns += waited,
        }
        self.state = State::Playing;
        self.mark_ns = at + self.buffered_ns;
        let place = moment.begin_ns + share(to);
        self.seen.behind_ns = part.live_ns.saturating_sub(place) + self.buffered_ns;
        self.seen.behind_ns_max = self.seen.behind_ns_max.max(self.seen.behind_ns);
    }

    /// Playing time that was left out.
    pub fn note_skipped(&mut self, skipped_ns: u64) {
        if self.state != State::Searching {
            self.seen.skipped_ns += skipped_ns;
        }
    }

    /// Whether the picture moves at `now`.
    pub fn is_playing(&self, now: Instant) -> bool {
        self.state == State::Playing && now.as_nanos() <= self.mark_ns
    }

    /// Playing time of what was received and is not yet on the screen at `now`, when it keeps moving; `None` while
    /// the picture does not move.
    pub fn buffered_ns(&self, now: Instant) -> Option<u64> {
        self.is_playing(now).then(|| self.mark_ns - now.as_nanos())
    }

    /// What was seen until `now`, when the person stops watching.
    pub fn finish(mut self, now: Instant) -> Seen {
        let now = now.as_nanos();
        match self.state {
            State::Playing if now > self.mark_ns => {
                self.seen.stalls += 1;
                self.seen.stalled_ns += now - self.mark_ns;
            }
            State::Stalled => self.seen.stalled_ns += now.saturating_sub(self.mark_ns),
            State::Playing | State::Searching | State::Starting => {}
        }
        *self.seen
    }
}

impl Seen {
    /// Pictures that were broken because of what the server left out.
    pub fn broken_pictures(&self) -> u64 {
        self.broken_ns.div_ceil(PICTURE_NS)
    }

    /// Adds what the same person saw in another go.
    pub fn add(&mut self, other: &Seen) {
        self.first_picture_ns = self.first_picture_ns.or(other.first_picture_ns);
        self.stalled_ns += other.stalled_ns;
        self.stalls += other.stalls;
        self.broken_ns += other.broken_ns;
        self.broken_by_source_ns += other.broken_by_source_ns;
        self.skipped_ns += other.skipped_ns;
        self.behind_ns_max = self.behind_ns_max.max(other.behind_ns_max);
        self.behind_ns = other.behind_ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn moment(index: u64, is_access: bool) -> Moment {
        let begin_ns = index * 100 * MS;
        Moment { begin_ns, end_ns: begin_ns + 100 * MS, at: Instant::ORIGIN, is_access, is_damaged: false }
    }

    /// A segment of 100 ms arrives whole.
    fn feed(decoder: &mut Decoder, at_ms: u64, index: u64, is_access: bool, after_skip: bool) {
        let moment = moment(index, is_access);
        let live_ns = moment.end_ns;
        let at = Instant::from_millis(at_ms);
        decoder.receive(&Received {
            at,
            moment: &moment,
            from: 0,
            to: 1_880,
            length: 1_880,
            after_skip,
            live_ns,
        });
    }

    #[test]
    fn the_first_picture_waits_for_an_access_point_and_the_buffer() {
        let mut decoder = Decoder::new(Instant::ORIGIN);
        for index in 0..10 {
            feed(&mut decoder, 100 * index, index, index == 4, false);
        }
        assert_eq!(decoder.finish(Instant::from_millis(900)).first_picture_ns, Some(600 * MS));
    }

    #[test]
    fn a_pause_longer_than_the_buffer_is_a_stall() {
        let mut decoder = Decoder::new(Instant::ORIGIN);
        (0..5).for_each(|index| feed(&mut decoder, 100 * index, index, index == 0, false));
        // Begun at 200 ms with 300 ms buffered and 200 ms more since: dry at 700 ms.
        (5..9).for_each(|index| feed(&mut decoder, 1_000 + index, index, false, false));
        let seen = decoder.finish(Instant::from_millis(1_100));
        assert_eq!((seen.stalls, seen.stalled_ns), (1, 307 * MS));
    }

    #[test]
    fn pictures_are_broken_from_a_skip_to_the_next_access_point() {
        let mut decoder = Decoder::new(Instant::ORIGIN);
        (0..5).for_each(|index| feed(&mut decoder, 10 * index, index, index == 0, false));
        feed(&mut decoder, 60, 8, false, true);
        feed(&mut decoder, 70, 9, false, false);
        feed(&mut decoder, 80, 10, true, false);
        assert_eq!(decoder.finish(Instant::from_millis(90)).broken_pictures(), 5);
    }

    #[test]
    fn a_skip_to_an_access_point_breaks_nothing() {
        let mut decoder = Decoder::new(Instant::ORIGIN);
        (0..5).for_each(|index| feed(&mut decoder, 10 * index, index, index == 0, false));
        feed(&mut decoder, 60, 8, true, true);
        assert_eq!(decoder.finish(Instant::from_millis(90)).broken_pictures(), 0);
    }
}
