//! Runs the decisions of the daemon in virtual time: streams, viewers, faults, and checkers that watch all of it.
//!
//! A [`plan::Plan`] says everything that happens; [`world::simulate`] runs it and answers a [`report::Outcome`].
//! The machines are core's own, driven the way the daemon drives them; links, sources and people are models that are
//! functions of the plan.
//!
//! **What is absent.** No clock, no entropy, no unordered map decides anything here: the same plan gives the same
//! run, on every machine and in every build. There are no sockets and no HTTP, except in [`tier2`].
//!
//! **Where to start.** [`world`] is the driver; [`check`] holds the promises, one file each; [`decoder`] says what
//! a person would have seen.

pub mod bulk;
pub mod check;
pub mod compare;
pub mod decoder;
pub mod failure;
pub mod faults;
pub mod incident;
pub mod ledger;
pub mod link;
pub mod load;
pub mod marks;
pub mod mutation;
pub mod network;
pub mod observer;
pub mod page;
pub mod panics;
pub mod plan;
pub mod plot;
pub mod report;
pub mod scenario;
pub mod source;
pub mod swarm;
pub mod tier2;
pub mod timeline;
pub mod tree;
pub mod verify;
pub mod world;

mod channel;
mod fanout;
mod jobs;
mod shrink;

pub use fanout::{EndReason, Tally};
