//! An immutable run of whole packets, shared by everyone who reads it.

use bytes::Bytes;

use crate::access::AccessKind;
use crate::time::Instant;
use crate::ts::PACKET_BYTES;

/// What a [`crate::stream::Stream`] publishes: packets that arrived together, and how to start decoding there.
///
/// Cloning shares the bytes.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Whole 188-byte packets, at least one.
    pub data: Bytes,
    /// The raw PAT and PMT packets last seen before `data`, whole packets; empty when none are known.
    pub psi: Bytes,
    /// Set when the first packet of `data` is a random access point.
    pub access: Option<AccessKind>,
    /// Set on the first segment after a change of source or a new connection: counters and timestamps may jump.
    pub seam: bool,
    /// When the first byte arrived of all that was published together with `data`: nobody lags behind what he could
    /// not have had before.
    pub at: Instant,
}

impl Segment {
    /// Number of packets in `data`.
    #[inline]
    pub fn packets(&self) -> u64 {
        (self.data.len() / PACKET_BYTES) as u64
    }
}
