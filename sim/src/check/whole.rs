//! **Whole.** A viewer gets whole, aligned packets: a packet begun is a packet finished, with the bytes of that
//! packet, even if its segment is gone by then; and a response that the server ends is ended between two packets.

use restreamer_core::ts::PACKET_BYTES;

use super::record::Run;
use super::{Checker, Verdict};

/// The packet that a viewer has in part.
#[derive(Debug, Default)]
pub(crate) struct Alignment {
    begun: Option<Box<Begun>>,
}

#[derive(Debug)]
struct Begun {
    packet: [u8; PACKET_BYTES],
    received: usize,
}

pub(super) fn check(alignment: &mut Alignment, run: &Run<'_>) -> Verdict {
    let (bytes, from, to) = match *run {
        Run::Rest(rest) => return alignment.go_on(rest),
        Run::Tables { all, from, to } => (all, from, to),
        Run::Packets { segment, from, to, .. } => (&segment.data[..], from, to),
    };
    if let Some(begun) = &alignment.begun {
        let received = begun.received;
        return Checker::Whole.breach(format!("another packet follows after {received} bytes of one"));
    }
    if from % PACKET_BYTES != 0 {
        return Checker::Whole.breach(format!("bytes {from}..{to} of a segment do not begin with a packet"));
    }
    let received = to % PACKET_BYTES;
    if received > 0 {
        let packet = bytes[to - received..].first_chunk();
        let Some(&packet) = packet else {
            return Checker::Whole.breach("a segment does not end with a whole packet");
        };
        alignment.begun = Some(Box::new(Begun { packet, received }));
    }
    Ok(())
}

impl Alignment {
    /// The next bytes are no part of the ring: they must be the rest of the packet that was begun.
    fn go_on(&mut self, rest: &[u8]) -> Verdict {
        let Some(begun) = &mut self.begun else {
            return Checker::Whole.breach(format!("{} bytes of no packet that was begun", rest.len()));
        };
        let from = begun.received;
        begun.received += rest.len();
        if begun.packet.get(from..begun.received) != Some(rest) {
            return Checker::Whole.breach(format!("bytes {from}.. of a packet are not its own"));
        }
        if begun.received == PACKET_BYTES {
            self.begun = None;
        }
        Ok(())
    }

    pub(super) fn is_between_packets(&self) -> bool {
        self.begun.is_none()
    }

    pub(super) fn end(&self) -> Verdict {
        Checker::Whole.demand(self.begun.is_none(), || "the response ended within a packet".into())
    }
}
