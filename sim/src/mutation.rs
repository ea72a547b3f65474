//! Defects put in on purpose, to see that the checkers find them.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A defect of the simulated driver; core itself is never changed. One for each promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Mutation {
    /// The rest of a packet that a socket took in part is forgotten.
    TornPacket,
    /// What the first write after a full socket took is sent again.
    Duplicate,
    /// Viewers are given the next packets, whatever the join policy says.
    UnfreshJoin,
    /// A viewer whose connection breaks keeps his place in the admission.
    LeakedTicket,
    /// The ring's limits are not looked at.
    UnboundedRing,
    /// A sweep ends at the first viewer whose socket is full.
    SlowDelaysOthers,
    /// A viewer whose socket was full for more than a second is never served again.
    LostWakeUp,
    /// Bytes are counted when they are offered, not when they are taken.
    WrongCount,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Mutation; 8] = [
        Mutation::TornPacket,
        Mutation::Duplicate,
        Mutation::UnfreshJoin,
        Mutation::LeakedTicket,
        Mutation::UnboundedRing,
        Mutation::SlowDelaysOthers,
        Mutation::LostWakeUp,
        Mutation::WrongCount,
    ];
}
