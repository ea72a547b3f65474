//! The real binary, between real sources and real players.
//!
//! Every test starts `restreamer` on a free port, talks to it over sockets, and ends it. What needs another program
//! (ffmpeg, VLC, GStreamer, curl) says `SKIPPED` on standard error where that is missing. Nothing here waits a fixed
//! time for something to have happened: there is a condition, and a deadline.

mod control;
mod demo;
mod documents;
mod examples;
mod garbage;
mod isolation;
mod kit;
mod listeners;
mod logs;
mod notifications;
mod players;
mod rests;
mod secrets;
mod sources;
mod startup;
