//! Makes a plan that breaks a promise small: fewer people, fewer events, less time, and nothing special that does not
//! matter. What is left is what somebody has to understand.
//!
//! A candidate is kept when the same promise is broken, however that is said. Everything is tried in a fixed order,
//! so the same failure shrinks to the same plan.

use crate::check::{Checker, Violation};
use crate::faults::{Fault, SourceFault, ViewerFault};
use crate::link::LinkSpec;
use crate::plan::{Event, Limits, Plan, PolicyPlan, StreamPlan, ViewerPlan, Wake};
use crate::source::{Cut, SourcePlan};
use crate::verify::verify;
use crate::world::Options;

/// A plan is run at most so often while it is being shrunk.
const RUNS_MAX: u32 = 2_000;

/// The smallest plan found that breaks the same promise as `plan`, and how.
pub(crate) fn shrink(plan: &Plan, violation: Violation, options: Options) -> (Plan, Violation) {
    let mut shrinker = Shrinker { best: plan.clone(), violation, options, runs: 0 };
    loop {
        let runs = shrinker.runs;
        let before = shrinker.best.clone();
        shrinker.cut_time();
        shrinker.thin(
            |plan| plan.events.len(),
            |plan, index| {
                plan.events.remove(index);
            },
        );
        shrinker.thin(|plan| plan.viewers.len(), remove_viewer);
        shrinker.thin(|plan| plan.streams.len(), remove_stream);
        for stream in 0..shrinker.best.streams.len() {
            let sources =
                move |plan: &Plan| plan.streams.get(stream).map_or(0, |stream| stream.sources.len());
            shrinker.thin(sources, move |plan, source| remove_source(plan, stream, source));
        }
        shrinker.simplify();
        if shrinker.best == before || shrinker.runs == runs || shrinker.runs >= RUNS_MAX {
            return (shrinker.best, shrinker.violation);
        }
    }
}

struct Shrinker {
    best: Plan,
    violation: Violation,
    options: Options,
    runs: u32,
}

impl Shrinker {
    /// Keeps the candidate if it breaks the same promise.
    fn accept(&mut self, candidate: Plan) -> bool {
        if candidate == self.best || self.runs >= RUNS_MAX {
            return false;
        }
        self.runs += 1;
        match verify(&candidate, self.options).violation {
            Some(violation) if is_same(&violation, &self.violation) => {
                self.best = candidate;
                self.violation = violation;
                true
            }
            _ => false,
        }
    }

    fn edit(&mut self, edit: impl FnOnce(&mut Plan)) -> bool {
        let mut candidate = self.best.clone();
        edit(&mut candidate);
        self.accept(candidate)
    }

    /// Ends the run when the promise is broken, and then earlier and earlier.
    fn cut_time(&mut self) {
        let broken_ms = (self.violation.at_ns / 1_000_000 + 1).min(self.best.duration_ms);
        self.edit(|plan| end_at(plan, broken_ms));
        self.edit(|plan| plan.heal_ms = None);
        for (numerator, denominator) in [(1, 2), (3, 4), (9, 10)] {
            while self.edit(|plan| scale_time(plan, numerator, denominator)) {}
        }
    }

    /// Leaves out as many of a kind as it can, many at a time first.
    fn thin(&mut self, count: impl Fn(&Plan) -> usize, remove: impl Fn(&mut Plan, usize)) {
        let mut chunk = count(&self.best);
        while chunk > 0 {
            let mut begin = 0;
            while begin < count(&self.best) {
                let end = (begin + chunk).min(count(&self.best));
                let is_smaller = self.edit(|plan| (begin..end).rev().for_each(|index| remove(plan, index)));
                if !is_smaller {
                    begin = end;
                }
            }
            chunk /= 2;
        }
    }

    /// Replaces what is special by what is usual.
    fn simplify(&mut self) {
        for edit in PLAN_EDITS {
            self.edit(edit);
        }
        for stream in 0..self.best.streams.len() {
            for edit in STREAM_EDITS {
                self.edit(|plan| edit(&mut plan.streams[stream]));
            }
            for source in 0..self.best.streams[stream].sources.len() {
                for edit in SOURCE_EDITS {
                    self.edit(|plan| edit(&mut plan.streams[stream].sources[source]));
                }
            }
        }
        for viewer in 0..self.best.viewers.len() {
            for edit in VIEWER_EDITS {
                self.edit(|plan| edit(&mut plan.viewers[viewer]));
            }
        }
        for event in 0..self.best.events.len() {
            while self.edit(|plan| halve(&mut plan.events[event])) {}
        }
    }
}

/// Whether two violations are of one promise; of panics, whether they come from one place.
fn is_same(one: &Violation, other: &Violation) -> bool {
    let place = |violation: &Violation| violation.message.split(": ").next().map(str::to_owned);
    one.checker == other.checker && (one.checker != Checker::Panic || place(one) == place(other))
}

const PLAN_EDITS: &[fn(&mut Plan)] = &[
    |plan| plan.wake = Wake::default(),
    |plan| plan.limits = Limits::default(),
    |plan| plan.limits.hard = 0,
    |plan| plan.limits.soft = 0,
    |plan| plan.limits.per_stream = 0,
    |plan| plan.limits.per_peer = 0,
    |plan| plan.runtimes = 1,
];

const STREAM_EDITS: &[fn(&mut StreamPlan)] = &[
    |stream| *stream = StreamPlan { sources: stream.sources.clone(), ..StreamPlan::new(usual()) },
    |stream| stream.policy = PolicyPlan::default(),
    |stream| stream.policy.lag_max_ms = None,
    |stream| stream.ring = StreamPlan::new(usual()).ring,
    |stream| stream.shuffle = false,
    |stream| stream.read_timeout_ms = None,
    |stream| stream.stall_limit_ms = None,
    |stream| stream.latency_ms = 20,
];

const SOURCE_EDITS: &[fn(&mut SourcePlan)] = &[
    |source| *source = usual(),
    |source| source.content = usual().content,
    |source| source.packet_bytes = 188,
    |source| source.cut = Cut::Whole,
    |source| source.every_ms = 20,
    |source| source.connect_ms = 0,
    |source| source.keeps_running = true,
];

const VIEWER_EDITS: &[fn(&mut ViewerPlan)] = &[
    |viewer| viewer.link = LinkSpec::FAST,
    |viewer| viewer.link = LinkSpec { kbps: viewer.link.kbps, ..LinkSpec::FAST },
    |viewer| viewer.link.short_writes = false,
    |viewer| viewer.link.jitter_ms = 0,
    |viewer| viewer.link.loss_ppm = 0,
    |viewer| viewer.link.delay_ms = 1,
    |viewer| viewer.back_after_ms = None,
    |viewer| viewer.stay_ms = None,
    |viewer| viewer.runtime = 0,
    |viewer| viewer.at_ms = 0,
    |viewer| viewer.at_ms /= 2,
];

fn usual() -> SourcePlan {
    SourcePlan::television(1_000)
}

fn end_at(plan: &mut Plan, ms: u64) {
    plan.duration_ms = ms;
    plan.events.retain(|event| event.at_ms <= ms);
    plan.viewers.retain(|viewer| viewer.at_ms <= ms);
    plan.heal_ms = plan.heal_ms.filter(|&heal| heal <= ms);
}

fn scale_time(plan: &mut Plan, numerator: u64, denominator: u64) {
    let scale = |ms: &mut u64| *ms = *ms * numerator / denominator;
    scale(&mut plan.duration_ms);
    plan.heal_ms.iter_mut().for_each(scale);
    plan.events.iter_mut().for_each(|event| scale(&mut event.at_ms));
    plan.viewers.iter_mut().for_each(|viewer| scale(&mut viewer.at_ms));
}

fn remove_viewer(plan: &mut Plan, index: usize) {
    let gone = plan.viewers.remove(index).id;
    plan.events.retain(|event| !matches!(event.fault, Fault::Viewer { id, .. } if id == gone));
}

fn remove_stream(plan: &mut Plan, index: usize) {
    plan.streams.remove(index);
    let gone = index as u32;
    plan.viewers.retain(|viewer| viewer.stream != gone);
    plan.viewers.iter_mut().for_each(|viewer| close_gap(&mut viewer.stream, gone));
    plan.events.retain_mut(|event| match &mut event.fault {
        Fault::Source { stream, .. }
        | Fault::Pause { stream, .. }
        | Fault::Offline { stream }
        | Fault::Online { stream } => {
            let stays = *stream != gone;
            close_gap(stream, gone);
            stays
        }
        Fault::Viewer { .. } | Fault::Shutdown => true,
    });
}

fn remove_source(plan: &mut Plan, in_stream: usize, index: usize) {
    plan.streams[in_stream].sources.remove(index);
    let gone = index as u32;
    plan.events.retain_mut(|event| match &mut event.fault {
        Fault::Source { stream, source, .. } if *stream == in_stream as u32 => {
            let stays = *source != gone;
            close_gap(source, gone);
            stays
        }
        _ => true,
    });
}

/// The numbers after the one that is gone move up.
fn close_gap(number: &mut u32, gone: u32) {
    if *number > gone {
        *number -= 1;
    }
}

/// The same fault for half the time, or half as large.
fn halve(event: &mut Event) {
    match &mut event.fault {
        Fault::Source { what, .. } => match what {
            SourceFault::Refuse { for_ms }
            | SourceFault::Page { for_ms }
            | SourceFault::Silence { for_ms }
            | SourceFault::Hold { for_ms } => *for_ms /= 2,
            SourceFault::Garbage { bytes, .. } => *bytes = (*bytes / 2).max(1),
            SourceFault::Lose { packets } => *packets = (*packets / 2).max(1),
            _ => {}
        },
        Fault::Viewer { what: ViewerFault::Stall { for_ms }, .. } | Fault::Pause { for_ms, .. } => {
            *for_ms /= 2
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutation::Mutation;
    use crate::plan::SlowPlan;

    fn three_streams() -> Plan {
        let viewer = |id, stream| ViewerPlan { stream, ..crate::scenario::viewer(id, 0) };
        let event = |fault| Event { at_ms: 5, fault };
        Plan {
            duration_ms: 10,
            runtimes: 1,
            streams: (0..3).map(|_| StreamPlan::new(usual())).collect(),
            viewers: vec![viewer(7, 0), viewer(8, 1), viewer(9, 2)],
            events: vec![
                event(Fault::Offline { stream: 1 }),
                event(Fault::Online { stream: 2 }),
                event(Fault::Viewer { id: 9, what: ViewerFault::Reset }),
            ],
            ..Plan::default()
        }
    }

    #[test]
    fn what_names_a_stream_follows_it() {
        let mut plan = three_streams();
        remove_stream(&mut plan, 1);
        let viewers: Vec<_> = plan.viewers.iter().map(|viewer| (viewer.id, viewer.stream)).collect();
        assert_eq!(viewers, [(7, 0), (9, 1)]);
        assert_eq!(plan.events[0].fault, Fault::Online { stream: 1 });
        assert_eq!(plan.events.len(), 2);
    }

    #[test]
    fn what_happens_to_a_viewer_goes_with_him() {
        let mut plan = three_streams();
        remove_viewer(&mut plan, 2);
        assert_eq!(plan.events.len(), 2);
    }

    #[test]
    fn what_names_a_source_follows_it() {
        let mut plan = three_streams();
        plan.streams[1].sources.push(usual());
        let close = |stream, source| Event {
            at_ms: 1,
            fault: Fault::Source { stream, source, what: SourceFault::Close },
        };
        plan.events = vec![close(1, 0), close(1, 1), close(0, 0)];
        remove_source(&mut plan, 1, 0);
        assert_eq!(plan.events, [close(1, 0), close(0, 0)]);
    }

    #[test]
    fn shrinking_comes_to_an_end() {
        let options = Options { mutation: Some(Mutation::LostWakeUp), traces: false };
        let broken = |plan| Some((verify(&plan, options).violation?, plan));
        let (violation, plan) = (0..100).find_map(|seed| broken(crate::swarm::plan(seed))).unwrap();
        let (once, violation) = shrink(&plan, violation, options);
        assert!(once.duration_ms < plan.duration_ms);
        assert_eq!(shrink(&once, violation, options).0, once);
    }

    #[test]
    fn the_end_takes_what_comes_after_it() {
        let mut plan = three_streams();
        plan.viewers[0].at_ms = 9;
        plan.streams[0].policy.slow = SlowPlan::Live;
        end_at(&mut plan, 4);
        assert_eq!((plan.duration_ms, plan.viewers.len(), plan.events.len()), (4, 2, 0));
        scale_time(&mut plan, 1, 2);
        assert_eq!(plan.duration_ms, 2);
    }
}
