//! Everything that happens in one run, as data: a function of the seed, printed when the run fails.

use std::time::Duration;

use restreamer_core::{Join, Rng, Slow};
use serde::{Deserialize, Serialize};

/// The whole run. Times are milliseconds from its start unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Where it came from; also decides about everything that is left to chance.
    pub seed: u64,
    /// The sources of the one stream, as listed.
    pub sources: Vec<SourcePlan>,
    /// The daemon's configuration.
    pub proxy: ProxyPlan,
    /// The network between the hosts.
    pub network: NetworkPlan,
    /// Hosts with players, and how many links there are to cut.
    pub homes: usize,
    /// The players.
    pub people: Vec<Person>,
    /// What goes wrong, in order of time; all of it is over at `heal_ms`.
    pub faults: Vec<Fault>,
    /// From here on nothing goes wrong any more.
    pub heal_ms: u64,
    /// Everybody leaves.
    pub leave_ms: u64,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePlan {
    /// `http://` instead of `tcp://`.
    pub is_http: bool,
    /// Bits per second.
    pub bitrate: u64,
    /// Video frames from one access point to the next, 25 per second.
    pub gop_frames: u32,
    /// How often it sends what it has.
    pub flush_ms: u64,
    /// The most bytes it sends in one piece.
    pub piece_bytes: u64,
}

/// The daemon's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyPlan {
    /// Flush interval.
    pub latency_ms: u64,
    /// Time that viewers are held without a source.
    pub grace_ms: u64,
    /// Between attempts on one source.
    pub reconnect_ms: u64,
    /// Silence that ends an upstream connection.
    pub read_timeout_ms: u64,
    /// Sources are used in the order listed, not in a random one.
    pub prefers_first: bool,
    /// A viewer that takes nothing for so long is ended.
    pub stall_ms: u64,
    /// How far a viewer may lag, beside the size of the ring.
    pub lag_max_ms: Option<u64>,
    /// A lag of so many packets is always allowed.
    pub lag_packets_min: u32,
    /// Where viewers join: `None` live, 0 at the latest access point, else so far behind.
    pub join_behind_ms: Option<u64>,
    /// What happens to those who lag too much.
    pub slow: SlowPlan,
    /// Bytes of the ring.
    pub ring_bytes_max: usize,
    /// The most viewers; 0 is no limit.
    pub viewers_max: u32,
    /// HTTP/1.1 bodies are chunked.
    pub is_chunked: bool,
    /// Null packets that every viewer gets first.
    pub preamble_packets: usize,
}

/// The drop policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlowPlan {
    /// On to an access point.
    Keyframe,
    /// On to the oldest packet held.
    Oldest,
    /// On to live.
    Live,
    /// Out.
    Disconnect,
}

/// The network between the hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPlan {
    /// The longest delay of a segment; each has its own.
    pub delay_ms_max: u64,
    /// Segments that a connection holds per direction.
    pub segments_max: usize,
    /// The daemon's sockets take odd amounts and are sometimes full for a moment.
    pub is_rough: bool,
}

/// Somebody who watches, again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The host.
    pub home: usize,
    /// When he comes.
    pub arrive_ms: u64,
    /// How he asks.
    pub ask: Ask,
    /// How he watches.
    pub watch: Watch,
    /// How long he stays; `None`: for as long as it lasts.
    pub stay_ms: Option<u64>,
    /// How long he stays away then.
    pub away_ms: u64,
    /// HTTP/1.1 instead of 1.0.
    pub is_http11: bool,
    /// He leaves at the end without a word.
    pub vanishes: bool,
}

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// As it should be.
    Plain,
    /// In many pieces.
    Dribble,
    /// With further bytes behind it.
    Extra,
    /// Never finished.
    Half,
    /// HEAD.
    Head,
    /// Not HTTP.
    Noise,
}

/// What is done with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Watch {
    /// Everything is read at once.
    Prompt,
    /// So much is read in a second.
    Crawl {
        /// Bytes per second.
        bytes: u64,
    },
    /// Reading stops for a while, again and again.
    Pause {
        /// Time of reading.
        after_ms: u64,
        /// Time of not reading.
        for_ms: u64,
    },
    /// Reading stops for good.
    Stuck {
        /// Time of reading.
        after_ms: u64,
    },
    /// The client is gone, and no packet of the network says so.
    Vanish {
        /// Time of reading.
        after_ms: u64,
    },
    /// The client closes its sending side.
    HalfClose {
        /// Time of reading before it.
        after_ms: u64,
    },
}

/// Something that goes wrong for a while.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// When it begins.
    pub at_ms: u64,
    /// How long it lasts.
    pub for_ms: u64,
    /// What it is.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Nothing gets through between a source and the proxy, and nothing of it ever will.
    CutSource(usize),
    /// What is sent between a source and the proxy arrives late.
    HoldSource(usize),
    /// A source's host dies and comes back.
    CrashSource(usize),
    /// A source keeps its connections and sends nothing.
    SilenceSource(usize),
    /// A source closes its connections in the middle of a packet.
    HangUpSource(usize),
    /// A source closes its side of its connections only.
    HalfCloseSource(usize),
    /// Nothing gets through between a home and the proxy.
    CutHome(usize),
    /// Nothing gets through from the proxy to a home.
    CutToHome(usize),
    /// Nothing gets through from a home to the proxy.
    CutFromHome(usize),
    /// What is sent between a home and the proxy arrives late.
    HoldHome(usize),
    /// A home's host dies and comes back.
    CrashHome(usize),
    /// The proxy dies and comes back.
    CrashProxy,
    /// The proxy is shut down and started again.
    RestartProxy,
    /// The operator takes the stream off the air.
    Offline,
}

impl Plan {
    /// The run of a seed.
    pub fn from_seed(seed: u64) -> Plan {
        let mut rng = Rng::from_seed(seed);
        let heal_ms = rng.between(12_000, 25_000);
        let sources: Vec<_> = (0..rng.between(1, 2)).map(|_| SourcePlan::draw(&mut rng)).collect();
        let homes = rng.between(1, 4) as usize;
        let people = (0..rng.between(homes as u64, 3 * homes as u64))
            .map(|number| Person::draw(&mut rng, number as usize % homes, heal_ms))
            .collect();
        let faults = draw_faults(&mut rng, sources.len(), homes, heal_ms);
        Plan {
            seed,
            proxy: ProxyPlan::draw(&mut rng),
            network: NetworkPlan {
                delay_ms_max: rng.between(1, 40),
                segments_max: rng.between(24, 64) as usize,
                is_rough: rng.chance(1, 2),
            },
            sources,
            homes,
            people,
            faults,
            heal_ms,
            leave_ms: heal_ms + rng.between(14_000, 17_000),
        }
    }

    /// A moment of the plan.
    pub(super) fn time(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
}

impl SourcePlan {
    fn draw(rng: &mut Rng) -> Self {
        SourcePlan {
            is_http: rng.chance(1, 2),
            bitrate: rng.between(500, 1_500) * 1_000,
            gop_frames: rng.between(5, 25) as u32,
            // After a wake-up that is lost nothing else may wake a viewer for a while, or nobody would notice.
            flush_ms: if rng.chance(1, 3) { rng.between(400, 900) } else { rng.between(5, 40) },
            piece_bytes: if rng.chance(1, 2) { 1_316 } else { rng.between(1_000, 9_000) },
        }
    }
}

impl ProxyPlan {
    fn draw(rng: &mut Rng) -> Self {
        ProxyPlan {
            latency_ms: rng.between(5, 50),
            grace_ms: rng.below(3) * rng.between(500, 4_000),
            reconnect_ms: rng.between(100, 1_000),
            read_timeout_ms: rng.between(1_500, 3_000),
            prefers_first: rng.chance(1, 2),
            stall_ms: rng.between(1_500, 8_000),
            lag_max_ms: rng.chance(1, 2).then(|| rng.between(500, 4_000)),
            lag_packets_min: rng.between(0, 400) as u32,
            join_behind_ms: match rng.below(4) {
                0 => None,
                1 => Some(rng.between(500, 4_000)),
                _ => Some(0),
            },
            slow: match rng.below(6) {
                0 => SlowPlan::Oldest,
                1 => SlowPlan::Live,
                2 => SlowPlan::Disconnect,
                _ => SlowPlan::Keyframe,
            },
            ring_bytes_max: rng.between(600, 2_000) as usize * 1_000,
            viewers_max: if rng.chance(1, 5) { rng.between(1, 5) as u32 } else { 0 },
            is_chunked: rng.chance(1, 2),
            preamble_packets: if rng.chance(1, 3) { rng.between(1, 9) as usize } else { 0 },
        }
    }

    pub(super) fn join(&self) -> Join {
        match self.join_behind_ms {
            None => Join::Live,
            Some(0) => Join::Keyframe,
            Some(ms) => Join::Behind(Duration::from_millis(ms)),
        }
    }

    pub(super) fn slow(&self) -> Slow {
        match self.slow {
            SlowPlan::Keyframe => Slow::Keyframe,
            SlowPlan::Oldest => Slow::Oldest,
            SlowPlan::Live => Slow::Live,
            SlowPlan::Disconnect => Slow::Disconnect,
        }
    }
}

impl Person {
    fn draw(rng: &mut Rng, home: usize, heal_ms: u64) -> Self {
        let ask = match rng.below(16) {
            0 => Ask::Dribble,
            1 => Ask::Extra,
            2 => Ask::Half,
            3 => Ask::Head,
            4 => Ask::Noise,
            _ => Ask::Plain,
        };
        let arrival_max_ms = if rng.chance(1, 2) { 500 } else { heal_ms };
        let after_ms = rng.between(100, 4_000);
        let watch = match rng.below(14) {
            0 => Watch::Crawl { bytes: rng.between(2_000, 60_000) },
            1 | 2 => Watch::Pause { after_ms, for_ms: rng.between(100, 7_000) },
            3 => Watch::Stuck { after_ms },
            4 => Watch::Vanish { after_ms },
            5 => Watch::HalfClose { after_ms },
            _ => Watch::Prompt,
        };
        Person {
            home,
            arrive_ms: rng.below(arrival_max_ms),
            ask,
            watch,
            stay_ms: rng.chance(1, 3).then(|| rng.between(10, 6_000)),
            away_ms: rng.between(100, 2_000),
            is_http11: rng.chance(2, 3),
            vanishes: rng.chance(1, 3),
        }
    }
}

/// Faults of one target follow each other; those of different targets meet.
fn draw_faults(rng: &mut Rng, sources: usize, homes: usize, heal_ms: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    for target in 0..=sources + homes {
        let mut at_ms = rng.between(1_000, heal_ms);
        loop {
            let kind = match target.checked_sub(sources) {
                None => draw_source_fault(rng, target),
                Some(0) => draw_proxy_fault(rng),
                Some(home) => draw_home_fault(rng, home - 1),
            };
            let for_ms = match kind {
                FaultKind::RestartProxy => rng.between(4_000, 6_000),
                _ => rng.between(20, 5_000),
            };
            if at_ms + for_ms >= heal_ms {
                break;
            }
            faults.push(Fault { at_ms, for_ms, kind });
            at_ms += for_ms + rng.between(500, if target == sources { 15_000 } else { 8_000 });
        }
    }
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

fn draw_source_fault(rng: &mut Rng, source: usize) -> FaultKind {
    match rng.below(6) {
        0 => FaultKind::CutSource(source),
        1 => FaultKind::HoldSource(source),
        2 => FaultKind::CrashSource(source),
        3 => FaultKind::SilenceSource(source),
        4 => FaultKind::HangUpSource(source),
        _ => FaultKind::HalfCloseSource(source),
    }
}

fn draw_home_fault(rng: &mut Rng, home: usize) -> FaultKind {
    match rng.below(6) {
        0 => FaultKind::CutHome(home),
        1 => FaultKind::CutToHome(home),
        2 => FaultKind::CutFromHome(home),
        3 => FaultKind::CrashHome(home),
        _ => FaultKind::HoldHome(home),
    }
}

fn draw_proxy_fault(rng: &mut Rng) -> FaultKind {
    match rng.below(4) {
        0 => FaultKind::CrashProxy,
        1 => FaultKind::RestartProxy,
        _ => FaultKind::Offline,
    }
}
