//! Every kind of source against a real peer on this machine.

mod file;
mod fork;
mod http;
mod https;
mod recorder;
mod tcp;
mod udp;
mod unix;
