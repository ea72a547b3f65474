//! Plays a recording as if it came in live: any bytes in, batches of whole packets out, each with the moment at which it
//! is due.
//!
//! ```text
//! bytes → Framer → Restamp (from the second round on) → Pace → batches
//! ```
//!
//! The recording's own clock, the PCR, says when. The driver asks [`Playout::next_batch`], waits until the batch is due
//! and delivers it; when told [`Next::NeedInput`], it reads on and pushes. So a read-ahead of one chunk is all there
//! is, and how fast the file can be read does not matter.
//!
//! There is no file and no waiting in here.

mod pace;

use core::fmt;

use bytes::Bytes;

use self::pace::Pace;
pub use self::pace::{BATCH_SPAN, CLOCK_PACKETS_MAX};
use crate::cause::{CloseCause, CloseKind};
use crate::framer::{Framer, FramerStats};
use crate::splice::{Restamp, RestampCounts};
use crate::time::{Duration, Instant};
use crate::ts::Pcr;

/// A good size for what is pushed at once. Any size is right.
pub const INPUT_BYTES: usize = 64 * 1024;
/// A driver that comes later than this does not catch up: what is left is played later, without a burst.
pub const LATE_MAX: Duration = Duration::from_millis(200);

/// What happens when the recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// It is over.
    Finish,
    /// It begins again, with its clocks and counters going on: the driver pushes it from the start.
    Repeat,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Deliver this, not before it is due.
    Batch(Batch),
    /// Push more, or say that there is no more.
    NeedInput,
    /// Everything has been delivered.
    Finished,
    /// It cannot be played, or not any further.
    Failed(PlayoutError),
}

/// Packets that leave together: at most [`BATCH_SPAN`] of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// When the first of them is due. Never before the batch before it.
    pub at: Instant,
    /// Whole packets, at least one.
    pub bytes: Bytes,
}

/// Why a recording cannot be played in real time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlayoutError {
    /// There are packets, but none, or only one, with a PCR.
    NoClock {
        /// So many packets were searched.
        packets: u64,
    },
    /// There is no packet in it.
    NoPackets {
        /// So many bytes were searched.
        bytes: u64,
    },
}

impl PlayoutError {
    /// The same as the end of a connection.
    pub fn cause(&self) -> CloseCause {
        CloseCause::new(CloseKind::NotAStream, &alloc::string::ToString::to_string(self))
    }
}

impl fmt::Display for PlayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlayoutError::NoClock { packets } => {
                write!(f, "no usable PCR in {packets} packets: cannot be played in real time")
            }
            PlayoutError::NoPackets { bytes } => {
                write!(f, "no transport stream packets in {bytes} bytes: cannot be played")
            }
        }
    }
}

impl core::error::Error for PlayoutError {}

/// Counts of a [`Playout`]; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlayoutStats {
    /// What was found in the bytes.
    pub framer: FramerStats,
    /// What was done at the seams.
    pub restamp: RestampCounts,
    /// Times that the recording's clock jumped, or was silent for too long; the rate before was kept up.
    pub clock_jumps: u64,
    /// Times that the driver came too late to catch up.
    pub slips: u64,
}

/// Plays one recording; see [the module](self).
///
/// Holds what was pushed last, and at most [`CLOCK_PACKETS_MAX`] packets that wait for the next PCR.
#[derive(Debug)]
pub struct Playout {
    framer: Framer,
    restamp: Restamp,
    pace: Pace,
    /// When the first packet is due.
    origin: Option<Instant>,
    /// Bytes and packets at the beginning of the round.
    round: FramerStats,
    state: State,
    slips: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Playing,
    Finished,
    Failed(PlayoutError),
}

impl Default for Playout {
    fn default() -> Self {
        Self::new()
    }
}

impl Playout {
    /// Before the first byte.
    pub fn new() -> Self {
        Playout {
            framer: Framer::new(),
            restamp: Restamp::new(),
            pace: Pace::new(),
            origin: None,
            round: FramerStats::default(),
            state: State::Playing,
            slips: 0,
        }
    }

    /// Takes the next bytes of the recording. Ignored once it is over.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.state == State::Playing {
            let Playout { framer, restamp, pace, .. } = self;
            framer.push(bytes, &mut |packet| {
                let mut packet = *packet;
                restamp.restamp(&mut packet);
                pace.push(&packet);
            });
            self.fail_without_clock();
        }
    }

    /// There are no more bytes in the recording.
    pub fn end_of_input(&mut self, at_end: AtEnd) {
        if self.state != State::Playing {
            return;
        }
        let Playout { framer, restamp, pace, .. } = self;
        framer.finish(&mut |packet| {
            let mut packet = *packet;
            restamp.restamp(&mut packet);
            pace.push(&packet);
        });
        let found = self.framer.stats();
        let (packets, bytes) = (found.packets - self.round.packets, found.bytes - self.round.bytes);
        self.round = found;
        match at_end {
            _ if packets == 0 => self.state = State::Failed(PlayoutError::NoPackets { bytes }),
            AtEnd::Repeat if self.restamp.clock_readings() == 0 => {
                self.state = State::Failed(PlayoutError::NoClock { packets });
            }
            AtEnd::Repeat => self.restamp.begin_again(),
            AtEnd::Finish => {
                self.state = State::Finished;
                self.pace.finish();
            }
        }
        self.fail_without_clock();
    }

    /// The next batch, or what stands in its way. Playing begins with the first batch, which is due at once.
    pub fn next_batch(&mut self, now: Instant) -> Next {
        let Some((ticks, bytes)) = self.pace.pop() else {
            return match self.state {
                State::Playing => Next::NeedInput,
                State::Finished => Next::Finished,
                State::Failed(error) => Next::Failed(error),
            };
        };
        let elapsed = Duration::from_nanos(nanos(ticks));
        let origin = *self.origin.get_or_insert(now - elapsed);
        let late = now.saturating_since(origin + elapsed);
        if late > LATE_MAX {
            self.slips += 1;
            self.origin = Some(origin + late);
            return Next::Batch(Batch { at: now, bytes });
        }
        Next::Batch(Batch { at: origin + elapsed, bytes })
    }

    /// The counts so far.
    pub fn stats(&self) -> PlayoutStats {
        PlayoutStats {
            framer: self.framer.stats(),
            restamp: self.restamp.counts(),
            clock_jumps: self.pace.clock_jumps(),
            slips: self.slips,
        }
    }

    fn fail_without_clock(&mut self) {
        if self.pace.has_no_clock() {
            self.state = State::Failed(PlayoutError::NoClock { packets: self.framer.stats().packets });
        }
    }
}

fn nanos(ticks: u64) -> u64 {
    u64::try_from(u128::from(ticks) * 1_000_000_000 / u128::from(Pcr::HZ)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
