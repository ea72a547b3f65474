//! The comparison as text and as a page.

use super::{Cell, Comparison, DEFAULT_RULE, Figures, RANDOM_DROP};
use crate::page::{Page, Table};
use crate::plot::{BarChart, Series, figure};

/// A figure of a cell: its name, its unit, and where it is.
type Metric = (&'static str, &'static str, fn(&Figures) -> f64);

const METRICS: [Metric; 6] = [
    ("Broken pictures", "per hour", |it| it.broken_pictures),
    ("Standing still", "seconds per hour", |it| it.stalled_s),
    ("Left out", "seconds of the programme per hour", |it| it.left_out_s),
    ("Delay behind live", "seconds, mean", |it| it.behind_s),
    ("Thrown out", "responses ended per hour", |it| it.disconnects),
    ("First picture", "seconds, mean", |it| it.first_picture_s),
];
/// The rules of the charts about slow viewers; all of them are in the table.
const SLOW_RULES: [&str; 6] =
    [RANDOM_DROP, DEFAULT_RULE, "slow=keyframe, maxlag 3 s", "slow=oldest", "slow=live", "slow=disconnect"];
/// And about joins.
const JOIN_RULES: [&str; 4] = [RANDOM_DROP, DEFAULT_RULE, "join=live", "join=3 s behind"];

impl Comparison {
    /// The figures of one rule on one network with one GOP.
    pub fn cell(&self, rule: &str, network: &str, gop_frames: u32) -> Option<&Figures> {
        let is_it =
            |cell: &&Cell| cell.rule == rule && cell.network == network && cell.gop_frames == gop_frames;
        self.cells.iter().find(is_it).map(|cell| &cell.figures)
    }

    /// A table for each GOP and network.
    pub fn to_text(&self) -> String {
        let mut text = self.introduction();
        text.push('\n');
        for &gop in &self.question.gops {
            for network in &self.question.networks {
                text.push_str(&format!("\nGOP {} s, {}\n", gop_s(gop), network.name));
                text.push_str(&self.table(gop, &network.name).to_text());
            }
        }
        text
    }

    /// Charts and tables.
    pub fn to_html(&self) -> String {
        let mut page = Page::new("What drop and join policies do to viewers");
        page.paragraph(&self.introduction());
        let gop = self.middle_gop();
        page.heading(&format!("Slow viewers, GOP {} s", gop_s(gop)));
        page.paragraph(
            "Everybody is on the same links with the same bad spells under every rule. \"Per hour\" is an hour of one \
             person's time. A rule that leaves nothing out is not better for it: what is behind for ever is not live.",
        );
        METRICS[..5].iter().for_each(|metric| page.figure(&self.by_network(metric, gop, &SLOW_RULES)));
        page.heading("The length of the GOP");
        page.paragraph(
            "After a gap a decoder shows broken pictures until the next key frame, and somebody who joins in the \
             middle waits for it: with long GOPs it matters most where a viewer goes on.",
        );
        for network in self.question.networks.iter().skip(2) {
            METRICS[..2]
                .iter()
                .for_each(|metric| page.figure(&self.by_gop(metric, &network.name, &SLOW_RULES)));
        }
        page.heading("Joining");
        if let Some(network) = self.question.networks.first() {
            for metric in [&METRICS[5], &METRICS[3]] {
                page.figure(&self.by_gop(metric, &network.name, &JOIN_RULES));
            }
        }
        page.figure(&self.by_network(&METRICS[1], gop, &JOIN_RULES));
        page.heading("All figures");
        for &gop in &self.question.gops {
            for network in &self.question.networks {
                page.paragraph(&format!("GOP {} s, {}", gop_s(gop), network.name));
                page.table(&self.table(gop, &network.name));
            }
        }
        page.heading("The networks");
        page.table(&self.networks());
        page.to_html()
    }

    fn introduction(&self) -> String {
        let question = &self.question;
        format!(
            "{} people on each network watch {} kbit/s for {} minutes; seed {}. A player starts with 0.3 s in its \
             buffer and comes back 2 s after it was thrown out.",
            question.viewers,
            question.kbps,
            figure(question.watch_ms as f64 / 60_000.0),
            question.seed
        )
    }

    fn middle_gop(&self) -> u32 {
        let gops = &self.question.gops;
        gops.get(gops.len() / 2).copied().unwrap_or(0)
    }

    fn by_network(&self, (name, unit, of): &Metric, gop: u32, rules: &[&str]) -> String {
        let networks = &self.question.networks;
        let bars = |rule: &&str| {
            Series::bars(*rule, networks.iter().map(|network| self.cell(rule, &network.name, gop).map(of)))
        };
        let chart = BarChart {
            title: (*name).into(),
            y_label: format!("{unit}; GOP {} s", gop_s(gop)),
            groups: networks.iter().map(|network| network.name.clone()).collect(),
            series: rules.iter().map(bars).collect(),
        };
        chart.to_svg()
    }

    fn by_gop(&self, (name, unit, of): &Metric, network: &str, rules: &[&str]) -> String {
        let gops = &self.question.gops;
        let bars =
            |rule: &&str| Series::bars(*rule, gops.iter().map(|&gop| self.cell(rule, network, gop).map(of)));
        let chart = BarChart {
            title: (*name).into(),
            y_label: format!("{unit}; {network}"),
            groups: gops.iter().map(|&gop| format!("GOP {} s", gop_s(gop))).collect(),
            series: rules.iter().map(bars).collect(),
        };
        chart.to_svg()
    }

    fn table(&self, gop: u32, network: &str) -> Table {
        let mut table = Table::new(&[
            "rule",
            "first picture s",
            "95 %",
            "broken/h",
            "still s/h",
            "stops/h",
            "left out s/h",
            "behind s",
            "95 %",
            "thrown out/h",
        ]);
        for rule in &self.question.rules {
            let Some(it) = self.cell(&rule.name, network, gop) else { continue };
            let mut row = vec![rule.name.clone()];
            row.push(format!("{:.2}", it.first_picture_s));
            row.push(format!("{:.2}", it.first_picture_s_p95));
            row.push(format!("{:.0}", it.broken_pictures));
            row.push(format!("{:.1}", it.stalled_s));
            row.push(format!("{:.1}", it.stalls));
            row.push(format!("{:.1}", it.left_out_s));
            row.push(format!("{:.2}", it.behind_s));
            row.push(format!("{:.2}", it.behind_s_p95));
            row.push(format!("{:.1}", it.disconnects));
            table.rows.push(row);
        }
        table
    }

    fn networks(&self) -> Table {
        let mut table = Table::new(&["network", "kbit/s", "delay ms", "jitter ms", "loss ppm", "bad spells"]);
        for network in &self.question.networks {
            let link = &network.link;
            let spells = network.spells.iter().map(|spell| {
                let ((short, long), (low, high)) = (spell.for_ms, spell.percent);
                let [short, long, every] =
                    [short, long, spell.every_ms].map(|ms| figure(ms as f64 / 1_000.0));
                format!("{short}–{long} s at {low}–{high} % every {every} s")
            });
            table.rows.push(vec![
                network.name.clone(),
                link.kbps.to_string(),
                link.delay_ms.to_string(),
                link.jitter_ms.to_string(),
                link.loss_ppm.to_string(),
                spells.collect::<Vec<_>>().join("; "),
            ]);
        }
        table
    }
}

/// At 25 frames per second.
fn gop_s(frames: u32) -> String {
    figure(f64::from(frames) / 25.0)
}
