//! Everything that fuzzing found worth keeping, once more.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use restreamer_fuzz::{TARGETS, corpus};

/// All corpora together; they are cloned with the repository.
const CORPUS_BYTES_MAX: u64 = 300 << 10;

#[test]
fn every_target_takes_its_corpus() {
    for (name, target) in TARGETS {
        let entries = fs::read_dir(corpus(name)).unwrap_or_else(|_| panic!("{name} has no corpus"));
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "the corpus of {name} is empty");
        for file in files {
            // Shown when the target panics.
            println!("cargo fuzz run -s none --features libfuzzer {name} {}", file.display());
            target(&fs::read(&file).unwrap());
        }
    }
}

#[test]
fn every_target_is_a_binary_and_has_a_corpus_and_nothing_else_has() {
    let names: BTreeSet<_> = TARGETS.iter().map(|&(name, _)| name.to_owned()).collect();
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for directory in ["corpus", "fuzz_targets"] {
        let entries = fs::read_dir(crate_root.join(directory)).unwrap().map(|entry| entry.unwrap().path());
        let found = entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
        assert_eq!(found.collect::<BTreeSet<_>>(), names, "{directory}");
    }
    let manifest = fs::read_to_string(crate_root.join("Cargo.toml")).unwrap();
    let binaries = manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/"));
    let binaries = binaries.map(|rest| rest.trim_end_matches(".rs\"").to_owned());
    assert_eq!(binaries.collect::<BTreeSet<_>>(), names, "Cargo.toml");
}

#[test]
fn the_corpus_stays_small() {
    let files = TARGETS.iter().flat_map(|&(name, _)| fs::read_dir(corpus(name)).unwrap());
    let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= CORPUS_BYTES_MAX, "{bytes} bytes");
}
