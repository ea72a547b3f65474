//! See `restreamer_fuzz::network::route`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use restreamer_fuzz::network;

fuzz_target!(|data: &[u8]| network::route(data));
