//! When each packet of a recording is due, from its clock.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;

use crate::time::Duration;
use crate::ts::{PACKET_BYTES, Packet, Pcr, Pid, PsiTracker};

/// Packets that are due within this time leave together.
pub const BATCH_SPAN: Duration = Duration::from_millis(10);
/// So many packets may come without a PCR (3 MiB; PCRs are at most 100 ms apart, ISO/IEC 13818-1 §2.7.2): 250 Mbit/s
/// with a PCR that often can be played.
pub const CLOCK_PACKETS_MAX: usize = 16_384;
/// A longer step of the clock is a jump.
const STEP_TICKS_MAX: i64 = 2 * Pcr::HZ as i64;
const BATCH_TICKS: u64 = Pcr::HZ / 1_000 * BATCH_SPAN.as_millis() as u64;

/// Gives packets their time: those between two PCRs are spread evenly over the time between them. Where the clock jumps,
/// the rate before the jump goes on.
#[derive(Debug)]
pub(super) struct Pace {
    psi: PsiTracker,
    clock_pid: Option<Pid>,
    /// The last reading of the clock. The packets that wait begin with it, unless it is the first one.
    reading: Option<Pcr>,
    /// Packets in the order of the recording whose time depends on the next reading.
    waiting: Vec<u8>,
    /// How many of them came before the first reading.
    unclocked: usize,
    rate: Option<Rate>,
    /// When the first of those that wait is due, 27 MHz ticks since the first packet.
    at_ticks: u64,
    batches: VecDeque<(u64, Bytes)>,
    clock_jumps: u64,
    no_clock: bool,
}

#[derive(Clone, Copy, Debug)]
struct Rate {
    ticks: u64,
    packets: u64,
}

impl Rate {
    fn ticks_of(self, packets: u64) -> u64 {
        // At most CLOCK_PACKETS_MAX packets and STEP_TICKS_MAX ticks.
        self.ticks * packets / self.packets
    }
}

impl Pace {
    pub(super) fn new() -> Self {
        Pace {
            psi: PsiTracker::new(),
            clock_pid: None,
            reading: None,
            waiting: Vec::new(),
            unclocked: 0,
            rate: None,
            at_ticks: 0,
            batches: VecDeque::new(),
            clock_jumps: 0,
            no_clock: false,
        }
    }

    pub(super) fn push(&mut self, packet: &[u8; PACKET_BYTES]) {
        if self.no_clock {
            return;
        }
        let view = Packet::new(packet);
        self.psi.push(&view);
        if !view.transport_error()
            && let Some(field) = view.adaptation()
            && let Some(pcr) = field.pcr()
            && self.is_clock(view.pid())
        {
            self.read_clock(pcr, field.discontinuity());
        }
        self.waiting.extend_from_slice(packet);
        if self.waiting_packets() >= CLOCK_PACKETS_MAX {
            self.go_on_without_reading();
        }
    }

    /// The recording is over: what waits goes out at the last rate.
    pub(super) fn finish(&mut self) {
        match self.rate {
            Some(rate) => self.release(rate),
            None => self.no_clock = true,
        }
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Bytes)> {
        self.batches.pop_front()
    }

    pub(super) fn has_no_clock(&self) -> bool {
        self.no_clock
    }

    pub(super) fn clock_jumps(&self) -> u64 {
        self.clock_jumps
    }

    /// Whether the PCRs on `pid` are the clock: of the PID that the PMT names, and until that one has any, of the first
    /// one that has.
    fn is_clock(&mut self, pid: Pid) -> bool {
        if self.clock_pid.is_some_and(|clock| clock != pid) {
            if self.psi.pcr_pid() != Some(pid) {
                return false;
            }
            // Another clock than so far: its first reading is no step of the old one.
            self.reading = None;
        }
        self.clock_pid = Some(pid);
        true
    }

    fn read_clock(&mut self, pcr: Pcr, announced_jump: bool) {
        let packets = self.waiting_packets();
        let step = self.reading.map(|last| pcr.ticks_since(last));
        match step {
            // A repeated packet.
            Some(0) if !announced_jump => return,
            Some(ticks @ 1..=STEP_TICKS_MAX) if !announced_jump => {
                let rate = Rate { ticks: ticks as u64, packets: (packets - self.unclocked) as u64 };
                self.rate = Some(rate);
                self.release(rate);
            }
            _ => {
                self.clock_jumps += u64::from(step.is_some());
                match self.rate {
                    Some(rate) => self.release(rate),
                    None => self.unclocked = packets,
                }
            }
        }
        self.reading = Some(pcr);
    }

    /// The clock has been silent for so long that the packets cannot wait any longer. The next PID with a PCR is the
    /// clock.
    fn go_on_without_reading(&mut self) {
        self.clock_pid = None;
        self.reading = None;
        match self.rate {
            Some(rate) => {
                self.clock_jumps += 1;
                self.release(rate);
            }
            None => {
                self.no_clock = true;
                self.waiting = Vec::new();
            }
        }
    }

    /// Gives all that wait their time at one rate, and cuts them into batches.
    fn release(&mut self, rate: Rate) {
        let packets = self.waiting_packets() as u64;
        let bytes = Bytes::from(mem::take(&mut self.waiting));
        let mut first = 0;
        for end in 1..=packets {
            if end == packets || rate.ticks_of(end) - rate.ticks_of(first) >= BATCH_TICKS {
                let range = first as usize * PACKET_BYTES..end as usize * PACKET_BYTES;
                self.batches.push_back((self.at_ticks + rate.ticks_of(first), bytes.slice(range)));
                first = end;
            }
        }
        self.at_ticks += rate.ticks_of(packets);
        self.unclocked = 0;
    }

    fn waiting_packets(&self) -> usize {
        self.waiting.len() / PACKET_BYTES
    }
}
