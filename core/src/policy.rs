//! What a viewer gets: where it joins, and what happens when it cannot keep up. Data only; [`crate::Viewer`] acts.

use crate::time::Duration;

/// Where a new viewer starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Join {
    /// At the latest random access point held, with the PAT and PMT before it: a picture at once.
    #[default]
    Keyframe,
    /// At the next packets to arrive, wherever in the picture they are: the least delay, a late picture.
    Live,
    /// At the access point that is nearest to this long behind live and not younger; the oldest one held when
    /// the ring does not reach back so far.
    Behind(Duration),
}

/// What happens to a viewer that lags more than its policy allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slow {
    /// It goes on at the latest random access point after its place, or waits for the next one.
    #[default]
    Keyframe,
    /// It goes on at the oldest packet still held: the least is lost, the picture breaks.
    Oldest,
    /// It goes on at the next packets to arrive: the most is lost, the picture breaks, the delay is gone.
    Live,
    /// Its response ends; the player may come back.
    Disconnect,
}

/// The rules for the viewers of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Where a new viewer starts.
    pub join: Join,
    /// What happens to one that lags too much.
    pub slow: Slow,
    /// The longest a viewer may lag, measured in arrival time of the packets; `None`: as long as the ring holds
    /// its place.
    pub lag_max: Option<Duration>,
    /// A lag of up to this many packets is always allowed, whatever `lag_max` says (`outputbuffer`).
    pub lag_packets_min: u32,
}

impl Policy {
    /// How far a viewer's place may be behind live: `lag_max`, on top of the delay that it asked for by its join.
    pub fn lag_allowed(&self) -> Option<Duration> {
        self.lag_allowed_behind(Duration::ZERO)
    }

    /// The same for a viewer whose join left it `joined_behind` live: the longer delay counts.
    pub(crate) fn lag_allowed_behind(&self, joined_behind: Duration) -> Option<Duration> {
        let wanted = match self.join {
            Join::Behind(delay) => delay,
            Join::Keyframe | Join::Live => Duration::ZERO,
        };
        self.lag_max.map(|lag| lag.saturating_add(wanted.max(joined_behind)))
    }
}

impl Default for Policy {
    fn default() -> Self {
        Policy { join: Join::default(), slow: Slow::default(), lag_max: None, lag_packets_min: 400 }
    }
}
