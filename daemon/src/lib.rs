//! The daemon around restreamer's core: what it reads, what it prints, and how it starts and ends.
//!
//! It turns a `restreamer.json` into typed values ([`config`]) and hands them to `restreamer-io`. It never touches
//! a packet or a segment; that is `restreamer-core`'s. The binary is thin, so that the simulator can read the
//! same configuration through this library.

pub mod args;
pub mod check;
pub mod config;
pub mod descriptors;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod profile;
pub mod serve;
pub mod signals;
pub mod surroundings;
