//! The cost of viewers over a grid of loads, and their memory: the tables that an operator sizes a machine with.

use std::io;

use serde::Serialize;

use crate::compare::Spread;
use crate::progress::Progress;
use crate::report::Table;
use crate::run::{Manner, RunReport, run};
use crate::scenario::Scenario;
use crate::subject::Subject;

const KIB: f64 = 1024.0;

/// Everything that a `table` command measured.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tables {
    /// Bit rates, viewers and flush intervals.
    pub grid: Vec<Cell>,
    /// Viewers who read, who read slowly and who read nothing, with several send buffers.
    pub memory: Vec<Cell>,
}

/// One load, measured several times.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The load.
    pub scenario: Scenario,
    /// The rounds, in order.
    pub runs: Vec<RunReport>,
}

impl Tables {
    /// Measures every load in turn, `rounds` times over, so that a bad minute of the machine meets all of them.
    ///
    /// `done` sees what there is after each run: a long table that is interrupted has not been for nothing.
    pub fn measure(
        server: &Subject,
        grid: Vec<Scenario>,
        memory: Vec<Scenario>,
        rounds: usize,
        manner: Manner,
        mut done: impl FnMut(&Tables) -> io::Result<()>,
    ) -> io::Result<Tables> {
        let cells = |scenarios: Vec<Scenario>| {
            scenarios.into_iter().map(|scenario| Cell { scenario, runs: Vec::new() }).collect()
        };
        let mut tables = Tables { grid: cells(grid), memory: cells(memory) };
        let progress = Progress::new(manner.progress);
        let runs = rounds * (tables.grid.len() + tables.memory.len());
        let mut number = 0;
        for _ in 0..rounds {
            for index in 0..tables.grid.len() + tables.memory.len() {
                number += 1;
                let cell = tables.cell(index);
                progress.say(&format!("run {number} of {runs}"));
                let report = run(server, &cell.scenario, manner)?;
                cell.runs.push(report);
                done(&tables)?;
            }
        }
        Ok(tables)
    }

    /// Both tables in Markdown.
    pub fn render(&self) -> String {
        [self.render_grid(), self.render_memory()]
            .into_iter()
            .filter(|text| !text.is_empty())
            .collect::<Vec<_>>()
            .join("\n")
    }

    fn cell(&mut self, index: usize) -> &mut Cell {
        let grid = self.grid.len();
        if index < grid { &mut self.grid[index] } else { &mut self.memory[index - grid] }
    }

    /// A line per bit rate and number of viewers, a column per flush interval.
    fn render_grid(&self) -> String {
        let mut flushes: Vec<u64> = self.grid.iter().map(|cell| cell.scenario.flush_ms).collect();
        flushes.sort_unstable();
        flushes.dedup();
        let mut loads: Vec<(u64, usize)> =
            self.grid.iter().map(|cell| (cell.scenario.bitrate, cell.scenario.viewers)).collect();
        loads.dedup();
        if loads.is_empty() {
            return String::new();
        }
        let heads: Vec<String> = flushes.iter().map(|flush| format!("flush {flush} ms")).collect();
        let mut columns = vec!["Mbit/s", "viewers"];
        columns.extend(heads.iter().map(String::as_str));
        let mut table = Table::new(&columns);
        for (bitrate, viewers) in loads {
            let mut row = vec![format!("{}", bitrate as f64 / 1e6), viewers.to_string()];
            row.extend(flushes.iter().map(|&flush| {
                let is_it = |cell: &&Cell| {
                    let Scenario { bitrate: rate, viewers: count, flush_ms, .. } = cell.scenario;
                    (rate, count, flush_ms) == (bitrate, viewers, flush)
                };
                self.grid.iter().find(is_it).map_or_else(|| "–".to_owned(), Cell::cost)
            }));
            table.row(row);
        }
        format!("Viewers per core · delay p50 / p99 in ms; medians\n\n{}", table.render())
    }

    fn render_memory(&self) -> String {
        if self.memory.is_empty() {
            return String::new();
        }
        let mut table = Table::new(&[
            "viewers",
            "`sendbuffer`",
            "user KiB each",
            "kernel KiB each",
            "seconds of the link in the kernel",
        ]);
        for cell in &self.memory {
            let scenario = &cell.scenario;
            let (who, rate) = match (scenario.slow_percent, scenario.stuck_percent) {
                (_, 100) => ("read nothing".to_owned(), None),
                (100, _) => (
                    format!("read {} Mbit/s", scenario.slow_bitrate as f64 / 1e6),
                    Some(scenario.slow_bitrate),
                ),
                _ => ("read all".to_owned(), Some(scenario.bitrate)),
            };
            let kernel = cell.median(kernel_bytes);
            table.row(vec![
                format!("{} × {} Mbit/s, {who}", scenario.viewers, scenario.bitrate as f64 / 1e6),
                match scenario.send_buffer {
                    None => "default".to_owned(),
                    Some(0) => "automatic".to_owned(),
                    Some(bytes) => format!("{} KiB", bytes as f64 / KIB),
                },
                format!(
                    "{:.2}",
                    cell.median(|run| run.server.rss_anon_per_viewer_bytes.unwrap_or(0.0)) / KIB
                ),
                format!("{:.0}", kernel / KIB),
                rate.map_or_else(|| "–".to_owned(), |rate| format!("{:.2}", kernel * 8.0 / rate as f64)),
            ]);
        }
        table.render()
    }
}

impl Cell {
    fn cost(&self) -> String {
        let viewers = self.median(|run| run.server.viewers_per_core.unwrap_or(0.0));
        let p50 = self.median(|run| run.audience.delay.p50_ms);
        let p99 = self.median(|run| run.audience.delay.p99_ms);
        let losses: u64 = self.runs.iter().map(RunReport::losses).sum();
        let lost = if losses > 0 { format!(", {losses} losses") } else { String::new() };
        format!("{viewers:.0} · {p50:.0} / {p99:.0}{lost}")
    }

    fn median(&self, value: impl Fn(&RunReport) -> f64) -> f64 {
        Spread::of(&self.runs.iter().map(value).collect::<Vec<_>>()).median
    }
}

/// Kernel memory of one viewer's socket at the server's end.
fn kernel_bytes(run: &RunReport) -> f64 {
    let sockets = run.server.sockets.unwrap_or_default();
    sockets.bytes() as f64 / sockets.sockets.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::tests::scenario;

    fn cell(scenario: Scenario) -> Cell {
        Cell { scenario, runs: Vec::new() }
    }

    #[test]
    fn a_grid_has_a_line_per_load_and_a_column_per_interval() {
        let grid = [(10, 20), (10, 5), (300, 20)];
        let grid = grid.map(|(viewers, flush_ms)| cell(Scenario { viewers, flush_ms, ..scenario() })).into();
        let text = Tables { grid, memory: Vec::new() }.render();
        let lines: Vec<&str> = text.lines().skip(2).collect();
        assert_eq!(lines[0], "| Mbit/s | viewers | flush 5 ms | flush 20 ms |");
        assert_eq!(lines[2], "| 8      | 10      | 0 · 0 / 0  | 0 · 0 / 0   |");
        assert_eq!(lines[3], "| 8      | 300     | –          | 0 · 0 / 0   |");
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn memory_has_a_line_per_kind_of_viewer_and_buffer() {
        let stuck = Scenario { stuck_percent: 100, send_buffer: Some(64 << 10), ..scenario() };
        let slow = Scenario { slow_percent: 100, send_buffer: Some(0), ..scenario() };
        let text =
            Tables { grid: Vec::new(), memory: vec![cell(scenario()), cell(stuck), cell(slow)] }.render();
        for part in ["read all | default", "read nothing | 64 KiB", "read 2 Mbit/s | automatic"] {
            let text: String = text.split_ascii_whitespace().collect();
            assert!(text.contains(&part.split_ascii_whitespace().collect::<String>()), "{part} in {text}");
        }
    }
}
