//! A hunt for machines to read: JUnit XML, which CI systems show, and JSON.

use std::fmt::Write;

use serde::Serialize;

use super::hunt::{Bag, Hunt};
use crate::check::Checker;
use crate::failure::Failure;
use crate::plot::escape;

/// A hunt and how long it took.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// What was asked for.
    pub hunt: &'a Hunt,
    /// What came of it.
    pub bag: &'a Bag,
    /// Seconds on a clock.
    pub seconds: f64,
}

#[derive(Serialize)]
struct Json<'a> {
    version: &'a str,
    first_seed: u64,
    seeds: u64,
    jobs: usize,
    seconds: f64,
    seeds_per_minute_and_job: f64,
    virtual_seconds: u64,
    viewer_seconds: u64,
    marks: Vec<JsonMark>,
    failures: Vec<JsonFailure<'a>>,
}

#[derive(Serialize)]
struct JsonMark {
    name: String,
    about: &'static str,
    seeds: u64,
}

#[derive(Serialize)]
struct JsonFailure<'a> {
    seed: u64,
    #[serde(flatten)]
    failure: &'a Failure,
}

impl Report<'_> {
    /// How fast it went.
    pub fn seeds_per_minute_and_job(&self) -> f64 {
        self.bag.seeds as f64 * 60.0 / self.seconds.max(1e-9) / self.hunt.jobs.max(1) as f64
    }

    /// All of it.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let Report { hunt, bag, seconds } = *self;
        serde_json::to_string_pretty(&Json {
            version: env!("CARGO_PKG_VERSION"),
            first_seed: hunt.seeds.start,
            seeds: bag.seeds,
            jobs: hunt.jobs,
            seconds,
            seeds_per_minute_and_job: self.seeds_per_minute_and_job(),
            virtual_seconds: bag.virtual_seconds,
            viewer_seconds: bag.viewer_seconds,
            marks: bag
                .reached
                .iter()
                .map(|(mark, seeds)| JsonMark { name: format!("{mark:?}"), about: mark.describe(), seeds })
                .collect(),
            failures: bag
                .failures
                .iter()
                .map(|(seed, failure)| JsonFailure { seed: *seed, failure })
                .collect(),
        })
    }

    /// A test case for each promise, failed when a seed broke it, and with `all_marks` one for the marks.
    pub fn to_junit(&self, all_marks: bool) -> String {
        let Report { hunt, bag, seconds } = *self;
        let mut cases: Vec<_> =
            Checker::ALL.iter().map(|&checker| (checker.name(), self.broken(checker))).collect();
        if all_marks {
            cases.push((
                "marks",
                bag.reached.missing().map(|mark| format!("never: {}", mark.describe())).collect(),
            ));
        }
        let failed = cases.iter().filter(|(_, complaints)| !complaints.is_empty()).count();
        let counts = format!("tests=\"{}\" failures=\"{failed}\" time=\"{seconds:.3}\"", cases.len());
        let name = format!("restreamer-sim swarm, {} seeds from {}", bag.seeds, hunt.seeds.start);
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        // A String takes everything.
        let _ = writeln!(xml, "<testsuites {counts}>\n<testsuite name=\"{name}\" {counts}>");
        for (name, complaints) in cases {
            let _ = write!(xml, "<testcase classname=\"swarm\" name=\"{name}\">");
            if let Some(first) = complaints.first() {
                let _ = write!(
                    xml,
                    "<failure message=\"{}\">{}</failure>",
                    escape(first),
                    escape(&complaints.join("\n"))
                );
            }
            xml.push_str("</testcase>\n");
        }
        xml.push_str("</testsuite>\n</testsuites>\n");
        // XML has no place for these, escaped or not.
        xml.retain(|char| !char.is_control() || matches!(char, '\n' | '\t'));
        xml
    }

    fn broken(&self, checker: Checker) -> Vec<String> {
        let failures = self.bag.failures.iter().filter(|(_, failure)| failure.found.checker == checker);
        failures
            .map(|(seed, failure)| {
                format!("seed {seed}: {}; restreamer-sim replay --seed {seed}", failure.found)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Violation;
    use crate::plan::Plan;

    #[test]
    fn a_report_names_what_failed() {
        let hunt = Hunt { seeds: 5..8, jobs: 1, mutation: None, failures_max: 9 };
        let violation =
            Violation { checker: Checker::Fresh, at_ns: 1, viewer: Some(3), message: "a < b\u{1}".into() };
        let found = Violation { at_ns: 9, ..violation.clone() };
        let failure = Failure { about: None, found, violation, mutation: None, plan: Plan::default() };
        let bag = Bag { seeds: 3, failures: vec![(6, failure)], ..Bag::default() };
        let report = Report { hunt: &hunt, bag: &bag, seconds: 2.0 };
        let xml = report.to_junit(false);
        assert!(xml.contains("3 seeds from 5") && xml.contains("tests=\"9\" failures=\"1\""), "{xml}");
        assert!(xml.contains("name=\"fresh\"><failure message=\"seed 6: fresh at"), "{xml}");
        assert!(xml.contains("a &lt; b;"), "{xml}");
        assert!(report.to_junit(true).contains("tests=\"10\" failures=\"2\""));
        let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
        assert_eq!(json["seeds_per_minute_and_job"], 90.0);
        assert_eq!(json["failures"][0]["seed"], 6);
        assert_eq!(json["failures"][0]["violation"]["checker"], "fresh");
    }
}
