//! Whether a plan means something: one that was edited may not, and then a run would prove nothing.

use std::collections::BTreeSet;

use super::{Plan, StreamPlan, ViewerPlan};
use crate::faults::{Fault, SourceFault};
use crate::source::{CAPTURES, Content, SourcePlan};

/// Synthetic content is not made at lower rates, kilobits per second.
pub(crate) const KBPS_MIN: u64 = 50;

impl Plan {
    /// Says which field makes no sense, and what would. What events name need not be there: see [`Fault`].
    pub fn check(&self) -> Result<(), String> {
        demand(self.duration_ms > 0, "duration_ms: a run takes a millisecond at least")?;
        demand(self.runtimes > 0, "runtimes: there is one at least")?;
        demand(!self.streams.is_empty(), "streams: there is one at least")?;
        demand(self.wake.poll_ms > 0, "wake.poll_ms: 1 at least")?;
        for (index, stream) in self.streams.iter().enumerate() {
            check_stream(stream).map_err(|error| format!("streams[{index}].{error}"))?;
        }
        let mut ids = BTreeSet::new();
        for (index, viewer) in self.viewers.iter().enumerate() {
            check_viewer(viewer, self.streams.len()).map_err(|error| format!("viewers[{index}].{error}"))?;
            demand(ids.insert(viewer.id), format_args!("viewers[{index}].id: {} is there twice", viewer.id))?;
        }
        for (index, event) in self.events.iter().enumerate() {
            check_fault(&event.fault).map_err(|error| format!("events[{index}].{error}"))?;
        }
        Ok(())
    }
}

fn demand(is_kept: bool, error: impl ToString) -> Result<(), String> {
    if is_kept { Ok(()) } else { Err(error.to_string()) }
}

fn check_stream(stream: &StreamPlan) -> Result<(), String> {
    demand(!stream.sources.is_empty(), "sources: there is one at least")?;
    for (index, source) in stream.sources.iter().enumerate() {
        check_source(source).map_err(|error| format!("sources[{index}].{error}"))?;
    }
    Ok(())
}

fn check_source(source: &SourcePlan) -> Result<(), String> {
    match &source.content {
        Content::Capture(name) => demand(
            CAPTURES.contains(&&**name),
            format_args!("content.capture: there is no {name}, but {}", CAPTURES.join(", ")),
        )?,
        Content::Television { gop_frames, .. } => demand(*gop_frames > 0, "content.gop_frames: 1 at least")?,
        Content::Radio => {}
    }
    demand(source.kbps >= KBPS_MIN, format_args!("kbps: {KBPS_MIN} at least"))?;
    demand(source.every_ms > 0, "every_ms: 1 at least")?;
    demand(matches!(source.packet_bytes, 188 | 192 | 204), "packet_bytes: 188, 192 or 204")
}

fn check_viewer(viewer: &ViewerPlan, streams: usize) -> Result<(), String> {
    let is_there = (viewer.stream as usize) < streams;
    demand(is_there, format_args!("stream: there are {streams}, counted from 0"))?;
    demand(viewer.link.buffer_bytes > 0, "link.buffer_bytes: 1 at least")
}

fn check_fault(fault: &Fault) -> Result<(), String> {
    match fault {
        Fault::Source { what: SourceFault::Torn { kept }, .. } => {
            demand((1..=187).contains(kept), "fault.source.what.torn.kept: 1 to 187")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{SCENARIOS, viewer};
    use crate::swarm;

    #[test]
    fn what_is_made_here_makes_sense() {
        for scenario in SCENARIOS {
            assert_eq!((scenario.plan)(1).check(), Ok(()), "{}", scenario.name);
        }
        for seed in 0..200 {
            assert_eq!(swarm::plan(seed).check(), Ok(()), "seed {seed}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        type Edit = fn(&mut Plan);
        let edits: [(Edit, &str); 10] = [
            (|plan| plan.duration_ms = 0, "duration_ms: "),
            (|plan| plan.runtimes = 0, "runtimes: "),
            (|plan| plan.streams.clear(), "streams: "),
            (|plan| plan.streams[0].sources.clear(), "streams[0].sources: "),
            (|plan| plan.streams[0].sources[0].kbps = 0, "streams[0].sources[0].kbps: 50"),
            (|plan| plan.streams[0].sources[0].packet_bytes = 100, "streams[0].sources[0].packet_bytes: 188"),
            (
                |plan| plan.streams[0].sources[0].content = Content::Capture("nope.ts".into()),
                "streams[0].sources[0].content.capture: there is no nope.ts, but h264",
            ),
            (|plan| plan.viewers[1].stream = 5, "viewers[1].stream: there are "),
            (|plan| plan.viewers[1].id = plan.viewers[0].id, "viewers[1].id: "),
            (|plan| plan.viewers[0].link.buffer_bytes = 0, "viewers[0].link.buffer_bytes: "),
        ];
        for (edit, message) in edits {
            let mut plan = swarm::plan(1);
            plan.viewers.truncate(2);
            plan.viewers[0] = viewer(7, 0);
            edit(&mut plan);
            let error = plan.check().unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
