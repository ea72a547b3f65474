//! Server and reference in turns, so that what the machine does to one it does to the other.

use std::io;

use serde::Serialize;

use crate::run::{Manner, RunReport, run};
use crate::scenario::Scenario;
use crate::subject::Subject;

/// Rounds of one load.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The load.
    pub scenario: Scenario,
    /// What came of it.
    pub summary: Summary,
    /// The runs of the server, in order.
    pub server: Vec<RunReport>,
    /// The runs of the reference; number *n* came after the server's number *n*.
    pub reference: Vec<RunReport>,
}

/// Medians and ranges over the rounds.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// CPU: seconds per 10⁹ delivered bytes, or cores where nobody watches.
    pub cpu: Pair,
    /// Delay that viewers saw, median, milliseconds.
    pub delay_p50_ms: Pair,
    /// The same, 99th percentile.
    pub delay_p99_ms: Pair,
    /// Time to the first byte of a guest, 99th percentile, milliseconds.
    pub first_byte_p99_ms: Pair,
    /// User memory per viewer, bytes.
    pub memory_per_viewer: Pair,
    /// Kernel memory per viewer at the program's end of the sockets, bytes.
    pub socket_memory_per_viewer: Pair,
    /// Context switches per second.
    pub switches_per_s: Pair,
    /// What the server's viewers lost in all rounds together: packets, and viewers that were ended or starved.
    pub server_losses: u64,
    /// The same of the reference's.
    pub reference_losses: u64,
}

/// One quantity of both.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Pair {
    /// Of the server.
    pub server: Spread,
    /// Of the reference.
    pub reference: Spread,
    /// Server ÷ reference, round by round.
    pub ratio: Spread,
    /// Reference ÷ the median of the reference: how far the machine alone moves a figure.
    pub noise: Spread,
}

/// Several values of one quantity; all zero when there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one, or the mean of the two middle ones.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

/// Plays `scenario` `rounds` times to the server and to the reference, in turns.
pub fn compare(
    server: &Subject,
    scenario: &Scenario,
    rounds: usize,
    manner: Manner,
) -> io::Result<Comparison> {
    let (mut of_server, mut of_reference) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        of_server.push(run(server, scenario, manner)?);
        of_reference.push(run(&Subject::Reference, scenario, manner)?);
    }
    let summary = Summary::new(&of_server, &of_reference);
    Ok(Comparison { scenario: scenario.clone(), summary, server: of_server, reference: of_reference })
}

impl Summary {
    fn new(server: &[RunReport], reference: &[RunReport]) -> Summary {
        let pair = |value: fn(&RunReport) -> f64| {
            let of = |runs: &[RunReport]| runs.iter().map(value).collect::<Vec<_>>();
            Pair::new(&of(server), &of(reference))
        };
        let losses = |runs: &[RunReport]| runs.iter().map(RunReport::losses).sum();
        Summary {
            cpu: pair(|run| run.server.cpu_s_per_gb.unwrap_or(run.server.cores)),
            delay_p50_ms: pair(|run| run.audience.delay.p50_ms),
            delay_p99_ms: pair(|run| run.audience.delay.p99_ms),
            first_byte_p99_ms: pair(|run| run.audience.first_byte.p99_ms),
            memory_per_viewer: pair(|run| run.server.rss_anon_per_viewer_bytes.unwrap_or(0.0)),
            socket_memory_per_viewer: pair(|run| {
                let sockets = run.server.sockets.unwrap_or_default();
                sockets.bytes() as f64 / sockets.sockets.max(1) as f64
            }),
            switches_per_s: pair(|run| {
                let usage = run.server.usage;
                (usage.switches_voluntary + usage.switches_involuntary) as f64 / run.server.window_s
            }),
            server_losses: losses(server),
            reference_losses: losses(reference),
        }
    }
}

impl Pair {
    fn new(server: &[f64], reference: &[f64]) -> Pair {
        let ratio: Vec<f64> = server
            .iter()
            .zip(reference)
            .filter(|&(_, &reference)| reference > 0.0)
            .map(|(server, reference)| server / reference)
            .collect();
        let middle = Spread::of(reference).median;
        let noise: Vec<f64> =
            if middle > 0.0 { reference.iter().map(|value| value / middle).collect() } else { Vec::new() };
        Pair {
            server: Spread::of(server),
            reference: Spread::of(reference),
            ratio: Spread::of(&ratio),
            noise: Spread::of(&noise),
        }
    }
}

impl Spread {
    /// Median, minimum and maximum of `values`.
    pub fn of(values: &[f64]) -> Spread {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else { return Spread::default() };
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Spread { median: f64::midpoint(low, high), min, max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_knows_its_middle_and_its_ends() {
        assert_eq!(Spread::of(&[]), Spread::default());
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of(&[4.0, 1.0, 2.0, 3.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
    }

    #[test]
    fn ratios_are_taken_round_by_round() {
        // The machine was twice as slow in the second round, for both.
        let pair = Pair::new(&[1.1, 2.2, 1.1], &[1.0, 2.0, 1.0]);
        assert!((pair.ratio.min - 1.1).abs() < 1e-9 && (pair.ratio.max - 1.1).abs() < 1e-9);
        assert_eq!(pair.noise, Spread { median: 1.0, min: 1.0, max: 2.0 });
    }

    #[test]
    fn a_reference_of_zero_gives_no_ratio() {
        let pair = Pair::new(&[5.0], &[0.0]);
        assert_eq!((pair.ratio, pair.noise), (Spread::default(), Spread::default()));
    }
}
