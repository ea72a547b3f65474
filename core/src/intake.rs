//! When a source is read: how long it may be left alone between two reads.
//!
//! There are two reasons to leave it alone. *What it delivers would not be sent on at once*: then several arrivals are
//! taken with one read, and their wait is a part of the flush interval. Or *the ring is about to lose what viewers
//! still want*, because the source delivers faster than anything that is live; then the source waits for them. The
//! second is bounded: however viewers behave, a source is never held below [`HELD_RATE_MIN`], which no live stream
//! reaches.

use crate::flush::flush_interval;
use crate::ring::{RING_SEGMENTS_MAX, Ring};
use crate::time::{Duration, Instant};
use crate::ts::PACKET_BYTES;

/// Bytes per second that a source is always let deliver, whatever viewers do (0.5 Gbit/s). Holding a source
/// means that bytes stay in the ring for up to as long as this rate takes to fill it.
pub const HELD_RATE_MIN: u64 = 64 << 20;

/// Bytes that may pile up in the kernel during a rest, of sources that wait for us.
pub const REST_BYTES_MAX: usize = 32 << 10;
/// The same of sources that do not wait, as a part of the kernel's buffer: room for bursts.
const REST_BUFFER_PART: usize = 8;
/// A source is held when no more room is left in the ring than this part of it: what is read while the news of a
/// viewer's place are under way has to fit.
const HOLD_PART: u64 = 8;
/// No segment is kept for longer than this: read timeouts are a second at least.
pub const HOLD_MAX: Duration = Duration::from_millis(500);
/// The rate of a source is measured over at least this long.
const RATE_WINDOW: Duration = Duration::from_millis(200);
/// The longest rest: arrival times, by which streams are judged, get no coarser.
pub const REST_MAX: Duration = Duration::from_millis(25);
/// A rest shorter than this is not worth a timer.
const REST_MIN: Duration = Duration::from_millis(4);
/// Times that the flush interval is halved at most to find a rest.
const REST_HALVINGS_MAX: u32 = 16;

/// What happens to the bytes of a source that is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// They wait where they are, and all that had come has been taken: TCP, with or without HTTP.
    Waits,
    /// They wait, but more of them may be there already than was taken, or their place may hold less than comes during
    /// a rest: pipes.
    Backlog,
    /// The kernel holds so many and drops what comes after: datagrams.
    Buffered(usize),
}

/// Who is there to take what a source delivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// Nobody watches.
    Nobody,
    /// Somebody does. `wanted` is the oldest segment that a viewer who keeps up has not taken, where that is known;
    /// see [`Viewer::wanted`](crate::Viewer::wanted).
    Viewers {
        /// Its sequence number.
        wanted: Option<u64>,
        /// What writing once to everybody costs; see [`Stream::set_flush_cost`](crate::Stream::set_flush_cost).
        flush_cost: Duration,
    },
}

/// Why a source is left alone, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// It is read at certain moments, and this is its next turn.
    Turn(Instant),
    /// Viewers have to take something first, or this moment has to come.
    Hold(Instant),
}

impl Pause {
    /// The moment at which it ends.
    pub fn until(self) -> Instant {
        let (Pause::Turn(until) | Pause::Hold(until)) = self;
        until
    }
}

/// The rhythm in which one connection to a source is read.
#[derive(Clone, Debug)]
pub struct Intake {
    latency: Duration,
    seed: u64,
    window_at: Option<Instant>,
    window_bytes: u64,
    /// Bytes per second, in the last window; `None` until there was one.
    rate: Option<u64>,
    read_at: Instant,
    /// The moment of the present turn, if the source rested until then.
    turn: Option<Instant>,
    /// When all that had come was taken; what is read next has come since then.
    drained_at: Instant,
}

impl Intake {
    /// Of a connection that has delivered nothing; bytes may wait for `latency` to be sent together. `seed` decides
    /// when a source that is watched has its turns, so that not all streams are sent at once.
    pub fn new(latency: Duration, seed: u64) -> Self {
        Intake {
            latency,
            seed,
            window_at: None,
            window_bytes: 0,
            rate: None,
            read_at: Instant::ORIGIN,
            turn: None,
            drained_at: Instant::ORIGIN,
        }
    }

    /// The source has rested until its turn at this moment, or did not rest.
    pub fn begin_turn(&mut self, turn: Option<Instant>) {
        self.turn = turn;
    }

    /// All that had come has been taken. `is_turn`: at its turn, and not because the source woke its reader. Then
    /// what was read may have waited since the turn before, which is answered.
    pub fn handle_drained(&mut self, now: Instant, is_turn: bool) -> Option<Instant> {
        // A turn may have read less than one piece of chunked coding or TLS.
        self.handle_read(now, 0);
        let turn = self.turn.take().filter(|_| is_turn);
        // Moments of turns and not of reads, which are late: or else what has waited for an interval would miss the turn.
        let drained_at = core::mem::replace(&mut self.drained_at, turn.unwrap_or(now));
        turn.map(|_| drained_at)
    }

    /// So many bytes were read.
    pub fn handle_read(&mut self, now: Instant, bytes: usize) {
        if now.saturating_since(self.read_at) > RATE_WINDOW {
            // After a pause it may go on at any rate.
            self.window_at = None;
            self.window_bytes = 0;
            self.rate = None;
        }
        self.read_at = now;
        let Some(window_at) = self.window_at else {
            self.window_at = Some(now);
            return;
        };
        self.window_bytes += bytes as u64;
        let window = now.saturating_since(window_at);
        if window >= RATE_WINDOW {
            let rate = u128::from(self.window_bytes) * 1_000_000_000 / window.as_nanos();
            self.rate = Some(u64::try_from(rate).unwrap_or(u64::MAX));
            self.window_at = Some(now);
            self.window_bytes = 0;
        }
    }

    /// How the source is left alone, unless the demand changes before; `None`: it may be read.
    pub fn rest(&self, now: Instant, ring: &Ring, demand: Demand, patience: Patience) -> Option<Pause> {
        let is_ahead = |pause: &Pause| pause.until() > now;
        let (wanted, flush_cost) = match (demand, patience) {
            // Sources that nobody watches are read at the same moments: many of them cost one wake-up.
            (Demand::Nobody, _) => return self.turn(patience, self.latency, 0).filter(is_ahead),
            (Demand::Viewers { .. }, Patience::Buffered(_)) => return None,
            (Demand::Viewers { wanted, flush_cost }, _) => (wanted, flush_cost),
        };
        let hold = wanted.and_then(|wanted| held_until(ring, wanted)).map(Pause::Hold).filter(is_ahead);
        let turn = || self.turn(patience, flush_interval(self.latency, flush_cost), self.seed);
        hold.or_else(|| turn().filter(is_ahead))
    }

    /// The first turn after the last read: multiples of a halved `latency`, which is no longer than `interval`, and
    /// something that follows from `seed`.
    fn turn(&self, patience: Patience, interval: Duration, seed: u64) -> Option<Pause> {
        let room = match patience {
            Patience::Waits => REST_BYTES_MAX,
            // One read per rest would never catch up.
            Patience::Backlog => return None,
            Patience::Buffered(bytes) => bytes / REST_BUFFER_PART,
        };
        let rate = u128::from(self.rate?);
        let fits = |rest: Duration| rate * rest.as_nanos() / 1_000_000_000 <= room as u128;
        let mut rests = (0..REST_HALVINGS_MAX).map(|power| self.latency / (1 << power));
        let longest = interval.min(REST_MAX);
        let rest = rests.find(|&rest| rest <= longest && fits(rest)).filter(|&rest| rest >= REST_MIN)?;
        let step = u64::try_from(rest.as_nanos()).ok()?;
        let shift = seed % step;
        let turns = (self.read_at.as_nanos() + (step - shift)) / step;
        Some(Pause::Turn(Instant::from_nanos(turns.saturating_mul(step).saturating_add(shift))))
    }
}

/// Whether a ring is overwritten so fast that its source may have to wait for viewers. Only then need anybody find
/// out what they want.
pub fn is_rushed(ring: &Ring) -> bool {
    let is_half_full = ring.bytes() > ring.limits().bytes_max / 2
        || ring.next() - ring.first() > RING_SEGMENTS_MAX as u64 / 2;
    let ends = ring.get(ring.first()).zip(ring.newest());
    is_half_full && ends.is_some_and(|(first, last)| last.at.saturating_since(first.at) < hold_max(ring))
}

/// Until when a source waits for the viewer who wants the segment `wanted` and those after it; `None` when there is
/// room for more without it.
///
/// Segments age from their arrival on, so the wait for all viewers together is bounded, and a ring that spans more
/// time than that, as that of a live stream does, holds nobody up.
fn held_until(ring: &Ring, wanted: u64) -> Option<Instant> {
    let segment = ring.get(wanted)?;
    let untaken = (ring.packets_pushed() - ring.packets_before(wanted)) * PACKET_BYTES as u64;
    let is_full = untaken > all_but_a_part(ring.limits().bytes_max as u64)
        || ring.next() - wanted > all_but_a_part(RING_SEGMENTS_MAX as u64);
    is_full.then(|| segment.at + hold_max(ring))
}

/// What a viewer who keeps up may leave in the ring, of so much that fits, before its source is held.
fn all_but_a_part(fits: u64) -> u64 {
    fits - fits / HOLD_PART
}

/// How long a segment is kept for viewers who want it when the ring has no room: as long as [`HELD_RATE_MIN`]
/// takes to fill the ring again, and never so long that a source counts as silent.
fn hold_max(ring: &Ring) -> Duration {
    let fits = all_but_a_part(ring.limits().bytes_max as u64);
    let nanos = u128::from(fits) * 1_000_000_000 / u128::from(HELD_RATE_MIN);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)).min(HOLD_MAX)
}
