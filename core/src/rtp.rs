//! RTP datagrams in, the transport stream they carry out, in order (RFC 3550, RFC 2250 §2).
//!
//! Datagrams overtake each other on the way. A packet that came too early is held until the missing ones have
//! come, but never longer than [`WAIT`] and never more than [`WINDOW`] packets; what has not come by then
//! is given up and counted. Packets that are in order, which are nearly all, pass without being copied.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::time::{Duration, Instant};
use crate::ts::SYNC_BYTE;

/// The payload type of MPEG-2 transport streams (RFC 3551 §6).
pub const PAYLOAD_TYPE_MP2T: u8 = 33;
/// Packets that a gap can hold up. Memory: as many datagrams.
pub const WINDOW: u16 = 64;
/// How long a gap holds up what came after it.
pub const WAIT: Duration = Duration::from_millis(50);

/// A step ahead that is still a loss and not another sequence (RFC 3550 §A.1, `MAX_DROPOUT`).
const DROPOUT_MAX: u16 = 3000;
/// Packets back for which is known whether they came.
const HISTORY: u16 = 64;
/// Consecutive numbers that have all been passed already: the sender began again a little further back.
const BEHIND_MAX: u16 = 32;
const FIXED_HEADER_BYTES: usize = 12;

/// One RTP packet (RFC 3550 §5.1), without its header extension and padding.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RtpPacket<'a> {
    /// What the payload is, 0 to 127.
    pub payload_type: u8,
    /// Counts packets, modulo 2^16.
    pub sequence: u16,
    /// Names the sender.
    pub ssrc: u32,
    /// What is carried; may be empty.
    pub payload: &'a [u8],
}

/// Which datagrams are expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expect {
    /// Plain transport stream or RTP with payload type 33, which is recognised.
    Either,
    /// RTP with any payload type. Plain transport stream passes too, anything else is left out.
    Rtp,
}

/// What has been seen so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct RtpStats {
    /// RTP packets, whatever became of them.
    pub packets: u64,
    /// Packets that did not come in time.
    pub lost: u64,
    /// Packets that came when they had already been given up.
    pub late: u64,
    /// Packets that came again.
    pub duplicates: u64,
    /// Packets that came after a later one, but in time.
    pub reordered: u64,
    /// Times that the sender changed or began another sequence.
    pub restarts: u64,
    /// Datagrams that are neither RTP nor a transport stream.
    pub foreign: u64,
}

/// Takes the datagrams of one socket and gives out what they carry.
#[derive(Debug)]
pub struct RtpReceiver {
    expect: Expect,
    sequence: Option<Sequence>,
    held: Box<[Held]>,
    held_count: usize,
    stats: RtpStats,
    stray: Option<Stray>,
}

/// The sequence that is being received.
#[derive(Debug)]
struct Sequence {
    ssrc: u32,
    /// The number that is due.
    next: u16,
    /// Bit `n` says that `next - 1 - n` came.
    came: u64,
    /// The number that would continue the packets from behind, and how many these are.
    behind: (u16, u16),
}

/// A place for one packet that came too early; its buffer is used again and again.
#[derive(Debug, Default)]
struct Held {
    at: Option<Instant>,
    payload: Vec<u8>,
}

/// A packet far from the sequence: the first of a new one if its successor follows.
#[derive(Debug)]
struct Stray {
    next: u16,
    payload: Vec<u8>,
}

impl<'a> RtpPacket<'a> {
    /// Reads an RTP packet; `None` if it is none.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (header, mut rest) = datagram.split_first_chunk::<FIXED_HEADER_BYTES>()?;
        let [flags, kind, s1, s0, _, _, _, _, i3, i2, i1, i0] = *header;
        if flags >> 6 != 2 {
            return None;
        }
        rest = rest.get(usize::from(flags & 0x0F) * 4..)?;
        if flags & 0x10 != 0 {
            let ([_, _, l1, l0], after) = rest.split_first_chunk::<4>()?;
            rest = after.get(usize::from(u16::from_be_bytes([*l1, *l0])) * 4..)?;
        }
        if flags & 0x20 != 0 {
            let padding = usize::from(*rest.last()?);
            if padding == 0 {
                return None;
            }
            rest = rest.get(..rest.len().checked_sub(padding)?)?;
        }
        Some(RtpPacket {
            payload_type: kind & 0x7F,
            sequence: u16::from_be_bytes([s1, s0]),
            ssrc: u32::from_be_bytes([i3, i2, i1, i0]),
            payload: rest,
        })
    }
}

impl RtpReceiver {
    /// A receiver that has seen nothing.
    pub fn new(expect: Expect) -> Self {
        RtpReceiver {
            expect,
            sequence: None,
            held: (0..WINDOW).map(|_| Held::default()).collect(),
            held_count: 0,
            stats: RtpStats::default(),
            stray: None,
        }
    }

    /// Takes a datagram. What can be given out, of this and of held packets, goes to `deliver` in order.
    pub fn push(&mut self, now: Instant, datagram: &[u8], deliver: &mut impl FnMut(&[u8])) {
        match self.recognise(datagram) {
            Some(packet) => {
                self.stats.packets += 1;
                self.arrange(now, &packet, deliver);
                self.handle_timeout(now, deliver);
            }
            None if datagram.is_empty() => {}
            None if self.expect == Expect::Either || datagram[0] == SYNC_BYTE => deliver(datagram),
            None => self.stats.foreign += 1,
        }
    }

    /// Gives out what has waited long enough. To be called when [`poll_timeout`](Self::poll_timeout) is reached.
    pub fn handle_timeout(&mut self, now: Instant, deliver: &mut impl FnMut(&[u8])) {
        while self.poll_timeout().is_some_and(|due| due <= now) {
            self.skip_gap(deliver);
        }
    }

    /// When the oldest gap is given up; `None` while nothing is held.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let first = self.first_held()?;
        self.held[slot(first)].at.map(|at| at + WAIT)
    }

    /// Gives out everything that is held, as nothing more will come.
    pub fn finish(&mut self, deliver: &mut impl FnMut(&[u8])) {
        while self.held_count > 0 {
            self.skip_gap(deliver);
        }
    }

    /// What has been seen so far.
    pub fn stats(&self) -> &RtpStats {
        &self.stats
    }

    fn recognise<'a>(&self, datagram: &'a [u8]) -> Option<RtpPacket<'a>> {
        // Packets with a time stamp before them (192 bytes) can begin like RTP.
        if datagram.len().is_multiple_of(192) && datagram.get(4) == Some(&SYNC_BYTE) {
            return None;
        }
        let packet = RtpPacket::parse(datagram)?;
        let carries = packet.payload.first().is_none_or(|&first| first == SYNC_BYTE);
        let kind = packet.payload_type == PAYLOAD_TYPE_MP2T || self.expect == Expect::Rtp;
        (carries && kind).then_some(packet)
    }

    fn arrange(&mut self, now: Instant, packet: &RtpPacket<'_>, deliver: &mut impl FnMut(&[u8])) {
        let Some(sequence) = self.sequence.as_mut().filter(|sequence| sequence.ssrc == packet.ssrc) else {
            self.restart(packet.ssrc, packet.sequence, deliver);
            return self.give_out(packet.payload, deliver);
        };
        let ahead = packet.sequence.wrapping_sub(sequence.next);
        let behind = sequence.next.wrapping_sub(packet.sequence);
        if ahead == 0 {
            self.stats.reordered += u64::from(self.held_count > 0);
            self.stray = None;
            sequence.behind.1 = 0;
            self.give_out(packet.payload, deliver);
            self.give_out_held(deliver);
        } else if ahead <= DROPOUT_MAX {
            sequence.behind.1 = 0;
            while packet.sequence.wrapping_sub(self.next()) >= WINDOW {
                self.skip_one(deliver);
            }
            self.hold(now, packet);
            self.give_out_held(deliver);
        } else if behind <= HISTORY {
            if sequence.came >> (behind - 1) & 1 == 1 {
                self.stats.duplicates += 1;
            } else {
                self.stats.late += 1;
            }
            let run = if sequence.behind.0 == packet.sequence { sequence.behind.1 + 1 } else { 1 };
            sequence.behind = (packet.sequence.wrapping_add(1), run);
            if run == BEHIND_MAX {
                self.restart(packet.ssrc, packet.sequence, deliver);
                self.give_out(packet.payload, deliver);
            }
        } else {
            self.wander(packet, deliver);
        }
    }

    /// A packet far from the sequence counts when the next one follows it (RFC 3550 §A.1).
    fn wander(&mut self, packet: &RtpPacket<'_>, deliver: &mut impl FnMut(&[u8])) {
        match self.stray.take() {
            Some(stray) if stray.next == packet.sequence => {
                self.restart(packet.ssrc, packet.sequence.wrapping_sub(1), deliver);
                self.give_out(&stray.payload, deliver);
                self.give_out(packet.payload, deliver);
            }
            _ => {
                let next = packet.sequence.wrapping_add(1);
                self.stray = Some(Stray { next, payload: packet.payload.to_vec() });
            }
        }
    }

    /// Another sequence begins with number `first`.
    fn restart(&mut self, ssrc: u32, first: u16, deliver: &mut impl FnMut(&[u8])) {
        self.finish(deliver);
        self.stray = None;
        let again =
            self.sequence.replace(Sequence { ssrc, next: first, came: 0, behind: (first, 0) }).is_some();
        self.stats.restarts += u64::from(again);
    }

    fn next(&self) -> u16 {
        self.sequence.as_ref().map_or(0, |sequence| sequence.next)
    }

    /// The packet that is due goes out.
    fn give_out(&mut self, payload: &[u8], deliver: &mut impl FnMut(&[u8])) {
        self.advance(true);
        if !payload.is_empty() {
            deliver(payload);
        }
    }

    /// Held packets go out as far as they follow without a gap.
    fn give_out_held(&mut self, deliver: &mut impl FnMut(&[u8])) {
        while self.held_count > 0 && self.held[slot(self.next())].at.is_some() {
            self.skip_one(deliver);
        }
    }

    fn skip_gap(&mut self, deliver: &mut impl FnMut(&[u8])) {
        if let Some(first) = self.first_held() {
            while self.next() != first {
                self.skip_one(deliver);
            }
            self.give_out_held(deliver);
        }
    }

    /// The number that is due has its turn: its packet goes out if it is there, or is lost.
    fn skip_one(&mut self, deliver: &mut impl FnMut(&[u8])) {
        let held = &mut self.held[slot(self.sequence.as_ref().map_or(0, |sequence| sequence.next))];
        let came = held.at.take().is_some();
        if came {
            self.held_count -= 1;
            if !held.payload.is_empty() {
                deliver(&held.payload);
            }
        } else {
            self.stats.lost += 1;
        }
        self.advance(came);
    }

    fn advance(&mut self, came: bool) {
        if let Some(sequence) = &mut self.sequence {
            sequence.next = sequence.next.wrapping_add(1);
            sequence.came = sequence.came << 1 | u64::from(came);
        }
    }

    fn hold(&mut self, now: Instant, packet: &RtpPacket<'_>) {
        let held = &mut self.held[slot(packet.sequence)];
        if held.at.is_some() {
            self.stats.duplicates += 1;
            return;
        }
        held.at = Some(now);
        held.payload.clear();
        held.payload.extend_from_slice(packet.payload);
        self.held_count += 1;
    }

    /// The lowest number that is held.
    fn first_held(&self) -> Option<u16> {
        if self.held_count == 0 {
            return None;
        }
        let next = self.next();
        (0..WINDOW).map(|ahead| next.wrapping_add(ahead)).find(|&number| self.held[slot(number)].at.is_some())
    }
}

fn slot(number: u16) -> usize {
    const { assert!(WINDOW.is_power_of_two(), "numbers keep their slot when they wrap") };
    usize::from(number % WINDOW)
}

#[cfg(test)]
mod tests;
