//! What can go wrong, and what the operator does, as data.

use serde::{Deserialize, Serialize};

/// Something that happens to a part of the run. What names a part that does not exist happens to nobody, so that
/// a plan stays a plan when parts of it are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// To a source, or on the way from it.
    Source {
        /// Number of the stream.
        stream: u32,
        /// Number of the source.
        source: u32,
        /// What.
        what: SourceFault,
    },
    /// To a viewer, or on the way to him.
    Viewer {
        /// His id.
        id: u32,
        /// What.
        what: ViewerFault,
    },
    /// A runtime is busy with something else.
    Pause {
        /// Number of the stream.
        stream: u32,
        /// Number of its fan-out.
        runtime: u32,
        /// How long.
        for_ms: u64,
    },
    /// The operator takes a stream off the air.
    Offline {
        /// Number of the stream.
        stream: u32,
    },
    /// The operator puts it back.
    Online {
        /// Number of the stream.
        stream: u32,
    },
    /// The operator ends the program: responses end, nobody is let in.
    Shutdown,
}

/// What can happen to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SourceFault {
    /// It closes the connection.
    Close,
    /// It closes the connection and refuses others.
    Refuse {
        /// How long.
        for_ms: u64,
    },
    /// It answers every connection with a page of text.
    Page {
        /// How long.
        for_ms: u64,
    },
    /// What it sends is lost; the connection stays.
    Silence {
        /// How long.
        for_ms: u64,
    },
    /// What it sends is held up, and then comes all at once.
    Hold {
        /// How long.
        for_ms: u64,
    },
    /// Bytes that are no packet come before its next one.
    Garbage {
        /// How many.
        bytes: u32,
        /// All of them are sync bytes.
        of_sync_bytes: bool,
    },
    /// Its next packet loses its end.
    Torn {
        /// Bytes that are left, 1..=187.
        kept: u32,
    },
    /// Its next packets are lost.
    Lose {
        /// How many.
        packets: u32,
    },
    /// PAT and PMT get the next version number.
    PsiVersion,
    /// The video moves to another PID.
    VideoPid {
        /// The new one.
        pid: u16,
    },
    /// All its clocks move.
    ClockJump {
        /// 90 kHz ticks.
        ticks: i64,
        /// It says so.
        flagged: bool,
    },
    /// Its encoder starts again on the same connection: counters, tables and timestamps from the beginning.
    Restart,
}

/// What can happen to a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ViewerFault {
    /// Nothing gets through to him.
    Stall {
        /// How long.
        for_ms: u64,
    },
    /// His link gets slower or faster, until the run heals or another fault of this kind.
    Rate {
        /// Kilobits per second; 0: nothing gets through any more.
        kbps: u64,
    },
    /// His connection breaks.
    Reset,
}
