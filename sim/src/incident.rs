//! An incident becomes a plan: what the daemon's `events` resource kept, as something that can be run again.
//!
//! The journal holds times, sizes and decisions, no packets. So the plan has synthetic television at the rate that
//! was received, the outages and silences of the sources where they were, the operator's orders, and every viewer
//! with the time he came and went; one who was sent less than there was gets a link of the rate that he took.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::faults::{Fault, SourceFault};
use crate::link::LinkSpec;
use crate::plan::{Event, KBPS_MIN, Plan, PolicyPlan, RingPlan, StreamPlan, ViewerPlan};
use crate::source::SourcePlan;

/// Nothing received for this long is a silence of the source, and not a pause between two packets.
const SILENCE_US_MIN: u64 = 500_000;
/// The rate of a stream of which nothing was received.
const KBPS_UNKNOWN: u64 = 4_000;

/// Why a text is no journal.
#[derive(Debug)]
pub enum IncidentError {
    /// It is empty.
    Empty,
    /// A line is not what it should be.
    Line {
        /// From 1.
        number: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
    /// It was written by a later version.
    Form(u32),
}

impl fmt::Display for IncidentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IncidentError::Empty => f.write_str("the journal is empty"),
            IncidentError::Line { number, error } => {
                write!(f, "line {number} is not one of an events resource: {error}")
            }
            IncidentError::Form(form) => {
                write!(f, "the journal has form {form}, and only form 1 is known here: use a later version")
            }
        }
    }
}

impl std::error::Error for IncidentError {}

#[derive(Deserialize)]
struct Head {
    #[serde(rename = "events_of")]
    _events_of: String,
    form: u32,
    /// Events before the oldest one that was kept.
    dropped: u64,
    streams: Vec<StreamHead>,
}

#[derive(Deserialize)]
struct StreamHead {
    sources: usize,
    reconnect_ms: Option<u64>,
    read_timeout_ms: Option<u64>,
    grace_ms: u64,
    latency_ms: u64,
    stall_limit_ms: Option<u64>,
    ring: RingPlan,
    policy: PolicyPlan,
}

#[derive(Deserialize)]
struct Line {
    us: u64,
    stream: u32,
    #[serde(flatten)]
    what: What,
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum What {
    Connecting {},
    Connected { source: u32 },
    Closed { source: u32 },
    Received { bytes: u64 },
    Availability {},
    Online,
    Offline,
    Joined { viewer: u32 },
    Left { viewer: u32, bytes: u64, skipped_packets: u64, reason: String },
}

/// Whether this is the text of an `events` resource.
pub fn is_journal(text: &str) -> bool {
    text.starts_with(r#"{"events_of":"restreamer""#)
}

/// The plan that repeats what a journal tells.
pub fn plan(text: &str) -> Result<Plan, IncidentError> {
    let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    let wrong = |number| move |error| IncidentError::Line { number, error };
    let (number, head) = lines.next().ok_or(IncidentError::Empty)?;
    let head: Head = serde_json::from_str(head).map_err(wrong(number))?;
    if head.form != 1 {
        return Err(IncidentError::Form(head.form));
    }
    let mut incident = Incident::new(&head);
    for (number, line) in lines {
        incident.take(serde_json::from_str(line).map_err(wrong(number))?);
    }
    Ok(incident.finish(head))
}

/// What has been read so far. Times are microseconds of the daemon's clock.
struct Incident {
    begin: Option<u64>,
    end: u64,
    streams: Vec<Observed>,
    events: Vec<(u64, Fault)>,
    viewers: BTreeMap<u32, Visit>,
}

#[derive(Default)]
struct Observed {
    bytes: u64,
    flowing_us: u64,
    last_received: Option<u64>,
    /// By source: when it closed, until it is connected again.
    closed: BTreeMap<u32, u64>,
    used: u32,
}

struct Visit {
    stream: u32,
    from: u64,
    to: Option<u64>,
    bytes: u64,
    was_slow: bool,
}

impl Incident {
    fn new(head: &Head) -> Self {
        Incident {
            begin: None,
            end: 0,
            streams: head.streams.iter().map(|_| Observed::default()).collect(),
            events: Vec::new(),
            viewers: BTreeMap::new(),
        }
    }

    fn take(&mut self, line: Line) {
        let Line { us, stream, what } = line;
        self.begin.get_or_insert(us);
        self.end = self.end.max(us);
        let Some(observed) = self.streams.get_mut(stream as usize) else { return };
        match what {
            What::Connecting {} | What::Availability {} => {}
            What::Connected { source } => {
                observed.used = source;
                observed.last_received = Some(us);
                if let Some(closed) = observed.closed.remove(&source) {
                    let what = SourceFault::Refuse { for_ms: (us - closed) / 1_000 };
                    self.events.push((closed, Fault::Source { stream, source, what }));
                }
            }
            What::Closed { source } => {
                observed.closed.entry(source).or_insert(us);
            }
            What::Received { bytes } => {
                let since = observed.last_received.replace(us).map_or(0, |last| us.saturating_sub(last));
                observed.bytes += bytes;
                if since < SILENCE_US_MIN {
                    observed.flowing_us += since;
                } else if observed.closed.is_empty() {
                    let what = SourceFault::Silence { for_ms: since / 1_000 };
                    self.events.push((us - since, Fault::Source { stream, source: observed.used, what }));
                }
            }
            What::Online => self.events.push((us, Fault::Online { stream })),
            What::Offline => self.events.push((us, Fault::Offline { stream })),
            What::Joined { viewer } => {
                self.viewers.insert(viewer, Visit { stream, from: us, to: None, bytes: 0, was_slow: false });
            }
            What::Left { viewer, bytes, skipped_packets, reason } => {
                let begin = self.begin.unwrap_or(us);
                let visit = self.viewers.entry(viewer);
                // One who came before the oldest event that was kept.
                let visit =
                    visit.or_insert(Visit { stream, from: begin, to: None, bytes: 0, was_slow: false });
                visit.to = Some(us);
                visit.bytes = bytes;
                visit.was_slow = skipped_packets > 0 || matches!(&*reason, "stalled" | "too_slow");
            }
        }
    }

    fn finish(mut self, head: Head) -> Plan {
        let begin = self.begin.unwrap_or(0);
        let ms = |us: u64| us.saturating_sub(begin) / 1_000;
        for (stream, observed) in (0..).zip(&self.streams) {
            for (&source, &closed) in &observed.closed {
                let what = SourceFault::Refuse { for_ms: (self.end - closed) / 1_000 + 1 };
                self.events.push((closed, Fault::Source { stream, source, what }));
            }
        }
        let streams = head.streams.into_iter().zip(&self.streams).map(|(head, observed)| {
            let source = SourcePlan::television(observed.kbps());
            StreamPlan {
                sources: vec![source.clone(); head.sources],
                reconnect_ms: head.reconnect_ms,
                read_timeout_ms: head.read_timeout_ms,
                grace_ms: head.grace_ms,
                latency_ms: head.latency_ms,
                ring: head.ring,
                policy: head.policy,
                stall_limit_ms: head.stall_limit_ms,
                ..StreamPlan::new(source)
            }
        });
        let viewers = self.viewers.iter().map(|(&id, visit)| ViewerPlan {
            id,
            at_ms: ms(visit.from),
            stream: visit.stream,
            runtime: id,
            peer: id,
            link: visit.link(),
            stay_ms: visit.to.map(|to| (to - visit.from) / 1_000),
            back_after_ms: None,
        });
        let mut events: Vec<Event> =
            self.events.iter().map(|(us, fault)| Event { at_ms: ms(*us), fault: fault.clone() }).collect();
        events.sort_by_key(|event| event.at_ms);
        let name = match head.dropped {
            0 => "incident".into(),
            dropped => format!("incident, without its first {dropped} events"),
        };
        Plan {
            name,
            seed: 1,
            duration_ms: ms(self.end) + 1_000,
            heal_ms: None,
            runtimes: 2,
            streams: streams.collect(),
            viewers: viewers.collect(),
            events,
            ..Plan::default()
        }
    }
}

impl Observed {
    fn kbps(&self) -> u64 {
        match self.flowing_us {
            0 => KBPS_UNKNOWN,
            us => (self.bytes * 8_000 / us).max(KBPS_MIN),
        }
    }
}

impl Visit {
    fn link(&self) -> LinkSpec {
        let stayed_us = self.to.map_or(0, |to| to - self.from);
        match (self.was_slow, stayed_us) {
            (true, 1..) => LinkSpec::steady(self.bytes * 8_000 / stayed_us),
            _ => LinkSpec::FAST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Options, simulate};

    const HEAD: &str = concat!(
        r#"{"events_of":"restreamer","form":1,"dropped":0,"streams":[{"sources":2,"reconnect_ms":1000,"#,
        r#""read_timeout_ms":null,"grace_ms":15000,"latency_ms":20,"stall_limit_ms":30000,"#,
        r#""ring":{"packets_min":1000,"span_min_ms":5000,"bytes_max":4000000},"#,
        r#""policy":{"join":"keyframe","slow":"keyframe","lag_max_ms":null,"lag_packets_min":400}}]}"#
    );

    /// Ten seconds at 2 Mbit/s with two seconds of silence, a source that is away for three, an order of the
    /// operator, one good viewer and one on a slow line.
    fn journal() -> String {
        let mut lines = vec![HEAD.to_owned()];
        let mut say = |ms: u64, rest: &str| {
            lines.push(format!(r#"{{"us":{},"stream":0,{rest}}}"#, 50_000 + ms * 1_000))
        };
        say(0, r#""event":"connecting","source":0"#);
        say(0, r#""event":"connected","source":0"#);
        for tick in (1..20).chain(40..60) {
            say(tick * 100, r#""event":"received","bytes":25000"#);
        }
        say(6_000, r#""event":"joined","viewer":1"#);
        say(6_000, r#""event":"joined","viewer":2"#);
        say(6_500, r#""event":"closed","source":0,"kind":"io""#);
        say(9_500, r#""event":"connected","source":0"#);
        say(9_900, r#""event":"offline""#);
        say(9_950, r#""event":"online""#);
        say(10_000, r#""event":"left","viewer":1,"bytes":900000,"skipped_packets":0,"reason":"client_left""#);
        say(10_000, r#""event":"left","viewer":2,"bytes":100000,"skipped_packets":40,"reason":"stalled""#);
        lines.join("\n")
    }

    #[test]
    fn a_journal_becomes_what_it_tells() {
        let plan = plan(&journal()).unwrap();
        assert_eq!((plan.duration_ms, plan.streams[0].sources.len()), (11_000, 2));
        assert!(
            (1_900..2_100).contains(&plan.streams[0].sources[0].kbps),
            "{}",
            plan.streams[0].sources[0].kbps
        );
        let faults: Vec<_> = plan.events.iter().map(|event| (event.at_ms, event.fault.clone())).collect();
        let source = |what| Fault::Source { stream: 0, source: 0, what };
        assert_eq!(
            faults,
            [
                (1_900, source(SourceFault::Silence { for_ms: 2_100 })),
                (6_500, source(SourceFault::Refuse { for_ms: 3_000 })),
                (9_900, Fault::Offline { stream: 0 }),
                (9_950, Fault::Online { stream: 0 }),
            ]
        );
        let [good, slow] = &plan.viewers[..] else { panic!("two viewers") };
        assert_eq!((good.at_ms, good.stay_ms, good.link), (6_000, Some(4_000), LinkSpec::FAST));
        assert_eq!((slow.link.kbps, slow.stay_ms), (200, Some(4_000)));
    }

    #[test]
    fn the_plan_of_a_journal_runs_and_keeps_every_promise() {
        let plan = plan(&journal()).unwrap();
        let outcome = simulate(&plan, Options { traces: false, mutation: None });
        assert!(outcome.violation.is_none(), "{:?}", outcome.violation);
        assert!(outcome.viewer_seconds > 0);
    }

    #[test]
    fn what_is_no_journal_says_why() {
        assert!(matches!(plan(""), Err(IncidentError::Empty)));
        assert!(matches!(plan("{}"), Err(IncidentError::Line { number: 1, .. })));
        let newer = HEAD.replace(r#""form":1"#, r#""form":2"#);
        assert!(matches!(plan(&newer), Err(IncidentError::Form(2))));
        let broken = format!("{HEAD}\n{{\"us\":1,\"stream\":0,\"event\":\"exploded\"}}");
        assert!(matches!(plan(&broken), Err(IncidentError::Line { number: 2, .. })));
        assert!(is_journal(HEAD) && !is_journal("{\"name\":\"x\"}"));
    }
}
