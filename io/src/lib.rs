//! io

pub mod answer;
pub mod api;
pub mod auth;
pub mod clock;
pub mod gate;
pub mod net;
pub mod observe;
pub mod route;
pub mod server;
pub mod service;
pub mod socket;
