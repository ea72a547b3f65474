//! Serves the viewers of one stream on one runtime, the way the daemon's fan-out does: a copy of the ring that is
//! brought up to date once per round, all viewers swept once per flush, blocked ones left out until their sockets
//! have room again.

use restreamer_core::{
    Duration, Instant, Join, Policy, Read, Ring, RingLimits, Slow, StallTimer, Viewer, ViewerEnd, ViewerStats,
};
use serde::{Deserialize, Serialize};

use crate::check::{Record, Run, Scene};
use crate::decoder::{Decoder, Received};
use crate::link::Link;
use crate::marks::sometimes;
use crate::mutation::Mutation;
use crate::observer::{Digest, Observer};
use crate::plan::SweepOrder;
use crate::timeline::{Moment, Timeline};

/// Pieces handed to a socket at once.
const SLICES_MAX: usize = 32;
/// Time to send the rest of a packet to a viewer whose response ends.
const ENDING_TIME_MAX: Duration = Duration::from_secs(5);

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

/// A viewer's connection.
#[derive(Debug)]
pub(crate) struct Seat {
    /// Index of the client.
    client: u32,
    /// His number in the plan.
    id: u32,
    is_blocked: bool,
    ending: Option<EndReason>,
    link: Link,
    record: Record,
    decoder: Decoder,
    stall: StallTimer,
    digest: Digest,
    bytes_taken: u64,
    /// Skips that were seen.
    skips: u32,
    /// When he came.
    since: Instant,
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

/// What is new for everybody who had all there was: looked up once per sweep.
struct Newest {
    sequence: u64,
    length: usize,
    moment: Moment,
}

impl Newest {
    /// `None` when each viewer has to be looked at closely.
    fn of(ring: &Ring, shift: &Shift<'_>) -> Option<Self> {
        let is_plain = shift.mutation.is_none() && !shift.observer.is_tracing();
        let sequence = ring.next().checked_sub(1).filter(|_| is_plain)?;
        let length = ring.get(sequence)?.data.len();
        Some(Newest { sequence, length, moment: *shift.timeline.get(sequence)? })
    }
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    CaughtUp,
    Blocked,
    Over(EndReason),
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
        self.seats.push(Seat {
            client,
            id,
            is_blocked: false,
            ending: None,
            link,
            record: Record::default(),
            decoder: Decoder::new(shift.now),
            stall: StallTimer::new(),
            digest: Digest::default(),
            bytes_taken: 0,
            skips: 0,
            since: shift.now,
        });
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
        let newest = self.ring.next();
        self.ring.catch_up(published);
        sometimes!(shift.observer, self.ring.next() > newest + 1, LateSweep);
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
            let limit = match seat.ending {
                Some(_) => {
                    Some(shift.stall_limit.map_or(ENDING_TIME_MAX, |limit| limit.min(ENDING_TIME_MAX)))
                }
                None => shift.stall_limit,
            };
            if seat.stall.is_stalled(shift.now, limit) {
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

impl Seat {
    fn send(
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
    fn send_newest(
        &mut self,
        viewer: &mut Viewer,
        ring: &Ring,
        newest: &Newest,
        tally: &mut Tally,
        shift: &Shift<'_>,
    ) -> bool {
        let is_next = viewer.has_joined()
            && self.record.sequence == newest.sequence
            && self.link.room_without_chance(shift.now).is_some_and(|room| room >= newest.length)
            && viewer.read(ring, shift.policy) == Read::Ready
            && viewer.stats().skips == self.skips
            && viewer.pieces(ring).next().is_some_and(|piece| self.record.go_on(ring, piece));
        if !is_next {
            return false;
        }
        let arrival = self.link.take(shift.now, newest.length);
        self.digest.mix(arrival.as_nanos());
        if !self.decoder.go_on(arrival, &newest.moment) {
            let length = newest.length;
            self.watch(arrival, newest.sequence, (0, length, length), false, shift);
        }
        self.digest.mix(newest.sequence);
        viewer.advance(newest.length, ring);
        tally.writes += 1;
        tally.bytes_sent += newest.length as u64;
        self.bytes_taken += newest.length as u64;
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
        let before = self.record.sequence;
        let verdict = self.record.skip(Scene { ring, policy });
        shift.observer.judge(shift.now, Some(self.id), verdict);
        let after = self.record.sequence;
        sometimes!(shift.observer, before < ring.first(), Lapped);
        sometimes!(shift.observer, policy.slow == Slow::Keyframe, SkippedToKeyframe);
        sometimes!(shift.observer, policy.slow == Slow::Oldest, SkippedToOldest);
        sometimes!(shift.observer, policy.slow == Slow::Live, SkippedToLive);
        let begin_of = |sequence| shift.timeline.get(sequence).map(|moment| moment.begin_ns);
        if let Some(from) = begin_of(before) {
            self.decoder
                .note_skipped(begin_of(after).unwrap_or(shift.timeline.end_ns()).saturating_sub(from));
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
            self.watch(arrival, sequence, (0, length, length), false, shift);
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
                let after_skip = std::mem::take(&mut self.record.after_skip);
                self.watch(arrival, sequence, (from, to, segment.data.len()), after_skip, shift);
            }
        }
    }

    /// The player gets bytes `from..to` of a segment of `length`.
    fn watch(
        &mut self,
        at: Instant,
        sequence: u64,
        (from, to, length): (usize, usize, usize),
        after_skip: bool,
        shift: &Shift<'_>,
    ) {
        if let Some(moment) = shift.timeline.get(sequence) {
            let live_ns = shift.timeline.end_ns();
            self.decoder.receive(&Received { at, moment, from, to, length, after_skip, live_ns });
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
fn is_forgotten(seat: &Seat, shift: &Shift<'_>) -> bool {
    shift.mutation == Some(Mutation::LostWakeUp)
        && seat.stall.is_stalled(shift.now, Some(Duration::from_secs(1)))
}
