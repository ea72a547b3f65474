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
