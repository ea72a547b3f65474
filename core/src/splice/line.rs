//! What the end of a piece is found from: the clock readings and the unit times of one PID.

use super::ticks_round;
use crate::ts::{Pcr, Timestamp};

/// A step of the PCR longer than this (or backwards) is a jump, not a measure of the rate.
const CLOCK_STEP_MAX: i64 = 2 * Pcr::HZ as i64;
/// A step from one unit to the next longer than this (or backwards) is a jump, not a duration.
const UNIT_STEP_MAX: i64 = 10 * Timestamp::HZ as i64;
/// The longest single audio frame: 1024 samples at 16 kHz. A PES packet that lasts longer holds several.
const AUDIO_FRAME_TICKS_MAX: u64 = 5_760;
/// The shortest one: 1024 samples at 96 kHz. A common measure below this is rounding, not a frame.
const AUDIO_FRAME_TICKS_MIN: u64 = 960;
/// Units of unknown content that are further apart than this are no sound: how long the last one lasts is unknown,
/// and must not make the piece longer.
const SPARSE_TICKS: u64 = 18_000;

/// The clock readings of one PID.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClockLine {
    /// The first reading of the piece as it came in, and the number of its packet.
    first: Option<(Pcr, u64)>,
    /// The last reading as it went out, and the number of its packet.
    last: Option<(Pcr, u64)>,
    readings: u64,
    ticks: u64,
    packets: u64,
}

/// How a clock would go on if its piece began again.
pub(super) struct ClockRepeat {
    /// The shift that keeps the clock's rate.
    pub(super) shift_27mhz: u64,
    /// The ticks from the last reading to the first one again.
    pub(super) interval_27mhz: u64,
}

impl ClockLine {
    pub(super) fn note(&mut self, came: Pcr, went: Pcr, packet: u64) {
        self.readings += 1;
        self.first.get_or_insert((came, packet));
        if let Some((last, last_packet)) = self.last.replace((went, packet))
            && (1..=CLOCK_STEP_MAX).contains(&went.ticks_since(last))
        {
            self.ticks += ticks_round(last, went);
            self.packets += packet.saturating_sub(last_packet);
        }
    }

    pub(super) fn begin_again(&mut self) {
        self.last = None;
        self.readings = 0;
    }

    pub(super) fn readings(&self) -> u64 {
        self.readings
    }

    /// The reading at the end of the piece, which has `packets` packets.
    pub(super) fn end(&self, packets: u64) -> Option<Pcr> {
        let (last, at) = self.last?;
        Some(last.offset(self.ticks_of(packets - at) as i64))
    }

    /// `None` while no reading has been seen.
    pub(super) fn repeat(&self, packets: u64) -> Option<ClockRepeat> {
        let ((first, first_at), (_, last_at)) = (self.first?, self.last?);
        let end = self.end(packets)?.offset(self.ticks_of(first_at) as i64);
        Some(ClockRepeat {
            shift_27mhz: ticks_round(first, end),
            interval_27mhz: self.ticks_of(packets - last_at + first_at),
        })
    }

    /// So many packets at the mean rate.
    fn ticks_of(&self, packets: u64) -> u64 {
        let ticks = u128::from(packets) * u128::from(self.ticks) / u128::from(self.packets.max(1));
        u64::try_from(ticks).unwrap_or(0)
    }
}

/// What the PES packets of a PID hold, by their `stream_id` (ISO/IEC 13818-1 Table 2-22).
#[derive(Clone, Copy, Debug)]
enum UnitContent {
    Video,
    Audio,
    /// AC-3, but also subtitles and teletext.
    Other,
}

/// The times of one PID's PES packets.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnitLine {
    content: UnitContent,
    /// The first time of the piece as it came in.
    first: Option<Timestamp>,
    /// The latest time as it went out, and the announced length of that PES packet.
    last: Option<(Timestamp, u16)>,
    steps: u64,
    ticks: u64,
    bytes: u64,
    /// The greatest common divisor of the steps.
    common_ticks: u64,
    longest_ticks: u64,
}

impl UnitLine {
    pub(super) fn new(stream_id: u8) -> Self {
        UnitLine {
            content: match stream_id {
                0xE0..=0xEF => UnitContent::Video,
                0xC0..=0xDF => UnitContent::Audio,
                _ => UnitContent::Other,
            },
            first: None,
            last: None,
            steps: 0,
            ticks: 0,
            bytes: 0,
            common_ticks: 0,
            longest_ticks: 0,
        }
    }

    pub(super) fn note(&mut self, came: Timestamp, went: Timestamp, bytes: u16) {
        self.first.get_or_insert(came);
        let Some((last, last_bytes)) = self.last else {
            self.last = Some((went, bytes));
            return;
        };
        match went.ticks_since(last) {
            step if (1..=UNIT_STEP_MAX).contains(&step) => {
                let ticks = step as u64;
                self.steps += 1;
                self.ticks += ticks;
                self.bytes += u64::from(last_bytes);
                self.common_ticks = greatest_common_divisor(self.common_ticks, ticks);
                self.longest_ticks = self.longest_ticks.max(ticks);
            }
            // Presentation times of a stream without decoding times: out of order, the latest counts.
            step if (-UNIT_STEP_MAX..=0).contains(&step) => return,
            _ => {}
        }
        self.last = Some((went, bytes));
    }

    pub(super) fn begin_again(&mut self) {
        self.last = None;
    }

    /// When the last unit ends.
    pub(super) fn end(&self) -> Option<Timestamp> {
        let (last, bytes) = self.last?;
        Some(last.offset(self.duration_ticks(bytes) as i64))
    }

    /// The shift that puts the first unit where the last one ends.
    pub(super) fn shift_to_repeat(&self) -> Option<Timestamp> {
        Some(self.end()?.offset(-(self.first?.as_90khz() as i64)))
    }

    /// How long the last unit lasts, which no later one tells: as long as the others on average. But where audio frames
    /// are sent several at a time, the last PES packet holds what was left over, and its length tells how much.
    fn duration_ticks(&self, bytes: u16) -> u64 {
        let Some(mean) = (self.ticks + self.steps / 2).checked_div(self.steps) else { return 0 };
        match self.content {
            UnitContent::Video => return mean,
            UnitContent::Other if self.longest_ticks > SPARSE_TICKS => return 0,
            _ if self.longest_ticks <= AUDIO_FRAME_TICKS_MAX || bytes == 0 => return mean,
            UnitContent::Audio | UnitContent::Other => {}
        }
        let Some(ticks) = (self.ticks * u64::from(bytes)).checked_div(self.bytes) else { return mean };
        let ticks = ticks.min(self.longest_ticks);
        if (AUDIO_FRAME_TICKS_MIN..=AUDIO_FRAME_TICKS_MAX).contains(&self.common_ticks) {
            let frames = (ticks + self.common_ticks / 2) / self.common_ticks;
            return frames.max(1) * self.common_ticks;
        }
        // Compressed frames differ in length; nearly a whole one is a whole one.
        if ticks >= mean - mean / 8 { mean } else { ticks }
    }
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    // Ends: b falls with every round.
    while b > 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Time, ticks, and announced length, bytes.
    type Unit = (u64, u16);

    /// The duration found for the last of units with these times and lengths.
    fn last_duration(stream_id: u8, units: &[Unit]) -> u64 {
        let mut line = UnitLine::new(stream_id);
        for &(ticks, bytes) in units {
            line.note(Timestamp::from_90khz(ticks), Timestamp::from_90khz(ticks), bytes);
        }
        line.end().unwrap().ticks_since(line.last.unwrap().0) as u64
    }

    #[test]
    fn the_last_unit_lasts_as_long_as_such_units_do() {
        let aac_44100: [Unit; 5] = [(0, 300), (2_090, 310), (4_180, 290), (6_269, 20), (8_359, 400)];
        let aac_in_groups: [Unit; 4] = [(0, 2_950), (17_280, 2_980), (36_480, 2_940), (53_760, 640)];
        let mp2_in_groups: [Unit; 4] = [(0, 2_880), (12_960, 2_880), (25_920, 2_880), (38_880, 960)];
        let subtitles: [Unit; 3] = [(0, 500), (200_000, 100), (700_000, 900)];
        let cases: [(&str, u8, &[Unit], u64); 9] = [
            ("video at 25 Hz", 0xE0, &[(0, 0), (3_600, 0), (7_200, 0)], 3_600),
            ("video at 23.976 Hz", 0xE0, &[(0, 0), (3_753, 0), (7_507, 0), (11_261, 0)], 3_754),
            ("one AAC frame each, of any length", 0xC0, &aac_44100, 2_090),
            ("what was left over of AAC frames: two", 0xC0, &aac_in_groups, 2 * 1_920),
            ("and of layer II frames of one size: by length", 0xC0, &mp2_in_groups, 12_960 / 3),
            ("and nearly a whole one", 0xC0, &[(0, 2_880), (12_960, 2_900), (25_920, 2_800)], 12_960),
            ("subtitles may end at once", 0xBD, &subtitles, 0),
            ("a single unit", 0xE0, &[(5, 0)], 0),
            ("times out of order", 0xE0, &[(0, 0), (10_800, 0), (3_600, 0), (7_200, 0), (14_400, 0)], 7_200),
        ];
        for (name, stream_id, units, expected) in cases {
            assert_eq!(last_duration(stream_id, units), expected, "{name}");
        }
    }
}
