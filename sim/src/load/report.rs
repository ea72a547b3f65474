//! What came out, as text and as a page.

use super::LoadReport;
use crate::page::{Page, Table};
use crate::plot::{LineChart, Series, figure};
use crate::report::Sample;

const MIB: f64 = 1_048_576.0;

impl LoadReport {
    /// Totals, limits, memory, and what each group saw.
    pub fn to_text(&self) -> String {
        format!("{}\n\n{}", self.totals().to_text(), self.groups_table().to_text())
    }

    /// The same with charts over time.
    pub fn to_html(&self) -> String {
        let mut page = Page::new("Load");
        page.paragraph(&format!("Streams: {}.", self.streams.join(", ")));
        page.table(&self.totals());
        page.heading("Over time");
        let second = |it: &Sample| it.at_ns as f64 / 1e9;
        let line = |name: &str, of: &dyn Fn(&Sample) -> f64| {
            Series::line(name, self.samples.iter().map(|sample| (second(sample), of(sample))))
        };
        let rate = |name: &str, of: &dyn Fn(&Sample) -> u64| {
            let pairs = self.samples.windows(2);
            Series::line(name, pairs.map(|it| (second(&it[1]), of(&it[1]).saturating_sub(of(&it[0])) as f64)))
        };
        let mut viewers = vec![
            line("there", &|it| it.viewers as f64),
            line("picture moves", &|it| it.playing as f64),
            line("socket full", &|it| it.blocked as f64),
        ];
        let limits = [("maxconnections", self.limit_hard), ("fullconnections", self.limit_soft)];
        for (name, limit) in limits.into_iter().filter(|&(_, limit)| limit > 0) {
            viewers.push(line(name, &|_| f64::from(limit)));
        }
        let mut memory = vec![line("held", &|it| it.held_bytes as f64 / MIB)];
        memory.push(line("worst case", &|_| self.memory.rings as f64 / MIB));
        let charts: [(&str, &str, Vec<Series>); 6] = [
            ("Viewers", "at the end of each second", viewers),
            (
                "Coming and going",
                "per second",
                vec![
                    rate("let in", &|it| it.joins),
                    rate("refused: limit", &|it| it.refused_by_limit),
                    rate("refused: nothing to see", &|it| it.refused_by_stream),
                ],
            ),
            (
                "Lag in the ring",
                "seconds",
                vec![
                    line("slowest viewer", &|it| it.lag_ns_max as f64 / 1e9),
                    line("mean", &|it| it.lag_ns_sum as f64 / 1e9 / it.viewers.max(1) as f64),
                ],
            ),
            ("Skips of the drop policy", "per second", vec![rate("skips", &|it| it.skips)]),
            ("Memory of all rings", "MiB", memory),
            (
                "Memory of all viewers, worst case",
                "MiB",
                vec![line("for those who are there", &|it| {
                    it.viewers as f64 * self.memory.viewer as f64 / MIB
                })],
            ),
        ];
        for (title, unit, series) in charts {
            let chart =
                LineChart { title: title.into(), x_label: "seconds".into(), y_label: unit.into(), series };
            page.figure(&chart.to_svg());
        }
        page.heading("What each group saw");
        page.paragraph("\"Per hour\" is an hour of one viewer's time.");
        page.table(&self.groups_table());
        page.to_html()
    }

    fn totals(&self) -> Table {
        let mut table = Table::new(&["what", "figure", "limit or formula"]);
        let mut row =
            |name: &str, value: String, limit: String| table.rows.push(vec![name.into(), value, limit]);
        let limit = |limit: u32| if limit == 0 { "no limit".to_owned() } else { limit.to_string() };
        let last = self.samples.last().copied().unwrap_or_default();
        row("viewers, most", self.viewers_max.to_string(), limit(self.limit_hard));
        row("called itself full", self.full_since(), limit(self.limit_soft));
        row("let in", last.joins.to_string(), String::new());
        row("refused because of maxconnections", last.refused_by_limit.to_string(), String::new());
        row("refused because there was nothing to see", last.refused_by_stream.to_string(), String::new());
        row("skips of the drop policy", last.skips.to_string(), String::new());
        row("bytes sent", format!("{}B", figure(last.bytes_sent as f64)), String::new());
        let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / MIB);
        row("memory of all rings, most", mib(self.held_bytes_max), mib(self.memory.rings));
        let viewers = self.viewers_max * self.memory.viewer;
        let viewers_limit = self.memory.total.map(|total| total - self.memory.rings);
        row("memory of all viewers, at worst", mib(viewers), viewers_limit.map_or("no limit".into(), mib));
        let promises = self.violation.as_ref().map_or("kept".into(), ToString::to_string);
        row("promises", promises, String::new());
        table
    }

    /// When the number of viewers first reached the soft limit.
    fn full_since(&self) -> String {
        let is_full = |it: &&Sample| self.limit_soft > 0 && it.viewers >= u64::from(self.limit_soft);
        let full = self.samples.iter().filter(is_full);
        match (full.clone().next(), full.count()) {
            (Some(first), seconds) => format!("for {seconds} s, first at {} s", first.at_ns / 1_000_000_000),
            (None, _) => "never".into(),
        }
    }

    fn groups_table(&self) -> Table {
        let mut table = Table::new(&[
            "group",
            "people",
            "visits",
            "refused",
            "thrown out",
            "no picture",
            "first picture s",
            "95 %",
            "still s/h",
            "broken/h",
            "skips/h",
        ]);
        for group in &self.groups {
            table.rows.push(vec![
                group.name.clone(),
                group.people.to_string(),
                group.visits.to_string(),
                group.refused.to_string(),
                group.disconnects.to_string(),
                group.without_picture.to_string(),
                format!("{:.2}", group.first_picture_s),
                format!("{:.2}", group.first_picture_s_p95),
                format!("{:.1}", group.stalled_s),
                format!("{:.0}", group.broken_pictures),
                format!("{:.1}", group.skips),
            ]);
        }
        table
    }
}
