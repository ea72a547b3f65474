//! The multiplexer: which packet comes next, and when.

use super::elementary::{Audio, Extras, Video};
use super::{Change, Mark, PCR_HZ, PMT_PID, PROGRAM_NUMBER, PcrPlace, StreamSpec};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::ts::adaptation::write_pcr;
use crate::ts::psi::crc32_mpeg2;
use crate::ts::{PACKET_BYTES, Pcr, Pid, SYNC_BYTE};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;

const PACKET_BITS: u64 = PACKET_BYTES as u64 * 8;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Payload bytes are copied from here, at a place that each packet draws; a power of two.
const NOISE_BYTES: usize = 1 << 14;
/// ISO/IEC 13818-1 Table 2-34: AAC with ADTS.
const AAC_STREAM_TYPE: u8 = 0x0F;

/// What a synthetic packet is, as the generator knows it: the truth for tests of detectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The program association table.
    Pat,
    /// The program map table.
    Pmt,
    /// The first packet of a key frame: a random access point.
    Key,
    /// Any other packet of the video.
    Video,
    /// The first packet of an audio PES packet.
    AudioStart,
    /// Any other packet of the audio.
    Audio,
    /// A PCR on a PID of its own.
    Pcr,
    /// Stuffing.
    Null,
}

/// One packet and when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyntheticPacket {
    /// When its first byte is due.
    pub at: Instant,
    /// What it is.
    pub content: Content,
    /// The packet.
    pub bytes: [u8; PACKET_BYTES],
}

/// An endless transport stream; see [the module](super).
pub struct SyntheticStream {
    spec: StreamSpec,
    rng: Rng,
    noise: Box<[u8]>,
    index: u64,
    sequence: u64,
    time: Rate,
    clock: Rate,
    /// What the clock showed, or would have shown, at packet 0; 90 kHz ticks below 2^33, and the 27 MHz rest.
    base_ticks: u64,
    base_rest: u64,
    changes: VecDeque<(u64, Change)>,
    psi_due_ns: u64,
    psi_version: u8,
    pmt_next: bool,
    pat: [u8; PACKET_BYTES],
    pmt: [u8; PACKET_BYTES],
    null: [u8; PACKET_BYTES],
    pcr_due_ns: u64,
    pcr_flagged: bool,
    scrambled: bool,
    video: Option<Video>,
    audio: Option<Audio>,
}

impl SyntheticStream {
    /// The stream that `spec` describes.
    ///
    /// Panics when its parts do not fit into its bit rate.
    pub fn new(spec: StreamSpec) -> Self {
        let mut rng = Rng::from_seed(spec.seed);
        let video = spec.video.clone().map(|video| Video::new(video, spec.bitrate, &mut rng));
        let audio = spec.audio.clone().map(|audio| Audio::new(audio, spec.bitrate));
        assert_parts_fit(&spec, video.as_ref(), audio.as_ref());
        let mut noise = vec![0; NOISE_BYTES + PACKET_BYTES].into_boxed_slice();
        for byte in &mut noise {
            // No zero byte: nothing in the noise looks like a start code.
            *byte = 1 + rng.below(255) as u8;
        }
        let mut null = [0xFF; PACKET_BYTES];
        null[..4].copy_from_slice(&[SYNC_BYTE, 0x1F, 0xFF, 0x10]);
        let start = Pcr::from_27mhz(spec.pcr_start).as_27mhz();
        let mut stream = SyntheticStream {
            rng,
            noise,
            index: 0,
            sequence: spec.sequence_start,
            time: Rate::new(PACKET_BITS * NANOS_PER_SECOND, spec.bitrate),
            clock: Rate::new(PACKET_BITS * PCR_HZ, spec.bitrate),
            base_ticks: start / 300,
            base_rest: start % 300,
            changes: spec.changes.iter().copied().collect(),
            psi_due_ns: 0,
            psi_version: 0,
            pmt_next: false,
            pat: [0; PACKET_BYTES],
            pmt: [0; PACKET_BYTES],
            null,
            pcr_due_ns: 0,
            pcr_flagged: false,
            scrambled: false,
            video,
            audio,
            spec,
        };
        stream.rebuild_psi();
        stream
    }

    /// The next packet: `next` of the iterator, which never ends.
    pub fn next_packet(&mut self) -> SyntheticPacket {
        while let Some(&(index, change)) = self.changes.front()
            && index <= self.index
        {
            self.changes.pop_front();
            self.change(change);
        }
        let at = self.next_at();
        let (content, mut bytes) = self.choose();
        if !matches!(content, Content::Pat | Content::Pmt | Content::Pcr) {
            Mark { sequence: self.sequence, sent_ns: at.as_nanos() }.write(&mut bytes);
            self.sequence += 1;
        }
        self.index += 1;
        self.time.step();
        self.clock.step();
        SyntheticPacket { at, content, bytes }
    }

    /// Appends the next `packets` packets to `out`; gives the time of the first of them.
    pub fn append(&mut self, packets: usize, out: &mut Vec<u8>) -> Instant {
        let first_at = self.next_at();
        out.reserve(packets * PACKET_BYTES);
        for _ in 0..packets {
            out.extend_from_slice(&self.next_packet().bytes);
        }
        first_at
    }

    /// The next `packets` packets in one piece.
    pub fn take_bytes(&mut self, packets: usize) -> Vec<u8> {
        let mut out = Vec::new();
        self.append(packets, &mut out);
        out
    }

    /// Something happens to the stream before its next packet.
    pub fn change(&mut self, change: Change) {
        match change {
            Change::PsiVersion => self.next_psi_version(),
            Change::VideoPid(pid) => {
                if let Some(video) = &mut self.video {
                    video.move_to(pid);
                }
                self.next_psi_version();
            }
            Change::ClockJump { ticks, flagged } => {
                self.base_ticks = self.base_ticks.wrapping_add_signed(ticks) % (1 << 33);
                self.pcr_flagged |= flagged;
                self.pcr_due_ns = 0;
            }
            Change::Scrambled(scrambled) => self.scrambled = scrambled,
        }
    }

    /// When the next packet is due.
    pub fn next_at(&self) -> Instant {
        self.spec.start + Duration::from_nanos(self.time.value)
    }

    /// The index of the next packet: how many there have been.
    pub fn packets(&self) -> u64 {
        self.index
    }

    fn choose(&mut self) -> (Content, [u8; PACKET_BYTES]) {
        if let Some(video) = &mut self.video {
            video.elementary.slot();
        }
        if let Some(audio) = &mut self.audio {
            audio.elementary.slot();
        }
        let now_ns = self.time.value;
        if self.pmt_next {
            self.pmt_next = false;
            return (Content::Pmt, repeat_psi(&mut self.pmt));
        }
        if now_ns >= self.psi_due_ns {
            self.psi_due_ns = now_ns + nanoseconds(self.spec.psi_interval);
            self.pmt_next = true;
            return (Content::Pat, repeat_psi(&mut self.pat));
        }
        let pcr_due = now_ns >= self.pcr_due_ns && self.spec.pcr != PcrPlace::Absent;
        if pcr_due {
            self.pcr_due_ns = now_ns + nanoseconds(self.spec.pcr_interval);
            if let PcrPlace::Own(pid) = self.spec.pcr {
                return (Content::Pcr, self.own_pcr(pid));
            }
        }
        let mut extras = Extras { scrambled: self.scrambled, ..Extras::default() };
        if pcr_due {
            extras.pcr = Some(self.pcr());
            extras.discontinuity = core::mem::take(&mut self.pcr_flagged);
        }
        let pcr_on_audio = self.video.is_none();
        let at = self.rng.below(NOISE_BYTES as u64) as usize;
        let noise: &[u8; PACKET_BYTES] =
            self.noise[at..].first_chunk().expect("the noise is longer than the last place by a packet");
        if let Some(audio) = &mut self.audio
            && (pcr_due && pcr_on_audio || !pcr_due && audio.elementary.due())
        {
            let mut packet = *noise;
            let start = audio.packet(&mut packet, self.base_ticks, extras, &mut self.rng);
            return (if start { Content::AudioStart } else { Content::Audio }, packet);
        }
        if let Some(video) = &mut self.video
            && (pcr_due || video.elementary.due())
        {
            let mut packet = *noise;
            let key = video.packet(&mut packet, self.base_ticks, extras, &mut self.rng);
            return (if key { Content::Key } else { Content::Video }, packet);
        }
        (Content::Null, self.null)
    }

    fn next_psi_version(&mut self) {
        self.psi_version = (self.psi_version + 1) % 32;
        self.psi_due_ns = 0;
        self.pmt_next = false;
        self.rebuild_psi();
    }

    /// Writes PAT and PMT with the current version; their continuity counters go on.
    fn rebuild_psi(&mut self) {
        let [program_high, program_low] = PROGRAM_NUMBER.to_be_bytes();
        let [pmt_high, pmt_low] = PMT_PID.value().to_be_bytes();
        let version = 0xC1 | self.psi_version << 1;
        let counters = (self.pat[3] & 0x0F, self.pmt[3] & 0x0F);
        let pat = [0x00, 0, 0, 0, 1, version, 0, 0, program_high, program_low, 0xE0 | pmt_high, pmt_low];
        self.pat = psi_packet(Pid::PAT, counters.0, &pat);

        let video = self.video.as_ref().map(|video| video.elementary.pid);
        let audio = self.audio.as_ref().map(|audio| audio.elementary.pid);
        let pcr_pid = match self.spec.pcr {
            PcrPlace::Elementary => video.or(audio).unwrap_or(Pid::NULL),
            PcrPlace::Own(pid) => pid,
            PcrPlace::Absent => Pid::NULL,
        };
        let [pcr_high, pcr_low] = pcr_pid.value().to_be_bytes();
        let mut pmt =
            vec![0x02, 0, 0, program_high, program_low, version, 0, 0, 0xE0 | pcr_high, pcr_low, 0xF0, 0];
        let video_type = self.spec.video.as_ref().map_or(0, |video| video.codec.stream_type());
        for (pid, stream_type) in [(video, video_type), (audio, AAC_STREAM_TYPE)] {
            if let Some(pid) = pid {
                let [high, low] = pid.value().to_be_bytes();
                pmt.extend_from_slice(&[stream_type, 0xE0 | high, low, 0xF0, 0]);
            }
        }
        self.pmt = psi_packet(PMT_PID, counters.1, &pmt);
    }

    fn own_pcr(&mut self, pid: Pid) -> [u8; PACKET_BYTES] {
        let [high, low] = pid.value().to_be_bytes();
        let mut packet = [0xFF; PACKET_BYTES];
        // Without payload the continuity counter stands still.
        packet[..6].copy_from_slice(&[SYNC_BYTE, high, low, 0x20, 183, 0x10]);
        packet[5] |= u8::from(core::mem::take(&mut self.pcr_flagged)) << 7;
        write_pcr(&mut packet, self.pcr());
        packet
    }

    fn pcr(&self) -> Pcr {
        Pcr::from_27mhz(self.base_ticks * 300 + self.base_rest + self.clock.value)
    }
}

impl Iterator for SyntheticStream {
    type Item = SyntheticPacket;

    fn next(&mut self) -> Option<SyntheticPacket> {
        Some(self.next_packet())
    }
}

/// A value that grows by a fraction per packet, exactly.
struct Rate {
    value: u64,
    rest: u64,
    whole: u64,
    part: u64,
    of: u64,
}

impl Rate {
    /// Grows by `amount` / `of` per step.
    fn new(amount: u64, of: u64) -> Self {
        Rate { value: 0, rest: 0, whole: amount / of, part: amount % of, of }
    }

    fn step(&mut self) {
        self.value += self.whole;
        self.rest += self.part;
        if self.rest >= self.of {
            self.rest -= self.of;
            self.value += 1;
        }
    }
}

fn assert_parts_fit(spec: &StreamSpec, video: Option<&Video>, audio: Option<&Audio>) {
    let psi_interval_ns = nanoseconds(spec.psi_interval);
    let pcr_interval_ns = nanoseconds(spec.pcr_interval);
    assert!(psi_interval_ns > 0 && pcr_interval_ns > 0, "the intervals of PSI and PCR are not zero");
    let pcr_on_audio = spec.pcr == PcrPlace::Elementary && video.is_none();
    let pes_ns = spec.audio.as_ref().map_or(0, |audio| audio.pes_ticks * NANOS_PER_SECOND / super::PTS_HZ);
    assert!(!pcr_on_audio || pes_ns / pcr_interval_ns <= 6, "an audio PES packet has room for six PCRs");
    let own_pcr = matches!(spec.pcr, PcrPlace::Own(_));
    let used = 2 * PACKET_BITS * NANOS_PER_SECOND / psi_interval_ns
        + if own_pcr { PACKET_BITS * NANOS_PER_SECOND / pcr_interval_ns } else { 0 }
        + video.map_or(0, |video| video.elementary.bitrate(spec.bitrate))
        + audio.map_or(0, |audio| audio.elementary.bitrate(spec.bitrate));
    assert!(used <= spec.bitrate, "the parts need {used} bit/s, the multiplex has {}", spec.bitrate);
}

/// A packet with one whole section, whose length and CRC are filled in here.
fn psi_packet(pid: Pid, continuity: u8, section: &[u8]) -> [u8; PACKET_BYTES] {
    let [pid_high, pid_low] = pid.value().to_be_bytes();
    let mut packet = [0xFF; PACKET_BYTES];
    packet[..5].copy_from_slice(&[SYNC_BYTE, 0x40 | pid_high, pid_low, 0x10 | continuity, 0]);
    let section_end = 5 + section.len();
    packet[5..section_end].copy_from_slice(section);
    // What follows the length field, with the CRC: far below 256 bytes.
    packet[6] = 0xB0;
    packet[7] = (section.len() - 3 + 4) as u8;
    let crc = crc32_mpeg2(&packet[5..section_end]);
    packet[section_end..section_end + 4].copy_from_slice(&crc.to_be_bytes());
    packet
}

/// The packet to send now; the stored one gets the next continuity counter.
fn repeat_psi(stored: &mut [u8; PACKET_BYTES]) -> [u8; PACKET_BYTES] {
    let packet = *stored;
    stored[3] = 0x10 | ((packet[3] + 1) & 0x0F);
    packet
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{AudioSpec, Codec, Probe};
    use crate::ts::continuity::Verdict;
    use crate::ts::pes::PesHeader;
    use crate::ts::psi::{Pat, Pmt, PsiTracker, Section, StreamKind};
    use crate::ts::{Continuity, Packet};

    const SECOND_AT_4_MBIT: usize = 4_000_000 / 1_504;

    fn packets(spec: StreamSpec, count: usize) -> Vec<SyntheticPacket> {
        SyntheticStream::new(spec).take(count).collect()
    }

    fn every_kind_of_stream() -> Vec<StreamSpec> {
        let tv = StreamSpec::new(1, 4_000_000);
        let mut reordered = tv.clone();
        reordered.video.as_mut().unwrap().reordered = true;
        let mut own_pcr = tv.clone();
        own_pcr.pcr = PcrPlace::Own(Pid::new(0x1FE));
        let mut near_wrap = tv.clone();
        near_wrap.pcr_start = Pcr::MODULUS - 13_500_001;
        vec![
            tv.clone(),
            tv.clone().codec(Codec::Mpeg2),
            tv.codec(Codec::H265).without_idr().without_indicator(),
            StreamSpec::new(2, 400_000),
            StreamSpec::new(3, 50_000_000),
            StreamSpec::radio(4, 150_000),
            reordered,
            own_pcr,
            near_wrap,
        ]
    }

    #[test]
    fn the_same_spec_gives_the_same_bytes_and_another_seed_others() {
        let spec = StreamSpec::new(7, 3_000_000);
        let bytes = SyntheticStream::new(spec.clone()).take_bytes(5_000);
        assert_eq!(bytes, SyntheticStream::new(spec).take_bytes(5_000));
        assert_ne!(bytes, SyntheticStream::new(StreamSpec::new(8, 3_000_000)).take_bytes(5_000));
    }

    #[test]
    fn counters_and_marks_never_skip() {
        for spec in every_kind_of_stream() {
            let mut continuity = Continuity::new();
            let mut probe = Probe::new();
            for packet in packets(spec, 20_000) {
                let verdict = continuity.check(&Packet::new(&packet.bytes));
                assert!(
                    matches!(verdict, Verdict::First | Verdict::Expected | Verdict::Exempt),
                    "{packet:?}"
                );
                probe.observe(packet.at.as_nanos() + 5, &packet.bytes);
            }
            assert!(probe.is_clean());
            assert_eq!(probe.delay_ns_max, 5);
            assert!(probe.marked > probe.packets * 3 / 4);
        }
    }

    #[test]
    fn pat_and_pmt_describe_the_stream() {
        let all = packets(StreamSpec::new(1, 4_000_000).codec(Codec::H265), SECOND_AT_4_MBIT);
        let section = |content| {
            let packet = all.iter().find(|packet| packet.content == content).unwrap();
            Section::parse(&packet.bytes[5..]).unwrap()
        };
        assert_eq!(Pat::parse(&section(Content::Pat)).unwrap().programs[0].pmt_pid, PMT_PID);
        let pmt = Pmt::parse(&section(Content::Pmt)).unwrap();
        assert_eq!(pmt.pcr_pid, Pid::new(0x100));
        let mut tracker = PsiTracker::new();
        for packet in &all {
            tracker.push(&Packet::new(&packet.bytes));
        }
        assert!(tracker.complete());
        assert_eq!(tracker.video(), Some((Pid::new(0x100), StreamKind::H265)));
        assert_eq!(tracker.audio(), Some(Pid::new(0x101)));
        let tables = all.iter().filter(|packet| packet.content == Content::Pat).count();
        assert_eq!(tables, 10);
    }

    #[test]
    fn the_clock_says_the_time_and_comes_often_enough() {
        for spec in every_kind_of_stream() {
            let start = Pcr::from_27mhz(spec.pcr_start);
            let pcr_interval = spec.pcr_interval;
            let slot = Duration::from_nanos(PACKET_BITS * NANOS_PER_SECOND / spec.bitrate);
            let mut last: Option<Instant> = None;
            for packet in packets(spec, 20_000) {
                let Some(pcr) = Packet::new(&packet.bytes).adaptation().and_then(|field| field.pcr()) else {
                    continue;
                };
                let elapsed_ns = pcr.ticks_since(start) * 1_000 / 27;
                assert!(elapsed_ns.abs_diff(packet.at.as_nanos() as i64) < 40, "{elapsed_ns} {packet:?}");
                // PAT and PMT may stand in the way.
                let distance_max = pcr_interval + 3 * slot;
                assert!(last.is_none_or(|last| packet.at.saturating_since(last) <= distance_max));
                last = Some(packet.at);
            }
            assert!(last.is_some());
        }
    }

    #[test]
    fn every_frame_has_arrived_before_its_decoding_time() {
        for spec in every_kind_of_stream() {
            let start = Pcr::from_27mhz(spec.pcr_start);
            let mut due: [Option<u64>; 2] = [None; 2];
            let mut frames = 0;
            for packet in packets(spec, 20_000) {
                let kind = match packet.content {
                    Content::Key | Content::Video => 0,
                    Content::AudioStart | Content::Audio => 1,
                    _ => continue,
                };
                if let Some(head) = PesHeader::of(&Packet::new(&packet.bytes)) {
                    let decoded = head.dts.or(head.pts).unwrap();
                    let ticks = Pcr::from_27mhz(decoded.as_90khz() * 300).ticks_since(start);
                    due[kind] = Some(ticks as u64 * 1_000 / 27);
                    frames += 1;
                }
                let due_ns = due[kind].unwrap();
                let ahead_ns = due_ns.checked_sub(packet.at.as_nanos()).expect("no packet is late");
                assert!(ahead_ns < 1_500_000_000, "{ahead_ns}");
            }
            assert!(frames > 15);
        }
    }

    #[test]
    fn an_audio_pes_packet_is_as_long_as_it_says() {
        for spec in every_kind_of_stream() {
            let mut announced = None;
            let mut bytes = 0;
            for packet in packets(spec, 20_000) {
                let payload = Packet::new(&packet.bytes).payload().unwrap_or_default();
                if packet.content == Content::AudioStart {
                    assert!(announced.is_none_or(|announced| announced == bytes));
                    announced = Some(usize::from(u16::from_be_bytes([payload[4], payload[5]])) + 6);
                    bytes = 0;
                }
                if matches!(packet.content, Content::AudioStart | Content::Audio) {
                    bytes += payload.len();
                }
            }
            assert!(announced.is_some());
        }
    }

    #[test]
    fn key_frames_come_in_time_are_large_and_carry_the_indicator() {
        let all = packets(StreamSpec::new(1, 4_000_000), 10 * SECOND_AT_4_MBIT);
        let keys: Vec<_> = all.iter().filter(|packet| packet.content == Content::Key).collect();
        assert!((10..=11).contains(&keys.len()));
        for key in &keys {
            assert!(Packet::new(&key.bytes).adaptation().unwrap().random_access());
        }
        let spread = keys.windows(2).map(|pair| pair[1].at.saturating_since(pair[0].at));
        assert!(
            spread.into_iter().all(|gap| gap.abs_diff(Duration::from_secs(1)) < Duration::from_millis(2))
        );
    }

    #[test]
    fn reordered_frames_are_presented_once_per_frame_time() {
        let mut spec = StreamSpec::new(1, 4_000_000);
        spec.video.as_mut().unwrap().reordered = true;
        let mut shown: Vec<u64> = packets(spec, 5 * SECOND_AT_4_MBIT)
            .iter()
            .filter(|packet| matches!(packet.content, Content::Key | Content::Video))
            .filter_map(|packet| PesHeader::of(&Packet::new(&packet.bytes))?.pts)
            .map(|pts| pts.as_90khz())
            .collect();
        shown.truncate(75);
        assert!(!shown.is_sorted());
        shown.sort_unstable();
        assert!(shown.windows(2).all(|pair| pair[1] - pair[0] == 3_600), "{shown:?}");
    }

    #[test]
    fn changes_happen_where_they_were_asked_for() {
        let spec = StreamSpec::new(1, 4_000_000)
            .change(3_000, Change::PsiVersion)
            .change(6_000, Change::VideoPid(Pid::new(0x200)))
            .change(9_000, Change::ClockJump { ticks: -90_000, flagged: true })
            .change(12_000, Change::Scrambled(true));
        let all = packets(spec, 15_000);
        assert_eq!(all[3_000].content, Content::Pat);
        assert_eq!(Section::parse(&all[3_001].bytes[5..]).unwrap().version(), 1);
        assert_eq!(Section::parse(&all[6_001].bytes[5..]).unwrap().version(), 2);
        let moved = all[6_000..].iter().find(|packet| Packet::new(&packet.bytes).pid() == Pid::new(0x200));
        assert_eq!(moved.unwrap().content, Content::Key);
        assert!(all[6_000..].iter().all(|packet| Packet::new(&packet.bytes).pid() != Pid::new(0x100)));

        let clock = |packet: &SyntheticPacket| Packet::new(&packet.bytes).adaptation()?.pcr();
        let before = all[..9_000].iter().rev().find_map(clock).unwrap();
        let after = all[9_000..].iter().find(|packet| clock(packet).is_some()).unwrap();
        assert!(Packet::new(&after.bytes).adaptation().unwrap().discontinuity());
        let back = before.ticks_since(clock(after).unwrap());
        assert!((25_000_000..27_000_000).contains(&back), "{back}");

        let scrambled = |packet: &&SyntheticPacket| Packet::new(&packet.bytes).scrambled();
        assert!(!all[..12_000].iter().any(|packet| scrambled(&packet)));
        let media = |packet: &&SyntheticPacket| matches!(packet.content, Content::Video | Content::Audio);
        assert!(all[12_000..].iter().filter(media).all(|packet| scrambled(&packet)));
    }

    #[test]
    #[should_panic = "the parts need"]
    fn parts_that_do_not_fit_are_refused() {
        let mut spec = StreamSpec::new(1, 4_000_000);
        spec.audio = Some(AudioSpec { pid: Pid::new(0x101), bitrate: 1_000_000, pes_ticks: 11_520 });
        SyntheticStream::new(spec);
    }
}
