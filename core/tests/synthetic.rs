//! The synthetic streams and the machines that read real ones agree about what is in them.

use restreamer_core::access::{AccessDetector, AccessKind, Decision, FALLBACK_WAIT};
use restreamer_core::testing::{Codec, Content, StreamSpec, SyntheticStream};
use restreamer_core::ts::{Packet, PsiTracker};

/// Numbers of the packets that the detector takes for access points, and how it knew.
fn detected(spec: &StreamSpec, packets: usize) -> Vec<(usize, AccessKind)> {
    let mut psi = PsiTracker::new();
    let mut detector = AccessDetector::new(FALLBACK_WAIT);
    let mut candidate = 0;
    let mut found = Vec::new();
    for (index, packet) in SyntheticStream::new(spec.clone()).take(packets).enumerate() {
        let view = Packet::new(&packet.bytes);
        psi.push(&view);
        let verdict = detector.push(packet.at, &view, &psi);
        if verdict.candidate {
            candidate = index;
        }
        if let Decision::Access(kind) = verdict.decision {
            found.push((candidate, kind));
        }
    }
    found
}

fn generated(
    spec: &StreamSpec,
    packets: usize,
    content: Content,
    kind: AccessKind,
) -> Vec<(usize, AccessKind)> {
    let stream = SyntheticStream::new(spec.clone()).take(packets).enumerate();
    stream.filter(|(_, packet)| packet.content == content).map(|(index, _)| (index, kind)).collect()
}

#[test]
fn every_key_frame_is_an_access_point_and_nothing_else_is() {
    const PACKETS: usize = 20_000;
    for codec in [Codec::Mpeg2, Codec::H264, Codec::H265] {
        let spec = StreamSpec::new(1, 4_000_000).codec(codec);
        let mut reordered = spec.clone().without_indicator();
        reordered.video.as_mut().unwrap().reordered = true;
        for (spec, kind) in [
            (spec.clone(), AccessKind::Indicator),
            (spec.clone().without_indicator(), AccessKind::Sniffed),
            (spec.clone().without_indicator().without_idr(), AccessKind::Sniffed),
            (reordered, AccessKind::Sniffed),
        ] {
            let truth = generated(&spec, PACKETS, Content::Key, kind);
            assert!(truth.len() >= 7);
            assert_eq!(detected(&spec, PACKETS), truth, "{codec:?}");
        }
    }
}

#[test]
fn every_audio_start_of_a_radio_stream_is_an_access_point() {
    let spec = StreamSpec::radio(1, 200_000);
    assert_eq!(detected(&spec, 3_000), generated(&spec, 3_000, Content::AudioStart, AccessKind::Sniffed));
}
