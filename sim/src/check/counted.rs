//! **Counted.** Counters are what happened: bytes that sockets took, packets that were left out and how often, bytes
//! that came from each source, connections, segments and packets published.

use restreamer_core::{StreamStats, ViewerStats};

use super::{Checker, Record, Verdict};
use crate::channel::Truth;
use crate::fanout::Tally;

/// A viewer's counters when his response is over. `bytes_taken`: what his socket took.
pub(crate) fn check_viewer(stats: ViewerStats, bytes_taken: u64, record: &Record) -> Verdict {
    check("bytes sent to a viewer", stats.bytes_sent, bytes_taken)?;
    check("packets left out for a viewer", stats.packets_skipped, record.packets_skipped())?;
    check("skips of a viewer", u64::from(stats.skips), record.gaps())
}

/// What all fan-outs counted against what all viewers got.
pub(crate) fn check_tally(tally: &Tally, taken: &Tally) -> Verdict {
    check("bytes sent", tally.bytes_sent, taken.bytes_sent)?;
    check("packets left out", tally.packets_skipped, taken.packets_skipped)?;
    check("skips", tally.skips, taken.skips)
}

/// A stream's counters.
pub(crate) fn check_stream(stats: &StreamStats, truth: &Truth) -> Verdict {
    check("segments published", stats.segments, truth.segments)?;
    check("packets published", stats.packets_published, truth.packets)?;
    for (number, source) in stats.sources.iter().enumerate() {
        check("bytes of a source", source.bytes, truth.bytes[number])?;
        check("connections to a source", source.connections, truth.connections[number])?;
    }
    let (used, all) = (stats.framing.bytes, truth.bytes.iter().sum());
    Checker::Counted.demand(used <= all, || format!("{used} bytes were used of {all} received"))
}

fn check(what: &str, counted: u64, happened: u64) -> Verdict {
    Checker::Counted.demand(counted == happened, || format!("{what}: {counted} counted, {happened} happened"))
}
