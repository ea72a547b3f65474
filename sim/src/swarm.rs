//! A seed becomes a plan: which kinds of trouble there are at all in this run, how often, and to whom.
//!
//! Every run leaves most kinds out and makes some frequent, so that the rare combinations come up that a
//! mixture of everything would never reach. Chaos first; then the troubles end, and what should work has to.

pub mod hunt;
pub mod report;

use restreamer_core::Rng;

use crate::faults::{Fault, SourceFault, ViewerFault};
use crate::link::LinkSpec;
use crate::plan::{
    Event, JoinPlan, Limits, Plan, PolicyPlan, RingPlan, SlowPlan, StreamPlan, SweepOrder, ViewerPlan, Wake,
};
use crate::source::{Answers, Coding, Content, Cut, SourcePlan};

/// How long a run is.
pub const DURATION_MS: u64 = 60_000;
/// When its troubles end.
pub const HEAL_MS: u64 = 36_000;
/// The last viewers come this long before the end, so that it shows whether they get anything.
const LAST_ARRIVAL_MS: u64 = DURATION_MS - 10_000;
/// Viewers of a run, give or take those who see whether everything works again.
pub const VIEWERS: u32 = 50;
/// Of those, who come when the troubles are over.
const WITNESSES: u32 = 4;

/// The kinds of faults, each of which a run has or has not.
const KINDS: usize = 18;

/// The run that a seed stands for.
pub fn plan(seed: u64) -> Plan {
    let mut rng = Rng::from_seed(seed ^ 0x5EED);
    let shuts_down = rng.chance(1, 12);
    let streams = if rng.chance(1, 3) { 2 } else { 1 };
    let streams: Vec<_> = (0..streams).map(|_| stream(&mut rng)).collect();
    let runtimes = rng.between(1, 3) as u32;
    let wake = Wake {
        delay_us_max: pick(&mut rng, &[0, 500, 5_000, 50_000]),
        order: pick(&mut rng, &[SweepOrder::Ascending, SweepOrder::Descending, SweepOrder::Rotating]),
        poll_ms: pick(&mut rng, &[1, 5, 20]),
    };
    let limits = limits(&mut rng);
    let viewers = viewers(&mut rng, &streams, runtimes);
    let mut events = Vec::new();
    for kind in 0..KINDS {
        let often = match rng.below(10) {
            0..5 => 0,
            5..9 => rng.between(1, 2),
            _ => rng.between(4, 12),
        };
        for _ in 0..often {
            let at_ms = rng.between(200, HEAL_MS - 1);
            let fault = fault(&mut rng, kind, &streams, &viewers, runtimes);
            events.push(Event { at_ms, fault });
        }
    }
    if shuts_down {
        events.push(Event { at_ms: rng.between(HEAL_MS, DURATION_MS - 6_000), fault: Fault::Shutdown });
    }
    events.sort_by_key(|event| event.at_ms);
    Plan {
        name: format!("seed {seed}"),
        seed,
        duration_ms: DURATION_MS,
        heal_ms: Some(HEAL_MS),
        runtimes,
        wake,
        limits,
        streams,
        viewers,
        events,
    }
}

fn stream(rng: &mut Rng) -> StreamPlan {
    let count = pick(rng, &[1, 1, 2, 3]);
    let mut sources: Vec<_> = (0..count).map(|_| source(rng)).collect();
    // The first is good, so that there is hope.
    for source in &mut sources[1..] {
        source.answers = pick(rng, &[Answers::Stream, Answers::Stream, Answers::Page, Answers::Nobody]);
    }
    rng.shuffle(&mut sources);
    StreamPlan {
        sources,
        shuffle: rng.chance(1, 3),
        reconnect_ms: if rng.chance(1, 20) { None } else { Some(pick(rng, &[500, 1_000, 3_000, 5_000])) },
        read_timeout_ms: if rng.chance(1, 2) { None } else { Some(pick(rng, &[700, 2_000, 5_000])) },
        grace_ms: pick(rng, &[0, 1_000, 4_000, 15_000]),
        latency_ms: pick(rng, &[5, 20, 20, 50, 200]),
        ring: RingPlan {
            packets_min: pick(rng, &[0, 50, 500, 1_000]),
            span_min_ms: pick(rng, &[0, 300, 1_000, 5_000]),
            bytes_max: pick(rng, &[100 << 10, 300 << 10, 1 << 20, 16 << 20]),
        },
        policy: policy(rng),
        stall_limit_ms: if rng.chance(1, 5) { None } else { Some(pick(rng, &[1_000, 3_000, 10_000])) },
    }
}

fn policy(rng: &mut Rng) -> PolicyPlan {
    PolicyPlan {
        join: pick(
            rng,
            &[
                JoinPlan::Keyframe,
                JoinPlan::Keyframe,
                JoinPlan::Live,
                JoinPlan::BehindMs(500),
                JoinPlan::BehindMs(3_000),
            ],
        ),
        slow: pick(
            rng,
            &[SlowPlan::Keyframe, SlowPlan::Keyframe, SlowPlan::Oldest, SlowPlan::Live, SlowPlan::Disconnect],
        ),
        lag_max_ms: pick(rng, &[None, Some(300), Some(700), Some(2_000), Some(8_000)]),
        lag_packets_min: pick(rng, &[0, 50, 400]),
    }
}

fn source(rng: &mut Rng) -> SourcePlan {
    let television = Content::Television {
        codec: pick(rng, &[Coding::Mpeg2, Coding::H264, Coding::H264, Coding::H265]),
        gop_frames: pick(rng, &[12, 12, 25, 25, 25, 50, 50, 100, 750]),
        indicator: rng.chance(2, 3),
        idr: rng.chance(2, 3),
    };
    let (content, kbps) = match rng.below(12) {
        0 => (Content::Radio, rng.between(100, 300)),
        1 => (capture(rng), 150),
        _ => (television, rng.between(450, 1_100)),
    };
    SourcePlan {
        content,
        kbps,
        packet_bytes: pick(rng, &[188, 188, 188, 188, 192, 204]),
        cut: pick(
            rng,
            &[
                Cut::Whole,
                Cut::Datagrams,
                Cut::Anywhere { bytes_max: 300 },
                Cut::Anywhere { bytes_max: 5_000 },
            ],
        ),
        every_ms: pick(rng, &[10, 20, 20, 40, 500]),
        connect_ms: pick(rng, &[0, 20, 300, 1_500]),
        keeps_running: rng.chance(4, 5),
        answers: Answers::Stream,
    }
}

fn capture(rng: &mut Rng) -> Content {
    let name = pick(
        rng,
        &[
            "h264_idr_aac.ts",
            "h264_open_gop_aac.ts",
            "hevc_cra_eac3.ts",
            "mpeg2_ac3.m2ts",
            "mpeg2_mp2.ts",
            "radio_aac.ts",
            "radio_mp2.ts",
        ],
    );
    Content::Capture(name.into())
}

fn limits(rng: &mut Rng) -> Limits {
    let mut limits = Limits::default();
    if rng.chance(1, 3) {
        limits.hard = pick(rng, &[0, 5, 20, 40]);
        limits.soft = pick(rng, &[0, 3, 15]);
        limits.per_stream = pick(rng, &[0, 4, 15]);
        limits.per_peer = pick(rng, &[0, 1, 3]);
    }
    limits
}

fn viewers(rng: &mut Rng, streams: &[StreamPlan], runtimes: u32) -> Vec<ViewerPlan> {
    let crowd = rng.chance(1, 4).then(|| rng.between(0, HEAL_MS - 2_000));
    // Of every ten viewers, how many are in some kind of trouble.
    let troubled = pick(rng, &[0, 2, 5, 9]);
    let is_restless = rng.chance(1, 2);
    (0..VIEWERS)
        .map(|id| {
            let is_witness = id >= VIEWERS - WITNESSES;
            let stream = rng.below(streams.len() as u64) as usize;
            let needed = streams[stream].sources.iter().map(|source| source.kbps).max().unwrap_or(0);
            let is_troubled = !is_witness && rng.chance(troubled, 10);
            let at_ms = match crowd {
                _ if is_witness => rng.between(HEAL_MS, LAST_ARRIVAL_MS),
                Some(begin) if rng.chance(3, 4) => begin + rng.below(500),
                _ => rng.below(HEAL_MS),
            };
            let stays = !is_witness && is_restless && rng.chance(1, 2);
            ViewerPlan {
                id,
                at_ms,
                stream: stream as u32,
                runtime: rng.below(u64::from(runtimes)) as u32,
                peer: rng.below(30) as u32,
                link: if is_troubled { bad_link(rng, needed) } else { good_link(rng, needed) },
                stay_ms: stays.then(|| pick(rng, &[100, 900, 4_000, 15_000])),
                back_after_ms: rng.chance(2, 3).then(|| pick(rng, &[50, 1_000, 4_000])),
            }
        })
        .collect()
}

fn good_link(rng: &mut Rng, needed_kbps: u64) -> LinkSpec {
    LinkSpec {
        kbps: needed_kbps * pick(rng, &[3, 10, 1_000]),
        delay_ms: pick(rng, &[0, 5, 40]),
        jitter_ms: pick(rng, &[0, 0, 30]),
        loss_ppm: pick(rng, &[0, 0, 0, 1_000]),
        buffer_bytes: pick(rng, &[32 << 10, 128 << 10, 1 << 20]),
        short_writes: rng.chance(1, 6),
    }
}

fn bad_link(rng: &mut Rng, needed_kbps: u64) -> LinkSpec {
    LinkSpec {
        kbps: match rng.below(5) {
            0 => 0,
            1 => needed_kbps / 20,
            2 => needed_kbps / 2,
            3 => needed_kbps * 9 / 10,
            _ => needed_kbps * 11 / 10,
        },
        buffer_bytes: pick(rng, &[200, 3_000, 16 << 10, 64 << 10]),
        ..good_link(rng, needed_kbps)
    }
}

fn fault(rng: &mut Rng, kind: usize, streams: &[StreamPlan], viewers: &[ViewerPlan], runtimes: u32) -> Fault {
    let stream = rng.below(streams.len() as u64) as u32;
    let count = streams[stream as usize].sources.len() as u64;
    let source = rng.below(count) as u32;
    let id = viewers[rng.below(viewers.len() as u64) as usize].id;
    let for_ms = pick(rng, &[100, 600, 2_500, 12_000]);
    let of_source = |what| Fault::Source { stream, source, what };
    let of_viewer = |what| Fault::Viewer { id, what };
    match kind {
        0 => of_source(SourceFault::Close),
        1 => of_source(SourceFault::Refuse { for_ms }),
        2 => of_source(SourceFault::Page { for_ms }),
        3 => of_source(SourceFault::Silence { for_ms }),
        4 => of_source(SourceFault::Hold { for_ms }),
        5 => {
            let bytes = pick(rng, &[1, 187, 188, 1_000, 20_000, 3_000_000]);
            of_source(SourceFault::Garbage { bytes, of_sync_bytes: rng.chance(1, 4) })
        }
        6 => of_source(SourceFault::Torn { kept: rng.between(1, 187) as u32 }),
        7 => of_source(SourceFault::Lose { packets: pick(rng, &[1, 7, 100]) }),
        8 => of_source(SourceFault::PsiVersion),
        9 => of_source(SourceFault::VideoPid { pid: pick(rng, &[0x100, 0x200, 0x300]) }),
        10 => {
            let ticks = pick(rng, &[-900_000, -1, 90_000, 1 << 32]);
            of_source(SourceFault::ClockJump { ticks, flagged: rng.chance(1, 2) })
        }
        11 => of_source(SourceFault::Restart),
        12 => of_viewer(ViewerFault::Stall { for_ms }),
        13 => of_viewer(ViewerFault::Rate { kbps: pick(rng, &[0, 100, 400, 100_000]) }),
        14 => of_viewer(ViewerFault::Reset),
        15 => {
            Fault::Pause { stream, runtime: rng.below(u64::from(runtimes)) as u32, for_ms: for_ms.min(2_500) }
        }
        16 => Fault::Offline { stream },
        _ => Fault::Online { stream },
    }
}

fn pick<T: Clone>(rng: &mut Rng, choices: &[T]) -> T {
    choices[rng.below(choices.len() as u64) as usize].clone()
}
