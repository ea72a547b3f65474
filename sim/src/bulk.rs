//! Many viewers, lengths instead of bytes: core's rings and viewers for questions that need hours of watching or a
//! million people, without the checkers of [`crate::world`].
//!
//! What a stream publishes is recorded once ([`Feed`]), by core's own `Stream` from real packets; what is played back
//! from it has the same lengths, times, tables and access points, and no content.

mod feed;
mod seat;

pub use feed::Feed;
pub(crate) use feed::hollow;
pub(crate) use seat::{Progress, Room, Seat};
