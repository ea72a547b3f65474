//! What one connection to a source really carried, byte by byte: the truth that published packets are held against.

use std::collections::{BTreeMap, VecDeque};

use restreamer_core::ts::PACKET_BYTES;

/// The PAT's PID.
const PAT_PID: u16 = 0;
/// A whole packet may be lost when there is something that is no packet this close to it: a framer needs a few
/// packets in a row to find its phase.
const NEAR_BYTES: u64 = 16 * 204;
/// Bytes that nobody asks for any more are kept until there are so many of them.
const SLACK_BYTES: u64 = 64 << 10;

/// The bytes of one connection, and where the packets are among them.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Position of the first byte kept.
    base: u64,
    bytes: Vec<u8>,
    /// What lies before it is published or left out.
    cursor: u64,
    /// Packets that are neither, in order.
    packets: VecDeque<Sent>,
    /// The last bytes that belong to no packet end here.
    damage_end: Option<u64>,
    /// The last packets of the tables before the cursor, and whether that is certain.
    tables: BTreeMap<u16, ([u8; PACKET_BYTES], bool)>,
    has_published: bool,
    /// The PID of the PMT, as the PAT says.
    pmt_pid: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    position: u64,
    media_ns: u64,
    is_key: Option<bool>,
    after_loss: bool,
    near_damage: bool,
}

/// What the ledger knows about a packet that was published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// When the source played it, nanoseconds; `None` when it is no packet of the source at all, but a piece of
    /// garbage that looks like one.
    pub media_ns: Option<u64>,
    /// A decoder can begin with it; `None`: not known.
    pub is_key: Option<bool>,
    /// The packets before it were lost on the way from the source.
    pub after_loss: bool,
    /// Whole packets before it that were left out, for which nothing is an excuse.
    pub left_out: u64,
    /// Whole packets before it that were left out because of garbage close to them.
    pub excused: u64,
}

impl Ledger {
    /// Bytes that belong to no whole packet.
    pub fn note_garbage(&mut self, bytes: &[u8]) {
        let begin = self.end();
        self.bytes.extend_from_slice(bytes);
        self.damage_end = Some(self.end());
        for packet in self.packets.iter_mut().rev() {
            if packet.position + NEAR_BYTES < begin {
                break;
            }
            packet.near_damage = true;
        }
    }

    /// A whole packet: `begin` bytes into `bytes`, which hold what its form adds to it as well.
    pub fn note_packet(
        &mut self,
        bytes: &[u8],
        begin: usize,
        media_ns: u64,
        is_key: Option<bool>,
        after_loss: bool,
    ) {
        if let Some(packet) = bytes.get(begin..).and_then(<[u8]>::first_chunk)
            && pid_of(packet) == PAT_PID
        {
            self.pmt_pid = pmt_pid_in(packet).or(self.pmt_pid);
        }
        let position = self.end() + begin as u64;
        self.bytes.extend_from_slice(bytes);
        let near_damage = self.damage_end.is_some_and(|end| position < end + NEAR_BYTES);
        self.packets.push_back(Sent { position, media_ns, is_key, after_loss, near_damage });
    }

    /// Finds a published packet at or after the cursor, and moves the cursor behind it; `None` when the connection
    /// carried no such packet there.
    pub fn claim(&mut self, packet: &[u8; PACKET_BYTES]) -> Option<Claim> {
        let position = self.find(packet)?;
        self.cursor = position + PACKET_BYTES as u64;
        let mut claim = Claim::default();
        while let Some(&sent) = self.packets.front()
            && sent.position < position
        {
            self.packets.pop_front();
            claim.after_loss |= sent.after_loss;
            if self.has_published {
                claim.after_loss = true;
                claim.excused += u64::from(sent.near_damage);
                claim.left_out += u64::from(!sent.near_damage);
            }
            self.note_table(sent.position, !sent.near_damage, !self.has_published);
        }
        if let Some(&sent) = self.packets.front().filter(|sent| sent.position == position) {
            self.packets.pop_front();
            claim.media_ns = Some(sent.media_ns);
            claim.is_key = sent.is_key;
            claim.after_loss |= sent.after_loss;
        }
        Some(claim)
    }

    /// Whether the connection carried this packet at or after the cursor.
    pub fn holds(&self, packet: &[u8; PACKET_BYTES]) -> bool {
        self.find(packet).is_some()
    }

    /// To be called after [`Ledger::claim`], once the tables before the packet have been looked at.
    pub fn pass(&mut self, packet: &[u8; PACKET_BYTES]) {
        self.has_published = true;
        let pid = pid_of(packet);
        if self.is_table(pid) {
            self.tables.insert(pid, (*packet, true));
        }
        self.forget();
    }

    /// The last PAT and PMT before the cursor; `None` when that is not certain.
    pub fn tables(&self) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        for pid in [Some(PAT_PID), self.pmt_pid].into_iter().flatten() {
            match self.tables.get(&pid) {
                Some((packet, true)) => all.extend_from_slice(packet),
                Some((_, false)) => return None,
                None => {}
            }
        }
        Some(all)
    }

    /// Whether packets of this PID carry the PAT or the PMT.
    pub fn is_table(&self, pid: u16) -> bool {
        pid == PAT_PID || self.pmt_pid == Some(pid)
    }

    /// Whole packets among the first `delivered` bytes that were neither published nor excused, once all should be.
    pub fn unpublished(&self, delivered: u64) -> u64 {
        if !self.has_published {
            return 0;
        }
        let delivered = |sent: &&Sent| sent.position + PACKET_BYTES as u64 <= delivered && !sent.near_damage;
        self.packets.iter().filter(delivered).count() as u64
    }

    fn end(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    fn find(&self, packet: &[u8; PACKET_BYTES]) -> Option<u64> {
        let next = self.packets.front().map(|sent| sent.position).filter(|&position| position >= self.cursor);
        if next.is_some_and(|position| self.at(position) == Some(packet)) {
            return next;
        }
        let from = (self.cursor - self.base) as usize;
        let mut places = self.bytes[from..].windows(PACKET_BYTES);
        let offset = places.position(|place| place[..3] == packet[..3] && place == packet)?;
        Some(self.cursor + offset as u64)
    }

    fn at(&self, position: u64) -> Option<&[u8; PACKET_BYTES]> {
        self.bytes.get((position - self.base) as usize..)?.first_chunk()
    }

    /// Remembers the packet at `position` if it is one of a table. `is_certain`: it was found for sure.
    fn note_table(&mut self, position: u64, is_certain: bool, is_before_first: bool) {
        let Some(packet) = self.at(position).copied() else { return };
        let pid = pid_of(&packet);
        if self.is_table(pid) {
            if is_before_first && is_certain {
                self.tables.insert(pid, (packet, true));
            } else if let Some(known) = self.tables.get_mut(&pid) {
                known.1 = false;
            } else {
                self.tables.insert(pid, (packet, false));
            }
        }
    }

    fn forget(&mut self) {
        if self.cursor - self.base > SLACK_BYTES {
            self.bytes.drain(..(self.cursor - self.base) as usize);
            self.base = self.cursor;
        }
    }
}

fn pid_of(packet: &[u8; PACKET_BYTES]) -> u16 {
    u16::from_be_bytes([packet[1], packet[2]]) & 0x1FFF
}

/// The PID of the first program's PMT, in a PAT that begins right behind the packet's head, as all do here.
fn pmt_pid_in(packet: &[u8; PACKET_BYTES]) -> Option<u16> {
    let section = &packet[5..];
    let programs = section[8..].as_chunks::<4>().0;
    let program = programs.iter().find(|program| program[..2] != [0, 0])?;
    Some(u16::from_be_bytes([program[2], program[3]]) & 0x1FFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u8) -> [u8; PACKET_BYTES] {
        let mut packet = [number; PACKET_BYTES];
        packet[..4].copy_from_slice(&[0x47, 0x01, 0x00, 0x10]);
        packet
    }

    fn ledger(packets: u8) -> Ledger {
        let mut ledger = Ledger::default();
        (0..packets).for_each(|n| ledger.note_packet(&packet(n), 0, u64::from(n), None, false));
        ledger
    }

    fn publish(ledger: &mut Ledger, number: u8) -> Option<Claim> {
        let claim = ledger.claim(&packet(number))?;
        ledger.pass(&packet(number));
        Some(claim)
    }

    #[test]
    fn packets_are_claimed_once_and_in_order() {
        let mut ledger = ledger(10);
        assert_eq!(publish(&mut ledger, 4).unwrap().left_out, 0, "what comes before the first is let go");
        assert_eq!(publish(&mut ledger, 5).unwrap().media_ns, Some(5));
        assert_eq!(publish(&mut ledger, 5), None);
        assert_eq!(publish(&mut ledger, 4), None);
        assert_eq!(publish(&mut ledger, 99), None);
    }

    #[test]
    fn what_is_left_out_is_counted_unless_garbage_is_close() {
        let mut ledger = ledger(10);
        publish(&mut ledger, 0);
        assert_eq!(publish(&mut ledger, 4).unwrap().left_out, 3);
        ledger.note_garbage(&[0; 100]);
        ledger.note_packet(&packet(10), 0, 10, None, false);
        let claim = publish(&mut ledger, 10).unwrap();
        assert_eq!((claim.left_out, claim.excused), (0, 5));
    }

    #[test]
    fn packets_that_never_came_out_are_noticed_at_the_end() {
        let mut ledger = ledger(10);
        assert_eq!(ledger.unpublished(1_880), 0, "nothing was published at all");
        publish(&mut ledger, 6);
        assert_eq!(ledger.unpublished(1_880), 3);
        assert_eq!(ledger.unpublished(1_500), 0);
    }
}
