//! Who watches, and what goes wrong: a JSON file.
//!
//! ```json
//! {
//!   "seed": 1,
//!   "seconds": 600,
//!   "streams": [ { "serve": "/news.ts", "kbps": 4000, "gop_frames": 50 } ],
//!   "groups": [
//!     { "network": "fibre", "stream": "/news.ts", "viewers": 300, "arrive_s": [0, 60] },
//!     { "network": "Wi-Fi", "stream": "/news.ts", "viewers": 100, "arrive_s": [0, 300], "stay_s": 120, "back_s": 30 },
//!     { "name": "hotel", "stream": "/news.ts", "viewers": 40, "arrive_s": [100, 110],
//!       "network": { "name": "shared", "link": { "kbps": 6000, "delay_ms": 20, "buffer_bytes": 262144 } } }
//!   ],
//!   "outages": [ { "at_s": 200, "for_s": 10, "group": "hotel", "percent": 50, "kbps": 500 } ],
//!   "faults": [ { "at_ms": 300000,
//!                 "fault": { "source": { "stream": 0, "source": 0, "what": { "refuse": { "for_ms": 20000 } } } } } ]
//! }
//! ```
//!
//! A network is one of the classes that `compare` uses, by name, or a link of its own. `faults` are those of a plan.

use std::fmt;
use std::ops::{Range, RangeInclusive};

use restreamer_core::Rng;
use serde::{Deserialize, Serialize};

use crate::faults::{Fault, ViewerFault};
use crate::network::Network;
use crate::plan::{Event, Plan, ViewerPlan};
use crate::source::{GOP_FRAMES_MAX, KBPS};

/// How long it can be looked at, seconds.
const SECONDS: RangeInclusive<u64> = 1..=604_800;

/// Who watches, and what goes wrong.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audience {
    /// Decides about everything that is left to chance.
    #[serde(default = "one")]
    pub seed: u64,
    /// How long it is looked at.
    pub seconds: u64,
    /// What the streams are like; those that are not named have 4000 kbit/s and a key frame every two seconds.
    #[serde(default)]
    pub streams: Vec<Programme>,
    /// The people.
    pub groups: Vec<Group>,
    /// Times in which a part of a group has a bad link.
    #[serde(default)]
    pub outages: Vec<Outage>,
    /// Whatever else happens, as in a plan.
    #[serde(default)]
    pub faults: Vec<Event>,
}

/// What a stream is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Programme {
    /// Its path in the configuration.
    pub serve: String,
    /// Kilobits per second.
    #[serde(default = "kbps")]
    pub kbps: u64,
    /// Frames from one key frame to the next, at 25 frames per second.
    #[serde(default = "gop_frames")]
    pub gop_frames: u32,
}

/// People of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What it is called; by default, like its network.
    #[serde(default)]
    pub name: Option<String>,
    /// How its people are connected.
    pub network: NetworkOf,
    /// What they watch: a path in the configuration.
    pub stream: String,
    /// How many they are.
    pub viewers: u32,
    /// They come evenly between these.
    #[serde(default)]
    pub arrive_s: (u64, u64),
    /// How long each of them stays, half to one and a half of it; without it, to the end.
    #[serde(default)]
    pub stay_s: Option<u64>,
    /// They come back after so long when they have left, were turned away or thrown out; without it, never.
    #[serde(default)]
    pub back_s: Option<u64>,
}

/// A network, by name or in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NetworkOf {
    /// One of [`Network::classes`].
    Named(String),
    /// Another one.
    Own(Network),
}

/// A time in which a part of a group has a bad link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// From when.
    pub at_s: u64,
    /// How long.
    pub for_s: u64,
    /// Who.
    pub group: String,
    /// How many of a hundred.
    #[serde(default = "hundred")]
    pub percent: u32,
    /// What is left of their links; 0: nothing gets through.
    #[serde(default)]
    pub kbps: u64,
}

/// Why an audience cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudienceError {
    /// The file is not as it should be.
    Format(String),
    /// There is no such stream in the configuration.
    NoStream {
        /// What was named.
        named: String,
        /// What there is.
        streams: Vec<String>,
    },
    /// There is no such network.
    NoNetwork(String),
    /// There is no such group.
    NoGroup(String),
    /// A figure that nothing can be made from.
    OutOfRange {
        /// Its key, and of what.
        key: String,
        /// What it is.
        value: u64,
        /// What it may be.
        range: RangeInclusive<u64>,
    },
}

impl Audience {
    /// Reads the content of a file.
    pub fn parse(text: &str) -> Result<Audience, AudienceError> {
        serde_json::from_str(text).map_err(|error| AudienceError::Format(error.to_string()))
    }

    /// Says which figure makes no sense.
    pub(super) fn check(&self) -> Result<(), AudienceError> {
        let demand = |key, value, range: RangeInclusive<u64>| match range.contains(&value) {
            true => Ok(()),
            false => Err(AudienceError::OutOfRange { key, value, range }),
        };
        demand("seconds".into(), self.seconds, SECONDS)?;
        for Programme { serve, kbps, gop_frames } in &self.streams {
            demand(format!("kbps of {serve}"), *kbps, KBPS)?;
            demand(format!("gop_frames of {serve}"), (*gop_frames).into(), 1..=GOP_FRAMES_MAX.into())?;
        }
        Ok(())
    }

    pub(super) fn duration_ms(&self) -> u64 {
        self.seconds * 1_000
    }

    pub(super) fn programme(&self, path: &str) -> Programme {
        let named = self.streams.iter().find(|programme| programme.serve == path).cloned();
        named.unwrap_or_else(|| Programme { serve: path.into(), kbps: kbps(), gop_frames: gop_frames() })
    }

    /// Puts everybody into `plan`, with what happens to them; `buffers` are the send buffers of the streams. Answers the
    /// groups and the ids of their people.
    pub(super) fn people(
        &self,
        streams: &[String],
        buffers: &[Option<u32>],
        plan: &mut Plan,
    ) -> Result<Vec<(String, Range<u32>)>, AudienceError> {
        for programme in &self.streams {
            number_of(&programme.serve, streams)?;
        }
        let mut rng = Rng::from_seed(self.seed);
        let mut groups = Vec::new();
        for group in &self.groups {
            let network = group.network.find()?;
            let stream = number_of(&group.stream, streams)?;
            let mut link = network.link;
            if let Some(&Some(bytes)) = buffers.get(stream as usize) {
                link.buffer_bytes = bytes;
            }
            let first = plan.viewers.len() as u32;
            for id in first..first + group.viewers {
                let mut rng = rng.fork();
                let (from_ms, until_ms) = (group.arrive_s.0 * 1_000, group.arrive_s.1 * 1_000);
                let stay_ms = |stay_s: u64| rng.between(stay_s * 500, stay_s * 1_500);
                plan.viewers.push(ViewerPlan {
                    stay_ms: group.stay_s.map(stay_ms),
                    id,
                    at_ms: rng.between(from_ms, until_ms),
                    stream,
                    runtime: id,
                    peer: id,
                    link,
                    back_after_ms: group.back_s.map(|back_s| back_s * 1_000),
                });
                for (at, kbps) in network.weather(&mut rng, plan.end()) {
                    plan.events.push(change(at.as_nanos() / 1_000_000, id, kbps));
                }
            }
            let name = group.name.clone().unwrap_or_else(|| network.name.clone());
            groups.push((name, first..first + group.viewers));
        }
        for outage in &self.outages {
            let Some((_, ids)) = groups.iter().find(|(name, _)| *name == outage.group) else {
                return Err(AudienceError::NoGroup(outage.group.clone()));
            };
            outage.strike(ids.clone(), &mut rng, plan);
        }
        plan.events.extend(self.faults.iter().cloned());
        Ok(groups)
    }
}

impl NetworkOf {
    fn find(&self) -> Result<Network, AudienceError> {
        match self {
            NetworkOf::Own(network) => Ok(network.clone()),
            NetworkOf::Named(name) => Network::classes()
                .into_iter()
                .find(|network| network.name == *name)
                .ok_or_else(|| AudienceError::NoNetwork(name.clone())),
        }
    }
}

impl Outage {
    fn strike(&self, ids: Range<u32>, rng: &mut Rng, plan: &mut Plan) {
        let mut ids: Vec<_> = ids.collect();
        rng.shuffle(&mut ids);
        ids.truncate(ids.len() * self.percent.min(100) as usize / 100);
        let (at_ms, for_ms) = (self.at_s * 1_000, self.for_s * 1_000);
        for id in ids {
            if self.kbps == 0 {
                let what = ViewerFault::Stall { for_ms };
                plan.events.push(Event { at_ms, fault: Fault::Viewer { id, what } });
            } else if let Some(viewer) = plan.viewers.get(id as usize) {
                let usual = viewer.link.kbps;
                plan.events.push(change(at_ms, id, self.kbps.min(usual)));
                plan.events.push(change(at_ms + for_ms, id, usual));
            }
        }
    }
}

impl fmt::Display for AudienceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AudienceError::Format(error) => write!(f, "not an audience: {error}"),
            AudienceError::NoStream { named, streams } if streams.is_empty() => {
                write!(f, "the configuration has no stream {named}, nor any other")
            }
            AudienceError::NoStream { named, streams } => {
                write!(f, "the configuration has no stream {named}, but {}", streams.join(", "))
            }
            AudienceError::OutOfRange { key, value, range } => {
                write!(f, "{key} is {value}, not between {} and {}", range.start(), range.end())
            }
            AudienceError::NoNetwork(name) => {
                let classes: Vec<_> = Network::classes().into_iter().map(|network| network.name).collect();
                write!(
                    f,
                    "there is no network {name}; write it in full, or take one of {}",
                    classes.join(", ")
                )
            }
            AudienceError::NoGroup(name) => write!(f, "an outage names the group {name}, which there is not"),
        }
    }
}

impl std::error::Error for AudienceError {}

fn number_of(path: &str, streams: &[String]) -> Result<u32, AudienceError> {
    let number = streams.iter().position(|stream| stream == path);
    number
        .map(|number| number as u32)
        .ok_or_else(|| AudienceError::NoStream { named: path.into(), streams: streams.to_vec() })
}

fn change(at_ms: u64, id: u32, kbps: u64) -> Event {
    Event { at_ms, fault: Fault::Viewer { id, what: ViewerFault::Rate { kbps } } }
}

fn one() -> u64 {
    1
}

fn hundred() -> u32 {
    100
}

fn kbps() -> u64 {
    4_000
}

fn gop_frames() -> u32 {
    50
}
