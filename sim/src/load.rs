//! Your own configuration under an audience of your own: who watches what over which links, what goes wrong, and
//! what the daemon would make of it.
//!
//! A `restreamer.json` is read by the daemon's own reader; an [`Audience`] says the rest. Both make a
//! [`crate::plan::Plan`], which is run in a [`World`] with all checkers on.

mod audience;
mod report;

use restreamer::config::Config;
use restreamer::memory::MemoryWorstCase;
use restreamer_core::{AdmissionLimits, Instant, Order};
use serde::{Deserialize, Serialize};

pub use self::audience::{Audience, AudienceError, Group, NetworkOf, Outage, Programme};
use crate::check::Violation;
use crate::decoder::PICTURE_NS;
use crate::plan::{Plan, StreamPlan, Wake};
use crate::report::{Sample, ViewerReport};
use crate::source::SourcePlan;
use crate::world::{Options, World};

/// Between two looks.
const LOOK_MS: u64 = 1_000;
/// How often a source sends what is due.
const SEND_EVERY_MS: u64 = 10;
/// From the wish of a source to its connection.
const CONNECT_MS: u64 = 30;

/// What there is to run.
#[derive(Debug)]
pub struct Load {
    plan: Plan,
    /// Names of the groups and the ids of their people: from, up to but not including.
    groups: Vec<(String, std::ops::Range<u32>)>,
    /// Paths of the streams.
    streams: Vec<String>,
    limits: AdmissionLimits,
    memory: Memory,
}

/// The worst case of memory, by the daemon's own formula, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// All rings.
    pub rings: u64,
    /// One viewer, in user space and in the kernel.
    pub viewer: u64,
    /// Everything; `None`: the number of viewers has no limit.
    pub total: Option<u64>,
}

/// What came out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoadReport {
    /// Paths of the streams.
    pub streams: Vec<String>,
    /// Viewers that are let in; 0: no limit.
    pub limit_hard: u32,
    /// Viewers from which on the service calls itself full; 0: never.
    pub limit_soft: u32,
    /// The formula.
    pub memory: Memory,
    /// Second by second.
    pub samples: Vec<Sample>,
    /// What each group saw.
    pub groups: Vec<GroupReport>,
    /// The most viewers at a time.
    pub viewers_max: u64,
    /// Seconds of all viewers together.
    pub viewer_seconds: u64,
    /// The most bytes of packets in memory at any look.
    pub held_bytes_max: u64,
    /// A promise that was broken; then the run ended there, and this is a defect of the program.
    pub violation: Option<Violation>,
}

/// What one group saw; "per hour" is an hour of one viewer's time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupReport {
    /// Which.
    pub name: String,
    /// People.
    pub people: u32,
    /// How often they came.
    pub visits: u64,
    /// How often they were turned away.
    pub refused: u64,
    /// How often the server ended their response, or their connection broke.
    pub disconnects: u64,
    /// From the request to the first picture, seconds: the mean of those who got one.
    pub first_picture_s: f64,
    /// 19 of 20 wait less.
    pub first_picture_s_p95: f64,
    /// Nobody showed them a picture.
    pub without_picture: u64,
    /// Seconds without a moving picture, per hour.
    pub stalled_s: f64,
    /// Broken pictures, per hour.
    pub broken_pictures: f64,
    /// Times the drop policy acted, per hour.
    pub skips: f64,
}

impl Load {
    /// Puts both together.
    pub fn new(config: &Config, audience: &Audience) -> Result<Load, AudienceError> {
        audience.check()?;
        let limits = AdmissionLimits {
            hard: config.connections_max,
            soft: config.connections_full,
            ..AdmissionLimits::default()
        };
        let worst = MemoryWorstCase::of(config);
        let memory = Memory {
            rings: worst.rings,
            viewer: worst.viewer_user + worst.viewer_kernel,
            total: worst.total(),
        };
        let streams: Vec<_> =
            config.streams.iter().map(|stream| stream.endpoint.serve.label().to_owned()).collect();
        let mut plan = Plan {
            name: "load".into(),
            seed: audience.seed,
            duration_ms: audience.duration_ms(),
            runtimes: config.threads.get() as u32,
            wake: Wake { delay_us_max: 500, ..Wake::default() },
            limits: limits.into(),
            streams: Vec::new(),
            ..Plan::default()
        };
        for (stream, path) in config.streams.iter().zip(&streams) {
            let programme = audience.programme(path);
            let mut source = SourcePlan::television(programme.kbps);
            source.every_ms = SEND_EVERY_MS;
            source.connect_ms = CONNECT_MS;
            source.set_gop_frames(programme.gop_frames);
            let (core, viewers) = (stream.config(), stream.viewers());
            plan.streams.push(StreamPlan {
                sources: vec![source; core.upstream.sources],
                shuffle: core.upstream.order == Order::Shuffle,
                reconnect_ms: core.upstream.reconnect.map(|it| it.as_millis() as u64),
                read_timeout_ms: core.upstream.read_timeout.map(|it| it.as_millis() as u64),
                grace_ms: core.grace.as_millis() as u64,
                latency_ms: core.latency.as_millis() as u64,
                ring: stream.ring_limits().into(),
                policy: viewers.policy.into(),
                stall_limit_ms: viewers.stall_timeout.map(|it| it.as_millis() as u64),
            });
        }
        let buffers: Vec<_> = config.streams.iter().map(|it| it.tuning.send_buffer_bytes).collect();
        let groups = audience.people(&streams, &buffers, &mut plan)?;
        Ok(Load { plan, groups, streams, limits, memory })
    }

    /// Everything that will happen.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs it. `progress` is told how many of how many milliseconds are over.
    pub fn run(self, mut progress: impl FnMut(u64, u64)) -> LoadReport {
        let mut world = World::new(&self.plan, Options::default());
        let mut samples = Vec::new();
        let mut at_ms = 0;
        while at_ms < self.plan.duration_ms {
            progress(at_ms, self.plan.duration_ms);
            at_ms = (at_ms + LOOK_MS).min(self.plan.duration_ms);
            world.run_until(Instant::from_millis(at_ms));
            samples.push(world.sample());
        }
        let outcome = world.finish();
        let groups = self.groups.iter().map(|(name, ids)| {
            let is_in = |viewer: &&ViewerReport| ids.contains(&viewer.id);
            GroupReport::new(name, outcome.viewers.iter().filter(is_in))
        });
        LoadReport {
            groups: groups.collect(),
            streams: self.streams,
            limit_hard: self.limits.hard,
            limit_soft: self.limits.soft,
            memory: self.memory,
            samples,
            viewers_max: outcome.viewers_max,
            viewer_seconds: outcome.viewer_seconds,
            held_bytes_max: outcome.held_bytes_max,
            violation: outcome.violation,
        }
    }
}

impl GroupReport {
    fn new<'a>(name: &str, viewers: impl Iterator<Item = &'a ViewerReport>) -> Self {
        let mut report = GroupReport { name: name.to_owned(), ..GroupReport::default() };
        let (mut watched_ns, mut stalled_ns, mut broken_ns, mut skips) = (0, 0, 0, 0);
        let mut first_pictures_ns = Vec::new();
        for viewer in viewers {
            report.people += 1;
            report.visits += u64::from(viewer.visits);
            report.refused += u64::from(viewer.refused);
            report.disconnects += u64::from(viewer.disconnects);
            match viewer.seen.first_picture_ns {
                Some(ns) => first_pictures_ns.push(ns),
                None => report.without_picture += 1,
            }
            watched_ns += viewer.watched_ns;
            stalled_ns += viewer.seen.stalled_ns;
            broken_ns += viewer.seen.broken_ns;
            skips += viewer.skips;
        }
        first_pictures_ns.sort_unstable();
        let hours = (watched_ns as f64 / 3.6e12).max(f64::MIN_POSITIVE);
        let sum: u64 = first_pictures_ns.iter().sum();
        report.first_picture_s = sum as f64 / 1e9 / first_pictures_ns.len().max(1) as f64;
        let p95 = first_pictures_ns.get(first_pictures_ns.len() * 95 / 100);
        report.first_picture_s_p95 = p95.map_or(0.0, |&ns| ns as f64 / 1e9);
        report.stalled_s = stalled_ns as f64 / 1e9 / hours;
        report.broken_pictures = broken_ns as f64 / PICTURE_NS as f64 / hours;
        report.skips = skips as f64 / hours;
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Fault, ViewerFault};
    use crate::plan::Event;

    const CONFIG: &str = r#"{ "threads": 2, "maxconnections": 30, "fullconnections": 20, "sendbuffer": 131072, "resources": [
        { "type": "stream", "serve": "/a.ts", "remote": "tcp://h:1", "slow": "oldest", "maxlag": 2000 },
        { "type": "stream", "serve": "/b.ts", "remotes": ["tcp://h:2", "tcp://h:3"] }
    ] }"#;
    const AUDIENCE: &str = r#"{ "seconds": 40, "streams": [ { "serve": "/a.ts", "kbps": 1000 } ], "groups": [
        { "network": "fibre", "stream": "/a.ts", "viewers": 25, "arrive_s": [2, 6] },
        { "network": "DSL at the edge", "stream": "/b.ts", "viewers": 10, "arrive_s": [8, 12], "back_s": 5 }
    ], "outages": [ { "at_s": 20, "for_s": 8, "group": "fibre", "percent": 40 } ] }"#;

    fn load() -> Load {
        let (config, _) = Config::parse("x", CONFIG.as_bytes()).unwrap();
        Load::new(&config, &Audience::parse(AUDIENCE).unwrap()).unwrap()
    }

    #[test]
    fn a_configuration_becomes_a_plan_with_its_own_limits_and_policies() {
        let load = load();
        let [a, b] = &load.plan.streams[..] else { panic!("two streams") };
        assert_eq!((a.sources.len(), a.sources[0].kbps, b.sources.len()), (1, 1_000, 2));
        assert_eq!(a.policy.lag_max_ms, Some(2_000));
        assert_eq!((load.plan.limits.hard, load.plan.limits.soft, load.plan.runtimes), (30, 20, 2));
        assert!(load.plan.viewers.iter().all(|viewer| viewer.link.buffer_bytes == 131_072));
        let is_outage = |event: &&Event| {
            matches!(event.fault, Fault::Viewer { what: ViewerFault::Stall { for_ms: 8_000 }, .. })
        };
        assert_eq!(load.plan.events.iter().filter(is_outage).count(), 10, "40 % of 25 people");
    }

    #[test]
    fn a_run_reports_limits_and_what_each_group_saw() {
        let report = load().run(|_, _| {});
        assert_eq!(report.violation, None);
        assert_eq!((report.viewers_max, report.samples.len()), (30, 40));
        let [fibre, dsl] = &report.groups[..] else { panic!("two groups") };
        assert!(fibre.stalled_s > 0.0 && fibre.refused == 0, "{fibre:?}");
        assert!(dsl.refused > 0 && dsl.without_picture > 0, "{dsl:?}");
        assert!(report.samples.iter().all(|sample| sample.held_bytes <= report.memory.rings));
        let html = report.to_html();
        assert!(html.contains("maxconnections") && html.contains("DSL at the edge"));
    }

    #[test]
    fn what_an_audience_says_must_make_sense() {
        let (config, _) = Config::parse("x", CONFIG.as_bytes()).unwrap();
        for (text, complaint) in [
            (AUDIENCE.replace("\"/b.ts\"", "\"/c.ts\""), "/c.ts"),
            (AUDIENCE.replace("\"fibre\", \"percent\"", "\"fiber\", \"percent\""), "fiber"),
            (AUDIENCE.replace("\"DSL at the edge\"", "\"DSL\""), "DSL"),
            (AUDIENCE.replace("1000", "399"), "kbps of /a.ts is 399, not between 400 and 1000000"),
            (
                AUDIENCE.replace("\"kbps\": 1000", "\"gop_frames\": 0"),
                "gop_frames of /a.ts is 0, not between 1",
            ),
            (AUDIENCE.replace("\"seconds\": 40", "\"seconds\": 0"), "seconds is 0, not between 1"),
        ] {
            let error = Load::new(&config, &Audience::parse(&text).unwrap()).unwrap_err();
            assert!(error.to_string().contains(complaint), "{error}");
        }
        assert!(Audience::parse(&AUDIENCE.replace("seconds", "secs")).is_err());
    }
}
