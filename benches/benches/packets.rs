//! What a packet costs on its way in: framer, counters, tables, access points, and all of it together.

mod inputs;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use restreamer_core::Instant;
use restreamer_core::access::{AccessDetector, FALLBACK_WAIT};
use restreamer_core::framer::Framer;
use restreamer_core::quality::Quality;
use restreamer_core::stream::{Input, Output, Stream, StreamConfig};
use restreamer_core::testing::{Codec, Damage, Form, StreamSpec};
use restreamer_core::ts::{Continuity, PACKET_BYTES, Packet, PsiTracker};
use restreamer_core::upstream::{ConnId, Order, UpstreamConfig};

use inputs::{BITRATE, packets_of, recorded, wire};

type Packets = [[u8; PACKET_BYTES]];

/// A datagram, and a read of a busy TCP socket.
const CHUNKS: [usize; 2] = [1316, 64 << 10];

fn framer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("framer");
    let garbage = Damage { garbage_every: 50, garbage_bytes_max: 400, ..Damage::default() };
    for (name, form, damage) in [
        ("188", Form::Plain, Damage::default()),
        ("192", Form::Prefixed192, Damage::default()),
        ("204", Form::Suffixed204, Damage::default()),
        ("188 with garbage", Form::Plain, garbage),
    ] {
        let bytes = wire(form, damage);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        for chunk in CHUNKS {
            group.bench_with_input(BenchmarkId::new(name, chunk), &bytes, |bencher, bytes| {
                bencher.iter(|| frame(bytes, chunk));
            });
        }
    }
    for (name, bytes) in recorded() {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_with_input(BenchmarkId::new("recorded", name), &bytes, |bencher, bytes| {
            bencher.iter(|| frame(bytes, CHUNKS[0]));
        });
    }
}

fn frame(bytes: &[u8], chunk: usize) -> u64 {
    let (mut framer, mut packets) = (Framer::new(), 0);
    for chunk in bytes.chunks(chunk) {
        framer.push(chunk, &mut |packet| packets += u64::from(black_box(packet)[1] & 1));
    }
    packets
}

fn counters(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("counters");
    let packets = packets_of(StreamSpec::new(1, BITRATE));
    group.throughput(Throughput::Elements(packets.len() as u64));
    group.bench_function("continuity", |bencher| {
        let mut continuity = Continuity::new();
        bencher.iter(|| {
            for packet in &packets {
                black_box(continuity.check(&Packet::new(packet)));
            }
        });
    });
    group.bench_function("tables", |bencher| {
        let mut psi = PsiTracker::new();
        bencher.iter(|| {
            for packet in &packets {
                black_box(psi.push(&Packet::new(packet)));
            }
            psi.raw()
        });
    });
    group.bench_function("quality, with continuity and tables", |bencher| {
        let (mut continuity, mut psi, mut quality) = (Continuity::new(), PsiTracker::new(), Quality::new());
        let mut now = Instant::ORIGIN;
        bencher.iter(|| {
            for packet in &packets {
                let packet = Packet::new(packet);
                let verdict = continuity.check(&packet);
                let change = psi.push(&packet);
                quality.push(now, &packet, verdict, change, &psi);
                now += Duration::from_micros(188);
            }
        });
    });
}

fn access(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("access");
    let with = |codec| StreamSpec::new(1, BITRATE).codec(codec);
    for (name, spec) in [
        ("indicator", with(Codec::H264)),
        ("sniffed MPEG-2", with(Codec::Mpeg2).without_indicator()),
        ("sniffed H.264", with(Codec::H264).without_indicator()),
        ("sniffed H.264 without IDR", with(Codec::H264).without_indicator().without_idr()),
        ("sniffed H.265", with(Codec::H265).without_indicator()),
    ] {
        let packets = packets_of(spec);
        group.throughput(Throughput::Elements(packets.len() as u64));
        group.bench_with_input(BenchmarkId::new("synthetic", name), &packets, |bencher, packets| {
            bencher.iter(|| detect(packets));
        });
    }
    for (name, bytes) in recorded() {
        let mut packets = Vec::new();
        Framer::new().push(&bytes, &mut |packet| packets.push(*packet));
        group.throughput(Throughput::Elements(packets.len() as u64));
        group.bench_with_input(BenchmarkId::new("recorded", name), &packets, |bencher, packets| {
            bencher.iter(|| detect(packets));
        });
    }
}

fn detect(packets: &Packets) -> u64 {
    let (mut psi, mut detector) = (PsiTracker::new(), AccessDetector::new(FALLBACK_WAIT));
    for packet in packets {
        let packet = Packet::new(packet);
        psi.push(&packet);
        black_box(detector.push(Instant::ORIGIN, &packet, &psi));
    }
    let counts = detector.counts();
    counts.indicator + counts.sniffed + counts.fallback
}

/// Bytes in, segments out: everything that is done once per packet, however many viewers there are.
fn stream(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stream");
    let bytes = wire(Form::Plain, Damage::default());
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    for chunk in CHUNKS {
        group.bench_with_input(BenchmarkId::new("bytes to segments", chunk), &bytes, |bencher, bytes| {
            bencher.iter_batched(
                connected,
                |(stream, conn)| publish(stream, conn, bytes, chunk),
                BatchSize::LargeInput,
            );
        });
    }
}

fn connected() -> (Stream, ConnId) {
    let upstream = UpstreamConfig { sources: 1, order: Order::Shuffle, reconnect: None, read_timeout: None };
    let latency = Duration::from_millis(20);
    let mut stream = Stream::new(StreamConfig { upstream, grace: Duration::ZERO, latency }, 1);
    stream.handle(Instant::ORIGIN, Input::Start);
    let conn = std::iter::from_fn(|| stream.poll_output()).find_map(|output| match output {
        Output::Connect { conn, .. } => Some(conn),
        _ => None,
    });
    let conn = conn.expect("a stream that starts connects");
    stream.handle(Instant::ORIGIN, Input::Connected(conn));
    (stream, conn)
}

fn publish(mut stream: Stream, conn: ConnId, bytes: &[u8], chunk: usize) -> (Stream, usize) {
    let (mut now, mut published) = (Instant::ORIGIN, 0);
    for chunk in bytes.chunks(chunk) {
        now += Duration::from_micros(chunk.len() as u64);
        stream.handle(now, Input::Data(conn, chunk));
        while let Some(output) = stream.poll_output() {
            if let Output::Publish(segment) = output {
                published += black_box(segment).data.len();
            }
        }
    }
    assert!(published > bytes.len() / 2, "the stream is published");
    (stream, published)
}

criterion_group! { name = benches; config = inputs::criterion(); targets = framer, counters, access, stream }
criterion_main!(benches);
