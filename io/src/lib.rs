//! io

pub mod clock;
pub mod net;
pub mod observe;
pub mod route;
pub mod socket;
