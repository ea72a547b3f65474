//! What an operator should hear about: core does not log, it returns these.

use crate::cause::CloseCause;

/// Something happened to the upstream side of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// A connection to a source begins.
    Connecting {
        /// Number of the source, as listed.
        source: usize,
    },
    /// The first packet of a connection arrived.
    Connected {
        /// Number of the source, as listed.
        source: usize,
    },
    /// A connection ended, or was given up.
    Closed {
        /// Number of the source, as listed.
        source: usize,
        /// Why.
        cause: CloseCause,
    },
    /// A better source is used again: it was healthy for long enough, or it delivers and the one in use ended.
    Returned {
        /// Number of the source, as listed.
        source: usize,
    },
    /// Every source was tried and none will be tried again.
    Exhausted,
    /// The grace time after the loss of the upstream is over: the responses of its viewers end.
    GraceOver,
}
