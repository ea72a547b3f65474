//! Serves the viewers of one stream on one runtime, the way the daemon's fan-out does: a copy of the ring that is
//! brought up to date once per round, all viewers swept once per flush, blocked ones left out until their sockets
//! have room again.

mod seat;

use restreamer_core::{Duration, Instant, Policy, Ring, RingLimits, Viewer, ViewerStats};
use serde::{Deserialize, Serialize};

use self::seat::{Newest, Progress, Seat, is_forgotten};
use crate::check::Record;
use crate::decoder::Decoder;
use crate::link::Link;
use crate::marks::sometimes;
use crate::mutation::Mutation;
use crate::observer::{Digest, Observer};
use crate::plan::SweepOrder;
use crate::timeline::Timeline;

/// Why a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The viewer went.
    Left,
    /// His connection broke.
    Reset,
    /// He lagged, and the policy says disconnect.
    TooSlow,
    /// His socket took nothing for the stall limit.
    Stalled,
    /// The operator took the stream off the air.
    Offline,
    /// The grace time was over.
    UpstreamLost,
    /// The program ended.
    Shutdown,
}

impl EndReason {
    /// In a few words.
    pub const fn describe(self) -> &'static str {
        match self {
            EndReason::Left => "left",
            EndReason::Reset => "connection broke",
            EndReason::TooSlow => "too slow",
            EndReason::Stalled => "took nothing",
            EndReason::Offline => "taken offline",
            EndReason::UpstreamLost => "source lost",
            EndReason::Shutdown => "shutdown",
        }
    }
}

/// What the daemon would count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Bytes that sockets took.
    pub bytes_sent: u64,
    /// Packets left out by the drop policy.
    pub packets_skipped: u64,
    /// How often it acted.
    pub skips: u64,
    /// Writes.
    pub writes: u64,
}

impl Tally {
    /// Adds what others did.
    pub fn add(&mut self, other: &Tally) {
        self.bytes_sent += other.bytes_sent;
        self.packets_skipped += other.packets_skipped;
        self.skips += other.skips;
        self.writes += other.writes;
    }
}

/// What a round needs to know.
pub(crate) struct Shift<'a> {
    pub(crate) now: Instant,
    pub(crate) policy: &'a Policy,
    pub(crate) stall_limit: Option<Duration>,
    pub(crate) timeline: &'a Timeline,
    pub(crate) mutation: Option<Mutation>,
    pub(crate) observer: &'a mut Observer,
}

/// A viewer whose response is over.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) client: u32,
    pub(crate) reason: EndReason,
    pub(crate) stats: ViewerStats,
    pub(crate) bytes_taken: u64,
    pub(crate) record: Record,
    pub(crate) decoder: Decoder,
    pub(crate) digest: Digest,
    pub(crate) since: Instant,
    /// The server ended the response, after everything that it had begun.
    pub(crate) is_clean: bool,
}

/// A response that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Over {
    place: usize,
    reason: EndReason,
    is_clean: bool,
}

/// The viewers of one stream on one runtime.
pub(crate) struct Fanout {
    ring: Ring,
    viewers: Vec<Viewer>,
    seats: Vec<Seat>,
    /// Viewers whose response is over, by place; they are taken out at the end of the round.
    over: Vec<Over>,
    blocked: usize,
    dismissals: u64,
    sweeps: u64,
    pub(crate) tally: Tally,
    pub(crate) paused_until: Instant,
    pub(crate) sweep_at: Option<Instant>,
    /// A poll is due.
    pub(crate) is_polled: bool,
}

impl Fanout {
    pub(crate) fn new(limits: RingLimits) -> Self {
        Fanout {
            ring: Ring::new(limits),
            viewers: Vec::new(),
            seats: Vec::new(),
            over: Vec::new(),
            blocked: 0,
            dismissals: 0,
            sweeps: 0,
            tally: Tally::default(),
            paused_until: Instant::ORIGIN,
            sweep_at: None,
            is_polled: false,
        }
    }

    /// Lets a viewer in and gives him his first bytes; answers his place.
    pub(crate) fn let_in(
        &mut self,
        published: &Ring,
        client: u32,
        id: u32,
        link: Link,
        shift: &mut Shift<'_>,
    ) -> usize {
        self.ring.catch_up(published);
        self.viewers.push(Viewer::new());
        self.seats.push(Seat::new(client, id, link, shift.now));
        let place = self.seats.len() - 1;
        self.serve(place, shift);
        place
    }

    /// A viewer's response is over, whatever he still had to get.
    pub(crate) fn drop_out(&mut self, place: usize, reason: EndReason) {
        self.over.push(Over { place, reason, is_clean: false });
    }

    /// There is something new in the ring: one round for all viewers whose sockets are not full.
    pub(crate) fn sweep(&mut self, published: &Ring, order: SweepOrder, shift: &mut Shift<'_>) {
        let before = self.ring.next();
        self.ring.catch_up(published);
        sometimes!(shift.observer, self.ring.next() > before + 1, LateSweep);
        self.sweeps += 1;
        let count = self.seats.len();
        let start = match order {
            SweepOrder::Rotating if count > 0 => (self.sweeps as usize * 7) % count,
            _ => 0,
        };
        let newest = Newest::of(&self.ring, shift);
        for step in 0..count {
            let place = match order {
                SweepOrder::Ascending => step,
                SweepOrder::Descending => count - 1 - step,
                SweepOrder::Rotating if start + step < count => start + step,
                SweepOrder::Rotating => start + step - count,
            };
            if !self.seats[place].is_blocked {
                let (viewer, seat) = (&mut self.viewers[place], &mut self.seats[place]);
                let is_done = newest.as_ref().is_some_and(|newest| {
                    seat.send_newest(viewer, &self.ring, newest, &mut self.tally, shift)
                });
                if !is_done {
                    self.serve(place, shift);
                }
            } else if shift.mutation == Some(Mutation::SlowDelaysOthers) {
                break;
            }
        }
    }

    /// Sockets may have room again, or may have been full for too long.
    pub(crate) fn poll(&mut self, published: &Ring, shift: &mut Shift<'_>) {
        self.ring.catch_up(published);
        let mut left = self.blocked;
        for place in 0..self.seats.len() {
            let seat = &mut self.seats[place];
            if !seat.is_blocked {
                continue;
            }
            if seat.stall.is_stalled(shift.now, shift.stall_limit) {
                let reason = seat.ending.unwrap_or(EndReason::Stalled);
                self.over.push(Over { place, reason, is_clean: false });
            } else if seat.link.is_writable(shift.now) && !is_forgotten(seat, shift) {
                self.serve(place, shift);
            }
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }

    /// All responses end, each behind the packet that was begun.
    pub(crate) fn dismiss(&mut self, dismissals: u64, reason: Option<EndReason>, shift: &mut Shift<'_>) {
        let was_dismissed = std::mem::replace(&mut self.dismissals, dismissals) != dismissals;
        let Some(reason) = reason.or(was_dismissed.then_some(EndReason::Offline)) else { return };
        for place in 0..self.seats.len() {
            if self.seats[place].ending.is_none() {
                self.seats[place].ending = Some(reason);
                self.seats[place].stall.handle_end(shift.now);
                sometimes!(shift.observer, !self.viewers[place].is_between_packets(), EndedWithinPacket);
                self.viewers[place].end();
                if !self.seats[place].is_blocked {
                    self.serve(place, shift);
                }
            }
        }
    }

    /// Takes out those whose response is over. `moved` hears of the viewers who change place.
    pub(crate) fn take_out(&mut self, ended: &mut Vec<Ended>, mut moved: impl FnMut(u32, usize)) {
        self.over.sort_unstable();
        self.over.dedup_by_key(|over| over.place);
        while let Some(Over { place, reason, is_clean }) = self.over.pop() {
            let viewer = self.viewers.swap_remove(place);
            let Seat { client, is_blocked, record, decoder, digest, bytes_taken, since, .. } =
                self.seats.swap_remove(place);
            self.blocked -= usize::from(is_blocked);
            let stats = viewer.stats();
            self.tally.packets_skipped += stats.packets_skipped;
            self.tally.skips += u64::from(stats.skips);
            ended.push(Ended {
                client,
                reason,
                stats,
                bytes_taken,
                record,
                decoder,
                digest,
                since,
                is_clean,
            });
            if let Some(seat) = self.seats.get(place) {
                moved(seat.client, place);
            }
        }
    }

    /// Sends one viewer what there is, as far as his socket takes it.
    fn serve(&mut self, place: usize, shift: &mut Shift<'_>) {
        let (viewer, seat) = (&mut self.viewers[place], &mut self.seats[place]);
        let was_blocked = std::mem::take(&mut seat.is_blocked);
        self.blocked -= usize::from(was_blocked);
        match seat.send(viewer, &self.ring, was_blocked, &mut self.tally, shift) {
            Progress::CaughtUp => seat.stall.handle_progress(),
            Progress::Blocked => {
                seat.is_blocked = true;
                seat.stall.handle_blocked(shift.now);
                self.blocked += 1;
            }
            Progress::Over(reason) => self.over.push(Over { place, reason, is_clean: true }),
        }
    }

    /// Number of viewers.
    pub(crate) fn viewers(&self) -> usize {
        self.seats.len()
    }

    /// Whether somebody waits for his socket.
    pub(crate) fn has_blocked(&self) -> bool {
        self.blocked > 0
    }

    /// How many do.
    pub(crate) fn blocked(&self) -> usize {
        self.blocked
    }

    /// Its copy of the ring.
    pub(crate) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// One viewer: his connection, his place, and whether he waits for his socket.
    pub(crate) fn look(&self, place: usize) -> (&Viewer, &Seat) {
        (&self.viewers[place], &self.seats[place])
    }
}
