//! Everything that happens in a run, as data: it is printed, shrunk, written to a file and replayed.
//!
//! A plan says nothing about outcomes. The same plan gives the same run, on every machine. Times are milliseconds
//! after the start, rates kilobits per second.

mod check;

pub(crate) use self::check::KBPS_MIN;

use restreamer_core::{
    AdmissionLimits, Duration, Instant, Join, Order, Policy, RingLimits, Slow, StreamConfig, UpstreamConfig,
};
use serde::{Deserialize, Serialize};

use crate::faults::Fault;
use crate::link::LinkSpec;
use crate::source::SourcePlan;

/// One run: streams, the people who watch them, and what goes wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What it is called in reports.
    pub name: String,
    /// Decides about everything that the plan leaves to chance.
    pub seed: u64,
    /// When the run ends.
    pub duration_ms: u64,
    /// From here on nothing goes wrong any more, and what should work again has to; `None`: never.
    #[serde(default)]
    pub heal_ms: Option<u64>,
    /// Fan-outs per stream: the daemon has one per core.
    pub runtimes: u32,
    /// How promptly fan-outs react.
    #[serde(default)]
    pub wake: Wake,
    /// Limits on viewers.
    #[serde(default)]
    pub limits: Limits,
    /// The channels.
    pub streams: Vec<StreamPlan>,
    /// The people, in no particular order.
    pub viewers: Vec<ViewerPlan>,
    /// What goes wrong, and what the operator does; in no particular order.
    #[serde(default)]
    pub events: Vec<Event>,
}

/// When and in which order a fan-out serves its viewers: what threads and schedulers change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wake {
    /// From the announcement of a segment to the sweep, microseconds; each sweep draws below this.
    pub delay_us_max: u64,
    /// In which order viewers are served.
    pub order: SweepOrder,
    /// How long after a socket has room again its viewer is served, at most.
    pub poll_ms: u64,
}

impl Default for Wake {
    fn default() -> Self {
        Wake { delay_us_max: 0, order: SweepOrder::Ascending, poll_ms: 20 }
    }
}

/// In which order a sweep goes through the viewers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepOrder {
    /// The first place first.
    #[default]
    Ascending,
    /// The last place first.
    Descending,
    /// Beginning at another place each time.
    Rotating,
}

/// Limits on viewers; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Of all streams together.
    pub hard: u32,
    /// From which on the service calls itself full.
    pub soft: u32,
    /// Of one stream.
    pub per_stream: u32,
    /// From one address.
    pub per_peer: u32,
}

/// One channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamPlan {
    /// Where it comes from, best first.
    pub sources: Vec<SourcePlan>,
    /// Sources are tried in random order rather than as listed.
    #[serde(default)]
    pub shuffle: bool,
    /// Between two attempts on the same source; `None`: each is tried once.
    pub reconnect_ms: Option<u64>,
    /// Silence that ends a connection; `None`: none does.
    #[serde(default)]
    pub read_timeout_ms: Option<u64>,
    /// How long viewers are held without a source.
    pub grace_ms: u64,
    /// The flush interval.
    pub latency_ms: u64,
    /// What the ring holds.
    pub ring: RingPlan,
    /// Where viewers join, and what happens to slow ones.
    #[serde(default)]
    pub policy: PolicyPlan,
    /// A viewer that takes nothing for this long is given up; `None`: none is.
    pub stall_limit_ms: Option<u64>,
}

/// What a ring must and may hold; see [`RingLimits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RingPlan {
    /// At least this many packets.
    pub packets_min: u64,
    /// At least this much arrival time.
    pub span_min_ms: u64,
    /// Never more bytes.
    pub bytes_max: usize,
}

/// The rules for viewers; see [`Policy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyPlan {
    /// Where a new viewer starts.
    pub join: JoinPlan,
    /// What happens to one that lags too much.
    pub slow: SlowPlan,
    /// The longest lag; `None`: as long as the ring holds its place.
    pub lag_max_ms: Option<u64>,
    /// A lag of so many packets is always allowed.
    pub lag_packets_min: u32,
}

/// See [`Join`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinPlan {
    /// At the latest access point.
    Keyframe,
    /// At the next packets.
    Live,
    /// So many milliseconds behind live.
    BehindMs(u64),
}

/// See [`Slow`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlowPlan {
    /// Go on at an access point.
    Keyframe,
    /// Go on at the oldest packet held.
    Oldest,
    /// Go on at the next packets.
    Live,
    /// End the response.
    Disconnect,
}

/// A person, and the way to him.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewerPlan {
    /// A number of his own: events name it, and what chance gives him depends on it.
    pub id: u32,
    /// When he comes.
    pub at_ms: u64,
    /// What he watches.
    #[serde(default)]
    pub stream: u32,
    /// Which fan-out serves him, modulo their number.
    #[serde(default)]
    pub runtime: u32,
    /// His address.
    pub peer: u32,
    /// The way to him.
    pub link: LinkSpec,
    /// How long he stays each time; `None`: to the end.
    #[serde(default)]
    pub stay_ms: Option<u64>,
    /// He comes back this long after he left or was turned away; `None`: never.
    #[serde(default)]
    pub back_after_ms: Option<u64>,
}

/// Something that happens at a moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When.
    pub at_ms: u64,
    /// What.
    pub fault: Fault,
}

impl Plan {
    /// How many things happen in it: faults and arrivals. What shrinking makes small.
    pub fn size(&self) -> usize {
        self.events.len() + self.viewers.len()
    }

    /// When it ends.
    pub fn end(&self) -> Instant {
        Instant::from_millis(self.duration_ms)
    }

    /// When its troubles end.
    pub fn heal(&self) -> Option<Instant> {
        self.heal_ms.map(Instant::from_millis)
    }
}

impl From<Limits> for AdmissionLimits {
    fn from(limits: Limits) -> Self {
        let Limits { hard, soft, per_stream, per_peer } = limits;
        AdmissionLimits { hard, soft, per_stream, per_peer }
    }
}

impl From<AdmissionLimits> for Limits {
    fn from(limits: AdmissionLimits) -> Self {
        let AdmissionLimits { hard, soft, per_stream, per_peer } = limits;
        Limits { hard, soft, per_stream, per_peer }
    }
}

impl StreamPlan {
    /// One good source and the daemon's defaults.
    pub fn new(source: SourcePlan) -> Self {
        let ring = RingLimits::default();
        StreamPlan {
            sources: vec![source],
            shuffle: false,
            reconnect_ms: Some(10_000),
            read_timeout_ms: None,
            grace_ms: 15_000,
            latency_ms: 20,
            ring: ring.into(),
            policy: PolicyPlan::default(),
            stall_limit_ms: Some(30_000),
        }
    }

    /// What core wants to know of it.
    pub fn config(&self) -> StreamConfig {
        StreamConfig {
            upstream: UpstreamConfig {
                sources: self.sources.len(),
                order: if self.shuffle { Order::Shuffle } else { Order::Priority },
                reconnect: self.reconnect_ms.map(Duration::from_millis),
                read_timeout: self.read_timeout_ms.map(Duration::from_millis),
            },
            grace: Duration::from_millis(self.grace_ms),
            latency: Duration::from_millis(self.latency_ms),
        }
    }

    /// How long a viewer may take nothing.
    pub fn stall_limit(&self) -> Option<Duration> {
        self.stall_limit_ms.map(Duration::from_millis)
    }
}

impl From<RingPlan> for RingLimits {
    fn from(ring: RingPlan) -> Self {
        let RingPlan { packets_min, span_min_ms, bytes_max } = ring;
        RingLimits { packets_min, span_min: Duration::from_millis(span_min_ms), bytes_max }
    }
}

impl From<RingLimits> for RingPlan {
    fn from(limits: RingLimits) -> Self {
        let RingLimits { packets_min, span_min, bytes_max } = limits;
        RingPlan { packets_min, span_min_ms: millis(span_min), bytes_max }
    }
}

impl Default for PolicyPlan {
    fn default() -> Self {
        Policy::default().into()
    }
}

impl From<PolicyPlan> for Policy {
    fn from(plan: PolicyPlan) -> Self {
        let join = match plan.join {
            JoinPlan::Keyframe => Join::Keyframe,
            JoinPlan::Live => Join::Live,
            JoinPlan::BehindMs(ms) => Join::Behind(Duration::from_millis(ms)),
        };
        let slow = match plan.slow {
            SlowPlan::Keyframe => Slow::Keyframe,
            SlowPlan::Oldest => Slow::Oldest,
            SlowPlan::Live => Slow::Live,
            SlowPlan::Disconnect => Slow::Disconnect,
        };
        let lag_max = plan.lag_max_ms.map(Duration::from_millis);
        Policy { join, slow, lag_max, lag_packets_min: plan.lag_packets_min }
    }
}

impl From<Policy> for PolicyPlan {
    fn from(policy: Policy) -> Self {
        let join = match policy.join {
            Join::Keyframe => JoinPlan::Keyframe,
            Join::Live => JoinPlan::Live,
            Join::Behind(delay) => JoinPlan::BehindMs(millis(delay)),
        };
        let slow = match policy.slow {
            Slow::Keyframe => SlowPlan::Keyframe,
            Slow::Oldest => SlowPlan::Oldest,
            Slow::Live => SlowPlan::Live,
            Slow::Disconnect => SlowPlan::Disconnect,
        };
        let lag_packets_min = policy.lag_packets_min;
        PolicyPlan { join, slow, lag_max_ms: policy.lag_max.map(millis), lag_packets_min }
    }
}

/// Whole milliseconds of a duration.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
