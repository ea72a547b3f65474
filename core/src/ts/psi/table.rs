//! PAT and PMT (ISO/IEC 13818-1 §2.4.4.3, §2.4.4.8) and what their stream types mean to a player.

use alloc::vec::Vec;

use super::section::{Section, SectionError};
use crate::ts::packet::Pid;

/// Programs of one stream that are followed; the PAT's further ones are left out.
pub const PROGRAMS_MAX: usize = 32;
/// Elementary streams of one program that are listed; the PMT's further ones are left out.
pub const STREAMS_MAX: usize = 64;

const PAT_TABLE_ID: u8 = 0x00;
const PMT_TABLE_ID: u8 = 0x02;
/// Program number 0 points at the network information table, not at a program.
const NETWORK_PROGRAM: u16 = 0;

/// One section of the program association table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pat {
    /// `transport_stream_id`.
    pub stream_id: u16,
    /// 0..=31.
    pub version: u8,
    /// In force now, rather than announced.
    pub current: bool,
    /// Which section of the table this is.
    pub section: u8,
    /// In the table's order, at most [`PROGRAMS_MAX`].
    pub programs: Vec<PatProgram>,
}

/// One program's line in the PAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatProgram {
    /// Never 0.
    pub number: u16,
    /// Where its PMT is found.
    pub pmt_pid: Pid,
}

impl Pat {
    /// Reads a section as a PAT.
    pub fn parse(section: &Section<'_>) -> Result<Self, SectionError> {
        if section.table_id() != PAT_TABLE_ID {
            return Err(SectionError::OtherTable { table_id: section.table_id() });
        }
        let (lines, rest) = section.body().as_chunks::<4>();
        if !rest.is_empty() {
            return Err(SectionError::Malformed);
        }
        let programs = lines
            .iter()
            .map(|&[a, b, c, d]| PatProgram { number: u16::from_be_bytes([a, b]), pmt_pid: pid(c, d) })
            .filter(|program| program.number != NETWORK_PROGRAM)
            .take(PROGRAMS_MAX)
            .collect();
        Ok(Self {
            stream_id: section.extension(),
            version: section.version(),
            current: section.current(),
            section: section.number(),
            programs,
        })
    }
}

/// The map of one program: its elementary streams and its clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pmt {
    /// `program_number`.
    pub program: u16,
    /// 0..=31.
    pub version: u8,
    /// In force now, rather than announced.
    pub current: bool,
    /// Which PID carries the program clock reference; [`Pid::NULL`] when none does.
    pub pcr_pid: Pid,
    /// In the table's order, at most [`STREAMS_MAX`].
    pub streams: Vec<PmtStream>,
}

/// One elementary stream's line in the PMT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PmtStream {
    /// Where it is found.
    pub pid: Pid,
    /// What it is.
    pub kind: StreamKind,
}

impl Pmt {
    /// Reads a section as a PMT.
    pub fn parse(section: &Section<'_>) -> Result<Self, SectionError> {
        if section.table_id() != PMT_TABLE_ID {
            return Err(SectionError::OtherTable { table_id: section.table_id() });
        }
        let (&[a, b, c, d], rest) = section.body().split_first_chunk::<4>().ok_or(SectionError::Malformed)?;
        let (program_info, mut rest) =
            rest.split_at_checked(length_12(c, d)).ok_or(SectionError::Malformed)?;
        let bluray = registration(program_info) == Some(*b"HDMV");
        let mut streams = Vec::new();
        while let Some((&[stream_type, b, c, d, e], after)) = rest.split_first_chunk::<5>() {
            let (info, after) = after.split_at_checked(length_12(d, e)).ok_or(SectionError::Malformed)?;
            if streams.len() < STREAMS_MAX {
                streams.push(PmtStream { pid: pid(b, c), kind: StreamKind::new(stream_type, info, bluray) });
            }
            rest = after;
        }
        if !rest.is_empty() {
            return Err(SectionError::Malformed);
        }
        Ok(Self {
            program: section.extension(),
            version: section.version(),
            current: section.current(),
            pcr_pid: pid(a, b),
            streams,
        })
    }

    /// The first video stream.
    pub fn video(&self) -> Option<(Pid, StreamKind)> {
        self.streams.iter().find(|stream| stream.kind.is_video()).map(|stream| (stream.pid, stream.kind))
    }

    /// The first audio stream.
    pub fn audio(&self) -> Option<Pid> {
        self.streams.iter().find(|stream| stream.kind.is_audio()).map(|stream| stream.pid)
    }
}

/// What an elementary stream is, as far as finding a random access point needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// MPEG-1 or MPEG-2 video.
    Mpeg2Video,
    /// AVC.
    H264,
    /// HEVC.
    H265,
    /// Video of another coding, by `stream_type`.
    OtherVideo(u8),
    /// Audio of any coding, by `stream_type`.
    Audio(u8),
    /// Subtitles, teletext, data, enhancement layers, by `stream_type`.
    Other(u8),
}

impl StreamKind {
    /// By `stream_type` (ISO/IEC 13818-1 Table 2-34, ATSC A/53, and the Blu-ray values where `bluray`), and for
    /// private data by the descriptors in `info` (ETSI EN 300 468 §6.2, SMPTE registration authority).
    fn new(stream_type: u8, info: &[u8], bluray: bool) -> Self {
        match stream_type {
            0x01 | 0x02 => Self::Mpeg2Video,
            0x1B => Self::H264,
            0x24 => Self::H265,
            // MPEG-4 part 2, JPEG 2000, JPEG XS, VVC, EVC, AVS, AVS2, AVS3, VC-1.
            0x10 | 0x21 | 0x32 | 0x33 | 0x35 | 0x42 | 0xD2 | 0xD4 | 0xEA => Self::OtherVideo(stream_type),
            // MPEG-1/2 audio, ADTS, LATM, MPEG-4 raw, MPEG-H; AC-3 and E-AC-3 as ATSC has them.
            0x03 | 0x04 | 0x0F | 0x11 | 0x1C | 0x2D | 0x81 | 0x87 => Self::Audio(stream_type),
            // LPCM, DTS and their kin; elsewhere these values mean other things (0x86 is SCTE 35).
            0x80 | 0x82..=0x86 | 0xA1 | 0xA2 if bluray => Self::Audio(stream_type),
            0x06 => Self::of_private_data(info),
            _ => Self::Other(stream_type),
        }
    }

    fn of_private_data(info: &[u8]) -> Self {
        const STREAM_TYPE: u8 = 0x06;
        match registration(info).as_ref() {
            Some(b"HEVC") => return Self::H265,
            Some(b"AV01" | b"VC-1" | b"drac" | b"AVSV" | b"AVS2" | b"AVS3") => {
                return Self::OtherVideo(STREAM_TYPE);
            }
            Some(b"AC-3" | b"EAC3" | b"AC-4" | b"DTS1" | b"DTS2" | b"DTS3" | b"Opus" | b"BSSD") => {
                return Self::Audio(STREAM_TYPE);
            }
            _ => {}
        }
        let audio = descriptors(info).any(|(tag, body)| match tag {
            // AC-3, enhanced AC-3, DTS, AAC.
            0x6A | 0x7A | 0x7B | 0x7C => true,
            // Extension: DTS-HD, DTS Neural, AC-4, DTS-UHD.
            0x7F => matches!(body.first(), Some(0x0E | 0x0F | 0x15 | 0x21)),
            _ => false,
        });
        if audio { Self::Audio(STREAM_TYPE) } else { Self::Other(STREAM_TYPE) }
    }

    /// Whether a player would show it.
    pub const fn is_video(self) -> bool {
        matches!(self, Self::Mpeg2Video | Self::H264 | Self::H265 | Self::OtherVideo(_))
    }

    /// Whether a player would play it.
    pub const fn is_audio(self) -> bool {
        matches!(self, Self::Audio(_))
    }
}

fn pid(high: u8, low: u8) -> Pid {
    Pid::new(u16::from_be_bytes([high, low]))
}

/// A length whose upper four bits are reserved.
fn length_12(high: u8, low: u8) -> usize {
    usize::from(u16::from_be_bytes([high & 0x0F, low]))
}

/// Tag and body of each descriptor (§2.6.1); stops at one that does not fit.
fn descriptors(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    core::iter::from_fn(move || {
        let (&[tag, length], rest) = bytes.split_first_chunk::<2>()?;
        let (body, rest) = rest.split_at_checked(usize::from(length))?;
        bytes = rest;
        Some((tag, body))
    })
}

/// The `format_identifier` of the registration descriptor (§2.6.8).
fn registration(info: &[u8]) -> Option<[u8; 4]> {
    descriptors(info).find(|&(tag, _)| tag == 0x05).and_then(|(_, body)| body.first_chunk().copied())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ts::psi::testing::{announced, long_section, pat, pmt};

    fn parse_pmt(bytes: &[u8]) -> Result<Pmt, SectionError> {
        Section::parse(bytes).and_then(|section| Pmt::parse(&section))
    }

    fn kind(stream_type: u8, info: &[u8], program_info: &[u8]) -> StreamKind {
        parse_pmt(&pmt(1, 0x100, program_info, &[(stream_type, 0x100, info)])).unwrap().streams[0].kind
    }

    #[test]
    fn a_pat_lists_its_programs_without_the_network() {
        let bytes = pat(3, &[(0, 0x10), (7, 0x100), (8, 0x1FFE)]);
        let pat = Pat::parse(&Section::parse(&bytes).unwrap()).unwrap();
        let program = |number, pid| PatProgram { number, pmt_pid: Pid::new(pid) };
        assert_eq!(pat.programs, [program(7, 0x100), program(8, 0x1FFE)]);
        assert_eq!((pat.stream_id, pat.version, pat.current, pat.section), (1, 3, true, 0));
    }

    #[test]
    fn tables_announced_are_not_current() {
        let bytes = announced(pat(3, &[(7, 0x100)]));
        assert!(!Pat::parse(&Section::parse(&bytes).unwrap()).unwrap().current);
        assert!(!parse_pmt(&announced(pmt(7, 0x100, &[], &[]))).unwrap().current);
    }

    #[test]
    fn a_pmt_lists_its_streams_behind_descriptors_of_any_length() {
        let bytes = pmt(7, 0x101, &[9, 2, 0, 0], &[(0x1B, 0x101, &[]), (0x0F, 0x102, &[10, 4, 0, 0, 0, 0])]);
        let table = parse_pmt(&bytes).unwrap();
        let stream = |pid, kind| PmtStream { pid: Pid::new(pid), kind };
        assert_eq!(table.streams, [stream(0x101, StreamKind::H264), stream(0x102, StreamKind::Audio(0x0F))]);
        assert_eq!((table.program, table.pcr_pid), (7, Pid::new(0x101)));
        assert_eq!(table.video(), Some((Pid::new(0x101), StreamKind::H264)));
        assert_eq!(table.audio(), Some(Pid::new(0x102)));
    }

    #[test]
    fn stream_types_become_kinds() {
        let hdmv: &[u8] = &[5, 4, b'H', b'D', b'M', b'V'];
        let cases: [(u8, &[u8], &[u8], StreamKind); 19] = [
            (0x01, &[], &[], StreamKind::Mpeg2Video),
            (0x02, &[], &[], StreamKind::Mpeg2Video),
            (0x1B, &[], &[], StreamKind::H264),
            (0x24, &[], &[], StreamKind::H265),
            (0x10, &[], &[], StreamKind::OtherVideo(0x10)),
            (0x33, &[], &[], StreamKind::OtherVideo(0x33)),
            (0x03, &[], &[], StreamKind::Audio(0x03)),
            (0x0F, &[], &[], StreamKind::Audio(0x0F)),
            (0x11, &[], &[], StreamKind::Audio(0x11)),
            (0x81, &[], &[], StreamKind::Audio(0x81)),
            // SCTE 35 outside of Blu-ray, DTS-HD there.
            (0x86, &[], &[], StreamKind::Other(0x86)),
            (0x86, &[], hdmv, StreamKind::Audio(0x86)),
            // Private data: nothing said, AC-3, E-AC-3 behind a language, AC-4, teletext, HEVC by registration.
            (0x06, &[], &[], StreamKind::Other(0x06)),
            (0x06, &[0x6A, 1, 0], &[], StreamKind::Audio(0x06)),
            (0x06, &[10, 4, b'd', b'e', b'u', 0, 0x7A, 1, 0], &[], StreamKind::Audio(0x06)),
            (0x06, &[0x7F, 2, 0x15, 0], &[], StreamKind::Audio(0x06)),
            (0x06, &[0x56, 5, 0, 0, 0, 0, 0], &[], StreamKind::Other(0x06)),
            (0x06, &[5, 4, b'H', b'E', b'V', b'C'], &[], StreamKind::H265),
            (0x05, &[], &[], StreamKind::Other(0x05)),
        ];
        for (stream_type, info, program_info, expected) in cases {
            assert_eq!(kind(stream_type, info, program_info), expected, "{stream_type:#04x} {info:02x?}");
        }
    }

    #[test]
    fn a_descriptor_that_does_not_fit_ends_the_list() {
        assert_eq!(kind(0x06, &[10, 200, 0x6A, 1, 0], &[]), StreamKind::Other(0x06));
        assert_eq!(kind(0x06, &[0x6A], &[]), StreamKind::Other(0x06));
    }

    #[test]
    fn lengths_that_contradict_each_other_are_malformed() {
        let cases: [&[u8]; 5] = [
            // No program_info_length; one beyond the section; half a stream; stream descriptors beyond the section.
            &[0xE1, 0x00, 0xF0],
            &[0xE1, 0x00, 0xF0, 0x01],
            &[0xE1, 0x00, 0xF0, 0x00, 0x1B, 0xE1],
            &[0xE1, 0x00, 0xF0, 0x00, 0x1B, 0xE1, 0x00, 0xF0, 0x01],
            &[],
        ];
        for body in cases {
            assert_eq!(parse_pmt(&long_section(2, 1, 0, body)), Err(SectionError::Malformed), "{body:02x?}");
        }
        let half_a_line = long_section(0, 1, 0, &[0, 1, 0xE1]);
        let section = Section::parse(&half_a_line).unwrap();
        assert_eq!(Pat::parse(&section), Err(SectionError::Malformed));
        assert_eq!(Pmt::parse(&section), Err(SectionError::OtherTable { table_id: 0 }));
    }

    #[test]
    fn tables_are_read_up_to_their_limits() {
        let programs: Vec<_> = (1..=253).map(|number| (number, 0x100)).collect();
        let section = pat(0, &programs);
        assert_eq!(Pat::parse(&Section::parse(&section).unwrap()).unwrap().programs.len(), PROGRAMS_MAX);
        let streams: Vec<_> = (0..200).map(|index| (0x1B, 0x100 + index, &[][..])).collect();
        assert_eq!(parse_pmt(&pmt(1, 0x100, &[], &streams)).unwrap().streams.len(), STREAMS_MAX);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(table_id in 0u8..3, body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = long_section(table_id, 1, 0, &body);
            let section = Section::parse(&bytes).unwrap();
            let _ = (Pat::parse(&section), Pmt::parse(&section));
        }
    }
}
