//! The bodies of the fuzz targets: bytes in, no answer, a panic when a promise is broken.
//!
//! They live here so that the corpus can be replayed by `cargo test` without a fuzzer.

pub mod channel;
mod ledger;
pub mod program;
pub mod stage;

use crate::access::{AccessDetector, Decision};
use crate::time::{Duration, Instant};
use crate::ts::psi::tracker::RAW_BYTES_MAX;
use crate::ts::psi::{Pat, Pmt, Section, crc32_mpeg2};
use crate::ts::{PACKET_BYTES, Packet, PesHeader, PsiTracker, SYNC_BYTE, Timestamp, pes::write_pts_dts};

/// Sections and tables: `data` as packets, the last one filled up with stuffing. The CRC of a section that lies within
/// one packet is put right, or no fuzzer would get past it.
pub fn psi(data: &[u8]) {
    let mut tracker = PsiTracker::new();
    for mut packet in packets(data) {
        mend_crc(&mut packet);
        tracker.push(&Packet::new(&packet));
        let raw = tracker.raw();
        assert!(raw.len() <= RAW_BYTES_MAX, "raw packets are bounded");
        assert!(raw.len().is_multiple_of(PACKET_BYTES), "raw packets are whole");
        assert!(!tracker.complete() || !raw.is_empty(), "tables that are known have packets");
    }
    if let Ok(section) = Section::parse(data) {
        let _ = (Pat::parse(&section), Pmt::parse(&section));
    }
}

/// Random access detection: the first byte is the time between packets in units of 10 ms, the rest is packets as
/// for [`psi`].
pub fn access(data: &[u8]) {
    let Some((&step, data)) = data.split_first() else { return };
    let mut now = Instant::ORIGIN;
    let mut tracker = PsiTracker::new();
    let mut detector = AccessDetector::new(Duration::from_secs(1));
    let mut is_open = false;
    for mut packet in packets(data) {
        mend_crc(&mut packet);
        let packet = Packet::new(&packet);
        tracker.push(&packet);
        let verdict = detector.push(now, &packet, &tracker);
        is_open |= verdict.candidate;
        match verdict.decision {
            Decision::Access(_) | Decision::NotAccess => {
                assert!(core::mem::take(&mut is_open), "a decision is about a candidate");
            }
            Decision::Pending => assert!(is_open, "only a candidate can be pending"),
            Decision::None => {}
        }
        now += Duration::from_millis(10) * u32::from(step);
    }
}

/// PES heads: what is written into one is what is read from it, and nothing else changes what it says.
pub fn pes(data: &[u8]) {
    PesHeader::parse(data);
    for mut packet in packets(data) {
        let Some(before) = PesHeader::of(&Packet::new(&packet)) else { continue };
        let times = [0x1_2345_6789, 0x0_FEDC_BA98].map(Timestamp::from_90khz);
        let written = write_pts_dts(&mut packet, times[0], Some(times[1]));
        assert_eq!(written, before.pts.or(before.dts).is_some(), "times are written where there are some");
        let expected =
            PesHeader { pts: before.pts.and(Some(times[0])), dts: before.dts.and(Some(times[1])), ..before };
        assert_eq!(PesHeader::of(&Packet::new(&packet)), Some(expected));
    }
}

/// `data` cut into packets, each with a sync byte.
fn packets(data: &[u8]) -> impl Iterator<Item = [u8; PACKET_BYTES]> {
    data.chunks(PACKET_BYTES).map(|chunk| {
        let mut packet = [0xFF; PACKET_BYTES];
        packet[..chunk.len()].copy_from_slice(chunk);
        packet[0] = SYNC_BYTE;
        packet
    })
}

fn mend_crc(packet: &mut [u8; PACKET_BYTES]) {
    let view = Packet::new(packet);
    let (true, Some(payload_at)) = (view.payload_unit_start(), view.payload_offset()) else { return };
    let section_at = payload_at + 1 + usize::from(packet[payload_at]);
    let Some(&[_, high, low]) = packet.get(section_at..).and_then(|section| section.first_chunk()) else {
        return;
    };
    let length = 3 + usize::from(u16::from_be_bytes([high & 0x0F, low]));
    let Some(section) = packet.get_mut(section_at..section_at + length) else { return };
    if let Some((content, crc)) = section.split_last_chunk_mut::<4>() {
        *crc = crc32_mpeg2(content).to_be_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTURE: &[u8] = include_bytes!("../testdata/h264_idr_aac.ts");

    #[test]
    fn a_good_stream_passes_all_targets() {
        psi(CAPTURE);
        access(&[&[4], CAPTURE].concat());
        pes(CAPTURE);
    }

    #[test]
    fn a_changed_table_is_believed() {
        let mut table: [u8; PACKET_BYTES] = CAPTURE[PACKET_BYTES..2 * PACKET_BYTES].try_into().unwrap();
        table[8] ^= 1;
        let mut tracker = PsiTracker::new();
        assert!(!tracker.push(&Packet::new(&table)).changed);
        mend_crc(&mut table);
        tracker.reset();
        assert!(tracker.push(&Packet::new(&table)).changed);
    }
}
