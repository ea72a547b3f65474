//! Classes of access networks: a link, and the bad spells that come over it.

use restreamer_core::{Instant, Rng};
use serde::{Deserialize, Serialize};

use crate::link::LinkSpec;

/// More spells than this come over nobody.
const SPELLS_MAX: usize = 10_000;

/// How a kind of people is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// What it is called.
    pub name: String,
    /// The link on a good day.
    pub link: LinkSpec,
    /// What makes it worse from time to time, for each viewer on his own.
    #[serde(default)]
    pub spells: Vec<Spell>,
}

/// Times in which a link is slower; where several meet, the slowest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spell {
    /// From the end of one to the beginning of the next, on average; they are half to one and a half of it apart.
    pub every_ms: u64,
    /// The shortest and the longest.
    pub for_ms: (u64, u64),
    /// What is left of the link's rate, percent, at least and at most; 0: nothing gets through.
    pub percent: (u64, u64),
}

impl Network {
    /// The five classes that policies are compared on, for a stream of 4 Mbit/s.
    pub fn classes() -> Vec<Network> {
        let link = |kbps, delay_ms, jitter_ms, loss_ppm| LinkSpec {
            kbps,
            delay_ms,
            jitter_ms,
            loss_ppm,
            ..LinkSpec::steady(kbps)
        };
        let spell = |every_ms, for_ms, percent| Spell { every_ms, for_ms, percent };
        let network = |name: &str, link, spells| Network { name: name.into(), link, spells };
        vec![
            network("fibre", link(100_000, 5, 0, 0), vec![]),
            network("cable", link(30_000, 12, 5, 50), vec![spell(120_000, (1_000, 3_000), (5, 20))]),
            network(
                "DSL at the edge",
                link(4_600, 20, 2, 50),
                vec![spell(60_000, (8_000, 20_000), (60, 80))],
            ),
            network(
                "Wi-Fi",
                link(20_000, 8, 10, 300),
                vec![
                    spell(30_000, (500, 3_000), (0, 10)),
                    spell(180_000, (5_000, 10_000), (0, 0)),
                    spell(240_000, (10_000, 30_000), (10, 25)),
                ],
            ),
            network(
                "mobile",
                link(10_000, 45, 30, 500),
                vec![
                    spell(40_000, (5_000, 20_000), (15, 45)),
                    spell(90_000, (1_000, 6_000), (0, 0)),
                    spell(240_000, (20_000, 40_000), (20, 35)),
                ],
            ),
        ]
    }

    /// What becomes of one viewer's link up to `end`, in order: from when, kilobits per second.
    pub fn weather(&self, rng: &mut Rng, end: Instant) -> Vec<(Instant, u64)> {
        let end_ms = end.as_nanos() / 1_000_000;
        // From when, until when, kilobits per second.
        let mut times = Vec::new();
        for spell in &self.spells {
            let mut at_ms = rng.below(spell.every_ms.saturating_mul(2));
            while at_ms < end_ms && times.len() < SPELLS_MAX {
                let for_ms = rng.between(spell.for_ms.0, spell.for_ms.1).max(1);
                let kbps = self.link.kbps * rng.between(spell.percent.0, spell.percent.1) / 100;
                times.push((at_ms, at_ms + for_ms, kbps));
                at_ms += for_ms + rng.between(spell.every_ms / 2, spell.every_ms / 2 * 3).max(1);
            }
        }
        let mut turns: Vec<u64> = times.iter().flat_map(|&(from, until, _)| [from, until]).collect();
        turns.sort_unstable();
        turns.dedup();
        let mut changes: Vec<(Instant, u64)> = Vec::new();
        for at_ms in turns {
            let now = times.iter().filter(|&&(from, until, _)| (from..until).contains(&at_ms));
            let kbps = now.map(|&(.., kbps)| kbps).min().unwrap_or(self.link.kbps);
            if changes.last().is_none_or(|&(_, last)| last != kbps) {
                changes.push((Instant::from_millis(at_ms), kbps));
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_spell_counts_and_the_link_recovers() {
        let spells = vec![
            Spell { every_ms: 10_000, for_ms: (4_000, 4_000), percent: (50, 50) },
            Spell { every_ms: 15_000, for_ms: (4_000, 4_000), percent: (0, 0) },
        ];
        let network = Network { name: "x".into(), link: LinkSpec::steady(1_000), spells };
        let changes = network.weather(&mut Rng::from_seed(3), Instant::from_millis(600_000));
        assert!(changes.len() > 60 && changes.is_sorted());
        assert!(changes.iter().all(|&(_, kbps)| [0, 500, 1_000].contains(&kbps)));
        assert!(changes.windows(2).all(|pair| pair[0].1 != pair[1].1));
        assert_eq!(changes.last().map(|last| last.1), Some(1_000));
    }
}
