//! Line and bar charts as SVG, for reports that are one file and need no program to be looked at.

use std::fmt::Write;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const PLOT_HEIGHT: f64 = 240.0;
/// Below the plot: tick labels and the axis title.
const BOTTOM: f64 = 44.0;
const LEGEND_LINE: f64 = 20.0;
/// Narrower bars carry no figure.
const LABELLED_BAR_MIN: f64 = 17.0;
const TICKS: f64 = 5.0;
/// Colours that are told apart on white, by most people with a colour vision deficiency too (after Okabe and Ito).
const COLOURS: [&str; 10] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#332288", "#56b4e9", "#7f7f7f", "#999933",
    "#882255",
];

/// One line, or the bars of one colour.
#[derive(Clone, Debug)]
pub struct Series {
    /// In the legend.
    pub name: String,
    /// Lines: x and y, in order of x. Bars: y of each group; `None`: there is no such figure.
    pub points: Vec<(f64, Option<f64>)>,
}

/// Figures over time, or over another quantity.
#[derive(Clone, Debug)]
pub struct LineChart {
    /// Above the plot.
    pub title: String,
    /// Below it, with the unit.
    pub x_label: String,
    /// Beside the title, with the unit.
    pub y_label: String,
    /// The lines.
    pub series: Vec<Series>,
}

/// Groups of bars.
#[derive(Clone, Debug)]
pub struct BarChart {
    /// Above the plot.
    pub title: String,
    /// With the unit.
    pub y_label: String,
    /// What stands below each group.
    pub groups: Vec<String>,
    /// One bar in each group.
    pub series: Vec<Series>,
}

impl Series {
    /// A line through `points`.
    pub fn line(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Series { name: name.into(), points: points.into_iter().map(|(x, y)| (x, Some(y))).collect() }
    }

    /// A bar in each group.
    pub fn bars(name: impl Into<String>, heights: impl IntoIterator<Item = Option<f64>>) -> Self {
        Series { name: name.into(), points: heights.into_iter().map(|y| (0.0, y)).collect() }
    }
}

impl LineChart {
    /// The chart as an `svg` element.
    pub fn to_svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let x_max = points().map(|point| point.0).fold(0.0, f64::max);
        let (x_step, _) = ticks(x_max);
        let mut frame = Frame::new(&self.title, &self.y_label, &self.series, points().filter_map(|it| it.1));
        let scale = frame.plot_width() / if x_max > 0.0 { x_max } else { 1.0 };
        let mut tick = 0.0;
        while tick <= x_max * 1.0001 {
            frame.x_tick(LEFT + tick * scale, &figure(tick));
            tick += x_step;
        }
        frame.text(LEFT + frame.plot_width() / 2.0, frame.base() + 34.0, "middle", 12, &self.x_label);
        for (index, series) in self.series.iter().enumerate() {
            let mut path = String::new();
            let mut is_new = true;
            for &(x, y) in &series.points {
                let Some(y) = y else {
                    is_new = true;
                    continue;
                };
                let command = if std::mem::take(&mut is_new) { 'M' } else { 'L' };
                let _ = write!(path, "{command}{:.1} {:.1}", LEFT + x * scale, frame.y(y));
            }
            let colour = colour(index);
            let _ = write!(
                frame.svg,
                r#"<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.8" stroke-linejoin="round"/>"#
            );
        }
        frame.finish()
    }
}

impl BarChart {
    /// The chart as an `svg` element.
    pub fn to_svg(&self) -> String {
        let heights = self.series.iter().flat_map(|series| &series.points).filter_map(|point| point.1);
        let mut frame = Frame::new(&self.title, &self.y_label, &self.series, heights);
        let group_width = frame.plot_width() / self.groups.len().max(1) as f64;
        let bar_width = group_width * 0.86 / self.series.len().max(1) as f64;
        for (group, label) in self.groups.iter().enumerate() {
            let left = LEFT + group as f64 * group_width;
            frame.text(left + group_width / 2.0, frame.base() + 18.0, "middle", 12, label);
            for (index, series) in self.series.iter().enumerate() {
                let Some(&(_, Some(height))) = series.points.get(group) else { continue };
                let x = left + group_width * 0.07 + index as f64 * bar_width;
                let (y, colour, width) = (frame.y(height), colour(index), bar_width - 1.5);
                let _ = write!(
                    frame.svg,
                    r#"<rect x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{:.1}" fill="{colour}"/>"#,
                    frame.base() - y
                );
                if bar_width >= LABELLED_BAR_MIN {
                    frame.text(x + width / 2.0, y - 3.0, "middle", 9, &figure(height));
                }
            }
        }
        frame.finish()
    }
}

/// The SVG being written: title, legend, the y axis with its grid.
struct Frame {
    svg: String,
    y_max: f64,
    top: f64,
}

impl Frame {
    fn new(title: &str, y_label: &str, series: &[Series], ys: impl Iterator<Item = f64>) -> Self {
        let (y_step, y_max) = ticks(ys.fold(0.0, f64::max));
        let mut places = Vec::new();
        let (mut x, mut line) = (LEFT, 0.0);
        for entry in series {
            let width = 24.0 + 7.2 * entry.name.chars().count() as f64;
            if x + width > WIDTH - RIGHT && x > LEFT {
                (x, line) = (LEFT, line + 1.0);
            }
            places.push((x, line));
            x += width;
        }
        let top = TOP + LEGEND_LINE * (line + 1.0) + 12.0;
        let mut frame = Frame { svg: String::new(), y_max, top };
        let height = frame.base() + BOTTOM;
        let _ = write!(
            frame.svg,
            r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0}" width="{WIDTH}" height="{height:.0}" font-family="sans-serif" fill="#222"><rect width="100%" height="100%" fill="#fff"/>"##
        );
        let heading = format!("{title}, {y_label}");
        let _ = write!(
            frame.svg,
            r#"<text x="{LEFT}" y="18" font-size="15" font-weight="bold">{}</text>"#,
            escape(&heading)
        );
        for (index, (entry, (x, line))) in series.iter().zip(places).enumerate() {
            let y = TOP + line * LEGEND_LINE;
            let colour = colour(index);
            let _ =
                write!(frame.svg, r#"<rect x="{x:.1}" y="{y:.1}" width="12" height="12" fill="{colour}"/>"#);
            frame.text(x + 17.0, y + 10.5, "start", 12, &entry.name);
        }
        let mut tick = 0.0;
        while tick <= y_max * 1.0001 {
            let y = frame.y(tick);
            let _ = write!(
                frame.svg,
                r##"<line x1="{LEFT}" x2="{:.1}" y1="{y:.1}" y2="{y:.1}" stroke="{}"/>"##,
                WIDTH - RIGHT,
                if tick == 0.0 { "#444" } else { "#ddd" }
            );
            frame.text(LEFT - 6.0, y + 4.0, "end", 11, &figure(tick));
            tick += y_step;
        }
        frame
    }

    fn x_tick(&mut self, x: f64, label: &str) {
        let base = self.base();
        let _ = write!(
            self.svg,
            r##"<line x1="{x:.1}" x2="{x:.1}" y1="{base:.1}" y2="{:.1}" stroke="#444"/>"##,
            base + 4.0
        );
        self.text(x, base + 17.0, "middle", 11, label);
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, size: u32, text: &str) {
        let _ = write!(
            self.svg,
            r#"<text x="{x:.1}" y="{y:.1}" font-size="{size}" text-anchor="{anchor}">{}</text>"#,
            escape(text)
        );
    }

    fn plot_width(&self) -> f64 {
        WIDTH - LEFT - RIGHT
    }

    fn base(&self) -> f64 {
        self.top + PLOT_HEIGHT
    }

    fn y(&self, value: f64) -> f64 {
        self.base() - PLOT_HEIGHT * (value / self.y_max).clamp(0.0, 1.0)
    }

    fn finish(mut self) -> String {
        self.svg.push_str("</svg>");
        self.svg
    }
}

/// A figure for people: three digits that count.
pub fn figure(value: f64) -> String {
    let size = value.abs();
    let (value, unit) = match size {
        _ if size >= 999_500_000.0 => (value / 1e9, "G"),
        _ if size >= 999_500.0 => (value / 1e6, "M"),
        _ if size >= 9_999.5 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        size if size >= 0.0995 => 2,
        size if size >= 0.0005 => 3,
        _ => 0,
    };
    let text = format!("{value:.digits$}");
    let text = if digits > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

/// The same text where markup is expected.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The distance of ticks, and the end of an axis that shows `max`.
fn ticks(max: f64) -> (f64, f64) {
    if max <= 0.0 || !max.is_finite() {
        return (1.0, 1.0);
    }
    let rough = max / TICKS;
    let magnitude = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|factor| factor * magnitude >= rough * 0.999);
    let step = factor.unwrap_or(10.0) * magnitude;
    (step, step * (max / step * 0.999).ceil())
}

fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_reach_the_largest_figure() {
        for (max, step, end) in [(0.0, 1.0, 1.0), (7.0, 2.0, 8.0), (100.0, 20.0, 100.0), (0.31, 0.1, 0.4)] {
            let (got_step, got_end) = ticks(max);
            assert!(
                (got_step - step).abs() < 1e-9 && (got_end - end).abs() < 1e-9,
                "{max}: {got_step} {got_end}"
            );
        }
    }

    #[test]
    fn figures_have_three_digits_that_count() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (12.345, "12.3"),
            (1_234.0, "1234"),
            (20_000.0, "20k"),
            (3.1e6, "3.1M"),
        ] {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn names_are_escaped_and_missing_bars_left_out() {
        let chart = BarChart {
            title: "a<b".into(),
            y_label: "s".into(),
            groups: vec!["one".into(), "two".into()],
            series: vec![Series::bars("x & y", [Some(1.0), None])],
        };
        let svg = chart.to_svg();
        assert!(svg.contains("a&lt;b, s") && svg.contains("x &amp; y"));
        // Background, legend, one bar.
        assert_eq!(svg.matches("<rect").count(), 3);
    }

    #[test]
    fn a_line_is_broken_where_there_is_no_figure() {
        let mut series = Series::line("x", [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 1.0)]);
        series.points[2].1 = None;
        let chart =
            LineChart { title: "t".into(), x_label: "s".into(), y_label: "y".into(), series: vec![series] };
        let svg = chart.to_svg();
        let path = svg.split("<path d=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 1));
    }
}
