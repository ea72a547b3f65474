//! What a segment costs in the ring: pushed, looked up, copied to the rings of other threads.

mod inputs;

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use inputs::Segments;

fn ring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    group.throughput(Throughput::Elements(1));
    group.bench_function("push and evict", |bencher| {
        let mut segments = Segments::new();
        let mut ring = segments.full_ring();
        bencher.iter(|| ring.push(segments.next()));
    });
    group.bench_function("look up", |bencher| {
        let ring = Segments::new().full_ring();
        let middle = u64::midpoint(ring.first(), ring.next());
        bencher.iter(|| ring.get(black_box(middle)).map(|segment| segment.data.len()));
    });
    group.bench_function("latest access point", |bencher| {
        let ring = Segments::new().full_ring();
        bencher.iter(|| black_box(&ring).latest_access());
    });
    group.bench_function("access point some time ago", |bencher| {
        let ring = Segments::new().full_ring();
        let ago = ring.newest().expect("a full ring is not empty").at - std::time::Duration::from_secs(3);
        bencher.iter(|| ring.access_at_or_before(black_box(ago)));
    });
}

fn catch_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("catch up");
    for news in [1, 10, 100] {
        group.throughput(Throughput::Elements(news));
        group.bench_with_input(BenchmarkId::new("new segments", news), &news, |bencher, &news| {
            let mut segments = Segments::new();
            let mut ring = segments.full_ring();
            let mut copy = ring.clone();
            bencher.iter(|| {
                for _ in 0..news {
                    ring.push(segments.next());
                }
                copy.catch_up(&ring);
            });
        });
    }
    let ring = Segments::new().full_ring();
    group.throughput(Throughput::Elements(ring.next() - ring.first()));
    group.bench_function("from nothing", |bencher| {
        let empty = || restreamer_core::Ring::new(*ring.limits());
        let from_nothing = |mut copy: restreamer_core::Ring| {
            copy.catch_up(&ring);
            copy
        };
        bencher.iter_batched(empty, from_nothing, BatchSize::SmallInput);
    });
}

criterion_group! { name = benches; config = inputs::criterion(); targets = ring, catch_up }
criterion_main!(benches);
