//! The network and file side of the restreamer: moves bytes between sockets and the machines of `restreamer-core`.
//!
//! A source is read by a task of its own ([`ingest`]) and handed to its [`channel`], which drives core's `Stream` and
//! announces what it publishes ([`published`]). Each runtime has one [`fanout`] per stream, which sends to its viewers,
//! one write per viewer and flush. The [`server`] speaks HTTP through hyper until a request turns out to be for
//! a stream; then the socket leaves hyper and joins a fan-out.
//!
//! **What is absent.** Nothing here decides when to reconnect, where a viewer joins or whom to turn away: that is
//! core's. There is no configuration file, no metrics registry and no logger: [`observe`] says what happens to
//! whoever wants to know. Sockets and time come from [`net::Net`] and [`clock`], so that a simulated network can
//! take their place.
//!
//! **Where to start.** [`engine`] puts everything together; [`service`] follows a request; [`fanout`] is the hot path.

pub mod answer;
pub mod api;
pub mod auth;
pub mod channel;
mod chunked;
pub mod client;
pub mod clock;
pub mod engine;
pub mod fanout;
pub mod gate;
pub mod ingest;
pub mod journal;
pub mod net;
pub mod notify;
pub mod observe;
pub mod placement;
mod player;
pub mod proxy;
pub mod published;
pub mod registry;
pub mod route;
pub mod server;
pub mod service;
pub mod socket;
pub mod tls;
mod url;
