//! What a viewer got, and whether it is what a viewer should get.

use std::collections::BTreeMap;
use std::io::Write;

use restreamer_core::ts::{PACKET_BYTES, Packet, Pid};

use super::run;

/// Whole packets of one stream.
#[derive(Clone)]
pub(crate) struct Recording {
    bytes: Vec<u8>,
}

impl Recording {
    /// Fails unless `bytes` are whole packets.
    pub(crate) fn new(bytes: Vec<u8>) -> Recording {
        assert_eq!(bytes.len() % PACKET_BYTES, 0, "a packet is torn");
        let recording = Recording { bytes };
        for (index, packet) in recording.packets().enumerate() {
            assert_eq!(packet.bytes()[0], 0x47, "packet {index} does not begin with a sync byte");
        }
        recording
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn packets(&self) -> impl DoubleEndedIterator<Item = Packet<'_>> + ExactSizeIterator {
        self.bytes.chunks_exact(PACKET_BYTES).map(|packet| Packet::new(packet.try_into().unwrap()))
    }

    /// Fails unless it begins with PAT, PMT and a random access point of a packet with video.
    pub(crate) fn assert_begins_at_access_point(&self) {
        let [pat, pmt, first] = self.packets().take(3).collect::<Vec<_>>().try_into().ok().unwrap();
        assert_eq!(pat.pid(), Pid::PAT);
        assert_eq!(Some(pmt.pid()), pmt_pid(&pat));
        assert!(first.payload_unit_start(), "a picture begins");
        assert!(first.adaptation().is_some_and(|adaptation| adaptation.random_access()));
        let payload = first.payload().unwrap();
        assert_eq!(payload[..3], [0, 0, 1], "a PES packet begins");
        assert_eq!(payload[3] & 0xF0, 0xE0, "it is video");
    }

    /// Fails where a continuity counter does not follow, with the place.
    pub(crate) fn assert_continuous(&self) {
        assert_eq!(self.gaps(), [], "packets are missing");
    }

    /// Places where a continuity counter does not follow and no discontinuity was announced.
    pub(crate) fn gaps(&self) -> Vec<(usize, Pid)> {
        let mut last = BTreeMap::new();
        let mut gaps = Vec::new();
        for (index, packet) in self.packets().enumerate() {
            let pid = packet.pid();
            let counter = packet.bytes()[3] & 0x0F;
            let has_payload = packet.bytes()[3] & 0x10 != 0;
            let is_announced = packet.adaptation().is_some_and(|adaptation| adaptation.discontinuity());
            let before = last.insert(pid, counter);
            let step = u8::from(has_payload);
            let follows = before.is_none_or(|before| (before + step) & 0x0F == counter);
            if !follows && !is_announced && pid != Pid::NULL {
                gaps.push((index, pid));
            }
        }
        gaps
    }

    /// The packets after the PSI that was put before the first access point.
    pub(crate) fn without_psi(&self) -> &[u8] {
        &self.bytes[2 * PACKET_BYTES..]
    }

    /// Where `part` begins in this recording, counted in packets.
    pub(crate) fn find(&self, part: &[u8]) -> Option<usize> {
        let places = self.bytes.len().checked_sub(part.len())? / PACKET_BYTES;
        (0..=places).find(|place| self.bytes[place * PACKET_BYTES..].starts_with(part))
    }

    /// Without the pictures and sounds at its end that are not all there.
    pub(crate) fn whole_units(&self) -> Recording {
        let mut ends = BTreeMap::new();
        for (index, packet) in self.packets().enumerate() {
            if packet.payload_unit_start() {
                ends.insert(packet.pid(), index);
            }
        }
        let is_whole = |index: usize, packet: &Packet<'_>| match packet.pid() {
            Pid::PAT => true,
            pid => ends.get(&pid).is_none_or(|&end| index < end),
        };
        let whole = self.packets().enumerate().filter(|(index, packet)| is_whole(*index, packet));
        Recording { bytes: whole.flat_map(|(_, packet)| *packet.bytes()).collect() }
    }

    /// What ffmpeg has to complain about when it decodes all of it.
    pub(crate) fn decode(&self) -> String {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&self.whole_units().bytes).unwrap();
        let path = file.path().to_str().unwrap();
        let output = run(
            "ffmpeg",
            ["-nostdin", "-v", "warning", "-err_detect", "explode", "-i", path, "-f", "null", "-"],
        );
        assert!(output.status.success(), "{}", output.stderr);
        output.stderr
    }
}

/// The PID of the PMT of the first programme in a PAT that fits one packet (ISO/IEC 13818-1 §2.4.4.3).
fn pmt_pid(pat: &Packet<'_>) -> Option<Pid> {
    let payload = pat.payload()?;
    let section = payload.get(1 + usize::from(payload[0])..)?;
    let mut programmes = section.get(8..)?.chunks_exact(4);
    let first = programmes.find(|entry| entry[..2] != [0, 0])?;
    Some(Pid::new(u16::from_be_bytes([first[2], first[3]])))
}
