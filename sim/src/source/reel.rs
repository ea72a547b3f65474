//! Where a source's packets come from.

use restreamer_core::testing::{Content as Kind, StreamSpec, SyntheticStream};
use restreamer_core::ts::{PACKET_BYTES, Packet, PesHeader};

use super::{Content, SourcePlan};

/// How long every capture is.
const CAPTURE_NS: u64 = 4_000_000_000;
/// The stamp before each packet of the 192-byte form.
const STAMP_BYTES: usize = 4;

/// A packet and when it is due.
#[derive(Clone, Copy)]
pub struct ReelPacket {
    /// Nanoseconds after the reel's beginning.
    pub at_ns: u64,
    /// A decoder can begin here; `None`: the reel does not know.
    pub is_key: Option<bool>,
    /// The packet.
    pub bytes: [u8; PACKET_BYTES],
}

/// An endless supply of packets.
pub(super) enum Reel {
    Synthetic(Box<SyntheticStream>),
    Capture { packets: &'static [u8], stride: usize, index: u64 },
}

macro_rules! captures {
    ($($name:literal,)*) => {
        /// The captures there are: files in `core/testdata`.
        pub const CAPTURES: &[&str] = &[$($name),*];
        const CAPTURED: &[&[u8]] = &[$(include_bytes!(concat!("../../../core/testdata/", $name))),*];
    };
}

captures! {
    "h264_idr_aac.ts",
    "h264_intra_refresh_ac3.ts",
    "h264_open_gop_aac.ts",
    "hevc_cra_eac3.ts",
    "hevc_idr_aac.ts",
    "mpeg2_ac3.m2ts",
    "mpeg2_mp2.ts",
    "radio_aac.ts",
    "radio_mp2.ts",
}

impl Reel {
    /// What `plan` plays, from its beginning. No packet of a synthetic reel is like one of another source or of
    /// another start. `warm`: its clocks do not begin at zero.
    pub(super) fn new(plan: &SourcePlan, seed: u64, start: u64, warm: bool) -> Self {
        let seed = seed.wrapping_add(start);
        let bitrate = plan.kbps * 1_000;
        let mut spec = match &plan.content {
            Content::Capture(name) => return Reel::capture(name),
            Content::Radio => StreamSpec::radio(seed, bitrate),
            Content::Television { codec, gop_frames, indicator, idr } => {
                let mut spec = StreamSpec::new(seed, bitrate).codec((*codec).into());
                if let Some(video) = &mut spec.video {
                    video.gop_frames = *gop_frames;
                    video.indicator = *indicator;
                    video.idr = *idr;
                }
                spec
            }
        };
        if warm {
            spec.pcr_start = seed % (1 << 41);
            // 63 bits, of which a run uses the lowest few.
            spec.sequence_start = seed >> 1 & !0xFFFF_FFFF;
        }
        Reel::Synthetic(Box::new(SyntheticStream::new(spec)))
    }

    fn capture(name: &str) -> Self {
        let number = CAPTURES.iter().position(|capture| *capture == name).expect("the plan was checked");
        let stride = if name.ends_with(".m2ts") { PACKET_BYTES + STAMP_BYTES } else { PACKET_BYTES };
        Reel::Capture { packets: CAPTURED[number], stride, index: 0 }
    }

    /// When the next packet is due.
    pub(super) fn next_ns(&self) -> u64 {
        match self {
            Reel::Synthetic(stream) => stream.next_at().as_nanos(),
            Reel::Capture { packets, stride, index } => {
                let count = (packets.len() / stride) as u64;
                index / count * CAPTURE_NS + index % count * CAPTURE_NS / count
            }
        }
    }

    pub(super) fn next(&mut self) -> ReelPacket {
        let at_ns = self.next_ns();
        match self {
            Reel::Synthetic(stream) => {
                let packet = stream.next_packet();
                let is_key = matches!(packet.content, Kind::Key | Kind::AudioStart);
                ReelPacket { at_ns, is_key: Some(is_key), bytes: packet.bytes }
            }
            Reel::Capture { packets, stride, index } => {
                let count = packets.len() / *stride;
                let at = (*index as usize % count) * *stride + (*stride - PACKET_BYTES);
                let mut bytes = [0; PACKET_BYTES];
                bytes.copy_from_slice(&packets[at..at + PACKET_BYTES]);
                let is_pes_start = PesHeader::of(&Packet::new(&bytes)).is_some();
                if is_pes_start {
                    // The picture is broken by it, but no round looks like another one.
                    bytes[PACKET_BYTES - 1] = 0x80 | (*index as usize / count) as u8;
                }
                *index += 1;
                ReelPacket { at_ns, is_key: None, bytes }
            }
        }
    }

    /// Leaves out what was due before `due_ns`; answers whether there was something.
    pub(super) fn skip_to(&mut self, due_ns: u64) -> bool {
        let has_some = self.next_ns() < due_ns;
        while self.next_ns() < due_ns {
            self.next();
        }
        has_some
    }
}
