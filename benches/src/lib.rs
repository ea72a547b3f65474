//! The parts of `restreamer-load`: a load for any server that gives a transport stream over HTTP, and the figures
//! that come of it.

pub mod epoll;
pub mod histogram;
pub mod machine;
pub mod process;
