//! Every failure that was ever found, as the file that `restreamer-sim swarm` wrote: they keep every promise now.
//!
//! The files are in `sim/tests/regressions/`, each named after what was wrong. A new one is found here by itself.

use std::path::Path;

use restreamer_sim::failure::Replayable;
use restreamer_sim::verify::verify;
use restreamer_sim::world::Options;

#[test]
fn what_was_mended_stays_mended() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/regressions");
    let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let regression =
            Replayable::read(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let outcome = verify(regression.plan(), Options::default());
        assert_eq!(outcome.violation, None, "{}", file.display());
        assert!(outcome.joins > 0 || regression.plan().viewers.is_empty(), "{}", file.display());
    }
}
