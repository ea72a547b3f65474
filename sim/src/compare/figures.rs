//! What people saw, added up.

use serde::{Deserialize, Serialize};

use crate::decoder::PICTURE_NS;

const HOUR_NS: f64 = 3.6e12;
const SECOND_NS: f64 = 1e9;

/// What people saw, on average; "per hour" is an hour of somebody's time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// From the request to the first picture, seconds: the mean.
    pub first_picture_s: f64,
    /// The same: 19 of 20 people wait less.
    pub first_picture_s_p95: f64,
    /// Pictures shown broken, per hour.
    pub broken_pictures: f64,
    /// Seconds without a moving picture, per hour; waiting for the next connection counts.
    pub stalled_s: f64,
    /// How often the picture stands still, per hour.
    pub stalls: f64,
    /// Seconds of the programme that are left out, per hour.
    pub left_out_s: f64,
    /// The picture on the screen is behind the source, seconds: the mean.
    pub behind_s: f64,
    /// The same: 19 of 20 looks find less.
    pub behind_s_p95: f64,
    /// Responses ended by the server, per hour.
    pub disconnects: f64,
}

/// What one person, or several, saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    pub(super) watched_ns: u64,
    pub(super) first_pictures_ns: Vec<u64>,
    pub(super) broken_ns: u64,
    pub(super) stalled_ns: u64,
    pub(super) stalls: u64,
    pub(super) left_out_ns: u64,
    pub(super) behind_ns: Vec<u64>,
    pub(super) disconnects: u64,
}

impl Account {
    pub(super) fn add(&mut self, other: Account) {
        self.watched_ns += other.watched_ns;
        self.first_pictures_ns.extend(other.first_pictures_ns);
        self.broken_ns += other.broken_ns;
        self.stalled_ns += other.stalled_ns;
        self.stalls += other.stalls;
        self.left_out_ns += other.left_out_ns;
        self.behind_ns.extend(other.behind_ns);
        self.disconnects += other.disconnects;
    }

    pub(super) fn into_figures(mut self) -> Figures {
        self.first_pictures_ns.sort_unstable();
        self.behind_ns.sort_unstable();
        let hours = (self.watched_ns as f64 / HOUR_NS).max(f64::MIN_POSITIVE);
        Figures {
            first_picture_s: mean_s(&self.first_pictures_ns),
            first_picture_s_p95: p95_s(&self.first_pictures_ns),
            broken_pictures: self.broken_ns as f64 / PICTURE_NS as f64 / hours,
            stalled_s: self.stalled_ns as f64 / SECOND_NS / hours,
            stalls: self.stalls as f64 / hours,
            left_out_s: self.left_out_ns as f64 / SECOND_NS / hours,
            behind_s: mean_s(&self.behind_ns),
            behind_s_p95: p95_s(&self.behind_ns),
            disconnects: self.disconnects as f64 / hours,
        }
    }
}

fn mean_s(sorted_ns: &[u64]) -> f64 {
    let sum: u64 = sorted_ns.iter().sum();
    sum as f64 / sorted_ns.len().max(1) as f64 / SECOND_NS
}

fn p95_s(sorted_ns: &[u64]) -> f64 {
    let last = sorted_ns.len().saturating_sub(1);
    sorted_ns.get((sorted_ns.len() * 95 / 100).min(last)).map_or(0.0, |&ns| ns as f64 / SECOND_NS)
}
