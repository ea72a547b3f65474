//! Somebody who comes, watches, and whose player comes back when it is thrown out.

use restreamer_core::{Duration, Instant};

use super::figures::Account;
use super::single::OldSeat;
use crate::bulk::{Progress, Room, Seat};
use crate::link::{Link, LinkSpec};

/// How long a player waits before it asks again.
const BACK_AFTER: Duration = Duration::from_secs(2);

pub(super) struct Person {
    /// When he comes next.
    at: Instant,
    until: Instant,
    link: LinkSpec,
    weather: Vec<(Instant, u64)>,
    seed: u64,
    is_ours: bool,
    visits: u64,
    /// When he lost his picture, between two visits.
    lost_at: Option<Instant>,
    connection: Option<Connection>,
    account: Account,
}

enum Connection {
    Ours(Box<Seat>),
    Old(Box<OldSeat>),
}

impl Person {
    pub(super) fn new(
        at: Instant,
        until: Instant,
        link: LinkSpec,
        weather: Vec<(Instant, u64)>,
        seed: u64,
        is_ours: bool,
    ) -> Self {
        let account =
            Account { watched_ns: until.saturating_since(at).as_nanos() as u64, ..Account::default() };
        Person {
            at,
            until,
            link,
            weather,
            seed,
            is_ours,
            visits: 0,
            lost_at: None,
            connection: None,
            account,
        }
    }

    /// One round.
    pub(super) fn live(&mut self, room: &Room<'_>) {
        let now = room.now;
        if now < self.at || now >= self.until {
            return;
        }
        let connection = self.connection.get_or_insert_with(|| {
            self.visits += 1;
            let link = Link::new(now, &self.link, &self.weather, self.seed.wrapping_add(self.visits));
            if self.is_ours {
                Connection::Ours(Box::new(Seat::new(now, link)))
            } else {
                Connection::Old(Box::new(OldSeat::new(now, link, room.ring.next().saturating_sub(1))))
            }
        });
        let progress = match connection {
            Connection::Ours(seat) => seat.serve(room).0,
            Connection::Old(seat) => seat.serve(room),
        };
        if let Progress::Over(_) = progress {
            self.account.disconnects += 1;
            self.end_visit(now);
            self.at = now + BACK_AFTER;
            self.lost_at = Some(now);
        }
    }

    /// How late is what he sees?
    pub(super) fn look(&mut self, room: &Room<'_>) {
        let behind_ns = match &self.connection {
            Some(Connection::Ours(seat)) => seat.behind_ns(room.now, room.timeline),
            Some(Connection::Old(seat)) => seat.behind_ns(room.now, room.timeline),
            None => None,
        };
        self.account.behind_ns.extend(behind_ns.filter(|_| room.now < self.until));
    }

    /// He goes; what he saw.
    pub(super) fn leave(mut self) -> Account {
        if self.connection.is_some() {
            self.end_visit(self.until);
        }
        if let Some(lost_at) = self.lost_at {
            self.account.stalled_ns += self.until.saturating_since(lost_at).as_nanos() as u64;
        }
        if self.account.first_pictures_ns.is_empty() {
            self.account.first_pictures_ns.push(self.account.watched_ns);
        }
        self.account
    }

    fn end_visit(&mut self, now: Instant) {
        let Some(connection) = self.connection.take() else { return };
        let seen = match connection {
            Connection::Ours(seat) => seat.decoder().clone().finish(now),
            Connection::Old(seat) => seat.into_decoder().finish(now),
        };
        let since = self.at;
        let account = &mut self.account;
        account.broken_ns += seen.broken_ns;
        account.stalled_ns += seen.stalled_ns;
        account.stalls += u64::from(seen.stalls);
        account.left_out_ns += seen.skipped_ns;
        let Some(first_picture_ns) = seen.first_picture_ns else { return };
        match self.lost_at.take() {
            None if account.first_pictures_ns.is_empty() => account.first_pictures_ns.push(first_picture_ns),
            None => {}
            Some(lost_at) => {
                account.stalls += 1;
                account.stalled_ns += since.saturating_since(lost_at).as_nanos() as u64 + first_picture_ns;
            }
        }
    }
}
