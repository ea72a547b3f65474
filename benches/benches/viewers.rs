//! What a viewer costs per flush, without the system call: the cost of one must not depend on how many there are.

mod inputs;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use restreamer_core::ts::PACKET_BYTES;
use restreamer_core::{Join, Policy, Read, Ring, Slow, Viewer};

use inputs::{SEGMENT_PACKETS, Segments};

const SEGMENT_BYTES: usize = SEGMENT_PACKETS * PACKET_BYTES;

/// A segment arrives, everybody gets it.
fn sweep(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sweep");
    for count in [1, 10, 100, 1_000, 10_000] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::new("whole segments", count), &count, |bencher, &count| {
            let mut crowd = Crowd::joined(count, Policy::default());
            bencher.iter(|| crowd.flush(|offered| offered));
        });
    }
    for count in [1, 10_000] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_with_input(BenchmarkId::new("nothing new", count), &count, |bencher, &count| {
            let mut crowd = Crowd::joined(count, Policy::default());
            crowd.flush(|offered| offered);
            bencher.iter(|| crowd.sweep(|offered| offered));
        });
    }
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("sockets that take half a packet less", |bencher| {
        let mut crowd = Crowd::joined(1_000, Policy::default());
        // What is left over is taken with the next flush: everybody stays live with a torn packet.
        bencher.iter(|| crowd.flush(|offered| offered.min(SEGMENT_BYTES) - PACKET_BYTES / 2));
    });
}

/// A thousand viewers who have to find a place.
fn policies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policies");
    group.throughput(Throughput::Elements(1_000));
    for join in [Join::Keyframe, Join::Live, Join::Behind(Duration::from_secs(3))] {
        let policy = Policy { join, ..Policy::default() };
        group.bench_with_input(BenchmarkId::new("join", format!("{join:?}")), &policy, |bencher, &policy| {
            let ring = Segments::new().full_ring();
            let crowd = || (0..1_000).map(|_| Viewer::new()).collect::<Vec<_>>();
            let join = |mut viewers: Vec<Viewer>| {
                for viewer in &mut viewers {
                    black_box(viewer.read(&ring, &policy));
                }
                viewers
            };
            bencher.iter_batched(crowd, join, BatchSize::LargeInput);
        });
    }
    for slow in [Slow::Keyframe, Slow::Oldest, Slow::Live, Slow::Disconnect] {
        let policy = Policy { slow, ..Policy::default() };
        group.bench_with_input(
            BenchmarkId::new("lapped", format!("{slow:?}")),
            &policy,
            |bencher, &policy| {
                let lapped = || {
                    let mut crowd = Crowd::joined(1_000, policy);
                    let newest = crowd.ring.next();
                    while crowd.ring.first() <= newest {
                        crowd.ring.push(crowd.segments.next());
                    }
                    crowd
                };
                let resume = |mut crowd: Crowd| {
                    crowd.sweep(|offered| offered);
                    crowd
                };
                bencher.iter_batched(lapped, resume, BatchSize::LargeInput);
            },
        );
    }
}

/// A ring and those who read it.
struct Crowd {
    segments: Segments,
    ring: Ring,
    policy: Policy,
    viewers: Vec<Viewer>,
}

impl Crowd {
    /// Viewers who have got everything.
    fn joined(count: usize, policy: Policy) -> Crowd {
        let mut segments = Segments::new();
        let ring = segments.full_ring();
        let viewers = (0..count).map(|_| Viewer::new()).collect();
        let mut crowd = Crowd { segments, ring, policy, viewers };
        crowd.sweep(|offered| offered);
        crowd
    }

    fn flush(&mut self, taken: impl Fn(usize) -> usize) {
        self.ring.push(self.segments.next());
        self.sweep(taken);
    }

    /// One turn of every viewer; its socket takes `taken` of what is offered.
    fn sweep(&mut self, taken: impl Fn(usize) -> usize) {
        for viewer in &mut self.viewers {
            if viewer.read(&self.ring, &self.policy) == Read::Ready {
                let offered = black_box(viewer.pieces(&self.ring).map(<[u8]>::len).sum());
                viewer.advance(taken(offered), &self.ring);
            }
        }
    }
}

criterion_group! { name = benches; config = inputs::criterion(); targets = sweep, policies }
criterion_main!(benches);
