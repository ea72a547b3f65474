//! Who may enter.
//!
//! Asked once per join and once per leave, never on the data path. A [`Ticket`] cannot be copied, so a place is
//! given back exactly once.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Limits on viewers; 0 means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Viewers of all streams together (`maxconnections`).
    pub hard: u32,
    /// From this many viewers on the service calls itself full, and still lets in (`fullconnections`).
    pub soft: u32,
    /// Viewers of one stream.
    pub per_stream: u32,
    /// Viewers from one address.
    pub per_peer: u32,
}

/// Where a viewer comes from; the driver decides what counts as the same peer (usually the IP address).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer(pub u128);

/// The right to be a viewer; given back with [`Admission::leave`].
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a ticket that is dropped without leave() occupies its place for ever"]
pub struct Ticket {
    stream: u32,
    peer: Peer,
}

/// Why somebody was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The limit over all streams is reached.
    Full,
    /// The limit of this stream is reached.
    StreamFull,
    /// The limit of this address is reached.
    PeerFull,
}

/// The number of viewers crossed the soft limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitEvent {
    /// It rose to the limit.
    Hit,
    /// It fell below the limit.
    Miss,
}

/// Counts viewers against the limits. Memory grows with the number of viewers, only while `per_peer` is set.
#[derive(Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    viewers: u32,
    by_stream: Vec<u32>,
    by_peer: BTreeMap<Peer, u32>,
}

impl Admission {
    /// Nobody is in yet; streams are numbered from 0 to `streams - 1`.
    pub fn new(limits: AdmissionLimits, streams: u32) -> Self {
        Admission {
            limits,
            viewers: 0,
            by_stream: core::iter::repeat_n(0, streams as usize).collect(),
            by_peer: BTreeMap::new(),
        }
    }

    /// Lets a viewer in, or says which limit keeps it out.
    ///
    /// # Panics
    /// When there is no stream of this number.
    pub fn enter(&mut self, stream: u32, peer: Peer) -> Result<(Ticket, Option<LimitEvent>), Refusal> {
        self.would_enter(stream, peer)?;
        if self.limits.per_peer != 0 {
            *self.by_peer.entry(peer).or_default() += 1;
        }
        self.by_stream[stream as usize] += 1;
        self.viewers += 1;
        let hit = self.limits.soft != 0 && self.viewers == self.limits.soft;
        Ok((Ticket { stream, peer }, hit.then_some(LimitEvent::Hit)))
    }

    /// Whether a viewer would be let in now, or which limit would keep it out.
    ///
    /// # Panics
    /// When there is no stream of this number.
    pub fn would_enter(&self, stream: u32, peer: Peer) -> Result<(), Refusal> {
        let is_full = |limit: u32, count: u32| limit != 0 && count >= limit;
        if is_full(self.limits.hard, self.viewers) {
            return Err(Refusal::Full);
        }
        if is_full(self.limits.per_stream, self.by_stream[stream as usize]) {
            return Err(Refusal::StreamFull);
        }
        match is_full(self.limits.per_peer, self.by_peer.get(&peer).copied().unwrap_or(0)) {
            true => Err(Refusal::PeerFull),
            false => Ok(()),
        }
    }

    /// Takes a ticket back.
    pub fn leave(&mut self, ticket: Ticket) -> Option<LimitEvent> {
        self.viewers -= 1;
        self.by_stream[ticket.stream as usize] -= 1;
        if let Some(of_peer) = self.by_peer.get_mut(&ticket.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                self.by_peer.remove(&ticket.peer);
            }
        }
        let miss = self.limits.soft != 0 && self.viewers + 1 == self.limits.soft;
        miss.then_some(LimitEvent::Miss)
    }

    /// Viewers of all streams.
    pub fn viewers(&self) -> u32 {
        self.viewers
    }

    /// Viewers of one stream.
    pub fn viewers_of(&self, stream: u32) -> u32 {
        self.by_stream.get(stream as usize).copied().unwrap_or(0)
    }

    /// The limits in force.
    pub fn limits(&self) -> AdmissionLimits {
        self.limits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: Peer = Peer(1);

    fn admission(limits: AdmissionLimits) -> Admission {
        Admission::new(limits, 2)
    }

    #[test]
    fn the_hard_limit_counts_viewers_of_all_streams_together() {
        let mut admission = admission(AdmissionLimits { hard: 2, ..Default::default() });
        let (first, _) = admission.enter(0, PEER).unwrap();
        let _second = admission.enter(1, PEER).unwrap();
        assert_eq!(admission.enter(0, PEER), Err(Refusal::Full));
        admission.leave(first);
        assert!(admission.enter(1, PEER).is_ok());
    }

    #[test]
    fn the_soft_limit_lets_in_and_says_so_once_each_way() {
        let mut admission = admission(AdmissionLimits { soft: 2, ..Default::default() });
        let (a, event) = admission.enter(0, PEER).unwrap();
        assert_eq!(event, None);
        let (b, event) = admission.enter(0, PEER).unwrap();
        assert_eq!(event, Some(LimitEvent::Hit));
        let (c, event) = admission.enter(0, PEER).unwrap();
        assert_eq!(event, None);
        assert_eq!(admission.leave(c), None);
        assert_eq!(admission.leave(b), Some(LimitEvent::Miss));
        assert_eq!(admission.leave(a), None);
    }

    #[test]
    fn limits_per_stream_and_per_peer_do_not_touch_others() {
        let mut admission = admission(AdmissionLimits { per_stream: 2, per_peer: 1, ..Default::default() });
        let (ticket, _) = admission.enter(0, PEER).unwrap();
        assert_eq!(admission.enter(0, PEER), Err(Refusal::PeerFull));
        let _other = admission.enter(0, Peer(2)).unwrap();
        assert_eq!(admission.enter(0, Peer(3)), Err(Refusal::StreamFull));
        assert!(admission.enter(1, Peer(3)).is_ok());
        admission.leave(ticket);
        assert!(admission.enter(0, PEER).is_ok());
        assert_eq!(admission.viewers_of(0), 2);
    }
}
