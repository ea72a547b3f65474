//! What a source sends in the tests of the upstream side: packets of a small program, none of which is like another.

use alloc::vec::Vec;

use crate::testing::Mark;
use crate::ts::psi::crc32_mpeg2;
use crate::ts::{PACKET_BYTES, SYNC_BYTE};

const PMT_PID: u16 = 0x30;
const VIDEO_PID: u16 = 0x100;
const OTHER_VIDEO_PID: u16 = 0x110;
const AUDIO_PID: u16 = 0x101;
const NULL_PID: u16 = 0x1FFF;

/// A PES head without timestamps, and an access unit delimiter.
const UNIT: &[u8] = b"\0\0\x01\xE0\0\0\x80\0\0\0\0\x01\x09\xF0";
const PARAMETERS: &[u8] = b"\0\0\x01\x67\x42\0\0\x01\x68\xCE";
const IDR_SLICE: &[u8] = b"\0\0\x01\x65\x88";
const P_SLICE: &[u8] = b"\0\0\x01\x41\x9A";

/// What a source sends next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// The program association table.
    Pat,
    /// The program map table.
    Pmt,
    /// The first packet of a key frame, which says so.
    Key,
    /// The first packet of a key frame, which begins like one.
    PlainKey,
    /// The first packet of another frame.
    Picture,
    /// The first packet of a frame of which nothing can be said yet.
    Unknown,
    /// A further packet of a frame, which turns out to be a key frame.
    RestOfKey,
    /// A further packet of a frame.
    Rest,
    /// The first packet of a piece of sound.
    Audio,
    /// Stuffing.
    Null,
    /// The tables that follow name another PID for the video, or the first one again.
    Move,
    /// A packet got lost.
    Loss,
    /// The first bytes of a packet whose rest got lost.
    Torn(u8),
    /// Bytes that are no packet.
    Garbage(u8),
}

impl Piece {
    /// Every kind once.
    pub const ALL: [Piece; 14] = [
        Piece::Pat,
        Piece::Pmt,
        Piece::Key,
        Piece::PlainKey,
        Piece::Picture,
        Piece::Unknown,
        Piece::RestOfKey,
        Piece::Rest,
        Piece::Audio,
        Piece::Null,
        Piece::Move,
        Piece::Loss,
        Piece::Torn(100),
        Piece::Garbage(100),
    ];
}

/// One source's program.
#[derive(Clone, Debug, Default)]
pub struct Program {
    counters: [u8; 5],
    has_moved: bool,
}

impl Program {
    /// The bytes of the next piece. `number` tells its packet from all others.
    pub fn append(&mut self, piece: Piece, number: u64, out: &mut Vec<u8>) {
        let video = if self.has_moved { OTHER_VIDEO_PID } else { VIDEO_PID };
        let unit = |parts: &[&[u8]]| [&[UNIT], parts].concat().concat();
        let packet = match piece {
            Piece::Pat => self.section(0, 0, number, &[0, 1, 0xC1, 0, 0, 0, 1, 0xE0, PMT_PID as u8]),
            Piece::Pmt => {
                let version = 0xC1 | u8::from(self.has_moved) << 1;
                let [high, low] = (0xE000 | video).to_be_bytes();
                let [audio_high, audio_low] = (0xE000 | AUDIO_PID).to_be_bytes();
                let head = [0, 1, version, 0, 0, high, low, 0xF0, 0];
                let streams = [0x1B, high, low, 0xF0, 0, 0x0F, audio_high, audio_low, 0xF0, 0];
                self.section(2, PMT_PID, number, &[&head[..], &streams].concat())
            }
            Piece::Key => self.packet(video, true, true, number, &unit(&[PARAMETERS, IDR_SLICE])),
            Piece::PlainKey => self.packet(video, true, false, number, &unit(&[PARAMETERS, IDR_SLICE])),
            Piece::Picture => self.packet(video, true, false, number, &unit(&[P_SLICE])),
            Piece::Unknown => self.packet(video, true, false, number, &unit(&[PARAMETERS])),
            Piece::RestOfKey => self.packet(video, false, false, number, IDR_SLICE),
            Piece::Rest => self.packet(video, false, false, number, P_SLICE),
            Piece::Audio => self.packet(AUDIO_PID, true, false, number, b"\0\0\x01\xC0\0\0\x80\0\0"),
            Piece::Null => self.packet(NULL_PID, false, false, number, &[]),
            Piece::Move => {
                self.has_moved = !self.has_moved;
                return;
            }
            Piece::Loss => {
                self.packet(video, false, false, number, &[]);
                return;
            }
            Piece::Torn(kept) => {
                let packet = self.packet(video, false, false, number, P_SLICE);
                out.extend_from_slice(&packet[..usize::from(kept) % PACKET_BYTES]);
                return;
            }
            Piece::Garbage(bytes) => {
                out.extend((0..bytes).map(|byte| if byte == SYNC_BYTE { 0 } else { byte }));
                return;
            }
        };
        out.extend_from_slice(&packet);
    }

    fn section(&mut self, table_id: u8, pid: u16, number: u64, content: &[u8]) -> [u8; PACKET_BYTES] {
        let mut section = Vec::from([table_id, 0xB0, content.len() as u8 + 4]);
        section.extend_from_slice(content);
        section.extend_from_slice(&crc32_mpeg2(&section).to_be_bytes());
        section.insert(0, 0);
        self.packet(pid, true, false, number, &section)
    }

    fn packet(
        &mut self,
        pid: u16,
        is_start: bool,
        is_access: bool,
        number: u64,
        payload: &[u8],
    ) -> [u8; PACKET_BYTES] {
        let counter = match pid {
            0 => &mut self.counters[0],
            PMT_PID => &mut self.counters[1],
            AUDIO_PID => &mut self.counters[2],
            VIDEO_PID => &mut self.counters[3],
            _ => &mut self.counters[4],
        };
        *counter = (*counter + 1) & 0x0F;
        let [high, low] = pid.to_be_bytes();
        let mut packet = [0xFF; PACKET_BYTES];
        packet[..4].copy_from_slice(&[SYNC_BYTE, u8::from(is_start) << 6 | high, low, 0x10 | *counter]);
        let mut at = 4;
        if is_access {
            packet[3] |= 0x20;
            packet[4..6].copy_from_slice(&[1, 0x40]);
            at = 6;
        }
        packet[at..at + payload.len()].copy_from_slice(payload);
        Mark { sequence: number, sent_ns: 0 }.write(&mut packet);
        packet
    }
}
