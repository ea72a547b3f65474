//! The number and the time at the end of a synthetic packet, and the account that a receiver keeps of them.

use crate::ts::PACKET_BYTES;

/// Bytes of a mark: the last ones of its packet.
///
/// | bytes | what |
/// | --- | --- |
/// | 0..6 | `D2 E5 F3 F4 F2 ED`, the magic |
/// | 6..15 | the number: 63 bits, seven per byte, the top bit of each byte set, most significant first |
/// | 15..24 | the time, nanoseconds, likewise |
///
/// Every byte has its top bit set, so that a mark never looks like a sync byte or a part of a start code.
pub const MARK_BYTES: usize = 24;

const MAGIC: [u8; 6] = [0xD2, 0xE5, 0xF3, 0xF4, 0xF2, 0xED];
const NUMBER_BYTES: usize = 9;
const MARK_START: usize = PACKET_BYTES - MARK_BYTES;

/// What a marked packet says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Counts the marked packets of a stream without a gap; 63 bits.
    pub sequence: u64,
    /// When the packet was sent, nanoseconds from an origin that sender and receiver share; 63 bits.
    pub sent_ns: u64,
}

impl Mark {
    /// The mark of `packet`; `None` when it has none.
    #[inline]
    pub fn read(packet: &[u8; PACKET_BYTES]) -> Option<Mark> {
        let (_, mark) = packet.split_last_chunk::<MARK_BYTES>()?;
        let (magic, numbers) = mark.split_at(MAGIC.len());
        if magic != MAGIC {
            return None;
        }
        let (sequence, sent) = numbers.split_at(NUMBER_BYTES);
        Some(Mark { sequence: decode(sequence)?, sent_ns: decode(sent)? })
    }

    /// Puts the mark over the last bytes of `packet`, which must be payload that nobody needs.
    #[inline]
    pub fn write(self, packet: &mut [u8; PACKET_BYTES]) {
        packet[MARK_START..MARK_START + MAGIC.len()].copy_from_slice(&MAGIC);
        encode(self.sequence, &mut packet[MARK_START + MAGIC.len()..PACKET_BYTES - NUMBER_BYTES]);
        encode(self.sent_ns, &mut packet[PACKET_BYTES - NUMBER_BYTES..]);
    }

    /// Replaces the time in a marked packet; a packet without a mark stays as it is.
    ///
    /// For senders that cannot keep to the nominal time.
    #[inline]
    pub fn restamp(packet: &mut [u8; PACKET_BYTES], sent_ns: u64) {
        if let Some(mark) = Mark::read(packet) {
            Mark { sent_ns, ..mark }.write(packet);
        }
    }
}

fn encode(number: u64, out: &mut [u8]) {
    for (place, byte) in out.iter_mut().rev().enumerate() {
        *byte = 0x80 | ((number >> (7 * place)) & 0x7F) as u8;
    }
}

fn decode(bytes: &[u8]) -> Option<u64> {
    bytes
        .iter()
        .try_fold(0, |number, &byte| (byte & 0x80 != 0).then_some(number << 7 | u64::from(byte & 0x7F)))
}

/// A receiver's account of a marked stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// Packets seen, with a mark or without.
    pub packets: u64,
    /// Packets with a mark.
    pub marked: u64,
    /// The number of the first mark.
    pub first: Option<u64>,
    /// The number of the last mark.
    pub last: Option<u64>,
    /// Places where numbers are missing.
    pub gaps: u64,
    /// Numbers missing at these places.
    pub lost: u64,
    /// Marks whose number is not above the one before: repeated or out of order.
    pub backwards: u64,
    /// Longest time from sending to receiving, nanoseconds.
    pub delay_ns_max: u64,
    /// Sum of these times, nanoseconds: divide by `marked`.
    pub delay_ns_sum: u64,
}

impl Probe {
    /// A receiver that has seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The mark of `packet`; the same as [`Mark::read`].
    #[inline]
    pub fn read(packet: &[u8; PACKET_BYTES]) -> Option<Mark> {
        Mark::read(packet)
    }

    /// Notes a packet received at `now_ns`.
    pub fn observe(&mut self, now_ns: u64, packet: &[u8; PACKET_BYTES]) {
        self.packets += 1;
        let Some(mark) = Mark::read(packet) else { return };
        self.marked += 1;
        let delay_ns = now_ns.saturating_sub(mark.sent_ns);
        self.delay_ns_max = self.delay_ns_max.max(delay_ns);
        self.delay_ns_sum = self.delay_ns_sum.saturating_add(delay_ns);
        match self.last {
            None => self.first = Some(mark.sequence),
            Some(last) if mark.sequence <= last => {
                self.backwards += 1;
                return;
            }
            Some(last) if mark.sequence - last > 1 => {
                self.gaps += 1;
                self.lost += mark.sequence - last - 1;
            }
            Some(_) => {}
        }
        self.last = Some(mark.sequence);
    }

    /// Whether nothing was lost, repeated or out of order since the first mark.
    pub fn is_clean(&self) -> bool {
        self.gaps == 0 && self.backwards == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(sequence: u64, sent_ns: u64) -> [u8; PACKET_BYTES] {
        let mut packet = [0; PACKET_BYTES];
        Mark { sequence, sent_ns }.write(&mut packet);
        packet
    }

    #[test]
    fn a_mark_reads_back_and_contains_no_sync_byte() {
        for number in [0, 1, 0x47, 0x4747_4747_4747_4747, (1 << 63) - 1] {
            let packet = marked(number, number / 3);
            assert_eq!(Probe::read(&packet), Some(Mark { sequence: number, sent_ns: number / 3 }));
            assert!(packet[MARK_START..].iter().all(|&byte| byte & 0x80 != 0));
        }
        assert_eq!(Mark::read(&[0xFF; PACKET_BYTES]), None);
    }

    #[test]
    fn a_restamped_packet_keeps_its_number() {
        let mut packet = marked(9, 1);
        Mark::restamp(&mut packet, 77);
        assert_eq!(Mark::read(&packet), Some(Mark { sequence: 9, sent_ns: 77 }));
    }

    #[test]
    fn a_probe_tells_loss_from_repetition() {
        let mut probe = Probe::new();
        for (now, sequence) in [(10, 5), (20, 6), (30, 9), (40, 9), (50, 8), (60, 10)] {
            probe.observe(now, &marked(sequence, now - 3));
        }
        assert_eq!((probe.first, probe.last), (Some(5), Some(10)));
        assert_eq!((probe.gaps, probe.lost, probe.backwards), (1, 2, 2));
        assert_eq!((probe.delay_ns_max, probe.delay_ns_sum), (3, 18));
        assert!(!probe.is_clean());
    }
}
