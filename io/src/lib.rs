//! io

pub mod answer;
pub mod api;
pub mod auth;
pub mod client;
pub mod clock;
pub mod gate;
pub mod ingest;
pub mod net;
pub mod observe;
pub mod route;
pub mod server;
pub mod service;
pub mod socket;
mod url;
