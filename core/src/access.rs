//! Where can a decoder begin? Finds the random access points of a stream.
//!
//! The answer to "is this packet a random access point" may lie in a later packet: the start code that decides can
//! be packets away from the PES start, after parameter sets and SEI messages. So the detector answers in two
//! parts, see [`Verdict`]: the caller remembers the place of the latest *candidate*, and cuts there when a
//! later packet *decides* for it.
//!
//! What counts, in this order:
//! 1. `random_access_indicator` on a packet with a PES start of the video PID (ISO/IEC 13818-1 §2.4.3.5);
//! 2. what the access unit begins with (module `sniff`); for a program without video any PES start of its audio;
//! 3. where neither comes for a while, something weaker, see [`AccessKind::Fallback`].
//!
//! Scrambled video has only the indicator, and the fallback.

mod sniff;

use core::time::Duration;

use self::sniff::{Coding, Finding, Sniffer};
use crate::time::Instant;
use crate::ts::{Packet, PesHeader, Pid, PsiTracker, StreamKind};

/// A candidate is decided at the latest by this many packets of its PID, its own included; then it is not
/// an access point. Six kilobytes: room for the longest SEI messages seen in practice.
pub const DECIDE_PACKETS_MAX: u32 = 32;
/// How long to wait for a real access point before weaker ones are accepted, unless configured. Encoders
/// rarely put key frames further apart.
pub const FALLBACK_WAIT: Duration = Duration::from_secs(10);
/// Weaker access points are accepted at most this often.
pub const FALLBACK_SPACING: Duration = Duration::from_secs(1);
/// A pause in the stream counts as no more than this towards the wait: a frozen source is not a source without
/// access points.
const PAUSE_COUNTED_MAX: Duration = Duration::from_secs(1);

/// How an access point was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessKind {
    /// By its `random_access_indicator`.
    Indicator,
    /// By its content: parameter sets and an intra picture, or the audio of a program without video.
    Sniffed,
    /// Not recognised, accepted for want of a better one. After the wait: an access unit with a sequence header,
    /// parameter sets, a recovery point or an intra picture, or, when the tables name neither video nor audio, any
    /// start of a payload unit. After twice the wait: any PES start on the video PID, or on any PID when the video
    /// PID is silent.
    Fallback,
}

/// What a packet means for the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// An access unit begins in this packet. It replaces the candidate before it: if that was still pending, it
    /// is not an access point.
    pub candidate: bool,
    /// Where the latest candidate stands, this packet included.
    pub decision: Decision,
}

/// The fate of the latest candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There is none, or it was decided by an earlier packet.
    None,
    /// Not yet known. Within [`DECIDE_PACKETS_MAX`] packets of its PID it is decided or replaced, unless the PID
    /// falls silent or the tables point elsewhere; then a decision never comes.
    Pending,
    /// A decoder can begin at the candidate. Said once per candidate.
    Access(AccessKind),
    /// It cannot. Said at most once per candidate; with [`Verdict::candidate`] it is about the new one.
    NotAccess,
}

/// How many access points of each kind were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessCounts {
    /// See [`AccessKind::Indicator`].
    pub indicator: u64,
    /// See [`AccessKind::Sniffed`].
    pub sniffed: u64,
    /// See [`AccessKind::Fallback`].
    pub fallback: u64,
}

/// Finds access points, packet by packet. Packets in the middle of a payload unit cost one comparison.
///
/// ```text
/// let candidate_psi = psi.raw();             // before the packet: what a joiner needs ahead of it
/// psi.push(&packet);
/// let verdict = detector.push(now, &packet, &psi);
/// if verdict.candidate { remember the packet's offset, and candidate_psi }
/// if let Decision::Access(kind) = verdict.decision { cut at the remembered offset }
/// append the packet
/// ```
#[derive(Clone, Debug)]
pub struct AccessDetector {
    pending: Option<Pending>,
    fallback: Fallback,
    counts: AccessCounts,
}

/// A candidate whose access unit has not said yet what it is.
#[derive(Clone, Debug)]
struct Pending {
    pid: Pid,
    sniffer: Sniffer,
    /// Bytes of the PES head that are still to come before the elementary stream.
    skip: usize,
    packets: u32,
    counter: u8,
}

/// What the search looks at, from the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Video(Pid, Option<Coding>),
    Audio(Pid),
    Unknown,
}

impl AccessDetector {
    /// A detector that accepts weaker access points after `fallback_wait` without a real one.
    pub fn new(fallback_wait: Duration) -> Self {
        Self { pending: None, fallback: Fallback::new(fallback_wait), counts: AccessCounts::default() }
    }

    /// Looks at the next packet of the stream, which `psi` has already seen.
    #[inline]
    pub fn push(&mut self, now: Instant, packet: &Packet<'_>, psi: &PsiTracker) -> Verdict {
        if packet.payload_unit_start() {
            return self.push_unit_start(now, packet, psi);
        }
        if self.pending.is_none() {
            return Verdict { candidate: false, decision: Decision::None };
        }
        Verdict { candidate: false, decision: self.push_continuation(now, packet) }
    }

    /// Forgets the candidate and the waiting: the next packets belong to another stream.
    pub fn reset(&mut self) {
        self.pending = None;
        self.fallback = Fallback::new(self.fallback.wait);
    }

    /// Access points found since the beginning.
    pub fn counts(&self) -> AccessCounts {
        self.counts
    }

    fn push_unit_start(&mut self, now: Instant, packet: &Packet<'_>, psi: &PsiTracker) -> Verdict {
        self.fallback.tick(now);
        let target = Target::new(psi);
        if self.pending.as_ref().is_some_and(|pending| Some(pending.pid) != target.pid()) {
            self.pending = None;
        }
        if Some(packet.pid()) != target.pid() {
            return self.push_stranger(now, packet, target);
        }
        let replaced = self.pending.take().is_some();
        match self.push_candidate(now, packet, target, replaced) {
            Some(decision) => Verdict { candidate: true, decision },
            None if replaced => Verdict { candidate: false, decision: Decision::NotAccess },
            None => Verdict { candidate: false, decision: Decision::None },
        }
    }

    /// A payload unit begins on the PID that the search looks at. `None` when it is no PES packet.
    fn push_candidate(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        target: Target,
        replaced: bool,
    ) -> Option<Decision> {
        let payload = packet.payload().filter(|_| !packet.transport_error())?;
        let head = PesHeader::of(packet);
        if head.is_none() && !packet.scrambled() {
            return None;
        }
        self.fallback.note_candidate();
        let indicator = packet.adaptation().is_some_and(|field| field.random_access());
        let coding = match target {
            _ if indicator => return Some(self.accept(AccessKind::Indicator)),
            Target::Audio(_) => return Some(self.accept(AccessKind::Sniffed)),
            Target::Video(_, coding) => coding,
            Target::Unknown => None,
        };
        // One that is replaced before it could be decided must not stand in the way of the fallback for ever.
        if replaced && self.fallback.take_any(now) {
            return Some(self.accept(AccessKind::Fallback));
        }
        let (Some(coding), Some(head)) = (coding, head.filter(|head| !head.scrambled)) else {
            return Some(self.reject(now, false));
        };
        let mut pending = Pending {
            pid: packet.pid(),
            sniffer: Sniffer::new(coding),
            skip: head.data_offset,
            packets: 0,
            counter: packet.continuity(),
        };
        let finding = pending.push(payload);
        self.pending = Some(pending);
        Some(self.decide(now, finding))
    }

    /// A payload unit begins on another PID: of interest only when there is nothing to look for, or nothing comes.
    fn push_stranger(&mut self, now: Instant, packet: &Packet<'_>, target: Target) -> Verdict {
        let possible = !packet.transport_error() && packet.pid() != Pid::NULL;
        let accepted = match target {
            Target::Unknown => possible && self.fallback.take_weak(now),
            _ => possible && PesHeader::of(packet).is_some() && self.fallback.take_stranger(now),
        };
        let undecided = if self.pending.is_some() { Decision::Pending } else { Decision::None };
        let decision = if accepted { self.accept(AccessKind::Fallback) } else { undecided };
        Verdict { candidate: accepted, decision }
    }

    fn push_continuation(&mut self, now: Instant, packet: &Packet<'_>) -> Decision {
        let Some(pending) = self.pending.as_mut() else { return Decision::None };
        if packet.pid() != pending.pid {
            return Decision::Pending;
        }
        let Some(payload) = packet.payload().filter(|_| !packet.transport_error()) else {
            return Decision::Pending;
        };
        let step = packet.continuity().wrapping_sub(pending.counter) & 0x0F;
        pending.counter = packet.continuity();
        let finding = match step {
            0 => return Decision::Pending,
            1 if !packet.scrambled() => pending.push(payload),
            _ => Some(Finding::Nothing),
        };
        self.decide(now, finding)
    }

    fn decide(&mut self, now: Instant, finding: Option<Finding>) -> Decision {
        match finding {
            None => Decision::Pending,
            Some(Finding::Access) => self.accept(AccessKind::Sniffed),
            Some(Finding::Hint) => self.reject(now, true),
            Some(Finding::Nothing) => self.reject(now, false),
        }
    }

    fn accept(&mut self, kind: AccessKind) -> Decision {
        self.pending = None;
        match kind {
            AccessKind::Indicator => self.counts.indicator += 1,
            AccessKind::Sniffed => self.counts.sniffed += 1,
            AccessKind::Fallback => self.counts.fallback += 1,
        }
        if kind != AccessKind::Fallback {
            self.fallback.note_access();
        }
        Decision::Access(kind)
    }

    /// Not an access point, unless the wait has been long enough for what it is.
    fn reject(&mut self, now: Instant, hint: bool) -> Decision {
        self.pending = None;
        let accepted = if hint { self.fallback.take_weak(now) } else { self.fallback.take_any(now) };
        if accepted { self.accept(AccessKind::Fallback) } else { Decision::NotAccess }
    }
}

impl Target {
    fn new(psi: &PsiTracker) -> Self {
        match (psi.video(), psi.audio()) {
            (Some((pid, kind)), _) => Self::Video(pid, coding(kind)),
            (None, Some(pid)) => Self::Audio(pid),
            (None, None) => Self::Unknown,
        }
    }

    fn pid(self) -> Option<Pid> {
        match self {
            Self::Video(pid, _) | Self::Audio(pid) => Some(pid),
            Self::Unknown => None,
        }
    }
}

/// What can be sniffed; of other codings only the indicator is known.
fn coding(kind: StreamKind) -> Option<Coding> {
    match kind {
        StreamKind::Mpeg2Video => Some(Coding::Mpeg2),
        StreamKind::H264 => Some(Coding::H264),
        StreamKind::H265 => Some(Coding::H265),
        StreamKind::OtherVideo(_) | StreamKind::Audio(_) | StreamKind::Other(_) => None,
    }
}

impl Pending {
    /// Feeds the payload of the next packet; `Nothing` once too many of them have been undecided.
    fn push(&mut self, payload: &[u8]) -> Option<Finding> {
        self.packets += 1;
        let skipped = self.skip.min(payload.len());
        self.skip -= skipped;
        let last = self.packets >= DECIDE_PACKETS_MAX;
        self.sniffer.push(&payload[skipped..]).or_else(|| last.then(|| self.sniffer.give_up()))
    }
}

/// How long there has been no real access point, and what that allows.
#[derive(Clone, Debug)]
struct Fallback {
    wait: Duration,
    ticked: Option<Instant>,
    /// Since the last real access point, pauses left out.
    waited: Duration,
    /// Since the last candidate, pauses left out.
    silent: Duration,
    taken: Option<Instant>,
}

impl Fallback {
    fn new(wait: Duration) -> Self {
        Self { wait, ticked: None, waited: Duration::ZERO, silent: Duration::ZERO, taken: None }
    }

    fn tick(&mut self, now: Instant) {
        let last = self.ticked.replace(now).unwrap_or(now);
        let step = now.saturating_since(last).min(PAUSE_COUNTED_MAX);
        self.waited = self.waited.saturating_add(step);
        self.silent = self.silent.saturating_add(step);
    }

    fn note_candidate(&mut self) {
        self.silent = Duration::ZERO;
    }

    fn note_access(&mut self) {
        self.waited = Duration::ZERO;
    }

    /// After the wait.
    fn take_weak(&mut self, now: Instant) -> bool {
        self.waited >= self.wait && self.take(now)
    }

    /// After twice the wait.
    fn take_any(&mut self, now: Instant) -> bool {
        self.waited >= self.wait.saturating_mul(2) && self.take(now)
    }

    /// After twice the wait without a candidate.
    fn take_stranger(&mut self, now: Instant) -> bool {
        self.silent >= self.wait.saturating_mul(2) && self.take_any(now)
    }

    fn take(&mut self, now: Instant) -> bool {
        let allowed = self.taken.is_none_or(|taken| now.saturating_since(taken) >= FALLBACK_SPACING);
        if allowed {
            self.taken = Some(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests;
