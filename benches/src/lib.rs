//! The parts of `restreamer-load`: a load for any server that gives a transport stream over HTTP, and the figures
//! that come of it.

pub mod audience;
pub mod broadcast;
pub mod checker;
pub mod epoll;
pub mod histogram;
pub mod machine;
pub mod pace;
pub mod process;
pub mod reference;
pub mod response;
pub mod source;
pub mod target;
pub mod viewer;
