//! The head of a PES packet: stream id, presentation and decoding time (ISO/IEC 13818-1 §2.4.3.6, §2.4.3.7).

use super::packet::{PACKET_BYTES, Packet};

const START_CODE_PREFIX: [u8; 3] = [0, 0, 1];
/// Prefix, stream id and packet length: all that some stream ids have.
const SHORT_HEAD_BYTES: usize = 6;
/// The short head, two bytes of flags and the length of the optional fields.
const LONG_HEAD_BYTES: usize = 9;
const TIMESTAMP_BYTES: usize = 5;
const PTS_FLAG: u8 = 0x80;
const DTS_FLAG: u8 = 0x40;

/// A presentation or decoding time: ticks of 90 kHz, modulo [`Timestamp::MODULUS`] (about 26.5 h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Ticks per second.
    pub const HZ: u64 = 90_000;
    /// The clock wraps here: 33 bits.
    pub const MODULUS: u64 = 1 << 33;

    /// The time at `ticks`, modulo [`Timestamp::MODULUS`].
    pub const fn from_90khz(ticks: u64) -> Self {
        Self(ticks % Self::MODULUS)
    }

    /// Ticks of 90 kHz, below [`Timestamp::MODULUS`].
    pub const fn as_90khz(self) -> u64 {
        self.0
    }

    /// The time `ticks` later (earlier when negative).
    pub const fn offset(self, ticks: i64) -> Self {
        Self::from_90khz(self.0.wrapping_add(ticks as u64))
    }

    /// Ticks from `earlier` to this one by the shorter way round: −2³²+1 ..= 2³².
    pub const fn ticks_since(self, earlier: Self) -> i64 {
        let forward = self.0.wrapping_sub(earlier.0) % Self::MODULUS;
        if forward > Self::MODULUS / 2 { forward as i64 - Self::MODULUS as i64 } else { forward as i64 }
    }

    /// Reads 33 bits spread over five bytes; `None` when one of the three marker bits is not set.
    fn from_wire(wire: &[u8; TIMESTAMP_BYTES]) -> Option<Self> {
        let [a, b, c, d, e] = wire.map(u64::from);
        if a & c & e & 1 == 0 {
            return None;
        }
        Some(Self((a >> 1 & 0x07) << 30 | b << 22 | (c >> 1) << 15 | d << 7 | e >> 1))
    }

    /// Writes the 33 bits, keeping the four bits before them that tell PTS and DTS apart.
    fn write(self, wire: &mut [u8; TIMESTAMP_BYTES]) {
        let ticks = self.0;
        wire[0] = wire[0] & 0xF0 | ((ticks >> 29) as u8 & 0x0E) | 1;
        wire[1] = (ticks >> 22) as u8;
        wire[2] = (ticks >> 14) as u8 | 1;
        wire[3] = (ticks >> 7) as u8;
        wire[4] = (ticks << 1) as u8 | 1;
    }
}

/// What the head of a PES packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PesHeader {
    /// `stream_id` (Table 2-22): 0xE0..=0xEF video, 0xC0..=0xDF audio, 0xBD private.
    pub stream_id: u8,
    /// `PES_scrambling_control` is not zero: what follows the head cannot be read.
    pub scrambled: bool,
    /// Presentation time; absent also when it lies beyond the bytes parsed.
    pub pts: Option<Timestamp>,
    /// Decoding time, where it differs from the presentation time.
    pub dts: Option<Timestamp>,
    /// Where the elementary stream begins, counted from the first byte of the PES packet. May lie beyond the
    /// bytes parsed.
    pub data_offset: usize,
}

impl PesHeader {
    /// Parses the head at the beginning of `payload`. `None` when there is no start code or the fixed part does
    /// not fit: heads that straddle packets in their fixed part are not put together.
    #[inline]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        if payload.get(..3)? != START_CODE_PREFIX {
            return None;
        }
        let stream_id = *payload.get(3)?;
        if !has_long_head(stream_id) {
            let none = None;
            return Some(Self {
                stream_id,
                scrambled: false,
                pts: none,
                dts: none,
                data_offset: SHORT_HEAD_BYTES,
            });
        }
        let &[.., control, flags, optional_bytes] = payload.first_chunk::<LONG_HEAD_BYTES>()?;
        if control & 0xC0 != 0x80 {
            return None;
        }
        let (pts_at, dts_at) = timestamp_offsets(flags, optional_bytes);
        let read = |at: Option<usize>| payload.get(at?..)?.first_chunk().and_then(Timestamp::from_wire);
        Some(Self {
            stream_id,
            scrambled: control & 0x30 != 0,
            pts: read(pts_at),
            dts: read(dts_at),
            data_offset: LONG_HEAD_BYTES + usize::from(optional_bytes),
        })
    }

    /// The head of the PES packet that begins in `packet`; `None` when none does, or when it is scrambled.
    #[inline]
    pub fn of(packet: &Packet<'_>) -> Option<Self> {
        if !packet.payload_unit_start() || packet.scrambled() {
            return None;
        }
        Self::parse(packet.payload()?)
    }
}

/// Replaces PTS and DTS of the PES packet that begins in `packet`. A value is written only where [`PesHeader::of`]
/// reads one; returns whether at least one was.
pub fn write_pts_dts(packet: &mut [u8; PACKET_BYTES], pts: Timestamp, dts: Option<Timestamp>) -> bool {
    let view = Packet::new(packet);
    let (Some(head), Some(payload_at)) = (PesHeader::of(&view), view.payload_offset()) else { return false };
    let mut written = false;
    let pts_at = payload_at + LONG_HEAD_BYTES;
    for (at, old, new) in [(pts_at, head.pts, Some(pts)), (pts_at + TIMESTAMP_BYTES, head.dts, dts)] {
        if let (Some(_), Some(new)) = (old, new)
            && let Some(wire) = packet.get_mut(at..).and_then(|rest| rest.first_chunk_mut())
        {
            new.write(wire);
            written = true;
        }
    }
    written
}

/// Table 2-21: these stream ids have no flags and no optional fields.
const fn has_long_head(stream_id: u8) -> bool {
    !matches!(stream_id, 0xBC | 0xBE | 0xBF | 0xF0 | 0xF1 | 0xF2 | 0xF8 | 0xFF)
}

/// Where PTS and DTS stand, counted from the first byte of the PES packet.
fn timestamp_offsets(flags: u8, optional_bytes: u8) -> (Option<usize>, Option<usize>) {
    let fits = |bytes: usize| usize::from(optional_bytes) >= bytes;
    let has_pts = flags & PTS_FLAG != 0 && fits(TIMESTAMP_BYTES);
    let has_dts = has_pts && flags & DTS_FLAG != 0 && fits(2 * TIMESTAMP_BYTES);
    (has_pts.then_some(LONG_HEAD_BYTES), has_dts.then_some(LONG_HEAD_BYTES + TIMESTAMP_BYTES))
}
