//! The bodies of the fuzz targets: bytes in, no answer, a panic when a promise is broken.
//!
//! They live here so that the corpus can be replayed by `cargo test` without a fuzzer.

pub mod channel;
mod choices;
mod ledger;
pub mod program;
pub mod stage;
mod steps;
mod wire;

pub use steps::{ring_viewer, stream};
pub use wire::{framer, playout, rtp};

use crate::access::{AccessDetector, Decision};
use crate::quality::Quality;
use crate::splice::Restamp;
use crate::time::{Duration, Instant};
use crate::ts::adaptation::{write_opcr, write_pcr, write_random_access};
use crate::ts::pes::write_pts_dts;
use crate::ts::psi::tracker::RAW_BYTES_MAX;
use crate::ts::psi::{Pat, Pmt, Section, crc32_mpeg2};
use crate::ts::{Continuity, PACKET_BYTES, Packet, Pcr, PesHeader, Pid, PsiTracker, SYNC_BYTE, Timestamp};

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

/// Clocks and flags of adaptation fields: what is written is read, and nothing else changes.
pub fn adaptation(data: &[u8]) {
    const CLOCK: Pcr = Pcr::from_27mhz(0x123_4567_89AB);
    for packet in packets(data) {
        let read = |packet: &[u8; PACKET_BYTES]| {
            let view = Packet::new(packet);
            let field = view.adaptation();
            let clocks = field.map(|field| (field.pcr(), field.opcr()));
            let flags = field.map(|field| (field.random_access(), field.discontinuity()));
            (clocks, flags, view.payload().map(<[u8]>::to_vec))
        };
        let before = read(&packet);
        let (pcr, opcr) = before.0.unwrap_or_default();
        let mut written = packet;
        assert_eq!(write_pcr(&mut written, CLOCK), pcr.is_some());
        assert_eq!(write_opcr(&mut written, CLOCK), opcr.is_some());
        let clocks = before.0.map(|_| (pcr.and(Some(CLOCK)), opcr.and(Some(CLOCK))));
        assert_eq!(read(&written), (clocks, before.1, before.2.clone()));
        let mut written = packet;
        for is_access in [true, false] {
            if write_random_access(&mut written, is_access) {
                let flags = before.1.map(|(_, discontinuity)| (is_access, discontinuity));
                assert_eq!(read(&written), (before.0, flags, before.2.clone()));
            } else {
                assert_eq!(written, packet);
            }
        }
    }
}

/// Measurements: the first byte is the time between packets in units of 10 ms, the rest is packets as for [`psi`].
/// A packet adds one at most to what is wrong with packets themselves, and nothing is ever taken back.
pub fn quality(data: &[u8]) {
    let Some((&step, data)) = data.split_first() else { return };
    let mut now = Instant::ORIGIN;
    let (mut continuity, mut tracker, mut quality) = (Continuity::new(), PsiTracker::new(), Quality::new());
    for mut packet in packets(data) {
        mend_crc(&mut packet);
        let packet = Packet::new(&packet);
        let verdict = continuity.check(&packet);
        let change = tracker.push(&packet);
        let before = quality.counts();
        quality.push(now, &packet, verdict, change, &tracker);
        let after = quality.counts();
        for ((name, before), (_, after)) in before.by_name().into_iter().zip(after.by_name()) {
            assert!(after >= before, "{name} was taken back");
        }
        assert!(after.continuity_errors - before.continuity_errors <= 1);
        assert_eq!(after.transport_errors - before.transport_errors, u64::from(packet.transport_error()));
        now += Duration::from_millis(10) * u32::from(step);
    }
}

/// Pieces put together: the first byte says after how many packets a piece begins again, and after how many of
/// those another one begins. Null and damaged packets stay as they are, others keep their PID, or become null.
pub fn splice(data: &[u8]) {
    let Some((&every, data)) = data.split_first() else { return };
    let (again, next) = (1 + usize::from(every & 0x0F), 1 + usize::from(every >> 4));
    let mut restamp = Restamp::new();
    for (index, packet) in packets(data).enumerate() {
        if index > 0 && index.is_multiple_of(again * next) {
            restamp.begin_next();
        } else if index > 0 && index.is_multiple_of(again) {
            restamp.begin_again();
        }
        let mut moved = packet;
        restamp.restamp(&mut moved);
        let (before, after) = (Packet::new(&packet), Packet::new(&moved));
        assert!(after.sync_ok(), "a packet stays a packet");
        if before.transport_error() || before.pid() == Pid::NULL || index < again {
            assert_eq!(packet, moved, "the first piece, null packets and damaged ones stay as they are");
        } else if after.pid() != before.pid() {
            assert_eq!(after.pid(), Pid::NULL, "a packet of nothing becomes null");
        } else if after.has_payload() {
            assert_eq!(before.payload_offset(), after.payload_offset(), "payloads stay where they are");
        }
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
