//! What came out of a run.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::check::Violation;
use crate::decoder::Seen;
use crate::fanout::{EndReason, Tally};
use crate::marks::Marks;

/// Of so many people, what they saw is shown.
const VIEWERS_SHOWN: usize = 20;

/// The result of one run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Name of the plan.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// When the run ended: with the plan, or with the first violation.
    pub end_ns: u64,
    /// The first promise that was broken.
    pub violation: Option<Violation>,
    /// Rare branches reached.
    pub marks: Marks,
    /// Depends on everything that was published and received, and when.
    pub digest: u64,
    /// Depends on everything that was published, and when.
    pub published_digest: u64,
    /// How often somebody was turned away because of a limit.
    pub refused_by_limit: u64,
    /// How often because there was nothing to see.
    pub refused_by_stream: u64,
    /// How often somebody was let in.
    pub joins: u64,
    /// The most viewers at a time.
    pub viewers_max: u64,
    /// Seconds of virtual time, summed over viewers.
    pub viewer_seconds: u64,
    /// The most bytes of packets in memory at any inspection.
    pub held_bytes_max: u64,
    /// What was sent.
    pub sent: Tally,
    /// Everybody in the plan, in its order.
    pub viewers: Vec<ViewerReport>,
    /// What happened, a line each, if it was asked for.
    pub trace: Vec<String>,
}

/// What one person got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewerReport {
    /// His number in the plan.
    pub id: u32,
    /// How often he came.
    pub visits: u32,
    /// How often he was turned away.
    pub refused: u32,
    /// How often his response ended without his wish.
    pub disconnects: u32,
    /// How it ended the last time.
    pub last_end: Option<EndReason>,
    /// Bytes that his socket took.
    pub bytes: u64,
    /// Packets left out for him.
    pub packets_skipped: u64,
    /// How often.
    pub skips: u64,
    /// How long he was in.
    pub watched_ns: u64,
    /// What he saw.
    pub seen: Seen,
    /// Depends on everything he received, and when.
    pub digest: u64,
}

/// What there is to see in the middle of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When.
    pub at_ns: u64,
    /// Streams on the air.
    pub on_air: u64,
    /// Viewers who are in.
    pub viewers: u64,
    /// Of those, whose picture moves.
    pub playing: u64,
    /// Of those, whose sockets are full.
    pub blocked: u64,
    /// Bytes sent so far.
    pub bytes_sent: u64,
    /// Bytes of packets in memory.
    pub held_bytes: u64,
    /// The most that there may be, by the formula.
    pub held_bytes_limit: u64,
    /// How far the slowest viewer's place is behind live.
    pub lag_ns_max: u64,
    /// The same, summed over all viewers.
    pub lag_ns_sum: u64,
    /// Times the drop policy acted so far.
    pub skips: u64,
    /// How often somebody was let in so far.
    pub joins: u64,
    /// How often somebody was turned away so far because of a limit.
    pub refused_by_limit: u64,
    /// How often because there was nothing to see.
    pub refused_by_stream: u64,
}

impl Outcome {
    /// What people saw, for people: a line for each of the first ones, and the sums.
    pub fn to_text(&self) -> String {
        let mut text = String::from(
            "viewer visits refused seconds         bytes skips packets skipped first picture broken still ended, last\n",
        );
        // A String takes everything.
        for viewer in self.viewers.iter().take(VIEWERS_SHOWN) {
            let ViewerReport { id, visits, refused, bytes, skips, packets_skipped, seen, .. } = viewer;
            let seconds = |ns: u64| format!("{:.1}", ns as f64 / 1e9);
            let _ = writeln!(
                text,
                "{id:6} {visits:6} {refused:7} {:>7} {bytes:13} {skips:5} {packets_skipped:15} {:>13} {:>6} {:>5} {}",
                seconds(viewer.watched_ns),
                seen.first_picture_ns.map_or("never".into(), |ns| format!("{:.3}", ns as f64 / 1e9)),
                seconds(seen.broken_ns),
                seconds(seen.stalled_ns),
                viewer.last_end.map_or("never came", EndReason::describe),
            );
        }
        if let Some(more @ 1..) = self.viewers.len().checked_sub(VIEWERS_SHOWN) {
            let _ = writeln!(text, "… and {more} more");
        }
        let _ = writeln!(
            text,
            "{:.3} s, {} viewers at most, {} joins, {} + {} refused (limits, nothing to see)",
            self.end_ns as f64 / 1e9,
            self.viewers_max,
            self.joins,
            self.refused_by_limit,
            self.refused_by_stream,
        );
        let _ = writeln!(
            text,
            "{} bytes in {} writes, digest {:016x}",
            self.sent.bytes_sent, self.sent.writes, self.digest
        );
        match &self.violation {
            None => text.push_str("every promise was kept"),
            Some(violation) => {
                let _ = write!(text, "a promise was broken: {violation}");
            }
        }
        text
    }

    /// The report on one person.
    pub fn viewer(&self, id: u32) -> Option<&ViewerReport> {
        self.viewers.iter().find(|viewer| viewer.id == id)
    }
}
