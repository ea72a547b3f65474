//! The fuzz targets of restreamer, by name. Their bodies are in `restreamer_core::fuzz` and [`network`]; here they are
//! handed to libFuzzer (`fuzz_targets/`, with the feature `libfuzzer`), and what it found worth keeping (`corpus/`) is replayed
//! by `cargo test`.

pub mod network;

use std::path::{Path, PathBuf};

use restreamer_core::fuzz;

/// A target: it panics when bytes make it break a promise.
pub type Target = fn(&[u8]);

/// Every target, with the name of its binary and of its corpus.
pub const TARGETS: [(&str, Target); 13] = [
    ("access", fuzz::access),
    ("adaptation", fuzz::adaptation),
    ("framer", fuzz::framer),
    ("pes", fuzz::pes),
    ("playout", fuzz::playout),
    ("psi", fuzz::psi),
    ("quality", fuzz::quality),
    ("ring_viewer", fuzz::ring_viewer),
    ("route", network::route),
    ("rtp", fuzz::rtp),
    ("source_url", network::source_url),
    ("splice", fuzz::splice),
    ("stream", fuzz::stream),
];

/// Where the corpus of a target is.
pub fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}
