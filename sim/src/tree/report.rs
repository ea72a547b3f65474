//! The load of each tier as text and as a page.

use super::{Load, Question, Report, Second, Story};
use crate::page::{Page, Table};
use crate::plot::{LineChart, Series, figure};

/// A line of a chart: its name, and its figure in a second.
type Line = (&'static str, fn(&Second) -> f64);

/// A tier: its name, and its load in a second.
type Tier = (&'static str, fn(&Second) -> &Load);

impl Story {
    /// All of them.
    pub const ALL: [Story; 3] = [Story::Steady, Story::Crash, Story::Kickoff];

    /// What happens, in a few words.
    pub fn describe(self) -> &'static str {
        match self {
            Story::Steady => "everybody comes within twenty seconds and zaps every three minutes",
            Story::Crash => "a tenth of the edges crash at once and are back after fifteen seconds",
            Story::Kickoff => "nine of ten people come within ten seconds",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Story::Steady => "steady",
            Story::Crash => "crash",
            Story::Kickoff => "kick-off",
        }
    }
}

impl Report {
    /// What each tier had to do, and what people saw.
    pub fn to_text(&self) -> String {
        format!("{}\n{}{}\n", self.introduction(), self.tiers().to_text(), self.sight())
    }

    /// A page about several stories.
    pub fn to_html(reports: &[Report]) -> String {
        let mut page = Page::new("An origin, edges and viewers");
        for report in reports {
            page.heading(report.question.story.name());
            page.paragraph(&report.introduction());
            page.table(&report.tiers());
            page.paragraph(&report.sight());
            let charts: [(&str, &str, &[Line]); 6] = [
                ("All edges send", "Gbit/s", &[("all edges", |it| gigabits(it.edges.bytes))]),
                (
                    "An edge and the origin send",
                    "Gbit/s",
                    &[
                        ("busiest edge", |it| gigabits(it.busiest_edge.bytes)),
                        ("edges on average", |it| gigabits(it.edges.bytes) / it.edges_on_air.max(1) as f64),
                        ("origin", |it| gigabits(it.origin.bytes)),
                    ],
                ),
                (
                    "Requests to all edges",
                    "per second",
                    &[
                        ("all edges", |it| it.edges.requests as f64),
                        ("of those refused", |it| it.edges.refused as f64),
                    ],
                ),
                (
                    "Requests to an edge and to the origin",
                    "per second",
                    &[
                        ("busiest edge", |it| it.busiest_edge.requests as f64),
                        ("origin", |it| it.origin.requests as f64),
                    ],
                ),
                (
                    "Viewers of an edge",
                    "at the end of each second",
                    &[
                        ("busiest edge", |it| it.busiest_edge.connections as f64),
                        ("edges on average", |it| {
                            it.edges.connections as f64 / it.edges_on_air.max(1) as f64
                        }),
                    ],
                ),
                (
                    "The slowest reader is behind the newest segment",
                    "ms",
                    &[
                        ("on an edge", |it| it.edges.lag_ms_max as f64),
                        ("at the origin", |it| it.origin.lag_ms_max as f64),
                        ("an edge is behind the source", |it| it.edge_delay_ms_max as f64),
                    ],
                ),
            ];
            for (title, unit, lines) in charts {
                page.figure(&report.chart(title, unit, lines));
            }
        }
        page.to_html()
    }

    fn chart(&self, title: &str, unit: &str, lines: &[Line]) -> String {
        let line = |&(name, of): &Line| {
            Series::line(name, self.seconds.iter().zip(1..).map(|(second, at)| (f64::from(at), of(second))))
        };
        let chart = LineChart {
            title: title.into(),
            x_label: "seconds".into(),
            y_label: unit.into(),
            series: lines.iter().map(line).collect(),
        };
        chart.to_svg()
    }

    fn introduction(&self) -> String {
        let Question { story, seed, edges, viewers, kbps, gop_frames, .. } = &self.question;
        format!(
            "{}: {}. {} viewers on {edges} edges, {kbps} kbit/s, GOP {} s, seed {seed}.",
            story.name(),
            story.describe(),
            figure(f64::from(*viewers)),
            figure(f64::from(*gop_frames) / 25.0)
        )
    }

    fn tiers(&self) -> Table {
        let mut table = Table::new(&[
            "tier",
            "connections",
            "requests/s, most",
            "refused",
            "Gbit/s at the end",
            "Gbit/s, most",
            "behind, most",
        ]);
        let tiers: [Tier; 3] = [
            ("origin", |it| &it.origin),
            ("all edges", |it| &it.edges),
            ("busiest edge", |it| &it.busiest_edge),
        ];
        for (name, of) in tiers {
            let most = |of_load: fn(&Load) -> u64| {
                self.seconds.iter().map(|second| of_load(of(second))).max().unwrap_or(0)
            };
            let last = self.seconds.last().map_or(0, |second| of(second).bytes);
            let refused: u64 = self.seconds.iter().map(|second| of(second).refused).sum();
            table.rows.push(vec![
                name.into(),
                most(|load| load.connections).to_string(),
                most(|load| load.requests).to_string(),
                refused.to_string(),
                format!("{:.3}", gigabits(last)),
                format!("{:.3}", gigabits(most(|load| load.bytes))),
                format!("{} ms", most(|load| load.lag_ms_max)),
            ]);
        }
        table
    }

    fn sight(&self) -> String {
        let people = &self.people;
        format!(
            "People: {} visits, {} with a picture, the first one after {:.2} s on average and after {:.2} s for the \
             slowest hundredth; {:.3} % of the time without a moving picture, {} broken pictures, {} skips.",
            people.visits,
            people.with_picture,
            people.first_picture_s,
            people.first_picture_s_p99,
            100.0 * people.stalled_s / people.watched_s.max(f64::MIN_POSITIVE),
            people.broken_pictures,
            people.skips
        )
    }
}

fn gigabits(bytes: u64) -> f64 {
    bytes as f64 * 8.0 / 1e9
}
