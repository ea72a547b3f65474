//! Follows PAT and PMTs through a stream and keeps the packets that last carried them.
//!
//! Somebody who joins gets those packets first, exactly as they were received, and then the stream from here
//! on. Because they are the *last* packets of their PIDs, continuity counters go on without a step.

use alloc::vec::Vec;

use bytes::Bytes;

use super::section::{Assembled, Section, SectionAssembler, SectionError};
use super::table::{PROGRAMS_MAX, Pat, Pmt, StreamKind};
use crate::ts::packet::{PACKET_BYTES, Packet, Pid, PidSet};

/// Packets kept of one PID. The longest section spreads over seven.
pub const KEPT_PACKETS_MAX: usize = 16;
/// Packets that [`PsiTracker::raw`] returns at most.
pub const RAW_PACKETS_MAX: usize = 64;
/// The same in bytes: 12 KiB.
pub const RAW_BYTES_MAX: usize = RAW_PACKETS_MAX * PACKET_BYTES;

/// What a packet brought, as far as program specific information goes. Nothing, for almost all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PsiChange {
    /// It completed a section of the PAT.
    pub pat: bool,
    /// It completed a PMT.
    pub pmt: bool,
    /// It completed a section of another table, or one whose content contradicts itself.
    pub other: bool,
    /// It completed a section with a wrong CRC.
    pub crc_error: bool,
    /// The tables now say something else: programs, PIDs or stream kinds may differ.
    pub changed: bool,
}

/// The tables in force, and the packets they came in. Bounded: [`PROGRAMS_MAX`] programs, each PID with one open
/// section and [`KEPT_PACKETS_MAX`] packets.
#[derive(Clone, Debug)]
pub struct PsiTracker {
    watched: PidSet,
    pat: Watch,
    pat_kept: Option<Kept>,
    pat_table: Option<Pat>,
    programs: Vec<Program>,
    /// One per distinct PMT PID, in the order of the PAT.
    pmts: Vec<Watch>,
    selected: Selected,
    raw: Option<Bytes>,
}

#[derive(Clone, Debug)]
struct Program {
    number: u16,
    pmt_pid: Pid,
    pmt: Option<Pmt>,
    kept: Option<Kept>,
}

/// Derived from all tables when one changes, so that asking costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Selected {
    video: Option<(Pid, StreamKind)>,
    audio: Option<Pid>,
    pcr: Option<Pid>,
}

impl PsiTracker {
    /// Knows nothing yet.
    pub fn new() -> Self {
        let mut watched = PidSet::new();
        watched.insert(Pid::PAT);
        Self {
            watched,
            pat: Watch::new(Pid::PAT),
            pat_kept: None,
            pat_table: None,
            programs: Vec::new(),
            pmts: Vec::new(),
            selected: Selected::default(),
            raw: None,
        }
    }

    /// Looks at the next packet of the stream. One bit test for packets of other PIDs.
    #[inline]
    pub fn push(&mut self, packet: &Packet<'_>) -> PsiChange {
        if self.watched.contains(packet.pid()) { self.push_watched(packet) } else { PsiChange::default() }
    }

    /// Forgets everything: the next packets belong to another stream.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// The packets that carried the PAT and then the PMTs, up to the last one received of each PID.
    ///
    /// Whole packets, at most [`RAW_BYTES_MAX`] bytes; empty while no PAT is known. What would not fit is left
    /// out, PMTs of later programs first. Calls without a PSI packet in between return the same shared value,
    /// otherwise the packets are copied once.
    pub fn raw(&mut self) -> Bytes {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let mut bytes = Vec::new();
        if self.pat_kept.is_some() {
            self.pat.copy_to(&mut bytes);
        }
        for watch in &self.pmts {
            let complete = self.programs.iter().any(|p| p.pmt_pid == watch.pid && p.kept.is_some());
            if complete && bytes.len() + watch.window.len() * PACKET_BYTES <= RAW_BYTES_MAX {
                watch.copy_to(&mut bytes);
            }
        }
        let raw = Bytes::from(bytes);
        self.raw = Some(raw.clone());
        raw
    }

    /// A PAT and at least one PMT are known.
    pub fn complete(&self) -> bool {
        self.programs.iter().any(|program| program.pmt.is_some())
    }

    /// The video of the first program that has any.
    #[inline]
    pub fn video(&self) -> Option<(Pid, StreamKind)> {
        self.selected.video
    }

    /// The first audio of the program that [`PsiTracker::video`] belongs to; without video, of the first program
    /// that has any.
    #[inline]
    pub fn audio(&self) -> Option<Pid> {
        self.selected.audio
    }

    /// Which PID carries the clock of the program that video or audio was taken from.
    #[inline]
    pub fn pcr_pid(&self) -> Option<Pid> {
        self.selected.pcr
    }

    /// The PAT in force.
    pub fn pat(&self) -> Option<&Pat> {
        self.pat_table.as_ref()
    }

    /// The PMTs known, in the order of the PAT.
    pub fn pmts(&self) -> impl Iterator<Item = &Pmt> {
        self.programs.iter().filter_map(|program| program.pmt.as_ref())
    }

    fn push_watched(&mut self, packet: &Packet<'_>) -> PsiChange {
        let change = if packet.pid() == Pid::PAT {
            self.push_pat(packet)
        } else {
            self.pmts
                .iter()
                .position(|watch| watch.pid == packet.pid())
                .map_or_else(PsiChange::default, |at| self.push_pmt(at, packet))
        };
        if change.changed {
            self.select();
        }
        change
    }

    fn push_pat(&mut self, packet: &Packet<'_>) -> PsiChange {
        let mut change = PsiChange::default();
        let mut found = None;
        let new = self.pat.push(packet, |section, kept| match section.and_then(|s| Pat::parse(&s)) {
            Ok(pat) => {
                change.pat = true;
                // The first section alone names more programs than are followed.
                if pat.current && pat.section == 0 {
                    found = Some((pat, kept));
                }
            }
            Err(error) => change.note_error(error),
        });
        self.note_packet(new);
        if let Some((pat, kept)) = found {
            self.pat_kept = Some(kept);
            self.pat.forget_before(kept.first);
            change.changed = self.replace_pat(pat);
        }
        let kept = self.pat_kept;
        self.pat.shrink(|index| kept.is_some_and(|kept| kept.contains(index)));
        change
    }

    fn push_pmt(&mut self, at: usize, packet: &Packet<'_>) -> PsiChange {
        let mut change = PsiChange::default();
        let programs = &mut self.programs;
        let watch = &mut self.pmts[at];
        let pid = watch.pid;
        let new = watch.push(packet, |section, kept| match section.and_then(|s| Pmt::parse(&s)) {
            Ok(pmt) => {
                change.pmt = true;
                let program = programs.iter_mut().find(|p| p.pmt_pid == pid && p.number == pmt.program);
                let Some(program) = program.filter(|_| pmt.current) else { return };
                program.kept = Some(kept);
                if program.pmt.as_ref() != Some(&pmt) {
                    program.pmt = Some(pmt);
                    change.changed = true;
                }
            }
            Err(error) => change.note_error(error),
        });
        let oldest =
            programs.iter().filter(|p| p.pmt_pid == pid).filter_map(|p| p.kept).map(|kept| kept.first).min();
        if let Some(oldest) = oldest.filter(|_| change.pmt) {
            watch.forget_before(oldest);
        }
        let needed =
            |index| programs.iter().any(|p| p.pmt_pid == pid && p.kept.is_some_and(|k| k.contains(index)));
        watch.shrink(needed);
        self.note_packet(new);
        change
    }

    /// Takes over a PAT; programs that stay as they were keep their PMT. True when it differs from the last one.
    fn replace_pat(&mut self, pat: Pat) -> bool {
        if self.pat_table.as_ref() == Some(&pat) {
            return false;
        }
        let mut programs = Vec::with_capacity(pat.programs.len().min(PROGRAMS_MAX));
        let mut pmts: Vec<Watch> = Vec::new();
        self.watched = PidSet::new();
        self.watched.insert(Pid::PAT);
        for line in &pat.programs {
            let same = |p: &Program| p.number == line.number && p.pmt_pid == line.pmt_pid;
            let known = self.programs.iter().position(same).map(|at| self.programs.swap_remove(at));
            programs.push(known.unwrap_or(Program {
                number: line.number,
                pmt_pid: line.pmt_pid,
                pmt: None,
                kept: None,
            }));
            if line.pmt_pid != Pid::NULL && self.watched.insert(line.pmt_pid) {
                let known = self.pmts.iter().position(|watch| watch.pid == line.pmt_pid);
                pmts.push(known.map_or_else(|| Watch::new(line.pmt_pid), |at| self.pmts.swap_remove(at)));
            }
        }
        self.programs = programs;
        self.pmts = pmts;
        self.pat_table = Some(pat);
        true
    }

    fn note_packet(&mut self, new: bool) {
        if new {
            self.raw = None;
        }
    }

    fn select(&mut self) {
        let with_video = self.pmts().find(|pmt| pmt.video().is_some());
        let chosen =
            with_video.or_else(|| self.pmts().find(|pmt| pmt.audio().is_some())).or(self.pmts().next());
        self.selected = chosen.map_or_else(Selected::default, |pmt| Selected {
            video: pmt.video(),
            audio: pmt.audio(),
            pcr: Some(pmt.pcr_pid).filter(|&pid| pid != Pid::NULL),
        });
    }
}

impl Default for PsiTracker {
    fn default() -> Self {
        Self::new()
    }
}

impl PsiChange {
    fn note_error(&mut self, error: SectionError) {
        match error {
            SectionError::Crc => self.crc_error = true,
            _ => self.other = true,
        }
    }
}

/// The packets, by their number on their PID, that one complete section spread over.
#[derive(Clone, Copy, Debug)]
struct Kept {
    first: u64,
    last: u64,
}

impl Kept {
    fn contains(&self, index: u64) -> bool {
        (self.first..=self.last).contains(&index)
    }
}

/// One PID with sections: the one being put together, and the packets since the oldest section still needed.
#[derive(Clone, Debug)]
struct Watch {
    pid: Pid,
    assembler: SectionAssembler,
    window: Vec<(u64, [u8; PACKET_BYTES])>,
    next: u64,
}

impl Watch {
    fn new(pid: Pid) -> Self {
        Self { pid, assembler: SectionAssembler::new(), window: Vec::new(), next: 0 }
    }

    /// Keeps the packet and hands over the sections it completes. False when it was a repetition or unusable.
    fn push(
        &mut self,
        packet: &Packet<'_>,
        mut sink: impl FnMut(Result<Section<'_>, SectionError>, Kept),
    ) -> bool {
        if self.window.last().is_some_and(|(_, last)| is_other_with_same_counter(last, packet)) {
            // An encoder that started again: no repetition, although the counter says so.
            self.assembler.reset();
        }
        let last = self.next;
        let new = self.assembler.push(packet, |Assembled { bytes, packets }| {
            let first = (last + 1).saturating_sub(packets as u64);
            sink(Section::parse(bytes), Kept { first, last });
        });
        if new {
            self.next += 1;
            self.window.push((last, *packet.bytes()));
        }
        new
    }

    fn forget_before(&mut self, first: u64) {
        self.window.retain(|&(index, _)| index >= first);
    }

    /// Back to [`KEPT_PACKETS_MAX`]: the oldest packet goes that no complete table needs and that does not belong
    /// to the open section; else the oldest one.
    fn shrink(&mut self, needed: impl Fn(u64) -> bool) {
        if self.window.len() <= KEPT_PACKETS_MAX {
            return;
        }
        let open_from = self.next - (self.assembler.open_packets() as u64).min(self.next);
        let spare = |&(index, _): &(u64, [u8; PACKET_BYTES])| index < open_from && !needed(index);
        let at = self.window.iter().position(spare).unwrap_or(0);
        self.window.remove(at);
    }

    fn copy_to(&self, bytes: &mut Vec<u8>) {
        for (_, packet) in &self.window {
            bytes.extend_from_slice(packet);
        }
    }
}

/// Whether a section begins in a packet that has the last one's counter and not its content: a repetition is equal
/// byte for byte (ISO/IEC 13818-1 §2.4.3.3).
fn is_other_with_same_counter(last: &[u8; PACKET_BYTES], packet: &Packet<'_>) -> bool {
    packet.payload_unit_start() && last[3] & 0x0F == packet.continuity() && last != packet.bytes()
}

#[cfg(test)]
mod tests;
