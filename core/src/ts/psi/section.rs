//! Sections: put together from packets, then checked (ISO/IEC 13818-1 §2.4.4, Annex A for the CRC).

use alloc::vec::Vec;

use crate::ts::packet::Packet;

/// The longest PAT or PMT section, head and CRC included (§2.4.4.4, §2.4.4.9: `section_length` ≤ 1021). Longer
/// private sections on the same PID are stepped over.
pub const SECTION_BYTES_MAX: usize = 1024;

/// Table id, flags and `section_length`.
const HEAD_BYTES: usize = 3;
/// The head of a section with `section_syntax_indicator`, up to `last_section_number`.
const LONG_HEAD_BYTES: usize = 8;
const CRC_BYTES: usize = 4;
/// A table id that no table has: the rest of the packet is stuffing.
const STUFFING: u8 = 0xFF;

/// Puts the sections of one PID together. Holds at most [`SECTION_BYTES_MAX`] bytes.
///
/// Damaged and missing packets (by `transport_error_indicator` and continuity counter) drop the section
/// they belong to, a repeated packet is ignored.
#[derive(Clone, Debug, Default)]
pub struct SectionAssembler {
    buffer: Vec<u8>,
    /// Bytes of the open section that the buffer has no room for and that were stepped over.
    skipped: usize,
    /// Packets that the open section spreads over so far; zero when no section is open.
    packets: usize,
    last_counter: Option<u8>,
}

/// A complete section, not yet checked.
#[derive(Clone, Copy, Debug)]
pub struct Assembled<'a> {
    /// From the table id to the CRC.
    pub bytes: &'a [u8],
    /// How many packets it spread over, the one that completed it included.
    pub packets: usize,
}

impl SectionAssembler {
    /// Waits for the first section to begin.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next packet of the PID and hands each section that it completes to `sink`. False when the packet
    /// was not used: no payload, damaged, scrambled, or a repetition of the one before.
    pub fn push(&mut self, packet: &Packet<'_>, mut sink: impl FnMut(Assembled<'_>)) -> bool {
        let Some(payload) = packet.payload().filter(|_| !packet.scrambled()) else { return false };
        if packet.transport_error() {
            self.reset();
            return false;
        }
        let step = self
            .last_counter
            .replace(packet.continuity())
            .map(|last| packet.continuity().wrapping_sub(last) & 0x0F);
        match step {
            Some(0) => return false,
            Some(1) => {}
            _ => self.close(),
        }
        if self.packets > 0 {
            self.packets += 1;
        }
        if packet.payload_unit_start() {
            self.push_unit_start(payload, &mut sink);
        } else {
            self.append(payload, &mut sink);
        }
        true
    }

    /// Drops the open section and forgets the continuity counter.
    pub fn reset(&mut self) {
        self.close();
        self.last_counter = None;
    }

    /// Packets that the section being put together spreads over so far; zero between sections.
    pub(super) fn open_packets(&self) -> usize {
        self.packets
    }

    /// §2.4.4.2: a `pointer_field` says how much of the payload still belongs to the section before.
    fn push_unit_start(&mut self, payload: &[u8], sink: &mut impl FnMut(Assembled<'_>)) {
        let Some((&pointer, rest)) = payload.split_first() else { return };
        let Some((before, mut rest)) = rest.split_at_checked(usize::from(pointer)) else {
            self.close();
            return;
        };
        self.append(before, sink);
        self.close();
        // Ends: each round takes at least one byte, or all of the rest.
        while rest.first().is_some_and(|&table_id| table_id != STUFFING) {
            self.packets = 1;
            rest = self.append(rest, sink);
        }
    }

    /// Adds `bytes` to the open section and returns what follows its end.
    fn append<'a>(&mut self, mut bytes: &'a [u8], sink: &mut impl FnMut(Assembled<'_>)) -> &'a [u8] {
        if self.packets == 0 {
            return &[];
        }
        if self.buffer.len() < HEAD_BYTES {
            bytes = self.take(bytes, HEAD_BYTES - self.buffer.len());
        }
        let Some(&[_, high, low]) = self.buffer.first_chunk::<HEAD_BYTES>() else { return bytes };
        let section_bytes = HEAD_BYTES + usize::from(u16::from_be_bytes([high & 0x0F, low]));
        bytes = self.take(bytes, section_bytes - self.buffer.len() - self.skipped);
        if self.buffer.len() + self.skipped == section_bytes {
            if self.skipped == 0 {
                sink(Assembled { bytes: &self.buffer, packets: self.packets });
            }
            self.close();
        }
        bytes
    }

    /// Moves up to `wanted` bytes into the buffer, or past it where it is full; returns the others.
    fn take<'a>(&mut self, bytes: &'a [u8], wanted: usize) -> &'a [u8] {
        let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
        let (stored, skipped) = taken.split_at(taken.len().min(SECTION_BYTES_MAX - self.buffer.len()));
        self.buffer.extend_from_slice(stored);
        self.skipped += skipped.len();
        rest
    }

    fn close(&mut self) {
        self.buffer.clear();
        self.skipped = 0;
        self.packets = 0;
    }
}

/// Why bytes are not a section that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionError {
    /// Fewer bytes than its head announces, or than a head needs.
    Short,
    /// It has no `section_syntax_indicator`: no version, no CRC, so no PAT, CAT or PMT.
    NoSyntax,
    /// The CRC does not match: the content is damaged.
    Crc,
    /// The lengths inside contradict each other.
    Malformed,
    /// Another table than the one asked for.
    OtherTable {
        /// The table id found.
        table_id: u8,
    },
}

/// A section with the long head, whole and with a matching CRC.
#[derive(Clone, Copy, Debug)]
pub struct Section<'a> {
    bytes: &'a [u8],
}

impl<'a> Section<'a> {
    /// Checks length, syntax and CRC of `bytes`, which begin with the table id; bytes after the section are
    /// left out.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, SectionError> {
        let &[_, high, low] = bytes.first_chunk::<HEAD_BYTES>().ok_or(SectionError::Short)?;
        let length = HEAD_BYTES + usize::from(u16::from_be_bytes([high & 0x0F, low]));
        if high & 0x80 == 0 {
            return Err(SectionError::NoSyntax);
        }
        let bytes = bytes.get(..length).ok_or(SectionError::Short)?;
        if length < LONG_HEAD_BYTES + CRC_BYTES {
            return Err(SectionError::Malformed);
        }
        // Annex A: the CRC over a section and its own CRC leaves zero.
        if crc32_mpeg2(bytes) != 0 {
            return Err(SectionError::Crc);
        }
        Ok(Self { bytes })
    }

    /// Which table it belongs to: 0 PAT, 1 CAT, 2 PMT.
    pub fn table_id(&self) -> u8 {
        self.bytes[0]
    }

    /// `table_id_extension`: `transport_stream_id` of a PAT, `program_number` of a PMT.
    pub fn extension(&self) -> u16 {
        u16::from_be_bytes([self.bytes[3], self.bytes[4]])
    }

    /// 0..=31.
    pub fn version(&self) -> u8 {
        self.bytes[5] >> 1 & 0x1F
    }

    /// `current_next_indicator`: false when the table is only announced and not yet in force.
    pub fn current(&self) -> bool {
        self.bytes[5] & 1 != 0
    }

    /// Which section of the table it is.
    pub fn number(&self) -> u8 {
        self.bytes[6]
    }

    /// What stands between the head and the CRC.
    pub fn body(&self) -> &'a [u8] {
        &self.bytes[LONG_HEAD_BYTES..self.bytes.len() - CRC_BYTES]
    }
}

const CRC_POLYNOMIAL: u32 = 0x04C1_1DB7;

const CRC_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < table.len() {
        let mut remainder = (index as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            let carry = remainder & 0x8000_0000 != 0;
            remainder <<= 1;
            if carry {
                remainder ^= CRC_POLYNOMIAL;
            }
            bit += 1;
        }
        table[index] = remainder;
        index += 1;
    }
    table
};

/// The CRC of sections (ISO/IEC 13818-1 Annex A): not reflected, all ones at the start, not inverted at the end.
pub fn crc32_mpeg2(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, &byte| crc << 8 ^ CRC_TABLE[((crc >> 24) as u8 ^ byte) as usize])
}

#[cfg(test)]
mod tests {
    use std::vec;

    use proptest::prelude::*;

    use super::*;
    use crate::ts::packet::{PACKET_BYTES, Pid};
    use crate::ts::psi::testing::{long_section, packets, private_section};

    fn assemble(packets: &[[u8; PACKET_BYTES]]) -> Vec<(Vec<u8>, usize)> {
        let mut assembler = SectionAssembler::new();
        let mut sections = Vec::new();
        for packet in packets {
            assembler.push(&Packet::new(packet), |section| {
                sections.push((section.bytes.to_vec(), section.packets));
            });
        }
        sections
    }

    const PID: Pid = Pid::new(0x30);

    #[test]
    fn the_crc_is_that_of_the_standard() {
        // The check value of CRC-32/MPEG-2.
        assert_eq!(crc32_mpeg2(b"123456789"), 0x0376_E6E7);
        assert_eq!(crc32_mpeg2(b""), u32::MAX);
    }

    #[test]
    fn a_section_over_several_packets_is_put_together() {
        let section = long_section(2, 1, 0, &[7; 400]);
        let packets = packets(PID, 14, core::slice::from_ref(&section));
        assert_eq!(packets.len(), 3);
        assert_eq!(assemble(&packets), [(section, 3)]);
    }

    #[test]
    fn several_sections_in_a_packet_are_told_apart() {
        let sections =
            [long_section(0, 1, 0, &[1; 8]), long_section(2, 2, 0, &[2; 200]), private_section(0x80, 10)];
        let found = assemble(&packets(PID, 0, &sections));
        let expected = sections.into_iter().zip([1, 2, 1]).collect::<Vec<_>>();
        assert_eq!(found, expected);
    }

    #[test]
    fn sections_longer_than_a_table_may_be_are_stepped_over() {
        let sections =
            [private_section(0x80, 1_021), private_section(0x80, 1_022), long_section(2, 1, 0, &[1; 8])];
        let lengths: Vec<_> =
            assemble(&packets(PID, 0, &sections)).iter().map(|(bytes, _)| bytes.len()).collect();
        assert_eq!(lengths, [SECTION_BYTES_MAX, sections[2].len()]);
    }

    #[test]
    fn a_lost_or_damaged_packet_drops_only_the_section_it_belongs_to() {
        let sections = [long_section(2, 1, 0, &[1; 400]), long_section(2, 2, 0, &[2; 100])];
        let whole = packets(PID, 0, &sections);
        let (mut lost, mut damaged, mut repeated) = (whole.clone(), whole.clone(), whole.clone());
        lost.remove(1);
        damaged[1][1] |= 0x80;
        repeated.insert(1, repeated[1]);
        let second = [(sections[1].clone(), 1)];
        assert_eq!(assemble(&lost), second);
        assert_eq!(assemble(&damaged), second);
        assert_eq!(assemble(&repeated), assemble(&whole));
    }

    #[test]
    fn what_follows_a_lost_packet_does_not_complete_the_section_before_it() {
        let sections = [250, 400, 100].map(|length| private_section(0x80, length));
        let mut packets = packets(PID, 0, &sections);
        packets.remove(1);
        assert_eq!(assemble(&packets), [(sections[2].clone(), 2)]);
    }

    #[test]
    fn a_section_begun_unseen_is_not_put_together() {
        let packets = packets(PID, 0, &[long_section(2, 1, 0, &[1; 400]), long_section(2, 2, 0, &[2; 100])]);
        assert_eq!(assemble(&packets[1..]).len(), 1);
    }

    #[test]
    fn a_pointer_beyond_the_packet_drops_the_section() {
        let mut packets = packets(PID, 0, &[long_section(2, 1, 0, &[1; 300])]);
        packets[1][1] |= 0x40;
        packets[1][4] = 184;
        assert_eq!(assemble(&packets), []);
    }

    #[test]
    fn only_whole_sections_with_the_right_crc_are_accepted() {
        let good = long_section(2, 0x1234, 5, &[9; 20]);
        let change = |at: usize, value: u8| {
            let mut section = good.clone();
            section[at] = value;
            section
        };
        let cases = [
            (good[..good.len() - 1].to_vec(), SectionError::Short),
            (good[..2].to_vec(), SectionError::Short),
            (change(1, good[1] & 0x7F), SectionError::NoSyntax),
            (change(10, 0), SectionError::Crc),
            (vec![2, 0xB0, 8, 0, 1, 0xC1, 0, 0, 0, 0, 0], SectionError::Malformed),
        ];
        for (bytes, expected) in cases {
            assert_eq!(Section::parse(&bytes).map(|_| ()), Err(expected), "{bytes:02x?}");
        }
        let section = Section::parse(&good).unwrap();
        assert_eq!((section.table_id(), section.extension(), section.version()), (2, 0x1234, 5));
        assert_eq!((section.current(), section.number()), (true, 0));
        assert_eq!(section.body(), [9; 20]);
    }

    proptest! {
        #[test]
        fn any_sections_come_out_as_they_went_in(
            lengths in proptest::collection::vec(0usize..=1_021, 1..20),
            counter in 0u8..16,
        ) {
            let sections: Vec<_> = lengths.iter().map(|&length| private_section(0x80, length)).collect();
            let found: Vec<_> = assemble(&packets(PID, counter, &sections)).into_iter().map(|(bytes, _)| bytes).collect();
            prop_assert_eq!(found, sections);
        }

        #[test]
        fn no_bytes_panic(packets in proptest::collection::vec((proptest::array::uniform16(any::<u8>()), 0u8..4), 0..40)) {
            let mut assembler = SectionAssembler::new();
            for (index, (head, kind)) in packets.into_iter().enumerate() {
                let mut packet = [0x02; PACKET_BYTES];
                packet[4..20].copy_from_slice(&head);
                packet[..4].copy_from_slice(&[0x47, (kind & 1) << 6, 0, 0x10 | (index as u8 & 0x0F)]);
                assembler.push(&Packet::new(&packet), |section| {
                    assert!(section.bytes.len() <= SECTION_BYTES_MAX);
                    let _ = Section::parse(section.bytes).map(|section| section.body().len());
                });
                prop_assert!(assembler.open_packets() <= index + 1);
            }
        }
    }
}
