//! One 188-byte packet, looked at in place.

use alloc::boxed::Box;
use core::fmt;

use super::adaptation::Adaptation;

/// Bytes of a packet (ISO/IEC 13818-1 §2.4.3.1).
pub const PACKET_BYTES: usize = 188;

/// The first byte of every packet (ISO/IEC 13818-1 §2.4.3.3).
pub const SYNC_BYTE: u8 = 0x47;

/// How many PIDs there are: tables indexed by PID have this length.
pub const PIDS: usize = 8192;

const HEADER_BYTES: usize = 4;
const TRANSPORT_ERROR: u8 = 0x80;
const PAYLOAD_UNIT_START: u8 = 0x40;
const SCRAMBLING: u8 = 0xC0;
const HAS_ADAPTATION: u8 = 0x20;
const HAS_PAYLOAD: u8 = 0x10;

/// A packet identifier: 13 bits (ISO/IEC 13818-1 §2.4.3.3, Table 2-3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(u16);

impl Pid {
    /// The program association table.
    pub const PAT: Self = Self(0x0000);
    /// The conditional access table.
    pub const CAT: Self = Self(0x0001);
    /// Null packets: padding without meaning.
    pub const NULL: Self = Self(0x1FFF);

    /// The PID in the low 13 bits of `value`; the other bits are ignored.
    #[inline]
    pub const fn new(value: u16) -> Self {
        Self(value & 0x1FFF)
    }

    /// 0..=8191.
    #[inline]
    pub const fn value(self) -> u16 {
        self.0
    }

    /// The same as an index below [`PIDS`].
    #[inline]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pid({:#06x})", self.0)
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

/// A set of PIDs: 1 KiB, one bit test to ask.
#[derive(Clone, Debug)]
pub struct PidSet(Box<[u64; PIDS / 64]>);

impl PidSet {
    /// No PID.
    pub fn new() -> Self {
        Self(Box::new([0; PIDS / 64]))
    }

    /// Adds a PID; false when it was there already.
    pub fn insert(&mut self, pid: Pid) -> bool {
        let new = !self.contains(pid);
        self.0[pid.index() / 64] |= 1 << (pid.index() % 64);
        new
    }

    /// Whether the PID is in the set.
    #[inline]
    pub fn contains(&self, pid: Pid) -> bool {
        self.0[pid.index() / 64] >> (pid.index() % 64) & 1 != 0
    }
}

impl Default for PidSet {
    fn default() -> Self {
        Self::new()
    }
}

/// A view of one packet. Reading never fails; each accessor costs a load and a mask.
#[derive(Clone, Copy)]
pub struct Packet<'a>(&'a [u8; PACKET_BYTES]);

impl<'a> Packet<'a> {
    /// Looks at `bytes` as a packet, whatever they contain.
    #[inline]
    pub const fn new(bytes: &'a [u8; PACKET_BYTES]) -> Self {
        Self(bytes)
    }

    /// The packets of `bytes`, which should be a whole number of them; a rest shorter than one is left out.
    pub fn all(bytes: &'a [u8]) -> impl Iterator<Item = Packet<'a>> {
        bytes.as_chunks::<PACKET_BYTES>().0.iter().map(Self)
    }

    /// The bytes looked at.
    #[inline]
    pub const fn bytes(&self) -> &'a [u8; PACKET_BYTES] {
        self.0
    }

    /// Whether the packet begins with [`SYNC_BYTE`].
    #[inline]
    pub const fn sync_ok(&self) -> bool {
        self.0[0] == SYNC_BYTE
    }

    /// `transport_error_indicator`: an earlier hop knows that at least one bit is wrong.
    #[inline]
    pub const fn transport_error(&self) -> bool {
        self.0[1] & TRANSPORT_ERROR != 0
    }

    /// `payload_unit_start_indicator`: the payload begins with a PES packet, or a section begins in it.
    #[inline]
    pub const fn payload_unit_start(&self) -> bool {
        self.0[1] & PAYLOAD_UNIT_START != 0
    }

    /// The packet identifier.
    #[inline]
    pub const fn pid(&self) -> Pid {
        Pid::new(u16::from_be_bytes([self.0[1], self.0[2]]))
    }

    /// Whether `transport_scrambling_control` says that the payload is scrambled.
    #[inline]
    pub const fn scrambled(&self) -> bool {
        self.0[3] & SCRAMBLING != 0
    }

    /// Whether `adaptation_field_control` announces an adaptation field.
    #[inline]
    pub const fn has_adaptation(&self) -> bool {
        self.0[3] & HAS_ADAPTATION != 0
    }

    /// Whether `adaptation_field_control` announces a payload; only such packets move the continuity counter.
    #[inline]
    pub const fn has_payload(&self) -> bool {
        self.0[3] & HAS_PAYLOAD != 0
    }

    /// The continuity counter, 0..=15.
    #[inline]
    pub const fn continuity(&self) -> u8 {
        self.0[3] & 0x0F
    }

    /// The adaptation field; `None` when there is none or when its length does not fit the packet.
    #[inline]
    pub fn adaptation(&self) -> Option<Adaptation<'a>> {
        if !self.has_adaptation() {
            return None;
        }
        let start = HEADER_BYTES + 1;
        let end = start + usize::from(self.0[HEADER_BYTES]);
        self.0.get(start..end).map(Adaptation::new)
    }

    /// Where the payload begins in [`Packet::bytes`]; `None` as for [`Packet::payload`].
    #[inline]
    pub fn payload_offset(&self) -> Option<usize> {
        if !self.has_payload() {
            return None;
        }
        let offset = if self.has_adaptation() {
            HEADER_BYTES + 1 + usize::from(self.0[HEADER_BYTES])
        } else {
            HEADER_BYTES
        };
        (offset < PACKET_BYTES).then_some(offset)
    }

    /// The payload, never empty; `None` when none is announced or when the adaptation field's length leaves no
    /// room for one (ISO/IEC 13818-1 §2.4.3.5 allows at most 182 before a payload).
    #[inline]
    pub fn payload(&self) -> Option<&'a [u8]> {
        self.payload_offset().and_then(|offset| self.0.get(offset..))
    }
}

impl fmt::Debug for Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("pid", &self.pid())
            .field("start", &self.payload_unit_start())
            .field("continuity", &self.continuity())
            .field("adaptation", &self.adaptation())
            .field("payload_bytes", &self.payload().map(<[u8]>::len))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    fn packet(head: [u8; 5]) -> [u8; PACKET_BYTES] {
        let mut packet = [0; PACKET_BYTES];
        packet[..5].copy_from_slice(&head);
        packet
    }

    #[test]
    fn header_fields_are_where_the_standard_puts_them() {
        let bytes = packet([0x47, 0xFF, 0xFF, 0xFF, 0]);
        let all = Packet::new(&bytes);
        assert!(all.sync_ok() && all.transport_error() && all.payload_unit_start() && all.scrambled());
        assert!(all.has_adaptation() && all.has_payload());
        assert_eq!((all.pid(), all.continuity()), (Pid::NULL, 15));

        let bytes = packet([0xB8, 0x00, 0x00, 0x00, 0]);
        let none = Packet::new(&bytes);
        assert!(
            !none.sync_ok() && !none.transport_error() && !none.payload_unit_start() && !none.scrambled()
        );
        assert!(!none.has_adaptation() && !none.has_payload());
        assert_eq!((none.pid(), none.continuity()), (Pid::PAT, 0));

        let bytes = packet([0x47, 0x21, 0x23, 0x1A, 0]);
        assert_eq!((Packet::new(&bytes).pid(), Packet::new(&bytes).continuity()), (Pid::new(0x123), 10));
    }

    #[test]
    fn the_payload_is_what_the_adaptation_field_leaves() {
        // adaptation_field_control, adaptation_field_length, where the payload begins.
        let cases = [
            (0x00, 0, None),
            (0x10, 0, Some(4)),
            (0x10, 255, Some(4)),
            (0x20, 183, None),
            (0x30, 0, Some(5)),
            (0x30, 182, Some(187)),
            (0x30, 183, None),
            (0x30, 255, None),
        ];
        for (control, length, expected) in cases {
            let bytes = packet([0x47, 0, 0, control, length]);
            let packet = Packet::new(&bytes);
            assert_eq!(packet.payload_offset(), expected, "{control:#04x} {length}");
            assert_eq!(packet.payload().map(|payload| PACKET_BYTES - payload.len()), expected);
        }
    }

    #[test]
    fn the_adaptation_field_must_fit_the_packet() {
        for (control, length, expected) in
            [(0x10, 0, false), (0x20, 0, true), (0x20, 183, true), (0x30, 184, false)]
        {
            let bytes = packet([0x47, 0, 0, control, length]);
            assert_eq!(Packet::new(&bytes).adaptation().is_some(), expected, "{control:#04x} {length}");
        }
    }

    #[test]
    fn a_rest_shorter_than_a_packet_is_no_packet() {
        let bytes = [0x47; PACKET_BYTES * 2 + 187];
        assert_eq!(Packet::all(&bytes).count(), 2);
        assert_eq!(Packet::all(&bytes[..187]).count(), 0);
    }

    #[test]
    fn a_pid_set_tells_neighbours_apart() {
        let mut set = PidSet::new();
        let chosen = [0, 63, 64, 4_096, 8_191].map(Pid::new);
        assert!(chosen.iter().all(|&pid| set.insert(pid)));
        assert!(!set.insert(Pid::new(64)));
        let found: Vec<_> = (0..PIDS as u16).map(Pid::new).filter(|&pid| set.contains(pid)).collect();
        assert_eq!(found, chosen);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(head in proptest::array::uniform32(any::<u8>())) {
            let mut bytes = [0xA5; PACKET_BYTES];
            bytes[..32].copy_from_slice(&head);
            let packet = Packet::new(&bytes);
            let _ = format!("{packet:?}");
            if let Some(payload) = packet.payload() {
                prop_assert!(!payload.is_empty() && bytes.ends_with(payload));
            }
        }
    }
}
