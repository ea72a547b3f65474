//! What the benches read, and how long they take.

// Each bench takes what it needs.
#![allow(dead_code)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use criterion::Criterion;
use restreamer_core::access::AccessKind;
use restreamer_core::testing::{Damage, Form, StreamSpec, SyntheticStream, Wire};
use restreamer_core::ts::PACKET_BYTES;
use restreamer_core::{Instant, Ring, RingLimits, Segment};

/// Packets of a synthetic input: 1.5 MB, more than fits into the second-level cache of most machines.
pub(crate) const PACKETS: usize = 8_000;
/// The bit rate of a synthetic input: a second and a half of it are [`PACKETS`].
pub(crate) const BITRATE: u64 = 8_000_000;

/// Short enough for all benches together to take some minutes; `--measurement-time` asks for more.
pub(crate) fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args()
}

/// The packets of `spec`.
pub(crate) fn packets_of(spec: StreamSpec) -> Vec<[u8; PACKET_BYTES]> {
    SyntheticStream::new(spec).take(PACKETS).map(|packet| packet.bytes).collect()
}

/// A synthetic stream as bytes.
pub(crate) fn wire(form: Form, damage: Damage) -> Vec<u8> {
    let mut wire = Wire::new(SyntheticStream::new(StreamSpec::new(1, BITRATE)), form, damage, 1);
    let mut bytes = Vec::new();
    for _ in 0..PACKETS {
        wire.append(&mut bytes);
    }
    bytes
}

/// The recorded streams of the core crate's tests: name and bytes.
pub(crate) fn recorded() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../core/testdata");
    let files = fs::read_dir(&directory).expect("the recorded streams are in the repository");
    let mut streams: Vec<_> = files
        .map(|file| file.expect("a directory in the repository can be listed").path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "ts" || kind == "m2ts"))
        .map(|path| {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a file in the repository can be read"))
        })
        .collect();
    streams.sort();
    streams
}

/// Bytes of a segment: what 8 Mbit/s bring in 20 ms.
pub(crate) const SEGMENT_PACKETS: usize = 106;
/// Time between two segments.
pub(crate) const SEGMENT_EVERY: Duration = Duration::from_millis(20);
/// An access point every so many segments: one per second.
const ACCESS_EVERY: u64 = 50;

/// An endless row of segments that share one buffer.
pub(crate) struct Segments {
    data: Bytes,
    psi: Bytes,
    number: u64,
}

impl Segments {
    /// Segments that begin with an access point.
    pub(crate) fn new() -> Segments {
        let data = vec![0x47; SEGMENT_PACKETS * PACKET_BYTES].into();
        Segments { data, psi: vec![0x47; 2 * PACKET_BYTES].into(), number: 0 }
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Segment {
        let number = self.number;
        self.number += 1;
        Segment {
            data: self.data.clone(),
            psi: self.psi.clone(),
            access: number.is_multiple_of(ACCESS_EVERY).then_some(AccessKind::Indicator),
            seam: false,
            at: Instant::ORIGIN + SEGMENT_EVERY * number as u32,
        }
    }

    /// A ring that has been full for a while.
    pub(crate) fn full_ring(&mut self) -> Ring {
        let mut ring = Ring::new(RingLimits::default());
        while ring.first() == 0 {
            ring.push(self.next());
        }
        ring
    }
}
