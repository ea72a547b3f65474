//! Continuity counters of all PIDs (ISO/IEC 13818-1 §2.4.3.3).

use alloc::boxed::Box;
use alloc::vec;

use super::packet::{PIDS, Packet, Pid};

/// The PID has not carried a payload yet.
const UNSEEN: u8 = 0xFF;
/// Set beside the counter once the one legal repetition of a packet has been used up.
const REPEATED: u8 = 0x10;

/// What a packet's counter says about the packets before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The first payload on this PID: nothing to compare with.
    First,
    /// The counter goes on as it should.
    Expected,
    /// The one repetition of the packet before it that the standard allows: a receiver may drop it.
    Duplicate,
    /// Nothing to conclude: a null packet, no payload, or an announced discontinuity.
    Exempt,
    /// Packets are missing, or the packet has been sent too often.
    Gap {
        /// How many packets are missing at least, 0..=15: counters are modulo 16. Zero when the counter
        /// stood still, where 16 are missing or the packet was repeated more than once.
        lost_min: u8,
    },
}

/// The last counter of every PID: 8 KiB, one look-up per packet.
#[derive(Clone, Debug)]
pub struct Continuity {
    last: Box<[u8]>,
}

impl Continuity {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self { last: vec![UNSEEN; PIDS].into_boxed_slice() }
    }

    /// Compares a packet's counter with the last one of its PID and remembers it.
    #[inline]
    pub fn check(&mut self, packet: &Packet<'_>) -> Verdict {
        let pid = packet.pid();
        let announced = packet.adaptation().is_some_and(|field| field.discontinuity());
        if !packet.has_payload() || pid == Pid::NULL {
            return self.check_without_payload(packet, announced);
        }
        let counter = packet.continuity();
        let last = core::mem::replace(&mut self.last[pid.index()], counter);
        if last == UNSEEN {
            return Verdict::First;
        }
        match counter.wrapping_sub(last) & 0x0F {
            1 => Verdict::Expected,
            _ if announced => Verdict::Exempt,
            0 => {
                self.last[pid.index()] = counter | REPEATED;
                if last & REPEATED == 0 { Verdict::Duplicate } else { Verdict::Gap { lost_min: 0 } }
            }
            step => Verdict::Gap { lost_min: step - 1 },
        }
    }

    /// Forgets every counter: the next packets belong to another stream.
    pub fn reset(&mut self) {
        self.last.fill(UNSEEN);
    }

    /// §2.4.3.5: where a discontinuity is announced, the next packet with a payload may carry any counter.
    #[inline]
    fn check_without_payload(&mut self, packet: &Packet<'_>, announced: bool) -> Verdict {
        if announced {
            self.last[packet.pid().index()] = UNSEEN;
        }
        Verdict::Exempt
    }
}

impl Default for Continuity {
    fn default() -> Self {
        Self::new()
    }
}
