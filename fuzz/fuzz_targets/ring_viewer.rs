//! See `restreamer_core::fuzz::ring_viewer`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use restreamer_core::fuzz;

fuzz_target!(|data: &[u8]| fuzz::ring_viewer(data));
