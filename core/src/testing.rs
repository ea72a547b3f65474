//! Synthetic transport streams for tests, benches, the simulator and the load tool.
//!
//! [`SyntheticStream`] is an endless iterator over the packets of one program at a constant bit rate: PAT, PMT, video
//! with a GOP structure, audio, PCR and null packets, with timestamps and frame sizes as an encoder would give them.
//! The same [`StreamSpec`] gives the same bytes, always. Pictures and sound are noise: detectors, analysers and
//! buffers see a real stream, a decoder does not.
//!
//! Every packet with a payload that is not a PSI packet ends in a [`Mark`] (a number and a time), so that a receiver
//! can tell order, loss and delay; [`Probe`] keeps that account. [`Wire`] turns packets into the bytes of a worse
//! world: 192- and 204-byte forms, garbage in between, torn packets.
//!
//! [`Reel`] makes segments whose packets are numbered, for what comes behind the upstream side: a ring, and viewers,
//! whose output a [`Transcript`] checks.
//!
//! Not here: sockets and clocks. The stream says *when* each packet is due and never waits.

mod elementary;
mod probe;
mod reel;
mod stream;
mod wire;

pub use elementary::Codec;
pub use probe::{MARK_BYTES, Mark, Probe};
pub use reel::{Frame, Numbered, Reel, Transcript};
pub use stream::{Content, SyntheticPacket, SyntheticStream};
pub use wire::{Damage, Form, Wire, WireCounts};

use crate::time::{Duration, Instant};
use crate::ts::Pid;
use alloc::vec::Vec;

/// PID of the PMT in every synthetic stream.
pub const PMT_PID: Pid = Pid::new(0x1000);
/// The program number in every synthetic stream.
pub const PROGRAM_NUMBER: u16 = 1;

const PCR_HZ: u64 = 27_000_000;
const PTS_HZ: u64 = 90_000;

/// The video part of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoSpec {
    /// PID of the video packets.
    pub pid: Pid,
    /// Which start codes and NAL units open a frame.
    pub codec: Codec,
    /// Bits per second of video packets, headers included.
    pub bitrate: u64,
    /// Duration of a frame, 90 kHz ticks (3600 = 25 frames per second).
    pub frame_ticks: u64,
    /// Frames from one key frame to the next.
    pub gop_frames: u32,
    /// How many times larger a key frame is than a P frame.
    pub key_weight: u32,
    /// Two B frames between references, so that PTS and DTS differ.
    pub reordered: bool,
    /// Key frames carry `random_access_indicator`.
    pub indicator: bool,
    /// H.264 and H.265 key frames are IDR pictures; otherwise a recovery point and a CRA picture.
    pub idr: bool,
}

/// The audio part of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioSpec {
    /// PID of the audio packets.
    pub pid: Pid,
    /// Bits per second of audio packets, headers included.
    pub bitrate: u64,
    /// Duration of a PES packet, 90 kHz ticks (1920 = one AAC frame at 48 kHz).
    pub pes_ticks: u64,
}

/// Where the PCR is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PcrPlace {
    /// On the video PID, or on the audio PID of a stream without video.
    Elementary,
    /// On a PID of its own, in packets without a payload.
    Own(Pid),
    /// Nowhere: the PMT names PID 0x1FFF.
    Absent,
}

/// Something that happens to the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// PAT and PMT get the next version number; their content stays.
    PsiVersion,
    /// The video moves to another PID, beginning with a key frame, and the PMT says so with its next version.
    VideoPid(Pid),
    /// All clocks move, with or without a `discontinuity_indicator`.
    ClockJump {
        /// 90 kHz ticks, also backwards.
        ticks: i64,
        /// The next packet with a PCR carries the indicator.
        flagged: bool,
    },
    /// From here on the payloads of audio and video are scrambled, or no longer.
    Scrambled(bool),
}

/// Everything that decides the bytes of a [`SyntheticStream`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamSpec {
    /// Decides frame sizes and payload bytes.
    pub seed: u64,
    /// Bits per second of the whole multiplex, null packets included.
    pub bitrate: u64,
    /// The video, if any.
    pub video: Option<VideoSpec>,
    /// The audio, if any.
    pub audio: Option<AudioSpec>,
    /// Where the PCR is.
    pub pcr: PcrPlace,
    /// Longest distance of two PCRs.
    pub pcr_interval: Duration,
    /// Distance of two PATs; each is followed by its PMT.
    pub psi_interval: Duration,
    /// The PCR of the first packet, 27 MHz ticks.
    pub pcr_start: u64,
    /// When the first packet is due.
    pub start: Instant,
    /// The number in the first mark.
    pub sequence_start: u64,
    /// What happens before the packet with that index, ascending.
    pub changes: Vec<(u64, Change)>,
}

impl StreamSpec {
    /// Television: H.264 at 25 frames per second with a key frame per second, and AAC.
    ///
    /// Panics below 400 kbit/s, where the frames would not fit.
    pub fn new(seed: u64, bitrate: u64) -> Self {
        assert!(bitrate >= 400_000, "synthetic television needs 400 kbit/s, not {bitrate} bit/s");
        let audio_bitrate = if bitrate < 1_500_000 { 64_000 } else { 192_000 };
        StreamSpec {
            seed,
            bitrate,
            video: Some(VideoSpec {
                pid: Pid::new(0x100),
                codec: Codec::H264,
                // The rest is PSI (30 kbit/s) and stuffing.
                bitrate: (bitrate - audio_bitrate - 40_000) / 100 * 97,
                frame_ticks: 3_600,
                gop_frames: 25,
                key_weight: 6,
                reordered: false,
                indicator: true,
                idr: true,
            }),
            audio: Some(AudioSpec { pid: Pid::new(0x101), bitrate: audio_bitrate, pes_ticks: 11_520 }),
            pcr: PcrPlace::Elementary,
            pcr_interval: Duration::from_millis(35),
            psi_interval: Duration::from_millis(100),
            pcr_start: PCR_HZ,
            start: Instant::ORIGIN,
            sequence_start: 0,
            changes: Vec::new(),
        }
    }

    /// Radio: AAC, no video.
    ///
    /// Panics below 100 kbit/s.
    pub fn radio(seed: u64, bitrate: u64) -> Self {
        assert!(bitrate >= 100_000, "synthetic radio needs 100 kbit/s, not {bitrate} bit/s");
        let audio_bitrate = (bitrate - 40_000) / 100 * 95;
        StreamSpec {
            bitrate,
            video: None,
            audio: Some(AudioSpec { pid: Pid::new(0x101), bitrate: audio_bitrate, pes_ticks: 11_520 }),
            ..StreamSpec::new(seed, 400_000)
        }
    }

    /// The same stream with another video codec.
    pub fn codec(mut self, codec: Codec) -> Self {
        if let Some(video) = &mut self.video {
            video.codec = codec;
        }
        self
    }

    /// The same stream without `random_access_indicator`.
    pub fn without_indicator(mut self) -> Self {
        if let Some(video) = &mut self.video {
            video.indicator = false;
        }
        self
    }

    /// The same stream with open GOPs: no IDR picture ever.
    pub fn without_idr(mut self) -> Self {
        if let Some(video) = &mut self.video {
            video.idr = false;
        }
        self
    }

    /// The same stream with a change before the packet `index`.
    ///
    /// Panics when an earlier call named a later packet.
    pub fn change(mut self, index: u64, change: Change) -> Self {
        assert!(
            self.changes.last().is_none_or(|last| last.0 <= index),
            "changes are given in ascending order"
        );
        self.changes.push((index, change));
        self
    }
}
