//! The adaptation field and the program clock reference (ISO/IEC 13818-1 §2.4.3.4, §2.4.3.5).

use super::packet::{PACKET_BYTES, Packet};

const DISCONTINUITY: u8 = 0x80;
const RANDOM_ACCESS: u8 = 0x40;
const PCR_FLAG: u8 = 0x10;
const OPCR_FLAG: u8 = 0x08;

/// Where the flags stand in a packet that has them: after header and field length.
const FLAGS_OFFSET: usize = 5;
/// Where a PCR stands in a packet that has one.
const PCR_OFFSET: usize = FLAGS_OFFSET + 1;
const PCR_BYTES: usize = 6;

/// A program clock reference: ticks of 27 MHz, modulo [`Pcr::MODULUS`] (about 26.5 h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pcr(u64);

impl Pcr {
    /// Ticks per second.
    pub const HZ: u64 = 27_000_000;
    /// The clock wraps here: 33 bits of 90 kHz times 300.
    pub const MODULUS: u64 = 300 << 33;

    /// The clock at `ticks`, modulo [`Pcr::MODULUS`].
    pub const fn from_27mhz(ticks: u64) -> Self {
        Self(ticks % Self::MODULUS)
    }

    /// Ticks of 27 MHz, below [`Pcr::MODULUS`].
    pub const fn as_27mhz(self) -> u64 {
        self.0
    }

    /// The clock `ticks` later (earlier when negative).
    pub const fn offset(self, ticks: i64) -> Self {
        Self((self.0 as i64).wrapping_add(ticks % Self::MODULUS as i64).rem_euclid(Self::MODULUS as i64)
            as u64)
    }

    /// Ticks from `earlier` to this one by the shorter way round: −MODULUS/2 ..= MODULUS/2.
    pub const fn ticks_since(self, earlier: Self) -> i64 {
        let forward = (self.0 + Self::MODULUS - earlier.0) % Self::MODULUS;
        if forward > Self::MODULUS / 2 { forward as i64 - Self::MODULUS as i64 } else { forward as i64 }
    }

    /// Reads the 48 bits of §2.4.3.5: base (33), reserved (6), extension (9).
    fn from_wire(wire: &[u8; PCR_BYTES]) -> Self {
        let [a, b, c, d, e, f] = *wire;
        let bits = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        Self::from_27mhz((bits >> 15) * 300 + (bits & 0x1FF))
    }

    fn to_wire(self) -> [u8; PCR_BYTES] {
        let bits = (self.0 / 300) << 15 | 0x3F << 9 | (self.0 % 300);
        let [_, _, a, b, c, d, e, f] = bits.to_be_bytes();
        [a, b, c, d, e, f]
    }
}

/// A view of one adaptation field, without its length byte. A field cut short reads as having no flags.
#[derive(Clone, Copy, Debug)]
pub struct Adaptation<'a>(&'a [u8]);

impl<'a> Adaptation<'a> {
    pub(super) const fn new(field: &'a [u8]) -> Self {
        Self(field)
    }

    /// `discontinuity_indicator`: continuity counter or time base may jump here.
    #[inline]
    pub fn discontinuity(&self) -> bool {
        self.flags() & DISCONTINUITY != 0
    }

    /// `random_access_indicator`: the next PES packet of this PID begins where a decoder can begin.
    #[inline]
    pub fn random_access(&self) -> bool {
        self.flags() & RANDOM_ACCESS != 0
    }

    /// The program clock reference, when there is one and the field is long enough for it.
    #[inline]
    pub fn pcr(&self) -> Option<Pcr> {
        if self.flags() & PCR_FLAG == 0 {
            return None;
        }
        self.0.get(1..)?.first_chunk().map(Pcr::from_wire)
    }

    /// The original program clock reference: the PCR of the stream that this one was made from.
    #[inline]
    pub fn opcr(&self) -> Option<Pcr> {
        if self.flags() & OPCR_FLAG == 0 {
            return None;
        }
        self.0.get(self.opcr_at()..)?.first_chunk().map(Pcr::from_wire)
    }

    /// Where the OPCR would stand in the field: after flags and PCR.
    #[inline]
    fn opcr_at(&self) -> usize {
        if self.flags() & PCR_FLAG == 0 { 1 } else { 1 + PCR_BYTES }
    }

    #[inline]
    fn flags(&self) -> u8 {
        self.0.first().copied().unwrap_or(0)
    }
}

/// Replaces the PCR of a packet. False, and nothing is written, when the packet has none.
pub fn write_pcr(packet: &mut [u8; PACKET_BYTES], pcr: Pcr) -> bool {
    if Packet::new(packet).adaptation().and_then(|field| field.pcr()).is_none() {
        return false;
    }
    packet[PCR_OFFSET..PCR_OFFSET + PCR_BYTES].copy_from_slice(&pcr.to_wire());
    true
}

/// Replaces the OPCR of a packet. False, and nothing is written, when the packet has none.
pub fn write_opcr(packet: &mut [u8; PACKET_BYTES], opcr: Pcr) -> bool {
    let Some(field) = Packet::new(packet).adaptation().filter(|field| field.opcr().is_some()) else {
        return false;
    };
    let at = FLAGS_OFFSET + field.opcr_at();
    packet[at..at + PCR_BYTES].copy_from_slice(&opcr.to_wire());
    true
}

/// Sets or clears the `random_access_indicator`. False, and nothing is written, when the packet has no
/// adaptation field with flags.
pub fn write_random_access(packet: &mut [u8; PACKET_BYTES], random_access: bool) -> bool {
    if Packet::new(packet).adaptation().is_none_or(|field| field.0.is_empty()) {
        return false;
    }
    let flags = &mut packet[FLAGS_OFFSET];
    *flags = if random_access { *flags | RANDOM_ACCESS } else { *flags & !RANDOM_ACCESS };
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(field_bytes: u8, flags: u8) -> [u8; PACKET_BYTES] {
        let mut packet = [0; PACKET_BYTES];
        packet[..6].copy_from_slice(&[0x47, 0x01, 0x00, 0x30, field_bytes, flags]);
        packet
    }

    #[test]
    fn an_opcr_stands_behind_the_pcr_where_there_is_one() {
        let clock = Pcr::from_27mhz(Pcr::MODULUS - 1);
        for (flags, at) in [(OPCR_FLAG, 6), (OPCR_FLAG | PCR_FLAG, 12)] {
            let mut bytes = packet(20, flags);
            assert!(write_opcr(&mut bytes, clock));
            assert_eq!(bytes[at..at + PCR_BYTES], clock.to_wire());
            let field = Packet::new(&bytes).adaptation().unwrap();
            assert_eq!(field.opcr(), Some(clock));
            assert_ne!(field.pcr(), Some(clock));
        }
    }

    #[test]
    fn a_field_too_short_for_its_clocks_has_none() {
        for (field_bytes, pcr) in [(0, false), (6, false), (7, true), (12, true)] {
            let mut bytes = packet(field_bytes, PCR_FLAG | OPCR_FLAG);
            let before = bytes;
            assert_eq!(Packet::new(&bytes).adaptation().unwrap().pcr().is_some(), pcr);
            assert!(!write_opcr(&mut bytes, Pcr::from_27mhz(1)));
            assert_eq!(bytes, before);
        }
    }

    #[test]
    fn a_pcr_is_base_times_300_plus_extension() {
        let cases: [([u8; 6], u64); 4] = [
            ([0x00, 0x00, 0x00, 0x00, 0x7E, 0x00], 0),
            ([0x00, 0x00, 0x00, 0x00, 0xFE, 0x01], 301),
            ([0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x2B], Pcr::MODULUS - 1),
            // An extension beyond 299 is wrong, and still a number.
            ([0x00, 0x00, 0x00, 0x00, 0x7F, 0xFF], 511),
        ];
        for (wire, ticks) in cases {
            let mut bytes = packet(20, PCR_FLAG);
            bytes[6..12].copy_from_slice(&wire);
            let pcr = Packet::new(&bytes).adaptation().unwrap().pcr().unwrap();
            assert_eq!(pcr.as_27mhz(), ticks, "{wire:02x?}");
        }
    }

    #[test]
    fn clocks_are_compared_by_the_shorter_way_round() {
        let second = Pcr::HZ as i64;
        let late = Pcr::from_27mhz(Pcr::MODULUS - Pcr::HZ);
        assert_eq!(late.offset(2 * second).as_27mhz(), Pcr::HZ);
        assert_eq!(late.offset(2 * second).ticks_since(late), 2 * second);
        assert_eq!(late.ticks_since(late.offset(2 * second)), -2 * second);
        assert_eq!(Pcr::from_27mhz(0).offset(-1).as_27mhz(), Pcr::MODULUS - 1);
        assert_eq!(late.offset(i64::MIN).offset(i64::MAX).offset(1), late);
    }

    #[test]
    fn fields_too_short_for_their_flags_have_no_pcr() {
        for field_bytes in 0..=7 {
            let bytes = packet(field_bytes, PCR_FLAG);
            let pcr = Packet::new(&bytes).adaptation().and_then(|field| field.pcr());
            assert_eq!(pcr.is_some(), field_bytes == 7, "{field_bytes} bytes");
        }
        let beyond_the_packet = packet(184, PCR_FLAG);
        assert!(Packet::new(&beyond_the_packet).adaptation().is_none());
    }

    #[test]
    fn the_indicator_is_written_only_where_there_is_a_field() {
        let (mut with, mut empty) = (packet(1, DISCONTINUITY), packet(0, 0));
        assert!(write_random_access(&mut with, true));
        let field = Packet::new(&with).adaptation().unwrap();
        assert!(field.random_access() && field.discontinuity());
        assert!(write_random_access(&mut with, false));
        assert!(!Packet::new(&with).adaptation().unwrap().random_access());
        assert!(!write_random_access(&mut empty, true));
        assert_eq!(empty, packet(0, 0));
    }

    proptest! {
        #[test]
        fn a_pcr_written_is_the_pcr_read(ticks in 0..Pcr::MODULUS, noise in proptest::array::uniform6(any::<u8>())) {
            let mut bytes = packet(20, PCR_FLAG);
            bytes[6..12].copy_from_slice(&noise);
            prop_assert!(write_pcr(&mut bytes, Pcr::from_27mhz(ticks)));
            prop_assert_eq!(Packet::new(&bytes).adaptation().unwrap().pcr(), Some(Pcr::from_27mhz(ticks)));
        }

        #[test]
        fn clock_arithmetic_is_exact_modulo_the_wrap(ticks in 0..Pcr::MODULUS, step in -(1i64 << 40)..(1 << 40)) {
            let clock = Pcr::from_27mhz(ticks);
            prop_assert_eq!(clock.offset(step).ticks_since(clock), step);
        }
    }
}
