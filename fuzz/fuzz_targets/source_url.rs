//! See `restreamer_fuzz::network::source_url`.

#![no_main]

use libfuzzer_sys::fuzz_target;
use restreamer_fuzz::network;

fuzz_target!(|data: &[u8]| network::source_url(data));
