//! One client's place in the ring.
//!
//! A viewer holds no queue: a slow one simply falls behind, and what it has not been sent can still be dropped.
//! Its place is always between two packets; when a socket took part of a packet, the rest of that packet is
//! copied out at once ([`Viewer::advance`]), so that a packet begun is a packet finished even if its segment is
//! evicted meanwhile.

use alloc::boxed::Box;

use crate::policy::{Join, Policy, Slow};
use crate::ring::Ring;
use crate::time::{Duration, Instant};
use crate::ts::PACKET_BYTES;

/// The place of one client, its counters, and at most the rest of one packet.
///
/// The driver's rule: `read`, send as much of `pieces` as the socket takes, `advance` by that; all three on the
/// same state of the ring. Cost per call is constant but for the number of pieces taken.
#[derive(Debug, Default)]
pub struct Viewer {
    /// Rest of a packet that the socket took in part.
    torn: Option<Box<[u8]>>,
    /// The segment it is in, or waits for.
    sequence: u64,
    /// Bytes of that segment, or of its PSI, that are sent; whole packets.
    offset: u32,
    phase: Phase,
    /// How many packets of the stream lie before its place.
    packet: u64,
    bytes_sent: u64,
    packets_skipped: u64,
    skips: u32,
    /// The least it lagged since it joined, rounded up; zero once it has skipped.
    join_lag_ms: u32,
    /// It had to skip, and has not been sent everything since.
    has_fallen_behind: bool,
}

const _: () = assert!(size_of::<Viewer>() <= 64, "a viewer costs at most 64 bytes");

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// The join policy has not found a place yet.
    #[default]
    Joining,
    /// Lost its place and waits for an access point at `sequence` or later.
    Waiting,
    /// The PSI before `sequence` goes first.
    Psi,
    /// In the packets of `sequence`.
    Packets,
    /// Gets the rest of the packet that was begun, and nothing more.
    Ending(ViewerEnd),
}

/// What [`Viewer::read`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// [`Viewer::pieces`] has bytes to send.
    Ready,
    /// Nothing to send until the ring gets a new segment.
    Idle,
    /// The response ends here, at the end of a packet.
    Ended(ViewerEnd),
}

/// Why core ends a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewerEnd {
    /// It lagged more than its policy allows, and the policy says disconnect.
    TooSlow,
    /// The driver asked for it, see [`Viewer::end`].
    Asked,
}

/// What one viewer got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ViewerStats {
    /// Bytes that its socket took, PSI included.
    pub bytes_sent: u64,
    /// Packets of the stream that the drop policy left out.
    pub packets_skipped: u64,
    /// Times the drop policy acted.
    pub skips: u32,
}

/// What a viewer is to be sent, in order; see [`Viewer::pieces`].
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    ring: &'a Ring,
    /// The rest of a packet goes first.
    torn: &'a [u8],
    /// Then the tables before the next segment, from here on.
    psi_from: Option<usize>,
    /// Then that segment, from here on.
    from: usize,
    /// And the others up to the last.
    next: u64,
    last: u64,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        if !self.torn.is_empty() {
            return Some(core::mem::take(&mut self.torn));
        }
        if self.next == self.last {
            return None;
        }
        let segment = self.ring.get(self.next)?;
        if let Some(from) = self.psi_from.take()
            && from < segment.psi.len()
        {
            return Some(&segment.psi[from..]);
        }
        self.next += 1;
        Some(&segment.data[core::mem::take(&mut self.from)..])
    }
}

impl Viewer {
    /// A viewer that has not been given a place.
    pub fn new() -> Self {
        Viewer::default()
    }

    /// Finds out what there is to send: joins, notices that it was lapped or lags too much, and lets the policy
    /// act on it.
    #[inline]
    pub fn read(&mut self, ring: &Ring, policy: &Policy) -> Read {
        let has_nothing_to_decide = self.phase == Phase::Packets
            && self.torn.is_none()
            && policy.lag_max.is_none()
            && !self.has_fallen_behind
            && ring.first() <= self.sequence;
        match has_nothing_to_decide {
            true if self.sequence < ring.next() => Read::Ready,
            true => Read::Idle,
            false => self.decide(ring, policy),
        }
    }

    fn decide(&mut self, ring: &Ring, policy: &Policy) -> Read {
        if self.phase == Phase::Joining {
            self.join(ring, policy.join);
        }
        self.apply_lag_policy(ring, policy);
        if let Phase::Ending(end) = self.phase
            && self.torn.is_none()
        {
            return Read::Ended(end);
        }
        if self.phase == Phase::Waiting
            && let Some(access) = ring.latest_access().filter(|&access| access >= self.sequence)
        {
            self.skip_to(ring, access);
        }
        if self.torn.is_some() || self.is_placed() && self.sequence < ring.next() {
            Read::Ready
        } else {
            self.has_fallen_behind &= !self.is_placed();
            Read::Idle
        }
    }

    /// The bytes to send after [`Read::Ready`], in order, nothing copied.
    #[inline]
    pub fn pieces<'a>(&'a self, ring: &'a Ring) -> Pieces<'a> {
        let is_in = |phase| self.phase == phase;
        Pieces {
            torn: self.torn.as_deref().unwrap_or_default(),
            psi_from: is_in(Phase::Psi).then_some(self.offset as usize),
            from: if is_in(Phase::Packets) { self.offset as usize } else { 0 },
            next: self.sequence,
            last: if self.is_placed() { ring.next() } else { self.sequence },
            ring,
        }
    }

    /// The socket took the first `taken` bytes of [`Viewer::pieces`].
    ///
    /// # Panics
    /// When `taken` is more than was offered: the driver did not keep its rule.
    #[inline]
    pub fn advance(&mut self, taken: usize, ring: &Ring) {
        self.bytes_sent += taken as u64;
        let is_at_start = self.phase == Phase::Packets && self.torn.is_none() && self.offset == 0;
        match ring.get(self.sequence) {
            Some(segment) if is_at_start && segment.data.len() == taken => {
                self.sequence += 1;
                self.packet += segment.packets();
            }
            _ => self.advance_by_pieces(taken, ring),
        }
    }

    fn advance_by_pieces(&mut self, mut taken: usize, ring: &Ring) {
        if let Some(rest) = self.torn.take() {
            if taken < rest.len() {
                self.torn = Some(rest[taken..].into());
                return;
            }
            taken -= rest.len();
        }
        while taken > 0 {
            let segment = ring.get(self.sequence).filter(|_| self.is_placed());
            let segment = segment.expect("a viewer advances only over what it was offered");
            let piece = if self.phase == Phase::Psi { &segment.psi } else { &segment.data };
            let left = &piece[self.offset as usize..];
            let whole = taken.next_multiple_of(PACKET_BYTES).min(left.len());
            if taken < whole {
                self.torn = Some(left[taken..whole].into());
            }
            taken = taken.saturating_sub(whole);
            self.pass(whole, piece.len());
        }
    }

    /// Gives the viewer nothing more than the rest of a packet that was begun; then `read` says that it ended.
    pub fn end(&mut self) {
        if !matches!(self.phase, Phase::Ending(_)) {
            self.phase = Phase::Ending(ViewerEnd::Asked);
        }
    }

    /// Whether the bytes sent so far end with a whole packet, so that a response may end here.
    pub fn is_between_packets(&self) -> bool {
        self.torn.is_none()
    }

    /// How far its place is behind the newest segment, in arrival time; zero before it has joined.
    pub fn lag(&self, ring: &Ring) -> Duration {
        let newest = ring.newest().map_or(Instant::ORIGIN, |segment| segment.at);
        match ring.get(self.sequence.max(ring.first())) {
            Some(segment) if self.phase != Phase::Joining => newest.saturating_since(segment.at),
            _ => Duration::ZERO,
        }
    }

    /// The oldest segment that it has not taken, or waits for, if it keeps up: it never had to skip, or it has been
    /// sent everything since.
    pub fn wanted(&self) -> Option<u64> {
        (self.is_placed() && !self.has_fallen_behind).then_some(self.sequence)
    }

    /// Whether it waits no longer for a place to begin.
    pub fn has_joined(&self) -> bool {
        self.phase != Phase::Joining
    }

    /// What it got so far.
    pub fn stats(&self) -> ViewerStats {
        ViewerStats { bytes_sent: self.bytes_sent, packets_skipped: self.packets_skipped, skips: self.skips }
    }

    fn is_placed(&self) -> bool {
        matches!(self.phase, Phase::Psi | Phase::Packets)
    }

    fn join(&mut self, ring: &Ring, join: Join) {
        let place = match join {
            Join::Keyframe => ring.latest_access(),
            Join::Live => Some(ring.next()),
            Join::Behind(delay) => {
                ring.newest().and_then(|newest| ring.access_at_or_before(newest.at - delay))
            }
        };
        if let Some(sequence) = place {
            self.place(ring, sequence);
            self.join_lag_ms = millis_up(self.lag(ring));
        }
    }

    /// Acts when the viewer's place was evicted, or when it lags more than the policy allows.
    fn apply_lag_policy(&mut self, ring: &Ring, policy: &Policy) {
        let lapped = self.sequence < ring.first();
        if !self.is_placed() || !lapped && !self.lags_too_much(ring, policy) {
            return;
        }
        match policy.slow {
            Slow::Keyframe => match ring.latest_access() {
                Some(access) if access > self.sequence => self.skip_to(ring, access),
                // Its place is held and there is nowhere better to go on: a picture that is late beats none.
                _ if !lapped => {}
                _ => {
                    self.phase = Phase::Waiting;
                    self.sequence = ring.next();
                }
            },
            Slow::Oldest => self.skip_to(ring, oldest_allowed(ring, policy)),
            Slow::Live => self.skip_to(ring, ring.next()),
            Slow::Disconnect => self.phase = Phase::Ending(ViewerEnd::TooSlow),
        }
    }

    /// A viewer that joined far behind live is late by no fault of its own: until it has caught up, the least lag
    /// that it had counts as wanted.
    fn lags_too_much(&mut self, ring: &Ring, policy: &Policy) -> bool {
        if policy.lag_max.is_none() {
            return false;
        }
        let lag = self.lag(ring);
        self.join_lag_ms = self.join_lag_ms.min(millis_up(lag));
        let joined_behind = Duration::from_millis(self.join_lag_ms.into());
        policy.lag_allowed_behind(joined_behind).is_some_and(|allowed| lag > allowed)
            && ring.packets_pushed() - self.packet > u64::from(policy.lag_packets_min)
    }

    /// Leaves out what lies between its place and `sequence`.
    fn skip_to(&mut self, ring: &Ring, sequence: u64) {
        let skipped = ring.packets_before(sequence).saturating_sub(self.packet);
        if skipped > 0 {
            self.skips = self.skips.saturating_add(1);
            self.packets_skipped += skipped;
            self.join_lag_ms = 0;
            self.has_fallen_behind = true;
            self.place(ring, sequence);
        }
    }

    fn place(&mut self, ring: &Ring, sequence: u64) {
        self.sequence = sequence;
        self.offset = 0;
        self.phase = Phase::Psi;
        self.packet = ring.packets_before(sequence);
    }

    /// Moves its place over `whole` bytes of a piece that is `length` long.
    fn pass(&mut self, whole: usize, length: usize) {
        self.offset += whole as u32;
        if self.phase == Phase::Packets {
            self.packet += (whole / PACKET_BYTES) as u64;
        }
        if self.offset as usize == length {
            self.offset = 0;
            match self.phase {
                Phase::Psi => self.phase = Phase::Packets,
                _ => self.sequence += 1,
            }
        }
    }
}

/// The oldest segment held that a viewer may be at.
fn oldest_allowed(ring: &Ring, policy: &Policy) -> u64 {
    match (policy.lag_allowed(), ring.newest()) {
        (Some(allowed), Some(newest)) => {
            let in_time = ring.first_at_or_after(newest.at - allowed);
            in_time.min(ring.first_of_last(u64::from(policy.lag_packets_min)))
        }
        _ => ring.first(),
    }
}

fn millis_up(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
