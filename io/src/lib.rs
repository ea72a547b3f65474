//! io

pub mod clock;
pub mod net;
