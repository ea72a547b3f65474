//! What a measuring receiver would complain about: the first- and second-priority counters of
//! ETSI TR 101 290 §5.2.1 and §5.2.2.
//!
//! Times are arrival times, as the report has it: a source that delivers in bursts shows up in the repetition
//! counters. They are known to [`REST_MAX`], as sources are read in turns: an interval is too long when it was so
//! for certain. Not here: 1.1 and 1.2, which [`FramerStats`](crate::framer::FramerStats) counts; 2.4 PCR_accuracy,
//! which needs a constant delay on the way here; and the CRC of tables other than PAT, PMT and CAT, which are passed
//! on unread.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use crate::intake::REST_MAX;
use crate::time::Instant;
use crate::ts::continuity::Verdict;
use crate::ts::psi::{PsiChange, Section, SectionAssembler, SectionError};
use crate::ts::{Adaptation, PIDS, Packet, Pcr, PesHeader, Pid, PsiTracker};

/// PIDs that are timed at most: PAT, CAT, PMTs, clocks, audio and video. Those that the tables name last are left
/// out.
pub const WATCHED_MAX: usize = 128;

/// Each of PAT, PMT and, in a scrambled stream, CAT comes at least this often (1.3, 1.5).
pub const SECTION_INTERVAL_MAX: Duration = Duration::from_millis(500);
/// Audio and video come at least this often (1.6; the report leaves the choice to the user, up to this).
pub const PID_INTERVAL_MAX: Duration = Duration::from_secs(5);
/// Clock references come at least this often (2.3; ISO/IEC 13818-1 §2.7.2).
pub const PCR_INTERVAL_MAX: Duration = Duration::from_millis(100);
/// Presentation times come at least this often (2.5; ISO/IEC 13818-1 §2.7.4).
pub const PTS_INTERVAL_MAX: Duration = Duration::from_millis(700);
/// How often is looked for what has not come.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);

const _: () = assert!(WATCHED_MAX < u8::MAX as usize, "a slot and the value for none fit a byte");

const CAT_TABLE_ID: u8 = 0x01;

/// Counters of ETSI TR 101 290; they only grow. What stays away is counted once for each interval missed, a
/// pause of the whole stream once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QualityCounts {
    /// 1.3 PAT_error: no PAT for [`SECTION_INTERVAL_MAX`], another table on its PID, or scrambled.
    pub pat_errors: u64,
    /// 1.4 Continuity_count_error: packets lost, out of order or sent more than twice.
    pub continuity_errors: u64,
    /// 1.5 PMT_error: no PMT on a PID that the PAT names for [`SECTION_INTERVAL_MAX`], or scrambled.
    pub pmt_errors: u64,
    /// 1.6 PID_error: no packet of an audio or video PID for [`PID_INTERVAL_MAX`].
    pub pid_errors: u64,
    /// 2.1 Transport_error: packets known to be damaged before they came here. Nothing else is derived from them.
    pub transport_errors: u64,
    /// 2.2 CRC_error: a PAT, PMT or CAT section was damaged.
    pub crc_errors: u64,
    /// 2.3a PCR_repetition_error: no clock reference for [`PCR_INTERVAL_MAX`].
    pub pcr_repetition_errors: u64,
    /// 2.3b PCR_discontinuity_indicator_error: the clock went back, or on by more than
    /// [`PCR_INTERVAL_MAX`], unannounced.
    pub pcr_discontinuity_errors: u64,
    /// 2.5 PTS_error: no presentation time on an audio or video PID for [`PTS_INTERVAL_MAX`].
    pub pts_errors: u64,
    /// 2.6 CAT_error: scrambled packets, but no CAT for [`SECTION_INTERVAL_MAX`]; or another table on its PID.
    pub cat_errors: u64,
}

impl QualityCounts {
    /// Every counter with its name in metrics.
    pub fn by_name(&self) -> [(&'static str, u64); 10] {
        [
            ("pat", self.pat_errors),
            ("continuity", self.continuity_errors),
            ("pmt", self.pmt_errors),
            ("pid", self.pid_errors),
            ("transport", self.transport_errors),
            ("crc", self.crc_errors),
            ("pcr_repetition", self.pcr_repetition_errors),
            ("pcr_discontinuity", self.pcr_discontinuity_errors),
            ("pts", self.pts_errors),
            ("cat", self.cat_errors),
        ]
    }
}

/// Watches one stream. Memory: 8 KiB and about 100 bytes for each of up to [`WATCHED_MAX`] PIDs; a packet costs one
/// look-up, and one comparison for each thing expected of its PID.
#[derive(Clone, Debug)]
pub struct Quality {
    counts: QualityCounts,
    /// For each PID its index in `watches` plus one, or zero.
    slots: Box<[u8]>,
    /// Begins with PAT and CAT; empty until the first packet.
    watches: Vec<Watch>,
    cat: SectionAssembler,
    is_scrambled: bool,
    next_check: Instant,
}

/// What is expected of one PID, and when it last came.
#[derive(Clone, Debug)]
struct Watch {
    pid: Pid,
    section: Option<Interval>,
    packet: Option<Interval>,
    pcr: Option<Interval>,
    last_pcr: Option<Pcr>,
    pts: Option<Interval>,
}

/// Something that should not stay away for longer than a limit.
#[derive(Clone, Copy, Debug)]
struct Interval {
    since: Instant,
    max: Duration,
}

impl Quality {
    /// Nothing seen, nothing counted.
    pub fn new() -> Self {
        Self {
            counts: QualityCounts::default(),
            slots: vec![0; PIDS].into_boxed_slice(),
            watches: Vec::new(),
            cat: SectionAssembler::new(),
            is_scrambled: false,
            next_check: Instant::ORIGIN,
        }
    }

    /// Takes the next packet, with what [`Continuity::check`](crate::ts::Continuity::check) and
    /// [`PsiTracker::push`] have just said about it.
    #[inline]
    pub fn push(
        &mut self,
        now: Instant,
        packet: &Packet<'_>,
        continuity: Verdict,
        change: PsiChange,
        psi: &PsiTracker,
    ) {
        if now >= self.next_check {
            self.check(now);
        }
        if packet.transport_error() {
            self.counts.transport_errors += 1;
            return;
        }
        self.counts.continuity_errors += u64::from(matches!(continuity, Verdict::Gap { .. }));
        self.is_scrambled |= packet.scrambled();
        let slot = self.slots[packet.pid().index()];
        if slot > 0 {
            self.push_watched(now, usize::from(slot - 1), packet, change);
        }
        if change.changed {
            self.watch_tables(now, psi);
        }
    }

    /// Forgets what was expected, keeps the counts: the next packets belong to another stream.
    pub fn reset(&mut self) {
        *self = Self { counts: self.counts, ..Self::new() };
    }

    /// The counts since the beginning.
    pub fn counts(&self) -> QualityCounts {
        self.counts
    }

    fn push_watched(&mut self, now: Instant, slot: usize, packet: &Packet<'_>, change: PsiChange) {
        let Some(watch) = self.watches.get_mut(slot) else { return };
        let counts = &mut self.counts;
        if let Some(interval) = &mut watch.packet {
            counts.pid_errors += interval.note(now);
        }
        if let Some(interval) = &mut watch.pcr
            && let Some((field, pcr)) = packet.adaptation().and_then(|field| Some((field, field.pcr()?)))
        {
            counts.pcr_repetition_errors += interval.note(now);
            let jumps = watch.last_pcr.replace(pcr).is_some_and(|last| pcr_jumps(field, last, pcr));
            counts.pcr_discontinuity_errors += u64::from(jumps);
        }
        if let Some(interval) = &mut watch.pts
            && packet.payload_unit_start()
            && (packet.scrambled() || PesHeader::of(packet).is_some_and(|head| head.pts.is_some()))
        {
            // Whether a scrambled head has a presentation time cannot be seen.
            let late = interval.note(now);
            counts.pts_errors += if packet.scrambled() { 0 } else { late };
        }
        if watch.section.is_some() {
            self.push_section(now, slot, packet, change);
        }
    }

    fn push_section(&mut self, now: Instant, slot: usize, packet: &Packet<'_>, change: PsiChange) {
        let counts = &mut self.counts;
        let Some(interval) = self.watches.get_mut(slot).and_then(|watch| watch.section.as_mut()) else {
            return;
        };
        counts.crc_errors += u64::from(change.crc_error);
        match packet.pid() {
            Pid::PAT => {
                counts.pat_errors += u64::from(packet.scrambled()) + u64::from(change.other);
                counts.pat_errors += if change.pat { interval.note(now) } else { 0 };
            }
            Pid::CAT => {
                self.cat.push(packet, |section| match Section::parse(section.bytes) {
                    Ok(section) if section.table_id() == CAT_TABLE_ID => {
                        interval.since = now;
                        self.is_scrambled = false;
                    }
                    Err(SectionError::Crc) => counts.crc_errors += 1,
                    _ => counts.cat_errors += 1,
                });
            }
            _ => {
                counts.pmt_errors += u64::from(packet.scrambled());
                counts.pmt_errors += if change.pmt { interval.note(now) } else { 0 };
            }
        }
    }

    /// Counts what has not come in time.
    #[cold]
    fn check(&mut self, now: Instant) {
        self.next_check = now + CHECK_INTERVAL;
        if self.watches.is_empty() {
            self.watch_always(now);
        }
        let counts = &mut self.counts;
        for watch in &mut self.watches {
            let missed =
                |interval: &mut Option<Interval>| interval.as_mut().map_or(0, |i| i.note_missing(now));
            let section = missed(&mut watch.section);
            match watch.pid {
                Pid::PAT => counts.pat_errors += section,
                Pid::CAT if self.is_scrambled => counts.cat_errors += section,
                Pid::CAT => {}
                _ => counts.pmt_errors += section,
            }
            if section > 0 && watch.pid == Pid::CAT {
                self.is_scrambled = false;
            }
            counts.pid_errors += missed(&mut watch.packet);
            counts.pcr_repetition_errors += missed(&mut watch.pcr);
            counts.pts_errors += missed(&mut watch.pts);
        }
    }

    /// Expects what the tables now name; what was expected before goes on being timed.
    #[cold]
    fn watch_tables(&mut self, now: Instant, psi: &PsiTracker) {
        let before = core::mem::take(&mut self.watches);
        self.slots.fill(0);
        self.watch_always(now);
        for program in psi.pat().iter().flat_map(|pat| &pat.programs) {
            self.watch(program.pmt_pid, |watch| {
                watch.section = Some(Interval::new(now, SECTION_INTERVAL_MAX))
            });
        }
        for pmt in psi.pmts() {
            if pmt.pcr_pid != Pid::NULL {
                self.watch(pmt.pcr_pid, |watch| watch.pcr = Some(Interval::new(now, PCR_INTERVAL_MAX)));
            }
            for stream in pmt.streams.iter().filter(|stream| stream.kind.is_video() || stream.kind.is_audio())
            {
                self.watch(stream.pid, |watch| {
                    watch.packet = Some(Interval::new(now, PID_INTERVAL_MAX));
                    watch.pts = Some(Interval::new(now, PTS_INTERVAL_MAX));
                });
            }
        }
        for before in &before {
            let slot = usize::from(self.slots[before.pid.index()]);
            if let Some(watch) = slot.checked_sub(1).and_then(|slot| self.watches.get_mut(slot)) {
                watch.go_on_from(before);
            }
        }
    }

    fn watch_always(&mut self, now: Instant) {
        for pid in [Pid::PAT, Pid::CAT] {
            self.watch(pid, |watch| watch.section = Some(Interval::new(now, SECTION_INTERVAL_MAX)));
        }
    }

    /// Adds an expectation to the watch of a PID, made where there is none and room for one.
    fn watch(&mut self, pid: Pid, expect: impl FnOnce(&mut Watch)) {
        let slot = &mut self.slots[pid.index()];
        if *slot == 0 && self.watches.len() < WATCHED_MAX {
            self.watches.push(Watch {
                pid,
                section: None,
                packet: None,
                pcr: None,
                last_pcr: None,
                pts: None,
            });
            *slot = self.watches.len() as u8;
        }
        if let Some(watch) = usize::from(*slot).checked_sub(1).and_then(|slot| self.watches.get_mut(slot)) {
            expect(watch);
        }
    }
}

impl Default for Quality {
    fn default() -> Self {
        Self::new()
    }
}

impl Watch {
    fn go_on_from(&mut self, before: &Self) {
        let pairs = [
            (&mut self.section, before.section),
            (&mut self.packet, before.packet),
            (&mut self.pcr, before.pcr),
            (&mut self.pts, before.pts),
        ];
        for (interval, before) in pairs {
            *interval = interval.map(|new| before.unwrap_or(new));
        }
        self.last_pcr = before.last_pcr.filter(|_| self.pcr.is_some());
    }
}

impl Interval {
    fn new(now: Instant, max: Duration) -> Self {
        Self { since: now, max }
    }

    /// It came: one error when it was late.
    fn note(&mut self, now: Instant) -> u64 {
        let late = self.note_missing(now);
        self.since = now;
        late
    }

    /// It did not come: one error, and a new interval, when it should have.
    fn note_missing(&mut self, now: Instant) -> u64 {
        let late = now.saturating_since(self.since) > self.max + REST_MAX;
        if late {
            self.since = now;
        }
        u64::from(late)
    }
}

fn pcr_jumps(field: Adaptation<'_>, last: Pcr, pcr: Pcr) -> bool {
    const MAX: i64 = (Pcr::HZ as i64 / 1_000) * PCR_INTERVAL_MAX.as_millis() as i64;
    !field.discontinuity() && !(0..=MAX).contains(&pcr.ticks_since(last))
}

#[cfg(test)]
mod tests;
