//! The decisions of a live transport-stream proxy, and nothing else.
//!
//! Bytes of an upstream come in as arguments, whole packets in segments and orders to the driver come out as
//! values. Everything is a function of (state, now, input): the daemon and the simulator run the same code and,
//! given the same inputs, get the same outputs bit for bit.
//!
//! **What is absent.** There is no clock, no socket, no thread, no entropy, no logging and no hash map in here:
//! `#![no_std]` keeps them out at compile time. Time is an [`Instant`] that the driver passes in, chance is a
//! seed that the driver chooses, and what an operator should hear about is an event or a count.
//!
//! **Where to start.** [`stream::Stream`] is the upstream side of one channel: bytes in, [`Segment`]s out.
//! [`Ring`] holds the last seconds of them, [`Viewer`] is one client's place in it, [`Admission`] decides who may
//! enter. Below them [`framer`] finds packets, [`ts`] reads them, [`access`] finds the places where a decoder
//! can start.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod access;
pub mod admission;
mod assembly;
pub mod cause;
pub mod event;
pub mod flush;
pub mod framer;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod intake;
pub mod playout;
pub mod policy;
pub mod quality;
pub mod ring;
pub mod rng;
pub mod rtp;
pub mod segment;
pub mod splice;
pub mod stall;
pub mod stream;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod ts;
pub mod upstream;
pub mod viewer;

pub use access::{AccessCounts, AccessDetector, AccessKind};
pub use admission::{Admission, AdmissionLimits, LimitEvent, Peer, Refusal, Ticket};
pub use assembly::SEGMENT_BYTES_MAX;
pub use cause::{CloseCause, CloseKind};
pub use event::StreamEvent;
pub use framer::{Framer, FramerStats, PacketForm};
pub use intake::{Demand, Intake, Patience, Pause};
pub use policy::{Join, Policy, Slow};
pub use quality::QualityCounts;
pub use ring::{Ring, RingLimits};
pub use rng::Rng;
pub use segment::Segment;
pub use stall::StallTimer;
pub use stream::{Availability, Input, Operator, Output, Stream, StreamConfig, StreamStats};
pub use time::{Duration, Instant};
pub use upstream::{ConnId, Order, UpstreamConfig};
pub use viewer::{Pieces, Read, Viewer, ViewerEnd, ViewerStats};
