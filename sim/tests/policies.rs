//! What drop and join policies do to viewers, as a table that a change of core or of the models cannot move unseen.

use std::path::Path;

use restreamer_sim::compare::{Comparison, DEFAULT_RULE, Question, RANDOM_DROP};

/// Set it to write the snapshot instead of comparing with it.
const REWRITE: &str = "REWRITE_SNAPSHOTS";

#[test]
fn the_policy_table_is_as_it_was_and_speaks_for_the_defaults() {
    let question = Question { viewers: 6, watch_ms: 300_000, ..Question::default() };
    let comparison = question.answer(|_, _| {});
    check_claims(&comparison);
    let snapshot = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots/policies.txt");
    let text = comparison.to_text();
    if std::env::var_os(REWRITE).is_some() {
        std::fs::write(&snapshot, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&snapshot).unwrap();
    for (line, (got, expected)) in (1..).zip(text.lines().zip(expected.lines())) {
        assert_eq!(got, expected, "line {line}; if this is meant, run again with {REWRITE}=1");
    }
    assert_eq!(text.len(), expected.len(), "if this is meant, run again with {REWRITE}=1");
}

/// What the README says about the defaults.
fn check_claims(comparison: &Comparison) {
    for cell in &comparison.cells {
        let at = |rule: &str| *comparison.cell(rule, &cell.network, cell.gop_frames).unwrap();
        let (figures, old) = (at(DEFAULT_RULE), at(RANDOM_DROP));
        let place = (&cell.network, cell.gop_frames);
        // A skip leaves out more than a second, and breaks the picture that it cuts.
        assert!(figures.broken_pictures <= figures.left_out_s, "{place:?}: {figures:?}");
        assert_eq!(figures.disconnects, 0.0, "{place:?}: nobody is thrown out for being slow");
        assert!(figures.stalled_s <= old.stalled_s, "{place:?}: {figures:?}, {old:?}");
        assert!(figures.first_picture_s <= old.first_picture_s, "{place:?}: {figures:?}, {old:?}");
        assert!(figures.stalled_s <= at("slow=disconnect").stalled_s, "{place:?}: {figures:?}");
        let is_bad = ["DSL at the edge", "Wi-Fi", "mobile"].contains(&cell.network.as_str());
        assert!(!is_bad || old.broken_pictures > 1_000.0, "{place:?}: {old:?}");
        assert!(figures.broken_pictures <= old.broken_pictures / 100.0, "{place:?}: {figures:?}, {old:?}");
    }
}
