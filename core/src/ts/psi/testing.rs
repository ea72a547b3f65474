//! Sections and the packets that carry them, for the tests of this module.

use std::vec;
use std::vec::Vec;

use super::section::crc32_mpeg2;
use crate::ts::packet::{PACKET_BYTES, Pid};

/// A section in force with the long head and a matching CRC.
pub(super) fn long_section(table_id: u8, extension: u16, version: u8, body: &[u8]) -> Vec<u8> {
    let [high, low] = extension.to_be_bytes();
    let length = (5 + body.len() + 4) as u16 | 0xB000;
    let mut section = vec![table_id];
    section.extend(length.to_be_bytes());
    section.extend([high, low, 0xC1 | version << 1, 0, 0]);
    section.extend(body);
    section.extend(crc32_mpeg2(&section).to_be_bytes());
    section
}

/// The same section with `current_next_indicator` cleared: announced, not in force.
pub(super) fn announced(mut section: Vec<u8>) -> Vec<u8> {
    let crc_at = section.len() - 4;
    section[5] &= !1;
    let crc = crc32_mpeg2(&section[..crc_at]);
    section[crc_at..].copy_from_slice(&crc.to_be_bytes());
    section
}

/// A section without syntax, with `length` bytes behind the head.
pub(super) fn private_section(table_id: u8, length: usize) -> Vec<u8> {
    let mut section = vec![table_id];
    section.extend((length as u16 | 0x3000).to_be_bytes());
    section.extend((0..length).map(|index| index as u8));
    section
}

/// A PAT with these programs and PMT PIDs.
pub(super) fn pat(version: u8, programs: &[(u16, u16)]) -> Vec<u8> {
    let line = |&(number, pid): &(u16, u16)| [number.to_be_bytes(), (pid | 0xE000).to_be_bytes()].concat();
    long_section(0, 1, version, &programs.iter().flat_map(line).collect::<Vec<_>>())
}

/// A PMT with these stream types, PIDs and descriptors.
pub(super) fn pmt(program: u16, pcr_pid: u16, program_info: &[u8], streams: &[(u8, u16, &[u8])]) -> Vec<u8> {
    let with_length = |bytes: &[u8]| [&(bytes.len() as u16 | 0xF000).to_be_bytes(), bytes].concat();
    let mut body = (pcr_pid | 0xE000).to_be_bytes().to_vec();
    body.extend(with_length(program_info));
    for &(stream_type, pid, info) in streams {
        body.push(stream_type);
        body.extend((pid | 0xE000).to_be_bytes());
        body.extend(with_length(info));
    }
    long_section(2, program, 0, &body)
}

/// The packets of one PID that carry these sections back to back, stuffed at the end.
pub(super) fn packets(pid: Pid, counter: u8, sections: &[Vec<u8>]) -> Vec<[u8; PACKET_BYTES]> {
    let bytes = sections.concat();
    let mut starts: Vec<usize> = vec![0];
    starts.extend(sections.iter().map(Vec::len).scan(0, |sum, length| {
        *sum += length;
        Some(*sum)
    }));
    starts.pop();
    let mut packets = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let mut packet = [0xFF; PACKET_BYTES];
        let [high, low] = pid.value().to_be_bytes();
        packet[..4].copy_from_slice(&[0x47, high, low, 0x10 | (counter + packets.len() as u8) & 0x0F]);
        // A pointer field takes a byte, and a section that would begin behind it waits for the next packet.
        let start = starts.iter().find(|&&start| (at..at + PACKET_BYTES - 5).contains(&start));
        let head = match start {
            Some(start) => {
                packet[1] |= 0x40;
                packet[4] = (start - at) as u8;
                5
            }
            None => 4,
        };
        let mut end = bytes.len().min(at + PACKET_BYTES - head);
        if start.is_none() && starts.contains(&(end - 1)) {
            end -= 1;
        }
        packet[head..head + end - at].copy_from_slice(&bytes[at..end]);
        packets.push(packet);
        at = end;
    }
    packets
}
