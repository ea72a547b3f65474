//! Named runs, as data.

use crate::link::LinkSpec;
use crate::plan::{JoinPlan, Plan, StreamPlan, ViewerPlan};
use crate::source::SourcePlan;

/// A named run.
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is about, one line.
    pub about: &'static str,
    /// The plan, given a seed.
    pub plan: fn(u64) -> Plan,
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "bulk",
        about: "8 Mbit/s to 5,000 good links, 20 ms flush, 10 s: how fast the simulator is",
        plan: bulk,
    },
    Scenario { name: "calm", about: "three viewers of a good stream, nothing goes wrong, 20 s", plan: calm },
];

/// The scenario of this name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|scenario| scenario.name == name)
}

/// A viewer on a good link, from `at_ms` to the end.
pub fn viewer(id: u32, at_ms: u64) -> ViewerPlan {
    ViewerPlan {
        id,
        at_ms,
        stream: 0,
        runtime: id,
        peer: id,
        link: LinkSpec::FAST,
        stay_ms: None,
        back_after_ms: None,
    }
}

fn bulk(seed: u64) -> Plan {
    let source = SourcePlan { every_ms: 20, ..SourcePlan::television(8_000) };
    let link = LinkSpec::steady(50_000);
    Plan {
        name: "bulk".into(),
        seed,
        duration_ms: 10_000,
        runtimes: 2,
        streams: vec![StreamPlan::new(source)],
        viewers: (0..5_000).map(|id| ViewerPlan { link, ..viewer(id, 500 + u64::from(id) % 500) }).collect(),
        ..Plan::default()
    }
}

fn calm(seed: u64) -> Plan {
    let mut stream = StreamPlan::new(SourcePlan::television(2_000));
    stream.policy.join = JoinPlan::Keyframe;
    Plan {
        name: "calm".into(),
        seed,
        duration_ms: 20_000,
        runtimes: 2,
        streams: vec![stream],
        viewers: (0..3).map(|id| viewer(id, 3_000 * u64::from(id + 1))).collect(),
        ..Plan::default()
    }
}
