//! Packets as the bytes of a worse world: longer forms, garbage, torn packets.

use super::{SyntheticPacket, SyntheticStream};
use crate::rng::Rng;
use crate::time::Instant;
use crate::ts::{PACKET_BYTES, SYNC_BYTE};
use alloc::vec::Vec;

/// How packets stand in the byte stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// 188 bytes, one after the other.
    #[default]
    Plain,
    /// Four bytes of arrival time stamp before each packet.
    Prefixed192,
    /// Sixteen bytes of Reed-Solomon parity (noise here) after each packet.
    Suffixed204,
}

/// What is done to the byte stream. The default does nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Damage {
    /// On average every so many packets, garbage stands before one; 0 = never.
    pub garbage_every: u64,
    /// Longest garbage, bytes; at least 1 where there is any.
    pub garbage_bytes_max: u64,
    /// Every byte of the garbage is a sync byte, rather than any byte.
    pub garbage_of_sync_bytes: bool,
    /// On average every so many packets, one loses its end; 0 = never.
    pub torn_every: u64,
}

/// What a [`Wire`] has written so far: the truth for tests of framers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCounts {
    /// All bytes.
    pub bytes: u64,
    /// Whole packets.
    pub whole_packets: u64,
    /// Packets without their end.
    pub torn_packets: u64,
    /// Bytes of these.
    pub torn_bytes: u64,
    /// Times that garbage was inserted.
    pub garbage: u64,
    /// Bytes of garbage.
    pub garbage_bytes: u64,
}

/// Writes a synthetic stream as bytes.
pub struct Wire {
    stream: SyntheticStream,
    form: Form,
    damage: Damage,
    rng: Rng,
    counts: WireCounts,
}

impl Wire {
    /// Writes `stream` in `form` with `damage` at places that `seed` decides.
    pub fn new(stream: SyntheticStream, form: Form, damage: Damage, seed: u64) -> Self {
        Wire { stream, form, damage, rng: Rng::from_seed(seed), counts: WireCounts::default() }
    }

    /// Appends the next packet, and what surrounds it, to `out`. Gives the packet, and whether it is whole.
    pub fn append(&mut self, out: &mut Vec<u8>) -> (SyntheticPacket, bool) {
        let begin = out.len();
        let packet = self.stream.next_packet();
        if self.happens(self.damage.garbage_every) {
            self.append_garbage(out);
        }
        if self.form == Form::Prefixed192 {
            out.extend_from_slice(&arrival_stamp(packet.at));
        }
        let whole = !self.happens(self.damage.torn_every);
        if whole {
            out.extend_from_slice(&packet.bytes);
            if self.form == Form::Suffixed204 {
                let parity = [self.rng.next_u64(), self.rng.next_u64()].map(u64::to_be_bytes);
                out.extend_from_slice(parity.as_flattened());
            }
            self.counts.whole_packets += 1;
        } else {
            let kept = self.rng.between(1, PACKET_BYTES as u64 - 1) as usize;
            out.extend_from_slice(&packet.bytes[..kept]);
            self.counts.torn_packets += 1;
            self.counts.torn_bytes += kept as u64;
        }
        self.counts.bytes += (out.len() - begin) as u64;
        (packet, whole)
    }

    /// The next `packets` packets in one piece.
    pub fn take_bytes(&mut self, packets: usize) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..packets {
            self.append(&mut out);
        }
        out
    }

    /// What has been written.
    pub fn counts(&self) -> WireCounts {
        self.counts
    }

    fn happens(&mut self, every: u64) -> bool {
        every > 0 && self.rng.chance(1, every)
    }

    fn append_garbage(&mut self, out: &mut Vec<u8>) {
        let bytes = self.rng.between(1, self.damage.garbage_bytes_max.max(1));
        for _ in 0..bytes {
            out.push(if self.damage.garbage_of_sync_bytes { SYNC_BYTE } else { self.rng.below(256) as u8 });
        }
        self.counts.garbage += 1;
        self.counts.garbage_bytes += bytes;
    }
}

/// Copy permission (2 bits) and arrival time (30 bits of 27 MHz), as in the 192-byte form.
fn arrival_stamp(at: Instant) -> [u8; 4] {
    let ticks = u128::from(at.as_nanos()) * 27 / 1_000;
    ((ticks as u32) & 0x3FFF_FFFF).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::StreamSpec;

    fn stream() -> SyntheticStream {
        SyntheticStream::new(StreamSpec::new(5, 2_000_000))
    }

    #[test]
    fn every_form_holds_the_same_packets() {
        let plain = stream().take_bytes(1_000);
        for (form, before, after) in
            [(Form::Plain, 0, 0), (Form::Prefixed192, 4, 0), (Form::Suffixed204, 0, 16)]
        {
            let bytes = Wire::new(stream(), form, Damage::default(), 1).take_bytes(1_000);
            let packets = bytes.chunks_exact(before + PACKET_BYTES + after);
            assert!(packets.remainder().is_empty());
            let stripped: Vec<u8> =
                packets.flat_map(|chunk| &chunk[before..before + PACKET_BYTES]).copied().collect();
            assert!(stripped == plain, "{form:?}");
        }
    }

    #[test]
    fn damage_is_done_as_often_as_asked_and_counted() {
        let damage =
            Damage { garbage_every: 10, garbage_bytes_max: 300, torn_every: 20, ..Damage::default() };
        let mut wire = Wire::new(stream(), Form::Plain, damage, 2);
        let bytes = wire.take_bytes(10_000);
        let counts = wire.counts();
        assert_eq!(counts.bytes, bytes.len() as u64);
        assert_eq!(counts.whole_packets + counts.torn_packets, 10_000);
        assert_eq!(
            counts.bytes,
            counts.whole_packets * PACKET_BYTES as u64 + counts.torn_bytes + counts.garbage_bytes
        );
        assert!((800..1_200).contains(&counts.garbage), "{counts:?}");
        assert!((400..600).contains(&counts.torn_packets), "{counts:?}");
        assert!((100..200).contains(&(counts.garbage_bytes / counts.garbage)), "{counts:?}");
    }
}
