//! Runs and comparisons as text: Markdown tables, which read well in a terminal too.

use std::fmt::Write;

use crate::audience::AudienceReport;
use crate::compare::{Comparison, Pair, Spread};
use crate::histogram::Percentiles;
use crate::run::{RunReport, ServerReport};
use crate::subject::Subject;

const KIB: f64 = 1024.0;

/// A table with a head; cells are padded to the widest one of their column.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new(columns: &[&str]) -> Table {
        Table { rows: vec![columns.iter().map(|&column| column.to_owned()).collect()] }
    }

    /// Adds a row; cells that are missing stay empty.
    pub fn row(&mut self, mut cells: Vec<String>) {
        cells.resize(self.rows[0].len(), String::new());
        self.rows.push(cells);
    }

    /// The table in Markdown.
    pub fn render(&self) -> String {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            for (cell, &width) in row.iter().zip(&widths) {
                // Writing to a string does not fail.
                let _ = write!(text, "| {cell:width$} ");
            }
            text.push_str("|\n");
            if number == 0 {
                for &width in &widths {
                    let _ = write!(text, "| {:-<width$} ", "", width = width.max(3));
                }
                text.push_str("|\n");
            }
        }
        text
    }
}

impl RunReport {
    /// Everything that should not have happened to viewers who read: packets lost, repeated or out of place, and
    /// viewers who were ended or starved.
    pub fn losses(&self) -> u64 {
        self.audience.losses()
    }

    /// A table of one run.
    pub fn render(&self) -> String {
        let who = match &self.subject {
            Subject::Server { .. } => "server",
            Subject::Reference => "reference",
        };
        let mut table = Table::new(&[&format!("{who}, {}", self.scenario.name()), ""]);
        self.server.rows(&mut table);
        self.audience.rows(&mut table);
        let rate = self.source_bytes as f64 / 1e6 / self.server.window_s;
        line(&mut table, "taken in", format!("{:.3} GB, {rate:.1} MB/s", self.source_bytes as f64 / 1e9));
        line(&mut table, "other programs", format!("{:.2} cores", self.others_cores));
        line(&mut table, "source late, at worst", format!("{:.1} ms", self.source_late_max_ms));
        table.render()
    }
}

impl ServerReport {
    fn rows(&self, table: &mut Table) {
        let (usage, per_second) = (self.usage, |count: u64| count as f64 / self.window_s);
        line(
            table,
            "CPU",
            format!("{:.2} s in {:.1} s = {:.3} cores", usage.cpu_s, self.window_s, self.cores),
        );
        line(table, "of it in the kernel", format!("{:.2} s", usage.system_s));
        if let Some(cost) = self.cpu_s_per_gb {
            line(table, "CPU per GB delivered", format!("{cost:.3} s"));
        }
        if let Some(viewers) = self.viewers_per_core {
            line(table, "viewers per core", format!("{viewers:.0}"));
        }
        let (voluntary, involuntary) = (usage.switches_voluntary, usage.switches_involuntary);
        let switches = format!("{:.0} + {:.0} per s", per_second(voluntary), per_second(involuntary));
        line(table, "context switches, voluntary + not", switches);
        if let Some(calls) = self.system_calls {
            line(table, "system calls", format!("{:.0} per s", per_second(calls)));
        }
        let memory =
            format!("{:.0} KiB ({:.0} KiB)", self.rss_bytes as f64 / KIB, self.rss_anon_bytes as f64 / KIB);
        line(table, "RSS (anonymous)", memory);
        if let Some(bytes) = self.rss_anon_per_viewer_bytes {
            line(table, "anonymous memory per viewer", format!("{:.2} KiB", bytes / KIB));
        }
        if let Some(sockets) = self.sockets
            && sockets.sockets > 0
        {
            let each = sockets.bytes() as f64 / sockets.sockets as f64 / KIB;
            line(table, "kernel memory per viewer", format!("{each:.1} KiB of {} sockets", sockets.sockets));
        }
    }
}

impl AudienceReport {
    fn losses(&self) -> u64 {
        let checked = self.checked;
        let packets = checked.lost + checked.repeated + checked.stray_bytes + checked.discontinuities;
        let ended = self.ended.values().chain(self.guests_ended.values());
        packets + self.starved + ended.sum::<u64>()
    }

    /// A table of what the viewers saw, for a run without a program of its own.
    pub fn render(&self) -> String {
        let mut table = Table::new(&["viewers", ""]);
        self.rows(&mut table);
        table.render()
    }

    fn rows(&self, table: &mut Table) {
        line(table, "viewers at the end", format!("{} of {}", self.streaming, self.viewers));
        if self.waiting > 0 {
            line(table, "still waiting for the first byte", self.waiting.to_string());
        }
        for (reason, count) in &self.ended {
            line(table, &format!("ended: {reason}"), count.to_string());
        }
        for (reason, count) in &self.guests_ended {
            line(table, &format!("guests ended: {reason}"), count.to_string());
        }
        let seconds = self.window_s.max(f64::MIN_POSITIVE);
        let mbit = |bytes: u64| bytes as f64 * 8.0 / 1e6 / seconds;
        line(
            table,
            "delivered",
            format!("{:.3} GB, {:.1} Mbit/s", self.bytes as f64 / 1e9, mbit(self.bytes)),
        );
        let (least, median) = (mbit(self.fast_bytes_min), mbit(self.fast_bytes_median));
        let rates = format!("{least:.2} of {median:.2} Mbit/s; {} starved", self.starved);
        line(table, "least and median of a fast viewer", rates);
        let found = self.checked;
        let wrong = format!(
            "{} lost at {} gaps, {} repeated, {} stray bytes, {} counters",
            found.lost, found.gaps, found.repeated, found.stray_bytes, found.discontinuities
        );
        line(table, &format!("{} packets checked, wrong", found.packets), wrong);
        line(table, "starts without PAT, PMT, access point", found.unclean_starts.to_string());
        line(table, "delay", self.delay.text());
        line(table, "first byte, who stays", self.join_first_byte.text());
        line(table, "first byte, guests", self.first_byte.text());
        line(table, "first access point, guests", self.first_access.text());
        let own = format!("{:.2} s of CPU, sweeps late by {:.1} ms", self.own_cpu_s, self.sweep_late_max_ms);
        line(table, "load generator itself, at worst", own);
    }
}

impl Percentiles {
    fn text(&self) -> String {
        if self.count == 0 {
            return "–".to_owned();
        }
        let Percentiles { count, p50_ms, p90_ms, p99_ms, max_ms } = self;
        format!("p50 {p50_ms:.1} · p90 {p90_ms:.1} · p99 {p99_ms:.1} · max {max_ms:.1} ms ({count})")
    }
}

/// A table with a line per load.
pub fn comparisons(all: &[Comparison]) -> String {
    let mut table = Table::new(&[
        "load",
        "CPU s/GB (idle: cores)",
        "reference",
        "ratio (min–max)",
        "reference with itself",
        "viewers per core",
        "delay p50 / p99 ms",
        "of the reference",
        "first byte p99 ms",
        "KiB per viewer, user + kernel",
        "losses",
    ]);
    for comparison in all {
        let summary = &comparison.summary;
        let runs = comparison.server.iter();
        let viewers: Vec<f64> = runs.filter_map(|run| run.server.viewers_per_core).collect();
        let delays = |of: fn(&Pair) -> Spread| {
            format!("{:.1} / {:.1}", of(&summary.delay_p50_ms).median, of(&summary.delay_p99_ms).median)
        };
        let user = summary.memory_per_viewer.server.median / KIB;
        let kernel = summary.socket_memory_per_viewer.server.median / KIB;
        table.row(vec![
            comparison.scenario.name(),
            format!("{:.3}", summary.cpu.server.median),
            format!("{:.3}", summary.cpu.reference.median),
            spread(&summary.cpu.ratio),
            format!("{:.2}–{:.2}", summary.cpu.noise.min, summary.cpu.noise.max),
            format!("{:.0}", Spread::of(&viewers).median),
            delays(|pair| pair.server),
            delays(|pair| pair.reference),
            format!("{:.1}", summary.first_byte_p99_ms.server.median),
            format!("{user:.2} + {kernel:.1}"),
            format!("{} ({})", summary.server_losses, summary.reference_losses),
        ]);
    }
    table.render()
}

fn spread(spread: &Spread) -> String {
    format!("{:.2} ({:.2}–{:.2})", spread.median, spread.min, spread.max)
}

fn line(table: &mut Table, name: &str, value: String) {
    table.row(vec![name.to_owned(), value]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["a", "name"]);
        table.row(vec!["12345".to_owned(), "×".to_owned()]);
        table.row(vec!["1".to_owned()]);
        let expected = "| a     | name |\n| ----- | ---- |\n| 12345 | ×    |\n| 1     |      |\n";
        assert_eq!(table.render(), expected);
    }
}
