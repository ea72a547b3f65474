//! One elementary stream of a synthetic program: how frames are cut into packets, and what a frame begins with.

use super::{AudioSpec, PTS_HZ, VideoSpec};
use crate::rng::Rng;
use crate::ts::adaptation::write_pcr;
use crate::ts::pes::write_pts_dts;
use crate::ts::{PACKET_BYTES, Pcr, Pid, SYNC_BYTE, Timestamp};
use alloc::vec::Vec;

const PACKET_BITS: u64 = PACKET_BYTES as u64 * 8;
const HEADER_BYTES: usize = 4;
const PAYLOAD_BYTES: usize = PACKET_BYTES - HEADER_BYTES;
/// Payload of the last packet of a PES packet. Leaves room for an adaptation field with PCR and for what PCRs push
/// back out of the packets before; holds the head of a P frame together with a mark.
const TAIL_BYTES_MIN: u64 = 100;
const TAIL_BYTES_MAX: u64 = 120;
/// Payload of a packet whose adaptation field carries a PCR and nothing else.
const PAYLOAD_WITH_PCR_BYTES: usize = PAYLOAD_BYTES - 8;
/// Payload of a packet whose adaptation field carries flags and nothing else.
const PAYLOAD_WITH_FLAGS_BYTES: usize = PAYLOAD_BYTES - 2;
/// How much earlier than its decoding time a frame has arrived at least.
const DECODER_MARGIN_TICKS: u64 = 9_000;
/// So many GOPs of different frame sizes are drawn from.
const GOP_VARIANTS: usize = 8;

/// What a video frame begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// ISO/IEC 13818-2, stream type 0x02.
    Mpeg2,
    /// ISO/IEC 14496-10, stream type 0x1B.
    H264,
    /// ISO/IEC 23008-2, stream type 0x24.
    H265,
}

impl Codec {
    /// `stream_type` of the PMT (ISO/IEC 13818-1 Table 2-34).
    pub const fn stream_type(self) -> u8 {
        match self {
            Codec::Mpeg2 => 0x02,
            Codec::H264 => 0x1B,
            Codec::H265 => 0x24,
        }
    }

    /// The bytes between the PES header and the picture data.
    fn frame_start(self, kind: FrameKind, idr: bool) -> &'static [u8] {
        use FrameKind::{B, Key, P};
        match (self, kind) {
            // Sequence header and extension, GOP header, picture header (I) and extension, slice.
            (Codec::Mpeg2, Key) => {
                b"\0\0\x01\xB3\x14\x00\xF0\x13\xFF\xFF\xE0\x18\0\0\x01\xB5\x14\x8A\x00\x01\x00\x00\
                  \0\0\x01\xB8\x00\x08\x00\x40\0\0\x01\x00\x00\x0F\xFF\xF8\0\0\x01\xB5\x8F\xFF\xF3\x41\x80\0\0\x01\x01"
            }
            (Codec::Mpeg2, P) => {
                b"\0\0\x01\x00\x00\x57\xFF\xFB\x80\0\0\x01\xB5\x8F\xFF\xF3\x41\x80\0\0\x01\x01"
            }
            (Codec::Mpeg2, B) => {
                b"\0\0\x01\x00\x00\x9F\xFF\xFB\xB8\0\0\x01\xB5\x8F\xFF\xF3\x41\x80\0\0\x01\x01"
            }
            // Access unit delimiter, SPS (320×240), PPS, IDR slice of type I.
            (Codec::H264, Key) if idr => {
                b"\0\0\0\x01\x09\x10\0\0\0\x01\x67\x42\xC0\x1E\xDA\x05\x07\xE4\0\0\0\x01\x68\xCE\x3C\x80\
                  \0\0\x01\x65\x88\x84"
            }
            // The same with a recovery point SEI and a slice that is no IDR.
            (Codec::H264, Key) => {
                b"\0\0\0\x01\x09\x10\0\0\0\x01\x67\x42\xC0\x1E\xDA\x05\x07\xE4\0\0\0\x01\x68\xCE\x3C\x80\
                  \0\0\x01\x06\x06\x01\xC4\x80\0\0\x01\x61\x88\x84"
            }
            (Codec::H264, P) => b"\0\0\0\x01\x09\x30\0\0\x01\x41\x9A\x84",
            (Codec::H264, B) => b"\0\0\0\x01\x09\x50\0\0\x01\x01\x9E\x84",
            // Access unit delimiter, VPS, SPS, PPS, IDR_W_RADL.
            (Codec::H265, Key) if idr => {
                b"\0\0\0\x01\x46\x01\x10\0\0\0\x01\x40\x01\x0C\x01\xFF\xFF\0\0\0\x01\x42\x01\x01\x60\xA0\x0A\
                  \0\0\0\x01\x44\x01\xC1\x72\0\0\x01\x26\x01\xAF\x84"
            }
            // The same with CRA_NUT.
            (Codec::H265, Key) => {
                b"\0\0\0\x01\x46\x01\x10\0\0\0\x01\x40\x01\x0C\x01\xFF\xFF\0\0\0\x01\x42\x01\x01\x60\xA0\x0A\
                  \0\0\0\x01\x44\x01\xC1\x72\0\0\x01\x2A\x01\xAF\x84"
            }
            (Codec::H265, P) => b"\0\0\0\x01\x46\x01\x30\0\0\x01\x02\x01\xD0\x84",
            (Codec::H265, B) => b"\0\0\0\x01\x46\x01\x50\0\0\x01\x00\x01\xE0\x84",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrameKind {
    Key,
    P,
    B,
}

/// PES header with PTS only, PTS and DTS to be filled in; length 0, as a video PES packet may have it.
const PES_HEADER_PTS: [u8; 14] = [0, 0, 1, 0, 0, 0, 0x84, 0x80, 5, 0x21, 0, 1, 0, 1];
/// The same with PTS and DTS.
const PES_HEADER_PTS_DTS: [u8; 19] = [0, 0, 1, 0, 0, 0, 0x84, 0xC0, 10, 0x31, 0, 1, 0, 1, 0x11, 0, 1, 0, 1];
/// An ADTS header: AAC-LC, 48 kHz, two channels.
const ADTS_START: [u8; 7] = [0xFF, 0xF1, 0x4C, 0x80, 0x20, 0x1F, 0xFC];

/// What the multiplexer wants in a packet beside the payload.
#[derive(Clone, Copy, Default)]
pub(super) struct Extras {
    pub(super) pcr: Option<Pcr>,
    pub(super) discontinuity: bool,
    pub(super) scrambled: bool,
}

/// Which share of the multiplex's packets an elementary stream gets, evenly spread: so many packets per cycle.
struct Share {
    credit: i64,
    per_slot: i64,
    per_packet: i64,
}

impl Share {
    fn new(packets: u64, cycle_ticks: u64, mux_bitrate: u64) -> Self {
        let fits = "a share of the multiplex stays far below 2^63";
        Share {
            credit: 0,
            per_slot: i64::try_from(packets * PTS_HZ * PACKET_BITS).expect(fits),
            per_packet: i64::try_from(cycle_ticks * mux_bitrate).expect(fits),
        }
    }
}

/// The packets of one PID.
pub(super) struct Elementary {
    pub(super) pid: Pid,
    share: Share,
    continuity: u8,
    packets_left: u64,
    tail_bytes: usize,
}

impl Elementary {
    fn new(pid: Pid, packets: u64, cycle_ticks: u64, mux_bitrate: u64) -> Self {
        let share = Share::new(packets, cycle_ticks, mux_bitrate);
        Elementary { pid, share, continuity: 0, packets_left: 0, tail_bytes: 0 }
    }

    /// One packet of the multiplex passes, whoever gets it.
    pub(super) fn slot(&mut self) {
        self.share.credit += self.share.per_slot;
    }

    /// Whether the share is behind by a packet.
    pub(super) fn due(&self) -> bool {
        self.share.credit >= self.share.per_packet
    }

    /// Bits per second that the share amounts to.
    pub(super) fn bitrate(&self, mux_bitrate: u64) -> u64 {
        (self.share.per_slot as u64).div_ceil(self.share.per_packet as u64 / mux_bitrate)
    }

    fn begin(&mut self, packets: u64, tail_bytes: u64) {
        self.packets_left = packets;
        self.tail_bytes = tail_bytes as usize;
    }

    /// Turns `packet`, which is full of noise, into the next one of this PID; gives the offset of its payload.
    fn cut(
        &mut self,
        packet: &mut [u8; PACKET_BYTES],
        start: bool,
        random_access: bool,
        extras: Extras,
    ) -> usize {
        self.share.credit -= self.share.per_packet;
        let last = self.packets_left == 1;
        self.packets_left -= 1;
        let room = match extras.pcr {
            Some(_) => PAYLOAD_WITH_PCR_BYTES,
            None if random_access || extras.discontinuity => PAYLOAD_WITH_FLAGS_BYTES,
            None => PAYLOAD_BYTES,
        };
        let payload_bytes = if last { self.tail_bytes.min(room) } else { room };
        if !last {
            // What did not fit goes into the last packet, so that the PES packet keeps its length.
            self.tail_bytes += PAYLOAD_BYTES - room;
        }
        let adaptation_bytes = PAYLOAD_BYTES - payload_bytes;
        let [pid_high, pid_low] = self.pid.value().to_be_bytes();
        packet[0] = SYNC_BYTE;
        packet[1] = u8::from(start) << 6 | pid_high;
        packet[2] = pid_low;
        packet[3] =
            u8::from(extras.scrambled) << 7 | u8::from(adaptation_bytes > 0) << 5 | 0x10 | self.continuity;
        self.continuity = (self.continuity + 1) & 0x0F;
        if adaptation_bytes > 0 {
            packet[4..4 + adaptation_bytes].fill(0xFF);
            packet[4] = adaptation_bytes as u8 - 1;
        }
        if adaptation_bytes > 1 {
            packet[5] = u8::from(extras.discontinuity) << 7
                | u8::from(random_access) << 6
                | u8::from(extras.pcr.is_some()) << 4;
        }
        if let Some(pcr) = extras.pcr {
            write_pcr(packet, pcr);
        }
        HEADER_BYTES + adaptation_bytes
    }
}

/// The sizes of a GOP's frames, in packets.
struct Gop(Vec<u64>);

/// The video of a synthetic program.
pub(super) struct Video {
    pub(super) elementary: Elementary,
    spec: VideoSpec,
    gops: Vec<Gop>,
    gop: usize,
    frame_in_gop: usize,
    frames: u64,
    /// From the clock at which the first packet leaves to the decoding time of its frame.
    delay_ticks: u64,
}

impl Video {
    pub(super) fn new(spec: VideoSpec, mux_bitrate: u64, rng: &mut Rng) -> Self {
        let gop_ticks = spec.frame_ticks * u64::from(spec.gop_frames);
        let packets = spec.bitrate * gop_ticks / (PTS_HZ * PACKET_BITS);
        assert!(
            packets > u64::from(spec.gop_frames),
            "video at {} bit/s has no packet for each frame",
            spec.bitrate
        );
        let gops: Vec<Gop> = (0..GOP_VARIANTS).map(|_| Gop::new(&spec, packets, rng)).collect();
        let key_packets = gops.iter().filter_map(|gop| gop.0.first()).max().copied().unwrap_or(0);
        let delay_ticks = gop_ticks * key_packets / packets + DECODER_MARGIN_TICKS;
        let elementary = Elementary::new(spec.pid, packets, gop_ticks, mux_bitrate);
        Video { elementary, spec, gops, gop: 0, frame_in_gop: 0, frames: 0, delay_ticks }
    }

    /// The next packet leads to a new PID and begins with a key frame.
    pub(super) fn move_to(&mut self, pid: Pid) {
        self.elementary.pid = pid;
        self.elementary.packets_left = 0;
        self.elementary.continuity = 0;
        self.frame_in_gop = 0;
    }

    /// Turns noise into the next packet; true when it begins a key frame. `base_ticks`: where the clock began.
    pub(super) fn packet(
        &mut self,
        packet: &mut [u8; PACKET_BYTES],
        base_ticks: u64,
        extras: Extras,
        rng: &mut Rng,
    ) -> bool {
        if self.elementary.packets_left > 0 {
            self.elementary.cut(packet, false, false, extras);
            return false;
        }
        if self.frame_in_gop == 0 {
            self.gop = rng.below(self.gops.len() as u64) as usize;
        }
        let kind = self.kind(self.frame_in_gop);
        let key = kind == FrameKind::Key;
        self.elementary
            .begin(self.gops[self.gop].0[self.frame_in_gop], rng.between(TAIL_BYTES_MIN, TAIL_BYTES_MAX));
        let payload = self.elementary.cut(packet, true, key && self.spec.indicator, extras);
        if !extras.scrambled {
            let dts = base_ticks + self.delay_ticks + self.frames * self.spec.frame_ticks;
            let pts = dts + self.reorder_frames(kind) * self.spec.frame_ticks;
            let start = self.spec.codec.frame_start(kind, self.spec.idr);
            let head: &[u8] = if pts == dts { &PES_HEADER_PTS } else { &PES_HEADER_PTS_DTS };
            packet[payload..payload + head.len()].copy_from_slice(head);
            packet[payload + 3] = 0xE0;
            packet[payload + head.len()..payload + head.len() + start.len()].copy_from_slice(start);
            write_pts_dts(
                packet,
                Timestamp::from_90khz(pts),
                (pts != dts).then(|| Timestamp::from_90khz(dts)),
            );
        }
        self.frames += 1;
        self.frame_in_gop = (self.frame_in_gop + 1) % self.spec.gop_frames as usize;
        key
    }

    /// Decoding order is I, then P B B again and again, or P only.
    fn kind(&self, frame_in_gop: usize) -> FrameKind {
        frame_kind(&self.spec, frame_in_gop)
    }

    /// By how many frames the presentation of a frame comes after its decoding.
    fn reorder_frames(&self, kind: FrameKind) -> u64 {
        match kind {
            _ if !self.spec.reordered => 0,
            FrameKind::Key => 1,
            FrameKind::P => 3,
            FrameKind::B => 0,
        }
    }
}

fn frame_kind(spec: &VideoSpec, frame_in_gop: usize) -> FrameKind {
    match frame_in_gop {
        0 => FrameKind::Key,
        frame if !spec.reordered || frame % 3 == 1 => FrameKind::P,
        _ => FrameKind::B,
    }
}

impl Gop {
    fn new(spec: &VideoSpec, packets: u64, rng: &mut Rng) -> Self {
        let kinds = || (0..spec.gop_frames as usize).map(|frame| frame_kind(spec, frame));
        let weight = |kind| match kind {
            FrameKind::Key => 2 * u64::from(spec.key_weight),
            FrameKind::P => 2,
            FrameKind::B => 1,
        };
        let weights: u64 = kinds().map(weight).sum();
        let mut sizes: Vec<u64> = kinds().map(|kind| (packets * weight(kind) / weights).max(1)).collect();
        // Neighbours take from each other, so that the GOP keeps its size.
        for pair in sizes[1..].chunks_exact_mut(2) {
            let moved = rng.below(pair[0].min(pair[1]) / 3 + 1);
            pair[0] += moved;
            pair[1] -= moved;
        }
        let others: u64 = sizes[1..].iter().sum();
        assert!(packets >= others + 2, "a key frame of a video at {} bit/s has no room", spec.bitrate);
        sizes[0] = packets - others;
        Gop(sizes)
    }
}

/// The audio of a synthetic program.
pub(super) struct Audio {
    pub(super) elementary: Elementary,
    spec: AudioSpec,
    packets: u64,
    units: u64,
}

impl Audio {
    pub(super) fn new(spec: AudioSpec, mux_bitrate: u64) -> Self {
        let packets = (spec.bitrate * spec.pes_ticks / (PTS_HZ * PACKET_BITS)).max(1);
        let elementary = Elementary::new(spec.pid, packets, spec.pes_ticks, mux_bitrate);
        Audio { elementary, spec, packets, units: 0 }
    }

    /// Turns noise into the next packet; true when it begins a PES packet.
    pub(super) fn packet(
        &mut self,
        packet: &mut [u8; PACKET_BYTES],
        base_ticks: u64,
        extras: Extras,
        rng: &mut Rng,
    ) -> bool {
        if self.elementary.packets_left > 0 {
            self.elementary.cut(packet, false, false, extras);
            return false;
        }
        let tail_bytes = rng.between(TAIL_BYTES_MIN, TAIL_BYTES_MAX);
        self.elementary.begin(self.packets, tail_bytes);
        let payload = self.elementary.cut(packet, true, false, extras);
        if !extras.scrambled {
            let pts = base_ticks + (self.units + 1) * self.spec.pes_ticks + DECODER_MARGIN_TICKS;
            let after_length = (self.packets - 1) * PAYLOAD_BYTES as u64 + tail_bytes - 6;
            let length = u16::try_from(after_length).unwrap_or(0);
            let head_end = payload + PES_HEADER_PTS.len();
            packet[payload..head_end].copy_from_slice(&PES_HEADER_PTS);
            packet[payload + 3] = 0xC0;
            packet[payload + 4..payload + 6].copy_from_slice(&length.to_be_bytes());
            packet[head_end..head_end + ADTS_START.len()].copy_from_slice(&ADTS_START);
            write_pts_dts(packet, Timestamp::from_90khz(pts), None);
        }
        self.units += 1;
        true
    }
}
