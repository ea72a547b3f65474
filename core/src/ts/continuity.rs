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

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::ts::packet::PACKET_BYTES;

    const PAYLOAD: u8 = 0x10;
    const ADAPTATION: u8 = 0x20;
    const ANNOUNCED: u8 = 0x80;

    fn packet(pid: u16, control: u8, counter: u8, flags: u8) -> [u8; PACKET_BYTES] {
        let mut packet = [0xFF; PACKET_BYTES];
        let [high, low] = pid.to_be_bytes();
        packet[..6].copy_from_slice(&[0x47, high, low, control | counter, 1, flags]);
        packet
    }

    /// The verdicts on packets of one PID.
    fn verdicts(packets: &[(u8, u8, u8)]) -> Vec<Verdict> {
        let mut continuity = Continuity::new();
        let check = |&(control, counter, flags)| {
            continuity.check(&Packet::new(&packet(0x100, control, counter, flags)))
        };
        packets.iter().map(check).collect()
    }

    fn payloads(counters: &[u8]) -> Vec<Verdict> {
        verdicts(&counters.iter().map(|&counter| (PAYLOAD, counter, 0)).collect::<Vec<_>>())
    }

    use Verdict::{Duplicate, Exempt, Expected, First, Gap};

    #[test]
    fn counters_go_up_by_one_and_wrap() {
        assert_eq!(payloads(&[14, 15, 0, 1]), [First, Expected, Expected, Expected]);
    }

    #[test]
    fn a_gap_says_how_many_packets_are_missing_at_least() {
        let gap = |lost_min| Gap { lost_min };
        assert_eq!(payloads(&[3, 5, 6, 4]), [First, gap(1), Expected, gap(13)]);
        assert_eq!(payloads(&[0, 15]), [First, gap(14)]);
    }

    #[test]
    fn a_packet_may_be_repeated_once() {
        assert_eq!(payloads(&[3, 3, 4, 4, 5]), [First, Duplicate, Expected, Duplicate, Expected]);
        assert_eq!(payloads(&[3, 3, 3, 4]), [First, Duplicate, Gap { lost_min: 0 }, Expected]);
    }

    #[test]
    fn packets_without_payload_do_not_count() {
        let packets = [(PAYLOAD, 3, 0), (ADAPTATION, 3, 0), (ADAPTATION, 9, 0), (PAYLOAD, 4, 0)];
        assert_eq!(verdicts(&packets), [First, Exempt, Exempt, Expected]);
    }

    #[test]
    fn an_announced_discontinuity_excuses_a_jump() {
        let both = PAYLOAD | ADAPTATION;
        assert_eq!(
            verdicts(&[(PAYLOAD, 3, 0), (both, 9, ANNOUNCED), (PAYLOAD, 10, 0)]),
            [First, Exempt, Expected]
        );
        let before = [(PAYLOAD, 3, 0), (ADAPTATION, 3, ANNOUNCED), (PAYLOAD, 9, 0), (PAYLOAD, 10, 0)];
        assert_eq!(verdicts(&before), [First, Exempt, First, Expected]);
    }

    #[test]
    fn pids_are_counted_apart_and_null_packets_not_at_all() {
        let mut continuity = Continuity::new();
        let mut check = |pid, counter| continuity.check(&Packet::new(&packet(pid, PAYLOAD, counter, 0)));
        assert_eq!([check(1, 0), check(2, 9), check(1, 1), check(2, 10)], [First, First, Expected, Expected]);
        assert_eq!([check(0x1FFF, 0), check(0x1FFF, 7)], [Exempt, Exempt]);
    }

    #[test]
    fn after_a_reset_every_counter_is_the_first() {
        let mut continuity = Continuity::new();
        assert_eq!(continuity.check(&Packet::new(&packet(1, PAYLOAD, 0, 0))), First);
        continuity.reset();
        assert_eq!(continuity.check(&Packet::new(&packet(1, PAYLOAD, 7, 0))), First);
    }

    proptest! {
        /// The model: which of the packets of a good stream were dropped.
        #[test]
        fn exactly_the_losses_show(lost in proptest::collection::vec(proptest::bool::weighted(0.2), 1..200)) {
            let mut continuity = Continuity::new();
            let mut missing = None;
            for (index, &lost) in lost.iter().enumerate() {
                if lost {
                    missing = missing.map(|n: usize| n + 1);
                    continue;
                }
                let expected = match missing {
                    None => First,
                    Some(0) => Expected,
                    Some(n) if n % 16 == 15 => Duplicate,
                    Some(n) if n % 16 == 0 => Expected,
                    Some(n) => Gap { lost_min: (n % 16) as u8 },
                };
                let verdict = continuity.check(&Packet::new(&packet(5, PAYLOAD, index as u8 & 0x0F, 0)));
                prop_assert_eq!(verdict, expected);
                missing = Some(0);
            }
        }
    }
}
