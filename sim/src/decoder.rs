//! What a person sees: a player that is fed with what a viewer receives, when he receives it.
//!
//! It has no pictures, only their playing time. It begins at an access point when it has buffered
//! [`START_BUFFER_NS`], stands still when it has nothing left until it has buffered as much again, and, where packets
//! are missing, shows broken pictures: the one that they were cut from, and then all until the next access point.

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
    pictures: Pictures,
    details: Box<Details>,
}

/// What is not looked at while all goes well.
#[derive(Clone, Debug, Default)]
struct Details {
    seen: Seen,
    /// Where something was left out last, as playing time of the stream.
    cut_ns: u64,
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
    /// Playing time of broken pictures, because of what the server left out. A picture in progress when the response
    /// ended is not among them: what follows is no picture at all.
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pictures {
    Whole,
    /// What comes next does not follow what came last.
    Cut(Cut),
    /// Until the next access point.
    Broken,
}

/// Where something is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A picture has just ended.
    BetweenPictures,
    /// A picture is in progress.
    WithinPicture,
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
            pictures: Pictures::Whole,
            details: Box::default(),
        }
    }

    /// The quickest way: a whole segment follows the last one and arrives in time. Answers whether it was that.
    #[inline]
    pub fn go_on(&mut self, at: Instant, moment: &Moment) -> bool {
        let is_plain = self.state == State::Playing
            && at.as_nanos() <= self.mark_ns
            && matches!(self.pictures, Pictures::Whole)
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
        let is_access = from == 0 && moment.is_access;
        if let Pictures::Cut(cut) = self.pictures {
            let missing_ns = (moment.begin_ns + share(from)).saturating_sub(self.details.cut_ns);
            self.details.seen.broken_ns += cut.broken_ns(missing_ns, is_access);
            self.pictures = Pictures::Broken;
        }
        if is_access {
            self.pictures = Pictures::Whole;
            if self.state == State::Searching {
                self.state = State::Starting;
            }
        }
        if self.state == State::Searching {
            return;
        }
        if self.pictures == Pictures::Broken {
            self.details.seen.broken_ns += playing_ns;
        } else if moment.is_damaged {
            self.details.seen.broken_by_source_ns += playing_ns;
        }
        let at = part.at.as_nanos();
        if self.state == State::Playing && at > self.mark_ns {
            self.state = State::Stalled;
            self.buffered_ns = 0;
            self.details.seen.stalls += 1;
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
            State::Starting => self.details.seen.first_picture_ns = Some(waited),
            _ => self.details.seen.stalled_ns += waited,
        }
        self.state = State::Playing;
        self.mark_ns = at + self.buffered_ns;
        let place = moment.begin_ns + share(to);
        self.details.seen.behind_ns = part.live_ns.saturating_sub(place) + self.buffered_ns;
        self.details.seen.behind_ns_max = self.details.seen.behind_ns_max.max(self.details.seen.behind_ns);
    }

    /// Something is left out from `place_ns` of the stream's playing time on. A second cut before anything came is the
    /// same one.
    pub fn note_cut(&mut self, place_ns: u64, cut: Cut) {
        if self.state != State::Searching && !matches!(self.pictures, Pictures::Cut(_)) {
            self.pictures = Pictures::Cut(cut);
            self.details.cut_ns = place_ns;
        }
    }

    /// Playing time that was left out.
    pub fn note_skipped(&mut self, skipped_ns: u64) {
        if self.state != State::Searching {
            self.details.seen.skipped_ns += skipped_ns;
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
                self.details.seen.stalls += 1;
                self.details.seen.stalled_ns += now - self.mark_ns;
            }
            State::Stalled => self.details.seen.stalled_ns += now.saturating_sub(self.mark_ns),
            State::Playing | State::Searching | State::Starting => {}
        }
        self.details.seen
    }
}

impl Cut {
    /// After the bytes `..offset` of a segment.
    pub fn after(moment: &Moment, offset: usize) -> Self {
        if offset == 0 && moment.is_access { Cut::BetweenPictures } else { Cut::WithinPicture }
    }

    /// Playing time of the picture in progress that nobody sees whole, beyond what is seen of it after the cut.
    fn broken_ns(self, missing_ns: u64, is_access_next: bool) -> u64 {
        match self {
            Cut::BetweenPictures => 0,
            Cut::WithinPicture if is_access_next => PICTURE_NS,
            // The same picture goes on when less than one is missing.
            Cut::WithinPicture => missing_ns.min(PICTURE_NS),
        }
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
    fn feed(decoder: &mut Decoder, at_ms: u64, index: u64, is_access: bool) {
        let moment = moment(index, is_access);
        let live_ns = moment.end_ns;
        let at = Instant::from_millis(at_ms);
        decoder.receive(&Received { at, moment: &moment, from: 0, to: 1_880, length: 1_880, live_ns });
    }

    #[test]
    fn the_first_picture_waits_for_an_access_point_and_the_buffer() {
        let mut decoder = Decoder::new(Instant::ORIGIN);
        for index in 0..10 {
            feed(&mut decoder, 100 * index, index, index == 4);
        }
        assert_eq!(decoder.finish(Instant::from_millis(900)).first_picture_ns, Some(600 * MS));
    }

    #[test]
    fn a_pause_longer_than_the_buffer_is_a_stall() {
        let mut decoder = Decoder::new(Instant::ORIGIN);
        (0..5).for_each(|index| feed(&mut decoder, 100 * index, index, index == 0));
        // Begun at 200 ms with 300 ms buffered and 200 ms more since: dry at 700 ms.
        (5..9).for_each(|index| feed(&mut decoder, 1_000 + index, index, false));
        let seen = decoder.finish(Instant::from_millis(1_100));
        assert_eq!((seen.stalls, seen.stalled_ns), (1, 307 * MS));
    }

    /// Pictures broken when 500 ms play, something is left out, and 100 ms segments play from `index` to an access point.
    fn broken_pictures(cut: Cut, index: u64, access: u64) -> u64 {
        let mut decoder = Decoder::new(Instant::ORIGIN);
        (0..5).for_each(|index| feed(&mut decoder, 10 * index, index, index == 0));
        decoder.note_cut(500 * MS, cut);
        decoder.note_cut(600 * MS, Cut::WithinPicture);
        (index..=access).for_each(|index| feed(&mut decoder, 60, index, index == access));
        decoder.finish(Instant::from_millis(90)).broken_pictures()
    }

    #[test]
    fn pictures_are_broken_from_the_one_that_is_cut_to_the_next_access_point() {
        assert_eq!(broken_pictures(Cut::WithinPicture, 8, 10), 1 + 5);
        assert_eq!(broken_pictures(Cut::BetweenPictures, 8, 10), 5);
    }

    #[test]
    fn a_skip_to_an_access_point_breaks_the_picture_that_it_cuts() {
        assert_eq!(broken_pictures(Cut::WithinPicture, 8, 8), 1);
        assert_eq!(broken_pictures(Cut::WithinPicture, 5, 5), 1, "however little is missing");
        assert_eq!(broken_pictures(Cut::BetweenPictures, 8, 8), 0);
    }

    #[test]
    fn a_picture_that_goes_on_after_a_short_gap_is_one_broken_picture() {
        let mut decoder = Decoder::new(Instant::ORIGIN);
        (0..5).for_each(|index| feed(&mut decoder, 10 * index, index, index == 0));
        decoder.note_cut(490 * MS, Cut::WithinPicture);
        feed(&mut decoder, 60, 5, false);
        assert_eq!(decoder.finish(Instant::from_millis(90)).broken_ns, 110 * MS);
    }

    #[test]
    fn a_segment_is_cut_between_pictures_only_where_a_decoder_can_begin() {
        let cut = |is_access, offset| Cut::after(&moment(3, is_access), offset);
        assert_eq!(cut(true, 0), Cut::BetweenPictures);
        assert_eq!([cut(false, 0), cut(true, 188), cut(false, 188)], [Cut::WithinPicture; 3]);
    }

    #[test]
    fn who_waits_for_a_place_to_begin_loses_no_picture() {
        let mut decoder = Decoder::new(Instant::ORIGIN);
        feed(&mut decoder, 10, 0, false);
        decoder.note_cut(100 * MS, Cut::WithinPicture);
        (5..8).for_each(|index| feed(&mut decoder, 60, index, index == 5));
        assert_eq!(decoder.finish(Instant::from_millis(90)).broken_pictures(), 0);
    }
}
