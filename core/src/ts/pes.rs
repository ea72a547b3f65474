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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONE: Option<Timestamp> = None;

    fn at(ticks: u64) -> Option<Timestamp> {
        Some(Timestamp::from_90khz(ticks))
    }

    /// A packet whose payload, behind `field_bytes` of adaptation field, begins with `head`.
    fn packet(field_bytes: u8, head: &[u8]) -> [u8; PACKET_BYTES] {
        let mut packet = [0xFF; PACKET_BYTES];
        packet[..5].copy_from_slice(&[0x47, 0x41, 0x00, 0x30, field_bytes]);
        let payload = &mut packet[5 + usize::from(field_bytes)..];
        let fits = head.len().min(payload.len());
        payload[..fits].copy_from_slice(&head[..fits]);
        packet
    }

    #[test]
    fn heads_are_read_as_far_as_they_go() {
        let pts = [0x21, 0x00, 0x01, 0x00, 0x03];
        let (pts_of_two, dts) = ([0x31, 0x00, 0x03, 0x00, 0x03], [0x11, 0x00, 0x01, 0x00, 0x05]);
        let no_marker = [0x20, 0x00, 0x01, 0x00, 0x03];
        let video = |flags: u8, optional_bytes: u8| [0, 0, 1, 0xE0, 0, 0, 0x80, flags, optional_bytes];
        // Bytes, then PTS, DTS and where the elementary stream begins.
        let cases = [
            (video(0x00, 0).to_vec(), Some((NONE, NONE, 9))),
            (video(0x00, 7).to_vec(), Some((NONE, NONE, 16))),
            ([&video(0x80, 5)[..], &pts].concat(), Some((at(1), NONE, 14))),
            ([&video(0xC0, 10)[..], &pts_of_two, &dts].concat(), Some((at(32_769), at(2), 19))),
            // The optional fields are too short, cut off, or without their marker bits.
            ([&video(0x80, 4)[..], &pts].concat(), Some((NONE, NONE, 13))),
            ([&video(0x80, 5)[..], &pts[..4]].concat(), Some((NONE, NONE, 14))),
            ([&video(0xC0, 10)[..], &pts_of_two, &dts[..4]].concat(), Some((at(32_769), NONE, 19))),
            ([&video(0x80, 5)[..], &no_marker].concat(), Some((NONE, NONE, 14))),
            // DTS without PTS is forbidden.
            ([&video(0x40, 5)[..], &dts].concat(), Some((NONE, NONE, 14))),
            // Stream ids without optional fields: padding, private_stream_2.
            ([0, 0, 1, 0xBE, 0, 9].to_vec(), Some((NONE, NONE, 6))),
            ([0, 0, 1, 0xBF, 0, 9].to_vec(), Some((NONE, NONE, 6))),
            // No PES packet, or not enough of one.
            ([0, 0, 2, 0xE0, 0, 0, 0x80, 0, 0].to_vec(), None),
            ([0, 0, 1, 0xE0, 0, 0, 0x40, 0, 0].to_vec(), None),
            ([0, 0, 1, 0xE0, 0, 0, 0x80, 0].to_vec(), None),
            ([0, 0, 1].to_vec(), None),
            ([].to_vec(), None),
        ];
        for (bytes, expected) in cases {
            let found = PesHeader::parse(&bytes).map(|head| (head.pts, head.dts, head.data_offset));
            assert_eq!(found, expected, "{bytes:02x?}");
        }
    }

    #[test]
    fn scrambling_and_stream_id_are_read() {
        let head = PesHeader::parse(&[0, 0, 1, 0xC5, 0, 0, 0xA0, 0, 0]).unwrap();
        assert_eq!((head.stream_id, head.scrambled), (0xC5, true));
    }

    #[test]
    fn only_the_clear_start_of_a_payload_unit_has_a_head() {
        let start = packet(10, &[0, 0, 1, 0xE0, 0, 0, 0x80, 0, 0]);
        let (mut middle, mut scrambled) = (start, start);
        middle[1] &= !0x40;
        scrambled[3] |= 0xC0;
        assert!(PesHeader::of(&Packet::new(&start)).is_some());
        assert!(PesHeader::of(&Packet::new(&middle)).is_none());
        assert!(PesHeader::of(&Packet::new(&scrambled)).is_none());
    }

    #[test]
    fn times_are_compared_by_the_shorter_way_round() {
        let late = Timestamp::from_90khz(Timestamp::MODULUS - 1);
        assert_eq!(late.offset(3).as_90khz(), 2);
        assert_eq!(late.offset(3).ticks_since(late), 3);
        assert_eq!(late.ticks_since(late.offset(3)), -3);
        assert_eq!(Timestamp::from_90khz(0).offset(-1), late);
    }

    proptest! {
        #[test]
        fn times_written_are_the_times_read(
            pts in 0..Timestamp::MODULUS,
            dts in 0..Timestamp::MODULUS,
            field_bytes in 0u8..=182,
        ) {
            let head = [0, 0, 1, 0xE0, 0, 0, 0x80, 0xC0, 10, 0x31, 0, 1, 0, 1, 0x11, 0, 1, 0, 1];
            let before = packet(field_bytes, &head);
            let mut after = before;
            let written = write_pts_dts(&mut after, Timestamp::from_90khz(pts), at(dts));
            let found = PesHeader::of(&Packet::new(&after));
            // How much of the head has room behind the adaptation field.
            match PACKET_BYTES - 5 - usize::from(field_bytes) {
                19.. => prop_assert_eq!(found.map(|head| (head.pts, head.dts)), Some((at(pts), at(dts)))),
                14..19 => prop_assert_eq!(found.map(|head| (head.pts, head.dts)), Some((at(pts), None))),
                _ => prop_assert!(!written && after == before),
            }
            let times = 5 + usize::from(field_bytes) + 9..PACKET_BYTES.min(5 + usize::from(field_bytes) + 19);
            let elsewhere = |index: &usize| !times.contains(index);
            prop_assert!((0..PACKET_BYTES).filter(elsewhere).all(|index| before[index] == after[index]));
        }

        #[test]
        fn no_bytes_panic(head in proptest::collection::vec(any::<u8>(), 0..40), pts in 0..Timestamp::MODULUS) {
            PesHeader::parse(&head);
            let mut start_code = [&[0, 0, 1][..], &head].concat();
            start_code.truncate(40);
            PesHeader::parse(&start_code);
            for field_bytes in [0, 100, 160, 182, 183, 255] {
                let mut packet = [0; PACKET_BYTES];
                packet[..5].copy_from_slice(&[0x47, 0x41, 0, 0x30, field_bytes]);
                packet[PACKET_BYTES - start_code.len()..].copy_from_slice(&start_code);
                write_pts_dts(&mut packet, Timestamp::from_90khz(pts), at(pts));
            }
        }
    }
}
