//! io

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
