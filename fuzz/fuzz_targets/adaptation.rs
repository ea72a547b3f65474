//! See `restreamer_core::fuzz::adaptation`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use restreamer_core::fuzz;

fuzz_target!(|data: &[u8]| fuzz::adaptation(data));
