//! Named runs, as data: each is about one thing, and says which.

use crate::faults::{Fault, SourceFault, ViewerFault};
use crate::link::LinkSpec;
use crate::plan::{Event, JoinPlan, Limits, Plan, SlowPlan, StreamPlan, SweepOrder, ViewerPlan, Wake};
use crate::source::{Answers, CAPTURES, Coding, Content, Cut, SourcePlan};

/// A named run.
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is about, one line.
    pub about: &'static str,
    /// The plan, given a seed.
    pub plan: fn(u64) -> Plan,
}

macro_rules! scenarios {
    ($($name:literal, $plan:ident, $about:literal;)*) => {
        /// All of them.
        pub const SCENARIOS: &[Scenario] =
            &[$(Scenario { name: $name, about: $about, plan: |seed| named($name, seed, $plan()) }),*];
    };
}

scenarios! {
    "bulk", bulk, "8 Mbit/s to 10,000 good links, 20 ms flush, 60 s: how fast the simulator is";
    "calm", calm, "three viewers of a good stream, nothing goes wrong";
    "busy", busy, "runtimes that are busy with something else for up to 2.5 s";
    "captures", captures, "what real encoders made: MPEG-2, H.264, H.265, radio, 188 and 192 bytes";
    "failover", failover, "the first of two sources refuses for 15 s, then closes again";
    "flapping", flapping, "a source that closes every 400 ms";
    "forms", forms, "packets of 188, 192 and 204 bytes, cut anywhere, key frames not marked";
    "garbage", garbage, "garbage, torn and lost packets, from a byte to three megabytes";
    "kickoff", kickoff, "500 viewers within half a second";
    "limits", limits, "60 viewers and limits on all, on a stream and on a peer";
    "operator", operator, "offline and online every second, then shutdown, with viewers who come back";
    "page", page, "sources that answer with a page of text instead of a stream";
    "restart", restart, "the encoder starts again every five seconds, on a new connection and on the same";
    "silence", silence, "sources that fall silent, with and without a read timeout";
    "slow", slow, "links of half the rate under every slow policy";
    "stuck", stuck, "half of the viewers take nothing, and are given up after 3 s";
    "tables", tables, "new tables, another video PID, clocks that jump";
    "zapping", zapping, "everybody leaves after 0.9 s and comes back after 0.1 s";
}

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

fn named(name: &str, seed: u64, plan: Plan) -> Plan {
    Plan { name: name.into(), seed, ..plan }
}

/// 30 s of one stream on two runtimes; troubles end after 18 s.
fn half_a_minute(stream: StreamPlan, viewers: Vec<ViewerPlan>, events: Vec<Event>) -> Plan {
    Plan {
        duration_ms: 30_000,
        heal_ms: Some(18_000),
        runtimes: 2,
        streams: vec![stream],
        viewers,
        events,
        ..Plan::default()
    }
}

/// A stream of 2 Mbit/s that is reconnected quickly.
fn stream() -> StreamPlan {
    StreamPlan { reconnect_ms: Some(1_000), ..StreamPlan::new(SourcePlan::television(2_000)) }
}

/// Viewers on good links, one every `every_ms`; each comes back when his response ends.
fn viewers(count: u32, every_ms: u64) -> Vec<ViewerPlan> {
    let back = |id| ViewerPlan { back_after_ms: Some(1_000), ..viewer(id, every_ms * u64::from(id)) };
    (0..count).map(back).collect()
}

fn to_source(at_ms: u64, source: u32, what: SourceFault) -> Event {
    Event { at_ms, fault: Fault::Source { stream: 0, source, what } }
}

/// The same happens at regular times.
fn again_and_again(from_ms: u64, every_ms: u64, what: &[SourceFault]) -> Vec<Event> {
    let times = (from_ms..18_000).step_by(every_ms as usize);
    times.zip(what.iter().cycle()).map(|(at_ms, &what)| to_source(at_ms, 0, what)).collect()
}

fn bulk() -> Plan {
    let source = SourcePlan { every_ms: 20, ..SourcePlan::television(8_000) };
    let link = LinkSpec::steady(50_000);
    Plan {
        duration_ms: 60_000,
        runtimes: 2,
        streams: vec![StreamPlan::new(source)],
        viewers: (0..10_000).map(|id| ViewerPlan { link, ..viewer(id, 500 + u64::from(id) % 500) }).collect(),
        ..Plan::default()
    }
}

fn calm() -> Plan {
    let viewers = (0..3).map(|id| viewer(id, 3_000 * u64::from(id + 1))).collect();
    Plan { duration_ms: 20_000, ..half_a_minute(stream(), viewers, Vec::new()) }
}

fn busy() -> Plan {
    let pause =
        |(at_ms, runtime, for_ms)| Event { at_ms, fault: Fault::Pause { stream: 0, runtime, for_ms } };
    let events = [(3_000, 0, 300), (6_000, 1, 2_500), (10_000, 0, 1_000), (10_100, 1, 1_000)];
    let wake = Wake { delay_us_max: 50_000, order: SweepOrder::Rotating, poll_ms: 5 };
    Plan { wake, ..half_a_minute(stream(), viewers(20, 500), events.map(pause).into()) }
}

fn captures() -> Plan {
    let stream_of = |name: &&str| {
        let packet_bytes = if name.ends_with(".m2ts") { 192 } else { 188 };
        let content = Content::Capture((*name).into());
        StreamPlan::new(SourcePlan { content, packet_bytes, ..SourcePlan::television(150) })
    };
    let on = |stream: u32| {
        move |id: u32| ViewerPlan { stream, ..viewer(stream * 4 + id, 5_000 + 4_000 * u64::from(id)) }
    };
    let streams: Vec<_> = CAPTURES.iter().map(stream_of).collect();
    let everybody = (0..streams.len() as u32).flat_map(|stream| (0..4).map(on(stream))).collect();
    Plan { streams, ..half_a_minute(stream(), everybody, Vec::new()) }
}

fn failover() -> Plan {
    let second = SourcePlan { connect_ms: 300, ..SourcePlan::television(1_500) };
    let stream = StreamPlan { sources: vec![SourcePlan::television(2_000), second], ..stream() };
    let events = vec![
        to_source(0, 0, SourceFault::Refuse { for_ms: 15_000 }),
        to_source(8_000, 1, SourceFault::Close),
        to_source(17_000, 0, SourceFault::Close),
    ];
    half_a_minute(stream, viewers(20, 700), events)
}

fn flapping() -> Plan {
    let stream = StreamPlan { reconnect_ms: Some(100), grace_ms: 1_000, ..stream() };
    half_a_minute(stream, viewers(20, 500), again_and_again(1_000, 400, &[SourceFault::Close]))
}

fn forms() -> Plan {
    let source = |packet_bytes, codec, bytes_max| SourcePlan {
        packet_bytes,
        content: Content::Television { codec, gop_frames: 25, indicator: false, idr: true },
        cut: Cut::Anywhere { bytes_max },
        ..SourcePlan::television(2_000)
    };
    let streams =
        [source(188, Coding::Mpeg2, 300), source(192, Coding::H264, 5_000), source(204, Coding::H265, 700)];
    let viewers = (0..30).map(|id| ViewerPlan { stream: id % 3, ..viewer(id, 2_000 + 400 * u64::from(id)) });
    Plan {
        streams: streams.into_iter().map(StreamPlan::new).collect(),
        ..half_a_minute(stream(), viewers.collect(), Vec::new())
    }
}

fn garbage() -> Plan {
    let junk = |bytes, of_sync_bytes| SourceFault::Garbage { bytes, of_sync_bytes };
    let what = [
        junk(1, false),
        SourceFault::Torn { kept: 100 },
        junk(187, false),
        SourceFault::Lose { packets: 7 },
        junk(20_000, true),
        SourceFault::Torn { kept: 1 },
        junk(3_000_000, false),
        SourceFault::Lose { packets: 100 },
        junk(1, true),
    ];
    half_a_minute(stream(), viewers(20, 500), again_and_again(2_000, 900, &what))
}

fn kickoff() -> Plan {
    let viewers = (0..500).map(|id| viewer(id, 5_000 + u64::from(id)));
    half_a_minute(stream(), viewers.collect(), Vec::new())
}

fn limits() -> Plan {
    let viewers = viewers(60, 200).into_iter().map(|viewer| ViewerPlan {
        stream: viewer.id % 2,
        peer: viewer.id / 6,
        stay_ms: Some(5_000),
        ..viewer
    });
    Plan {
        limits: Limits { hard: 30, soft: 20, per_stream: 18, per_peer: 4 },
        streams: vec![stream(), stream()],
        ..half_a_minute(stream(), viewers.collect(), Vec::new())
    }
}

fn operator() -> Plan {
    let orders = (2_000..16_000).step_by(1_000).enumerate();
    let mut events: Vec<_> = orders
        .map(|(number, at_ms)| Event {
            at_ms,
            fault: if number % 2 == 0 { Fault::Offline { stream: 0 } } else { Fault::Online { stream: 0 } },
        })
        .collect();
    events.push(Event { at_ms: 25_000, fault: Fault::Shutdown });
    half_a_minute(stream(), viewers(30, 300), events)
}

fn page() -> Plan {
    let never = SourcePlan { answers: Answers::Page, ..SourcePlan::television(2_000) };
    let nobody = SourcePlan { answers: Answers::Nobody, ..SourcePlan::television(2_000) };
    let stream = StreamPlan { sources: vec![never, nobody, SourcePlan::television(2_000)], ..stream() };
    half_a_minute(stream, viewers(20, 500), vec![to_source(6_000, 2, SourceFault::Page { for_ms: 5_000 })])
}

fn restart() -> Plan {
    let source = SourcePlan { keeps_running: false, ..SourcePlan::television(2_000) };
    let stream = StreamPlan { sources: vec![source], ..stream() };
    let what = [SourceFault::Close, SourceFault::Restart];
    half_a_minute(stream, viewers(20, 500), again_and_again(3_000, 5_000, &what))
}

fn silence() -> Plan {
    let patient = stream();
    let strict = StreamPlan { read_timeout_ms: Some(700), ..stream() };
    let quiet = |(at_ms, stream, what)| Event { at_ms, fault: Fault::Source { stream, source: 0, what } };
    let events = [
        (3_000, 0, SourceFault::Silence { for_ms: 2_500 }),
        (3_000, 1, SourceFault::Silence { for_ms: 2_500 }),
        (9_000, 0, SourceFault::Hold { for_ms: 4_000 }),
        (9_000, 1, SourceFault::Hold { for_ms: 600 }),
    ];
    let viewers = viewers(20, 500).into_iter().map(|viewer| ViewerPlan { stream: viewer.id % 2, ..viewer });
    Plan {
        streams: vec![patient, strict],
        ..half_a_minute(stream(), viewers.collect(), events.map(quiet).into())
    }
}

fn slow() -> Plan {
    let policies = [
        (SlowPlan::Keyframe, None),
        (SlowPlan::Keyframe, Some(2_000)),
        (SlowPlan::Oldest, None),
        (SlowPlan::Live, Some(1_000)),
        (SlowPlan::Disconnect, Some(3_000)),
    ];
    let streams = policies.into_iter().map(|(slow, lag_max_ms)| {
        let mut stream = stream();
        stream.policy.slow = slow;
        stream.policy.lag_max_ms = lag_max_ms;
        stream
    });
    let streams: Vec<_> = streams.collect();
    let links = [LinkSpec::steady(1_000), LinkSpec::steady(1_900), LinkSpec::FAST];
    let viewers = viewers(30, 300).into_iter().map(|viewer| ViewerPlan {
        stream: viewer.id % streams.len() as u32,
        link: links[viewer.id as usize / streams.len() % links.len()],
        ..viewer
    });
    let viewers = viewers.collect();
    Plan { streams, ..half_a_minute(stream(), viewers, Vec::new()) }
}

fn stuck() -> Plan {
    let stream = StreamPlan { stall_limit_ms: Some(3_000), ..stream() };
    let stall = |id| Event {
        at_ms: 4_000 + 100 * u64::from(id),
        fault: Fault::Viewer { id, what: ViewerFault::Rate { kbps: 0 } },
    };
    let viewers = (0..40).map(|id| viewer(id, 1_000 + 50 * u64::from(id)));
    half_a_minute(stream, viewers.collect(), (0..20).map(stall).collect())
}

fn tables() -> Plan {
    let jump = |ticks, flagged| SourceFault::ClockJump { ticks, flagged };
    let what = [
        SourceFault::PsiVersion,
        SourceFault::VideoPid { pid: 0x200 },
        jump(90_000, true),
        jump(-900_000, false),
        SourceFault::VideoPid { pid: 0x300 },
        jump(1 << 32, false),
    ];
    let mut stream = stream();
    stream.policy.join = JoinPlan::BehindMs(2_000);
    half_a_minute(stream, viewers(20, 500), again_and_again(2_000, 1_500, &what))
}

fn zapping() -> Plan {
    let restless = |viewer| ViewerPlan { stay_ms: Some(900), back_after_ms: Some(100), ..viewer };
    half_a_minute(stream(), viewers(50, 50).into_iter().map(restless).collect(), Vec::new())
}
