//! What does an access unit begin with? Reads start codes up to the first picture or slice.
//!
//! An access point is
//! - MPEG-2 video: a sequence header and an I picture (ISO/IEC 13818-2 §6.2.2.1, §6.3.9);
//! - H.264: SPS, PPS, and an IDR picture, a recovery point SEI message or an I slice (Rec. H.264 §7.4.1.2.4,
//!   §D.2.8, §7.4.3). Broadcast streams with open GOPs and encoders with gradual refresh never send an IDR picture;
//! - H.265: an IRAP picture (Rec. H.265 §7.4.2.2, NAL unit types 16 to 21), or SPS, PPS and a recovery point.
//!
//! Bytes come in pieces of any size; nothing is stored but the state between two bytes.

/// What is being looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Mpeg2,
    H264,
    H265,
}

/// What the first picture or slice turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Access,
    /// Not an access point, but something that comes with one.
    Hint,
    Nothing,
}

/// Reads one access unit until it knows.
#[derive(Clone, Debug)]
pub(super) struct Sniffer {
    coding: Coding,
    /// Zero bytes just read, at most two.
    zeros: u8,
    unit: Unit,
    seen: Seen,
}

/// Where in a unit (what follows a start code) the next byte stands.
#[derive(Clone, Debug)]
enum Unit {
    /// The first byte: it says what the unit is.
    Type,
    Picture(Bits),
    Slice(Bits),
    /// H.265 has a second type byte, without interest here.
    SeiSecond,
    Sei(Sei),
    /// Nothing of interest up to the next start code.
    Other,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    /// Sequence header or sequence parameter set.
    sequence: bool,
    picture_parameters: bool,
    recovery_point: bool,
}

impl Sniffer {
    pub(super) fn new(coding: Coding) -> Self {
        Self { coding, zeros: 0, unit: Unit::Other, seen: Seen::default() }
    }

    /// Reads on. `None` while nothing is known; not to be called again after that.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Option<Finding> {
        bytes.iter().find_map(|&byte| self.push_byte(byte))
    }

    /// What is known when there is nothing more to read.
    pub(super) fn give_up(&self) -> Finding {
        if self.seen.sequence || self.seen.recovery_point { Finding::Hint } else { Finding::Nothing }
    }

    fn push_byte(&mut self, byte: u8) -> Option<Finding> {
        if self.zeros == 2 && byte == 1 {
            self.zeros = 0;
            self.unit = Unit::Type;
            return None;
        }
        // Rec. H.264 §7.4.1: 00 00 03 stands for 00 00 inside a NAL unit.
        let emulation_prevention = self.zeros == 2 && byte == 3 && self.coding != Coding::Mpeg2;
        self.zeros = if byte == 0 { (self.zeros + 1).min(2) } else { 0 };
        if emulation_prevention {
            return None;
        }
        match &mut self.unit {
            Unit::Other => None,
            Unit::Type => match self.coding {
                Coding::Mpeg2 => self.start_mpeg2(byte),
                Coding::H264 => self.start_h264(byte),
                Coding::H265 => self.start_h265(byte),
            },
            Unit::Picture(bits) => {
                bits.push(byte);
                let coding_type = bits.picture_coding_type()?;
                Some(self.conclude(coding_type == 1, self.seen.sequence))
            }
            Unit::Slice(bits) => {
                bits.push(byte);
                let intra = match bits.slice_type() {
                    Some(slice_type) => matches!(slice_type % 5, 2 | 4),
                    None if bits.full() => false,
                    None => return None,
                };
                let parameters = self.seen.sequence && self.seen.picture_parameters;
                Some(self.conclude(intra || self.seen.recovery_point, parameters))
            }
            Unit::SeiSecond => {
                self.unit = Unit::Sei(Sei::Type(0));
                None
            }
            Unit::Sei(sei) => {
                self.seen.recovery_point |= sei.push(byte);
                None
            }
        }
    }

    /// ISO/IEC 13818-2 Table 6-1.
    fn start_mpeg2(&mut self, code: u8) -> Option<Finding> {
        self.unit = match code {
            0x00 => Unit::Picture(Bits::default()),
            0xB3 => {
                self.seen.sequence = true;
                Unit::Other
            }
            _ => Unit::Other,
        };
        None
    }

    /// Rec. H.264 Table 7-1.
    fn start_h264(&mut self, head: u8) -> Option<Finding> {
        self.unit = Unit::Other;
        match head & 0x1F {
            1 | 2 => self.unit = Unit::Slice(Bits::default()),
            5 => return Some(self.conclude(true, self.seen.sequence && self.seen.picture_parameters)),
            6 => self.unit = Unit::Sei(Sei::Type(0)),
            7 => self.seen.sequence = true,
            8 => self.seen.picture_parameters = true,
            _ => {}
        }
        None
    }

    /// Rec. H.265 Table 7-1.
    fn start_h265(&mut self, head: u8) -> Option<Finding> {
        self.unit = Unit::Other;
        match head >> 1 & 0x3F {
            16..=21 => return Some(Finding::Access),
            0..=31 => {
                let parameters = self.seen.sequence && self.seen.picture_parameters;
                return Some(self.conclude(self.seen.recovery_point, parameters));
            }
            33 => self.seen.sequence = true,
            34 => self.seen.picture_parameters = true,
            39 => self.unit = Unit::SeiSecond,
            _ => {}
        }
        None
    }

    fn conclude(&self, intra: bool, parameters: bool) -> Finding {
        match (intra, parameters) {
            (true, true) => Finding::Access,
            (true, false) => Finding::Hint,
            _ => self.give_up(),
        }
    }
}

/// The first bits of a picture or slice header.
#[derive(Clone, Debug, Default)]
struct Bits {
    /// The bits read, the first one uppermost.
    value: u64,
    count: u32,
}

impl Bits {
    fn push(&mut self, byte: u8) {
        if !self.full() {
            self.count += 8;
            self.value |= u64::from(byte) << (u64::BITS - self.count);
        }
    }

    fn full(&self) -> bool {
        self.count == u64::BITS
    }

    /// ISO/IEC 13818-2 §6.2.3: after ten bits of `temporal_reference`.
    fn picture_coding_type(&self) -> Option<u8> {
        (self.count >= 16).then_some((self.value >> 51 & 0x07) as u8)
    }

    /// Rec. H.264 §7.3.3: after `first_mb_in_slice`.
    fn slice_type(&self) -> Option<u64> {
        let (_, first_mb_bits) = exp_golomb(self.value, self.count)?;
        exp_golomb(self.value << first_mb_bits, self.count - first_mb_bits).map(|(slice_type, _)| slice_type)
    }
}

/// An unsigned Exp-Golomb code (Rec. H.264 §9.1) at the top of `value`: what it stands for and its length, less than
/// 64; `None` when `count` bits do not hold all of it.
fn exp_golomb(value: u64, count: u32) -> Option<(u64, u32)> {
    let zeros = value.leading_zeros();
    let length = zeros * 2 + 1;
    if length > count || length >= u64::BITS {
        return None;
    }
    Some(((value >> (u64::BITS - length)) - 1, length))
}

/// SEI messages, one after the other (Rec. H.264 §7.3.2.3.1, Rec. H.265 §7.3.5).
#[derive(Clone, Debug)]
enum Sei {
    /// Sum of the type bytes so far.
    Type(u32),
    /// The type, and the sum of the size bytes so far.
    Size(u32, u32),
    /// Bytes left of the message.
    Body(u32),
}

impl Sei {
    const RECOVERY_POINT: u32 = 6;
    /// Types and sizes continue while their bytes have this value.
    const MORE: u8 = 0xFF;

    /// Reads on; true when a recovery point message begins.
    fn push(&mut self, byte: u8) -> bool {
        let value = u32::from(byte);
        *self = match *self {
            Self::Type(sum) if byte == Self::MORE => Self::Type(sum.saturating_add(value)),
            Self::Type(sum) => Self::Size(sum.saturating_add(value), 0),
            Self::Size(kind, sum) if byte == Self::MORE => Self::Size(kind, sum.saturating_add(value)),
            Self::Size(kind, sum) => {
                let size = sum.saturating_add(value);
                *self = if size == 0 { Self::Type(0) } else { Self::Body(size) };
                return kind == Self::RECOVERY_POINT && size > 0;
            }
            Self::Body(1) => Self::Type(0),
            Self::Body(left) => Self::Body(left - 1),
        };
        false
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const CODE: &[u8] = &[0, 0, 1];

    /// Units, each without its start code, one after the other.
    fn sniff(coding: Coding, units: &[&[u8]]) -> Option<Finding> {
        let bytes: Vec<u8> = units.iter().flat_map(|unit| [CODE, unit]).flatten().copied().collect();
        Sniffer::new(coding).push(&bytes)
    }

    const ACCESS: Option<Finding> = Some(Finding::Access);
    const HINT: Option<Finding> = Some(Finding::Hint);
    const NOTHING: Option<Finding> = Some(Finding::Nothing);

    #[test]
    fn mpeg2_needs_a_sequence_header_and_an_i_picture() {
        let sequence: &[u8] = &[0xB3, 0x2D, 0x02, 0x40];
        let group: &[u8] = &[0xB8, 0x00, 0x08, 0x00];
        let [i, p, b]: [&[u8]; 3] =
            [&[0x00, 0x00, 0x0F, 0xFF], &[0x00, 0x00, 0x57, 0xFF], &[0x00, 0x00, 0x9F, 0xFF]];
        let cases: [(&[&[u8]], Option<Finding>); 7] = [
            (&[sequence, group, i], ACCESS),
            (&[sequence, i], ACCESS),
            (&[group, i], HINT),
            (&[sequence, p], HINT),
            (&[p], NOTHING),
            (&[b], NOTHING),
            (&[sequence, group], None),
        ];
        for (units, expected) in cases {
            assert_eq!(sniff(Coding::Mpeg2, units), expected, "{units:02x?}");
        }
    }

    #[test]
    fn h264_needs_parameter_sets_and_a_picture_to_begin_with() {
        let [delimiter, sps, pps]: [&[u8]; 3] = [&[0x09, 0xF0], &[0x67, 0x42], &[0x68, 0xCE]];
        let [idr, i, p]: [&[u8]; 3] = [&[0x65, 0x88], &[0x41, 0x88], &[0x41, 0x9A]];
        let recovery: &[u8] = &[0x06, 0x06, 0x01, 0xC4, 0x80];
        let cases: [(&[&[u8]], Option<Finding>); 14] = [
            (&[delimiter, sps, pps, idr], ACCESS),
            (&[sps, pps, recovery, i], ACCESS),
            // Gradual refresh: no picture is intra.
            (&[sps, pps, recovery, p], ACCESS),
            (&[sps, pps, i], ACCESS),
            (&[pps, sps, idr], ACCESS),
            (&[sps, idr], HINT),
            (&[idr], HINT),
            (&[recovery, i], HINT),
            (&[recovery, p], HINT),
            (&[i], HINT),
            (&[sps, pps, p], HINT),
            (&[delimiter, pps, p], NOTHING),
            (&[p], NOTHING),
            (&[delimiter, sps, pps, recovery], None),
        ];
        for (units, expected) in cases {
            assert_eq!(sniff(Coding::H264, units), expected, "{units:02x?}");
        }
    }

    #[test]
    fn h265_needs_an_irap_picture() {
        let [vps, sps, pps, delimiter]: [&[u8]; 4] = [&[0x40, 1], &[0x42, 1], &[0x44, 1], &[0x46, 1]];
        let recovery: &[u8] = &[0x4E, 0x01, 0x06, 0x01, 0xC4, 0x80];
        for kind in 0..64u8 {
            let expected = match kind {
                16..=21 => ACCESS,
                0..=31 => HINT,
                _ => None,
            };
            assert_eq!(
                sniff(Coding::H265, &[delimiter, vps, sps, pps, &[kind << 1, 1]]),
                expected,
                "type {kind}"
            );
        }
        assert_eq!(sniff(Coding::H265, &[&[19 << 1, 1]]), ACCESS);
        assert_eq!(sniff(Coding::H265, &[delimiter, &[1 << 1, 1]]), NOTHING);
        assert_eq!(sniff(Coding::H265, &[sps, pps, recovery, &[1 << 1, 1]]), ACCESS);
        assert_eq!(sniff(Coding::H265, &[recovery, &[1 << 1, 1]]), HINT);
    }

    #[test]
    fn recovery_points_are_found_among_other_sei_messages() {
        let picture = &[0x68u8, 0xCE][..];
        let long = |filler: u8| [&[0x06, 5, 255, 45][..], &[filler; 300], &[6, 1, 0xC4, 0x80]].concat();
        let cases: [(&str, Vec<u8>, bool); 7] = [
            ("alone", [6, 6, 1, 0xC4, 0x80].to_vec(), true),
            ("after buffering period", [6, 0, 2, 0x80, 0x40, 6, 1, 0xC4, 0x80].to_vec(), true),
            ("after 300 bytes", long(6), true),
            ("in the body of another", [6, 5, 4, 6, 1, 0xC4, 0x80, 0x80].to_vec(), false),
            ("after an emulation prevention byte", [6, 5, 3, 0, 0, 3, 1, 6, 1, 0xC4, 0x80].to_vec(), true),
            ("of a type beyond 255", [6, 255, 6, 1, 0xC4, 0x80].to_vec(), false),
            ("without a body", [6, 6, 0, 0x80].to_vec(), false),
        ];
        for (name, sei, expected) in cases {
            let found = sniff(Coding::H264, &[&[0x67, 0x42], picture, &sei, &[0x41, 0x9A]]);
            assert_eq!(found == ACCESS, expected, "{name}");
        }
    }

    #[test]
    fn slice_types_are_read_behind_any_macroblock_address() {
        // first_mb_in_slice, slice_type, the bits of both, then zeros.
        let cases: [(u64, u64, &[u8]); 7] = [
            (0, 7, &[0b1000_1000]),
            (0, 2, &[0b1011_0000]),
            (0, 5, &[0b1001_1000]),
            (0, 0, &[0b1100_0000]),
            (1, 2, &[0b0100_1100]),
            (8_159, 7, &[0x00, 0x0F, 0xF0, 0x08]),
            (1, 6, &[0b0100_0111, 0]),
        ];
        for (first_mb, slice_type, bytes) in cases {
            let mut bits = Bits::default();
            bytes.iter().chain(&[0; 3]).for_each(|&byte| bits.push(byte));
            assert_eq!(exp_golomb(bits.value, bits.count).map(|(value, _)| value), Some(first_mb));
            assert_eq!(bits.slice_type(), Some(slice_type), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_slice_header_without_end_is_no_access_point() {
        assert_eq!(sniff(Coding::H264, &[&[0x41, 0, 0, 3, 0, 0, 3, 0, 0, 3, 0, 0, 3, 0, 0, 3]]), NOTHING);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            pieces in proptest::collection::vec(proptest::collection::vec(0u8..8, 0..40), 0..40),
        ) {
            for coding in [Coding::Mpeg2, Coding::H264, Coding::H265] {
                let mut sniffer = Sniffer::new(coding);
                let _ = pieces.iter().find_map(|piece| sniffer.push(piece));
                sniffer.give_up();
            }
        }

        #[test]
        fn the_answer_does_not_depend_on_how_the_bytes_are_cut(
            bytes in proptest::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..200),
            piece in 1usize..20,
        ) {
            for coding in [Coding::Mpeg2, Coding::H264, Coding::H265] {
                let mut sniffer = Sniffer::new(coding);
                let in_pieces = bytes.chunks(piece).find_map(|piece| sniffer.push(piece));
                prop_assert_eq!(in_pieces, Sniffer::new(coding).push(&bytes));
            }
        }
    }
}
