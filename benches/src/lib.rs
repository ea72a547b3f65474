//! The parts of `restreamer-load`: a load for any server that gives a transport stream over HTTP, and the figures
//! that come of it.
//!
//! ```text
//! source ──► server under test, or reference ──► audience
//!   pace, broadcast      subject, process          viewer, checker
//!            └────────────── run ── compare, table ── report ────────┘
//! ```
//!
//! A [`source`] makes a synthetic stream whose packets carry a number and the time of `CLOCK_MONOTONIC`
//! ([`pace`]). The [`subject`], a server or the bare loop of [`mod@reference`], passes it on. The [`audience`] reads
//! it, most of it with `MSG_TRUNC`, some of it packet by packet ([`checker`]). [`run`] does all of it once,
//! [`mod@compare`] in turns.
//!
//! **What it does not touch.** The server is another process: nothing of it is linked in here but the synthetic
//! stream and the packet views of `restreamer-core`, and what it costs is read from `/proc` ([`process`]). Linux
//! only.
//!
//! **Where to start reading.** [`run::run`], then [`audience::Audience`].

pub mod args;
pub mod audience;
pub mod broadcast;
pub mod checker;
pub mod command;
pub mod compare;
pub mod epoll;
pub mod histogram;
pub mod machine;
pub mod pace;
pub mod process;
pub mod progress;
pub mod reference;
pub mod report;
pub mod response;
pub mod run;
pub mod scenario;
pub mod source;
pub mod subject;
pub mod table;
pub mod target;
pub mod viewer;
