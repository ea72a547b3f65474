//! The way to one viewer: a socket's send buffer, and a line that empties it.
//!
//! Nothing is queued or scheduled: what was put into the buffer leaves it at a rate that is known in advance, for
//! faults are part of the plan, so the arrival of every byte is computed when the socket takes it. That is
//! what makes sweeping a hundred thousand of them cheap. TCP delivers everything, in order: loss is a delay.

use restreamer_core::{Instant, Rng};
use serde::{Deserialize, Serialize};

/// Bytes of a TCP segment.
const SEGMENT_BYTES: u64 = 1_448;
/// The shortest time after which TCP sends again what was not acknowledged, nanoseconds.
const RETRANSMIT_NS_MIN: u64 = 200_000_000;
const NANOS_PER_MS: u64 = 1_000_000;
const NEVER: u64 = u64::MAX;
/// Transmission time of a mebibyte on a line where nothing gets through: a byte takes more than an hour.
const NANOS_PER_MIB_STUCK: u64 = 1 << 62;

/// How a viewer is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSpec {
    /// Kilobits per second; 0: nothing gets through.
    pub kbps: u64,
    /// One way.
    pub delay_ms: u64,
    /// Further delay, drawn for each write.
    #[serde(default)]
    pub jitter_ms: u64,
    /// TCP segments lost, of a million: each costs the time to send it again.
    #[serde(default)]
    pub loss_ppm: u64,
    /// The send buffer of the socket.
    pub buffer_bytes: u32,
    /// Now and then the socket takes less than it has room for, up to any byte.
    #[serde(default)]
    pub short_writes: bool,
}

impl LinkSpec {
    /// A line that is never in the way.
    pub const FAST: LinkSpec = LinkSpec {
        kbps: 1_000_000,
        delay_ms: 1,
        jitter_ms: 0,
        loss_ppm: 0,
        buffer_bytes: 1 << 20,
        short_writes: false,
    };

    /// A line of `kbps` with nothing else to complain about.
    pub fn steady(kbps: u64) -> Self {
        LinkSpec { kbps, delay_ms: 10, buffer_bytes: 256 << 10, ..LinkSpec::FAST }
    }
}

/// The state of one viewer's link.
#[derive(Debug)]
pub struct Link {
    /// When the last byte taken will have left the buffer, nanoseconds.
    busy_until: u64,
    /// Transmission time of a mebibyte, in the phase in which that is.
    nanos_per_mib: u64,
    buffer: u32,
    delay_ms: u32,
    /// What a plain line does not need.
    extra: Option<Box<Extra>>,
}

#[derive(Debug)]
struct Extra {
    jitter_ms: u64,
    loss_ppm: u64,
    short_writes: bool,
    rng: Rng,
    /// From when a mebibyte takes how long, nanoseconds; the first from the beginning.
    phases: Vec<(u64, u64)>,
    /// Index of the phase in which the last byte taken leaves.
    phase: usize,
    last_arrival: u64,
}

impl Link {
    /// A link that is up from `now` on. `changes` are its rates, in order: from when, kilobits per second.
    pub fn new(now: Instant, spec: &LinkSpec, changes: &[(Instant, u64)], seed: u64) -> Self {
        let now = now.as_nanos();
        let past = changes.partition_point(|&(from, _)| from.as_nanos() <= now);
        let kbps = past.checked_sub(1).map_or(spec.kbps, |last| changes[last].1);
        let mut phases = vec![(now, nanos_per_mib(kbps))];
        phases.extend(changes[past..].iter().map(|&(from, kbps)| (from.as_nanos(), nanos_per_mib(kbps))));
        let is_plain = phases.len() == 1 && spec.jitter_ms == 0 && spec.loss_ppm == 0 && !spec.short_writes;
        let extra = Extra {
            jitter_ms: spec.jitter_ms,
            loss_ppm: spec.loss_ppm,
            short_writes: spec.short_writes,
            rng: Rng::from_seed(seed),
            phases,
            phase: 0,
            last_arrival: now,
        };
        Link {
            busy_until: now,
            nanos_per_mib: nanos_per_mib(kbps),
            buffer: spec.buffer_bytes.max(1),
            delay_ms: u32::try_from(spec.delay_ms).unwrap_or(u32::MAX),
            extra: (!is_plain).then(|| Box::new(extra)),
        }
    }

    /// Bytes that the socket would take now.
    #[inline]
    pub fn room(&mut self, now: Instant) -> usize {
        if let Some(room) = self.room_without_chance(now) {
            return room;
        }
        let room = self.free(now);
        match &mut self.extra {
            Some(extra) if extra.short_writes && room > 0 => extra.shorten(room),
            _ => room,
        }
    }

    /// The same for a plain line whose buffer is empty, where nothing is left to chance; `None` for others.
    #[inline]
    pub fn room_without_chance(&self, now: Instant) -> Option<usize> {
        (self.busy_until <= now.as_nanos() && self.extra.is_none()).then_some(self.buffer as usize)
    }

    /// Whether the kernel reports the socket as writable: a third of its buffer is free.
    pub fn is_writable(&self, now: Instant) -> bool {
        self.free(now) >= (self.buffer / 3).max(1) as usize
    }

    /// Puts `bytes` into the buffer; answers when the last of them reaches the player, which is never before what
    /// was answered earlier.
    #[inline]
    pub fn take(&mut self, now: Instant, bytes: usize) -> Instant {
        let start = self.busy_until.max(now.as_nanos());
        let delay = u64::from(self.delay_ms) * NANOS_PER_MS;
        let Some(extra) = &mut self.extra else {
            self.busy_until = start.saturating_add(transmission(bytes as u64, self.nanos_per_mib));
            return Instant::from_nanos(self.busy_until.saturating_add(delay));
        };
        self.busy_until = extra.transmit(start, bytes as u64);
        if extra.loses(bytes as u64) {
            self.busy_until = self.busy_until.saturating_add(RETRANSMIT_NS_MIN.max(2 * delay));
        }
        let jitter = extra.rng.below(extra.jitter_ms * NANOS_PER_MS + 1);
        extra.last_arrival = extra.last_arrival.max(self.busy_until.saturating_add(delay + jitter));
        Instant::from_nanos(extra.last_arrival)
    }

    /// Room in the buffer.
    fn free(&self, now: Instant) -> usize {
        (self.buffer as usize).saturating_sub(self.queued(now.as_nanos()))
    }

    fn queued(&self, now: u64) -> usize {
        if self.busy_until <= now {
            return 0;
        }
        let Some(extra) = &self.extra else {
            return left_after(self.busy_until - now, self.nanos_per_mib) as usize;
        };
        let mut until = self.busy_until;
        let mut bytes = 0;
        for &(from, nanos) in extra.phases[..=extra.phase].iter().rev() {
            let from = from.max(now).min(until);
            bytes += left_after(until - from, nanos);
            until = from;
        }
        bytes as usize
    }
}

impl Extra {
    /// When `bytes` have left the buffer that begin to leave it at `start`.
    fn transmit(&mut self, mut start: u64, mut bytes: u64) -> u64 {
        loop {
            let end_of = |phase: usize| self.phases.get(phase + 1).map_or(NEVER, |next| next.0);
            while end_of(self.phase) <= start {
                self.phase += 1;
            }
            let (nanos, phase_end) = (self.phases[self.phase].1, end_of(self.phase));
            let end = start.saturating_add(transmission(bytes, nanos));
            if end <= phase_end || phase_end == NEVER {
                return end;
            }
            bytes -= in_time(phase_end - start, nanos).min(bytes);
            start = phase_end;
        }
    }

    fn shorten(&mut self, room: usize) -> usize {
        if self.rng.chance(1, 4) { self.rng.between(1, room as u64) as usize } else { room }
    }

    fn loses(&mut self, bytes: u64) -> bool {
        let chance = self.loss_ppm.saturating_mul(bytes.div_ceil(SEGMENT_BYTES)).min(1_000_000);
        chance > 0 && self.rng.chance(chance, 1_000_000)
    }
}

fn nanos_per_mib(kbps: u64) -> u64 {
    // A byte is 8 bits, and a kilobit per second a bit per millisecond.
    ((8 * NANOS_PER_MS) << 20).checked_div(kbps).unwrap_or(NANOS_PER_MIB_STUCK)
}

/// How long `bytes` take, nanoseconds.
#[inline]
fn transmission(bytes: u64, nanos_per_mib: u64) -> u64 {
    u64::try_from((u128::from(bytes) * u128::from(nanos_per_mib)) >> 20).unwrap_or(NEVER)
}

/// How many bytes are not through when it takes `nanos` more.
fn left_after(nanos: u64, nanos_per_mib: u64) -> u64 {
    u64::try_from((u128::from(nanos) << 20).div_ceil(u128::from(nanos_per_mib))).unwrap_or(NEVER)
}

/// How many bytes get through in `nanos`.
fn in_time(nanos: u64, nanos_per_mib: u64) -> u64 {
    u64::try_from((u128::from(nanos) << 20) / u128::from(nanos_per_mib)).unwrap_or(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Instant = Instant::from_millis;

    fn link(spec: LinkSpec, changes: &[(Instant, u64)]) -> Link {
        Link::new(Instant::ORIGIN, &spec, changes, 1)
    }

    /// 8 Mbit/s: a byte per microsecond.
    fn megabyte_per_second() -> LinkSpec {
        LinkSpec { delay_ms: 5, buffer_bytes: 10_000, ..LinkSpec::steady(8_000) }
    }

    fn is_near(value: u64, wanted: u64) -> bool {
        value.abs_diff(wanted) <= wanted / 1_000 + 1
    }

    #[test]
    fn bytes_arrive_at_the_rate_of_the_line_after_its_delay() {
        let mut link = link(megabyte_per_second(), &[]);
        assert!(is_near(link.take(MS(0), 10_000).as_nanos(), 15_000_000));
        assert!(is_near(link.take(MS(100), 1_000).as_nanos(), 106_000_000));
    }

    #[test]
    fn the_buffer_empties_byte_by_byte_and_is_writable_when_a_third_is_free() {
        let mut link = link(megabyte_per_second(), &[]);
        assert_eq!(link.room(MS(0)), 10_000);
        link.take(MS(0), 10_000);
        assert_eq!(link.room(MS(0)), 0);
        assert!(is_near(link.room(MS(3)) as u64, 3_000));
        assert!(!link.is_writable(MS(3)));
        assert!(link.is_writable(MS(4)));
        assert_eq!(link.room(MS(10)), 10_000);
    }

    #[test]
    fn a_stall_holds_up_what_is_in_the_buffer_and_what_follows() {
        let mut link = link(megabyte_per_second(), &[(MS(4), 0), (MS(1_004), 8_000)]);
        assert!(is_near(link.take(MS(0), 10_000).as_nanos(), 1_015_000_000));
        assert!(is_near(link.room(MS(500)) as u64, 4_000));
        assert!(is_near(link.room(MS(1_007)) as u64, 7_000));
        assert!(is_near(link.take(MS(1_020), 1_000).as_nanos(), 1_026_000_000));
    }

    #[test]
    fn a_stuck_line_takes_a_buffer_full_and_no_more() {
        let mut link = link(LinkSpec { kbps: 0, ..megabyte_per_second() }, &[]);
        link.take(MS(0), 10_000);
        assert_eq!(link.room(MS(3_600_000)), 0);
    }

    #[test]
    fn arrivals_never_go_back_whatever_jitter_and_loss_do() {
        let mut link = link(LinkSpec { jitter_ms: 50, loss_ppm: 20_000, ..megabyte_per_second() }, &[]);
        let arrivals: Vec<_> = (0..500).map(|ms| link.take(MS(ms), 900)).collect();
        assert!(arrivals.is_sorted());
        assert!(arrivals.iter().zip(0..).all(|(&arrival, ms)| arrival > MS(ms + 5)));
        assert!(arrivals[499] > MS(900), "loss costs time: {:?}", arrivals[499]);
    }

    #[test]
    fn a_short_write_takes_at_least_a_byte() {
        let mut link = link(LinkSpec { short_writes: true, ..megabyte_per_second() }, &[]);
        let rooms: Vec<_> = (0..100).map(|_| link.room(MS(0))).collect();
        assert!(rooms.iter().all(|&room| (1..=10_000).contains(&room)));
        assert!(rooms.iter().any(|&room| room < 10_000) && rooms.contains(&10_000));
    }
}
