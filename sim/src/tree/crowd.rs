//! People who came to the same edge at the same time over the same kind of link, and what they see.

use restreamer_core::Instant;

use super::{People, link};
use crate::bulk::{Progress, Room, Seat};
use crate::decoder::Seen;
use crate::link::Link;

/// Some people who are in the same state, and stay so: their machines have the same past, and nothing about
/// them is left to chance. When one leaves, nothing changes for the others.
pub(super) struct Crowd {
    seat: Seat,
    people: u64,
    kind: u8,
    since: Instant,
}

/// What people saw, summed up when they leave.
#[derive(Clone, Debug, Default)]
pub(super) struct Sight {
    pub(super) visits: u64,
    /// How long people waited for the first picture, and how many did.
    first_pictures_ns: Vec<(u64, u64)>,
    watched_ns: u128,
    stalled_ns: u128,
    broken_pictures: u64,
    skips: u64,
}

impl Crowd {
    pub(super) fn new(now: Instant, kind: usize, people: u64) -> Self {
        let seat = Seat::new(now, Link::new(now, &link(kind), &[], 0));
        Crowd { seat, people, kind: kind as u8, since: now }
    }

    /// One round. Answers how much all of them took together; `None`: they are thrown out.
    pub(super) fn serve(&mut self, room: &Room<'_>) -> Option<u64> {
        match self.seat.serve(room) {
            (Progress::Over(_), _) => None,
            (Progress::CaughtUp | Progress::Blocked, bytes) => Some(bytes as u64 * self.people),
        }
    }

    /// One of them leaves.
    pub(super) fn let_go(&mut self, now: Instant, sight: &mut Sight) {
        sight.note(now, self, 1);
        self.people -= 1;
    }

    /// All of them leave.
    pub(super) fn end(&mut self, now: Instant, sight: &mut Sight) {
        sight.note(now, self, self.people);
        self.people = 0;
    }

    pub(super) fn people(&self) -> u64 {
        self.people
    }

    pub(super) fn kind(&self) -> usize {
        usize::from(self.kind)
    }

    pub(super) fn lag_ms(&self, room: &Room<'_>) -> u64 {
        self.seat.lag(room.ring).as_millis() as u64
    }
}

impl Sight {
    fn note(&mut self, now: Instant, crowd: &Crowd, people: u64) {
        if people == 0 {
            return;
        }
        let seen: Seen = crowd.seat.decoder().clone().finish(now);
        self.first_pictures_ns.extend(seen.first_picture_ns.map(|ns| (ns, people)));
        self.watched_ns += now.saturating_since(crowd.since).as_nanos() * u128::from(people);
        self.stalled_ns += u128::from(seen.stalled_ns) * u128::from(people);
        self.broken_pictures += seen.broken_pictures() * people;
        self.skips += u64::from(crowd.seat.stats().skips) * people;
    }

    pub(super) fn into_people(mut self) -> People {
        self.first_pictures_ns.sort_unstable();
        let with_picture: u64 = self.first_pictures_ns.iter().map(|&(_, people)| people).sum();
        let sum: u128 =
            self.first_pictures_ns.iter().map(|&(ns, people)| u128::from(ns) * u128::from(people)).sum();
        let mut left = with_picture * 99 / 100;
        let p99 = self.first_pictures_ns.iter().find(|&&(_, people)| {
            let is_it = left < people;
            left = left.saturating_sub(people);
            is_it
        });
        People {
            visits: self.visits,
            with_picture,
            first_picture_s: sum as f64 / with_picture.max(1) as f64 / 1e9,
            first_picture_s_p99: p99.map_or(0.0, |&(ns, _)| ns as f64 / 1e9),
            watched_s: self.watched_ns as f64 / 1e9,
            stalled_s: self.stalled_ns as f64 / 1e9,
            broken_pictures: self.broken_pictures,
            skips: self.skips,
        }
    }
}
