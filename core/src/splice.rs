//! Joins pieces of transport stream so that the clocks and counters of the next go on from those of the last.
//!
//! A recording that starts again, or another source that takes over, jumps in PCR, PTS, DTS and continuity counters;
//! players stall or stutter there. [`Restamp`] moves all clocks of a piece by one amount and all counters of a PID
//! likewise, so that the relation of picture, sound and clock within the piece stays what it was. The first piece
//! passes unchanged.
//!
//! By how much, follows from what went by: the next piece begins where the longest elementary stream of the last one
//! ended, its last unit counted with the duration that such units have. No look at the whole piece beforehand is
//! needed, and a jump inside a piece is repeated each time, not mended.
//!
//! **Not touched**: null packets, packets with `transport_error_indicator`, times inside of sections (SCTE 35),
//! ESCR and `DTS_next_AU`, and PES heads whose times do not stand in one packet (counted).

mod line;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec;

use self::line::{ClockLine, UnitLine};
use crate::ts::adaptation::{write_opcr, write_pcr};
use crate::ts::pes::write_pts_dts;
use crate::ts::{PACKET_BYTES, PIDS, Packet, Pcr, PesHeader, Pid, SYNC_BYTE, Timestamp};

/// PIDs whose PES times take part in finding where a piece ended. Others are moved like them.
pub const LINES_MAX: usize = 64;
/// PIDs whose end lies further than this from the clock's end have jumped or ended early, and are not asked.
const WINDOW_TICKS: i64 = 10 * Timestamp::HZ as i64;
/// PCR ticks per 90 kHz tick.
const PCR_PER_TICK: u64 = Pcr::HZ / Timestamp::HZ;
const NO_SHIFT: Timestamp = Timestamp::from_90khz(0);
/// Byte offset of the field length in a packet with an adaptation field, and the longest field.
const FIELD_LENGTH_AT: usize = 4;
const FIELD_BYTES_MAX: usize = PACKET_BYTES - FIELD_LENGTH_AT - 1;

/// What a [`Restamp`] has done; all counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestampCounts {
    /// Pieces after the first.
    pub seams: u64,
    /// Packets after a seam that continued a unit whose beginning is not in the piece, emptied.
    pub emptied_packets: u64,
    /// PES heads whose times could not be read and so were not moved.
    pub unreadable_heads: u64,
}

/// Makes one stream of pieces; see [the module](self). About 48 KiB.
#[derive(Clone, Debug)]
pub struct Restamp {
    first_piece: bool,
    shift: Shift,
    /// The first unit of the piece does not begin before this.
    unit_floor: Option<Timestamp>,
    counters: Box<[Counter]>,
    units: BTreeMap<Pid, UnitLine>,
    /// The PID that brought the first PCR of the piece, and its readings.
    clock: Option<(Pid, ClockLine)>,
    /// Packets of the piece so far.
    packets: u64,
    counts: RestampCounts,
}

/// By how much the clocks of the piece are moved.
#[derive(Clone, Copy, Debug)]
enum Shift {
    /// 90 kHz ticks, modulo 2^33.
    By(Timestamp),
    /// To be found when the piece shows its first time.
    After(Ends),
}

/// Where the last piece ended.
#[derive(Clone, Copy, Debug)]
struct Ends {
    clock: Option<Pcr>,
    unit: Option<Timestamp>,
}

/// The continuity counter of one PID.
#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    /// The last one that went out; nothing yet.
    last: Option<u8>,
    /// By how much those of the piece are moved, once the PID has been seen in it.
    shift: Option<u8>,
    /// The PID carries units (PES packets, sections) with a marked beginning.
    has_units: bool,
    /// One of them has begun in this piece.
    unit_begun: bool,
}

impl Default for Restamp {
    fn default() -> Self {
        Self::new()
    }
}

impl Restamp {
    /// Before the first piece.
    pub fn new() -> Self {
        Restamp {
            first_piece: true,
            shift: Shift::By(NO_SHIFT),
            unit_floor: None,
            counters: vec![Counter::default(); PIDS].into_boxed_slice(),
            units: BTreeMap::new(),
            clock: None,
            packets: 0,
            counts: RestampCounts::default(),
        }
    }

    /// The next packets are those of the same piece, from its beginning.
    pub fn begin_again(&mut self) {
        self.begin_piece();
        if let Some(shift) = self.shift_to_repeat() {
            self.shift = Shift::By(shift);
        }
        for line in self.units.values_mut() {
            line.begin_again();
        }
        if let Some((_, line)) = &mut self.clock {
            line.begin_again();
        }
        self.packets = 0;
    }

    /// The next packets are those of another piece.
    ///
    /// Where it is to be moved to is decided at its first PCR or PES time, and once more at its first PES time if that
    /// would lie before the end of the last piece; so its first PCRs may be followed by a small jump ahead.
    pub fn begin_next(&mut self) {
        self.begin_piece();
        let ends = Ends { clock: self.clock_end(), unit: self.unit_end() };
        if ends.clock.is_some() || ends.unit.is_some() {
            self.shift = Shift::After(ends);
            self.unit_floor = ends.unit.or(self.unit_floor);
        }
        self.units.clear();
        self.clock = None;
        self.packets = 0;
    }

    /// Moves the clocks and the counter of the piece's next packet.
    pub fn restamp(&mut self, packet: &mut [u8; PACKET_BYTES]) {
        self.packets += 1;
        let view = Packet::new(packet);
        let pid = view.pid();
        if !view.sync_ok() || view.transport_error() || pid == Pid::NULL {
            return;
        }
        let has_clock = view.adaptation().is_some_and(|field| field.pcr().is_some());
        if self.continues_a_lost_unit(&view) {
            self.counts.emptied_packets += 1;
            if has_clock {
                self.keep_only_clocks(pid, packet);
            } else {
                become_null(packet);
            }
            return;
        }
        self.move_clocks(pid, packet);
        self.move_counter(pid, packet);
        self.move_times(pid, packet);
    }

    /// What has been done so far.
    pub fn counts(&self) -> RestampCounts {
        self.counts
    }

    /// PCRs seen since the piece was last begun, on the PID that brought the first.
    pub fn clock_readings(&self) -> u64 {
        self.clock.as_ref().map_or(0, |(_, line)| line.readings())
    }

    fn begin_piece(&mut self) {
        self.first_piece = false;
        self.counts.seams += 1;
        for counter in &mut self.counters {
            counter.shift = None;
            counter.unit_begun = false;
        }
    }

    /// Whether this is the rest of a unit whose beginning was cut off: a decoder would take it for the rest of the last
    /// piece's last unit.
    fn continues_a_lost_unit(&mut self, view: &Packet<'_>) -> bool {
        let counter = &mut self.counters[view.pid().index()];
        if view.has_payload() && view.payload_unit_start() {
            counter.has_units = true;
            counter.unit_begun = true;
        }
        !self.first_piece && view.has_payload() && counter.has_units && !counter.unit_begun
    }

    /// Empties a packet whose clock is still needed. Its counter is that of the last payload, and does not decide where
    /// the counters of the piece begin.
    fn keep_only_clocks(&mut self, pid: Pid, packet: &mut [u8; PACKET_BYTES]) {
        drop_payload(packet);
        packet[3] = packet[3] & 0xF0 | self.counters[pid.index()].last.unwrap_or(0);
        self.move_clocks(pid, packet);
    }

    fn move_clocks(&mut self, pid: Pid, packet: &mut [u8; PACKET_BYTES]) {
        let Some(field) = Packet::new(packet).adaptation() else { return };
        let (pcr, opcr) = (field.pcr(), field.opcr());
        if let Some(pcr) = pcr {
            let shift = self.shift_at_clock(pcr);
            let moved = moved_clock(pcr, shift);
            let (clock_pid, line) = self.clock.get_or_insert((pid, ClockLine::default()));
            if *clock_pid == pid {
                line.note(pcr, moved, self.packets);
            }
            if moved != pcr {
                write_pcr(packet, moved);
            }
        }
        if let (Some(opcr), Shift::By(shift)) = (opcr, self.shift)
            && shift != NO_SHIFT
        {
            write_opcr(packet, moved_clock(opcr, shift));
        }
    }

    fn move_counter(&mut self, pid: Pid, packet: &mut [u8; PACKET_BYTES]) {
        let counter = &mut self.counters[pid.index()];
        let has_payload = packet[3] & 0x10 != 0;
        let old = packet[3] & 0x0F;
        let shift = match (counter.shift, counter.last) {
            (Some(shift), _) => shift,
            (None, Some(last)) => last.wrapping_add(u8::from(has_payload)).wrapping_sub(old) & 0x0F,
            (None, None) => 0,
        };
        let new = (old + shift) & 0x0F;
        counter.shift = Some(shift);
        counter.last = Some(new);
        packet[3] = packet[3] & 0xF0 | new;
    }

    fn move_times(&mut self, pid: Pid, packet: &mut [u8; PACKET_BYTES]) {
        let view = Packet::new(packet);
        if !view.payload_unit_start() {
            return;
        }
        let known = self.units.contains_key(&pid);
        let Some(head) = PesHeader::of(&view) else {
            // Scrambled, or cut short on a PID that has carried PES packets.
            self.counts.unreadable_heads += u64::from(view.scrambled() || known && view.has_payload());
            return;
        };
        let &[.., length_high, length_low, _, flags] =
            view.payload().and_then(|payload| payload.first_chunk::<8>()).unwrap_or(&[0; 8]);
        let (wants_pts, wants_dts) = (flags & 0x80 != 0, flags & 0xC0 == 0xC0);
        let Some(pts) = head.pts.filter(|_| head.dts.is_some() || !wants_dts) else {
            self.counts.unreadable_heads += u64::from(known && wants_pts);
            return;
        };
        let decoded = head.dts.unwrap_or(pts);
        let shift = self.shift_at_unit(decoded);
        let moved = moved_time(decoded, shift);
        if shift != NO_SHIFT {
            write_pts_dts(packet, moved_time(pts, shift), head.dts.map(|_| moved));
        }
        if known || self.units.len() < LINES_MAX {
            let bytes = u16::from_be_bytes([length_high, length_low]);
            self.units
                .entry(pid)
                .or_insert_with(|| UnitLine::new(head.stream_id))
                .note(decoded, moved, bytes);
        }
    }

    /// The shift of the piece; if it is still open, the one that puts the clock reading `pcr` where the last piece ended.
    fn shift_at_clock(&mut self, pcr: Pcr) -> Timestamp {
        let ends = match self.shift {
            Shift::By(shift) => return shift,
            Shift::After(ends) => ends,
        };
        let shift = match (ends.clock, ends.unit) {
            (Some(clock), _) => Timestamp::from_90khz(ticks_round(pcr, clock).div_ceil(PCR_PER_TICK)),
            (None, Some(unit)) => shift_between(tick_of(pcr), unit),
            (None, None) => NO_SHIFT,
        };
        self.shift = Shift::By(shift);
        shift
    }

    /// The shift of the piece, from a unit that is decoded at `decoded`.
    fn shift_at_unit(&mut self, decoded: Timestamp) -> Timestamp {
        let shift = match self.shift {
            Shift::By(shift) => shift,
            Shift::After(Ends { clock, unit }) => {
                let end = unit.or(clock.map(tick_of));
                end.map_or(NO_SHIFT, |end| shift_between(decoded, end))
            }
        };
        let late_by = self.unit_floor.take().map_or(0, |floor| floor.ticks_since(moved_time(decoded, shift)));
        let shift = if (1..=WINDOW_TICKS).contains(&late_by) { shift.offset(late_by) } else { shift };
        self.shift = Shift::By(shift);
        shift
    }

    /// The shift with which the same piece goes on from its own end. `None` when it has shown no times.
    ///
    /// The units decide: the longest elementary stream ends, and begins again. The clock may be pressed a little for
    /// it (its last interval to the half), because a recording of constant bit rate is rarely cut to the byte.
    fn shift_to_repeat(&self) -> Option<Timestamp> {
        let clock = self.clock.as_ref().and_then(|(_, line)| line.repeat(self.packets));
        let units = || self.units.values().filter_map(UnitLine::shift_to_repeat);
        let Some(clock) = clock else {
            let reference = units().next()?;
            return Some(reference.offset(longest(units(), reference).unwrap_or(0)));
        };
        let reference = Timestamp::from_90khz(clock.shift_27mhz.div_ceil(PCR_PER_TICK));
        let pressed = -((clock.interval_27mhz / 2 / PCR_PER_TICK) as i64);
        Some(reference.offset(longest(units(), reference).map_or(0, |ticks| ticks.max(pressed))))
    }

    /// Where the clock of the piece stands at its end.
    fn clock_end(&self) -> Option<Pcr> {
        self.clock.as_ref().and_then(|(_, line)| line.end(self.packets))
    }

    /// Where the last unit of the piece ends.
    fn unit_end(&self) -> Option<Timestamp> {
        let ends = || self.units.values().filter_map(UnitLine::end);
        let reference = self.clock_end().map(tick_of).or_else(|| ends().next())?;
        longest(ends(), reference).map(|ticks| reference.offset(ticks))
    }
}

/// The largest distance from `reference`, of those within the window.
fn longest(times: impl Iterator<Item = Timestamp>, reference: Timestamp) -> Option<i64> {
    times.map(|time| time.ticks_since(reference)).filter(|ticks| ticks.abs() <= WINDOW_TICKS).max()
}

fn tick_of(pcr: Pcr) -> Timestamp {
    Timestamp::from_90khz(pcr.as_27mhz() / PCR_PER_TICK)
}

fn shift_between(from: Timestamp, to: Timestamp) -> Timestamp {
    to.offset(-(from.as_90khz() as i64))
}

/// 27 MHz ticks from one reading to another, always forward.
fn ticks_round(from: Pcr, to: Pcr) -> u64 {
    to.offset(-(from.as_27mhz() as i64)).as_27mhz()
}

fn moved_time(time: Timestamp, shift: Timestamp) -> Timestamp {
    time.offset(shift.as_90khz() as i64)
}

fn moved_clock(pcr: Pcr, shift: Timestamp) -> Pcr {
    pcr.offset((shift.as_90khz() * PCR_PER_TICK) as i64)
}

fn become_null(packet: &mut [u8; PACKET_BYTES]) {
    let [high, low] = Pid::NULL.value().to_be_bytes();
    packet.fill(0xFF);
    packet[..4].copy_from_slice(&[SYNC_BYTE, high, low, 0x10]);
}

/// Leaves the adaptation field, which fits the packet, and fills the rest with its stuffing.
fn drop_payload(packet: &mut [u8; PACKET_BYTES]) {
    packet[3] = packet[3] & 0x0F | 0x20;
    let field_end = FIELD_LENGTH_AT + 1 + usize::from(packet[FIELD_LENGTH_AT]);
    packet[FIELD_LENGTH_AT] = FIELD_BYTES_MAX as u8;
    packet[field_end..].fill(0xFF);
}

#[cfg(test)]
mod tests;
