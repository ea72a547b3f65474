//! Who is let in to a stream, and the seat he gets.
//!
//! Admission is asked once per join and once per leave, under one lock that no await and no system call is ever
//! made under.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use restreamer_core::admission::{self, Admission, AdmissionLimits, LimitEvent, Refusal, Ticket};
use restreamer_core::stream::{Availability, Operator};

use crate::observe::Observe;
use crate::route::StreamId;

/// What the HTTP side asks the streams, and tells them.
pub trait Channels: Send + Sync + 'static {
    /// Whether viewers may join now.
    fn availability(&self, stream: StreamId) -> Availability;

    /// Whether a packet has arrived within this time.
    fn connected_within(&self, stream: StreamId, time: Duration) -> bool;

    /// The operator takes the stream offline, or online again.
    fn operator(&self, stream: StreamId, order: Operator);
}

/// The other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Over the network.
    Ip(SocketAddr),
    /// Over a socket of this machine, which has no address worth naming.
    Local,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Ip(address) => address.fmt(f),
            Peer::Local => f.write_str("local"),
        }
    }
}

impl Peer {
    /// What counts as one and the same peer: an IPv4 address, or the /64 that an IPv6 host can roam in.
    fn key(self) -> admission::Peer {
        admission::Peer(match self {
            Peer::Local => 0,
            Peer::Ip(address) => match address.ip().to_canonical() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
                IpAddr::V6(ip) => ip.to_bits() & !u128::from(u64::MAX),
            },
        })
    }
}

/// Why somebody was not let in to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The operator has taken the stream offline.
    Offline,
    /// The stream has no source, and no grace time is left.
    NoUpstream,
    /// A limit is reached.
    Limit(Refusal),
}

impl Refused {
    /// All of them, in the order of their counters.
    pub const ALL: [Refused; 5] = [
        Refused::Offline,
        Refused::NoUpstream,
        Refused::Limit(Refusal::Full),
        Refused::Limit(Refusal::StreamFull),
        Refused::Limit(Refusal::PeerFull),
    ];

    /// The name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Refused::Offline => "offline",
            Refused::NoUpstream => "no_upstream",
            Refused::Limit(Refusal::Full) => "full",
            Refused::Limit(Refusal::StreamFull) => "stream_full",
            Refused::Limit(Refusal::PeerFull) => "peer_full",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Offline => "the stream was taken offline",
            Refused::NoUpstream => "the stream has no upstream",
            Refused::Limit(Refusal::Full) => "the connection limit is reached",
            Refused::Limit(Refusal::StreamFull) => "the connection limit of the stream is reached",
            Refused::Limit(Refusal::PeerFull) => "the connection limit of this address is reached",
        })
    }
}

/// Hears of a limit event. Called under the gate's lock so that the order is kept: it must not block.
pub type OnLimit = Box<dyn Fn(LimitEvent) + Send + Sync>;

/// The one door to all streams.
pub struct Gate {
    admission: Mutex<Admission>,
    limits: AdmissionLimits,
    observe: Arc<Observe>,
    on_limit: OnLimit,
}

impl Gate {
    /// A gate in front of the streams that `observe` counts, with nobody in yet.
    pub fn new(limits: AdmissionLimits, observe: Arc<Observe>, on_limit: OnLimit) -> Arc<Self> {
        let streams = u32::try_from(observe.streams().len()).unwrap_or(u32::MAX);
        Arc::new(Gate { admission: Mutex::new(Admission::new(limits, streams)), limits, observe, on_limit })
    }

    /// Lets a viewer in, or says why not.
    pub fn enter(
        self: &Arc<Self>,
        stream: StreamId,
        availability: Availability,
        peer: Peer,
    ) -> Result<Seat, Refused> {
        check(availability)?;
        let ticket = {
            let mut admission = self.lock();
            let (ticket, event) = admission.enter(stream.0, peer.key()).map_err(Refused::Limit)?;
            self.tell(event);
            ticket
        };
        self.observe.stream(stream).connections.add(1);
        Ok(Seat { gate: Arc::clone(self), stream, ticket: Some(ticket) })
    }

    /// Whether a viewer would be let in, without letting one in: the answer to HEAD.
    pub fn would_enter(
        &self,
        stream: StreamId,
        availability: Availability,
        peer: Peer,
    ) -> Result<(), Refused> {
        check(availability)?;
        self.lock().would_enter(stream.0, peer.key()).map_err(Refused::Limit)
    }

    /// Viewers of all streams.
    pub fn viewers(&self) -> u32 {
        self.lock().viewers()
    }

    /// The limits in force.
    pub fn limits(&self) -> AdmissionLimits {
        self.limits
    }

    fn leave(&self, stream: StreamId, ticket: Ticket) {
        self.observe.stream(stream).connections.sub(1);
        let mut admission = self.lock();
        let event = admission.leave(ticket);
        self.tell(event);
    }

    fn tell(&self, event: Option<LimitEvent>) {
        if let Some(event) = event {
            (self.on_limit)(event);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Admission> {
        self.admission.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to be a viewer. The place is free again when it is dropped, and not before.
#[must_use = "the viewer is out again as soon as its seat is dropped"]
pub struct Seat {
    gate: Arc<Gate>,
    stream: StreamId,
    ticket: Option<Ticket>,
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.gate.leave(self.stream, ticket);
        }
    }
}

fn check(availability: Availability) -> Result<(), Refused> {
    match availability {
        Availability::Live | Availability::Grace => Ok(()),
        Availability::Offline => Err(Refused::Offline),
        Availability::Never | Availability::Lost => Err(Refused::NoUpstream),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId(0);

    fn gate(limits: AdmissionLimits) -> (Arc<Gate>, Arc<Mutex<Vec<LimitEvent>>>) {
        let observe = Observe::new([("/a.ts", ["tcp://example:1"])]);
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&events);
        (Gate::new(limits, observe, Box::new(move |event| heard.lock().unwrap().push(event))), events)
    }

    #[test]
    fn a_seat_gives_its_place_back_exactly_once() {
        let (gate, events) = gate(AdmissionLimits { hard: 1, soft: 1, ..Default::default() });
        let seat = gate.enter(STREAM, Availability::Live, Peer::Local).unwrap();
        assert_eq!(gate.viewers(), 1);
        assert_eq!(gate.observe.stream(STREAM).connections.now(), 1);
        assert_eq!(
            gate.enter(STREAM, Availability::Live, Peer::Local).unwrap_err(),
            Refused::Limit(Refusal::Full)
        );
        assert_eq!(
            gate.would_enter(STREAM, Availability::Live, Peer::Local),
            Err(Refused::Limit(Refusal::Full))
        );
        drop(seat);
        assert_eq!(gate.viewers(), 0);
        assert_eq!(gate.observe.stream(STREAM).connections.now(), 0);
        assert_eq!(gate.would_enter(STREAM, Availability::Live, Peer::Local), Ok(()));
        assert_eq!(*events.lock().unwrap(), [LimitEvent::Hit, LimitEvent::Miss]);
    }

    #[test]
    fn only_live_and_grace_let_in() {
        let (gate, _) = gate(AdmissionLimits::default());
        for (availability, verdict) in [
            (Availability::Live, Ok(())),
            (Availability::Grace, Ok(())),
            (Availability::Never, Err(Refused::NoUpstream)),
            (Availability::Lost, Err(Refused::NoUpstream)),
            (Availability::Offline, Err(Refused::Offline)),
        ] {
            assert_eq!(gate.enter(STREAM, availability, Peer::Local).map(drop), verdict);
            assert_eq!(gate.would_enter(STREAM, availability, Peer::Local), verdict);
        }
        assert_eq!(gate.viewers(), 0);
    }

    #[test]
    fn asking_and_entering_are_refused_alike() {
        let peer = |text: &str| Peer::Ip(text.parse().unwrap());
        let cases = [
            (
                AdmissionLimits { per_stream: 1, ..Default::default() },
                peer("192.0.2.9:1"),
                Refusal::StreamFull,
            ),
            (AdmissionLimits { per_peer: 1, ..Default::default() }, peer("192.0.2.1:2"), Refusal::PeerFull),
        ];
        for (limits, second, refusal) in cases {
            let (gate, _) = gate(limits);
            assert_eq!(gate.would_enter(STREAM, Availability::Live, second), Ok(()));
            let _first = gate.enter(STREAM, Availability::Live, peer("192.0.2.1:1")).unwrap();
            let refused = Refused::Limit(refusal);
            assert_eq!(gate.would_enter(STREAM, Availability::Live, second), Err(refused));
            assert_eq!(gate.enter(STREAM, Availability::Live, second).unwrap_err(), refused);
        }
    }

    #[test]
    fn an_ipv6_host_is_one_peer_in_its_whole_subnet() {
        let key = |text: &str| Peer::Ip(text.parse().unwrap()).key();
        assert_eq!(key("[2001:db8::1]:1"), key("[2001:db8::ffff:2]:9"));
        assert_ne!(key("[2001:db8::1]:1"), key("[2001:db8:0:1::1]:1"));
        assert_eq!(key("192.0.2.1:1"), key("[::ffff:192.0.2.1]:2"));
        assert_ne!(key("192.0.2.1:1"), key("192.0.2.2:1"));
    }
}
