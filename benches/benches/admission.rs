//! What it costs to let somebody in, with few and with many inside.

mod inputs;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use restreamer_core::{Admission, AdmissionLimits, Peer};

fn admission(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("admission");
    group.throughput(Throughput::Elements(1));
    for inside in [0, 10_000] {
        for (name, limits) in [
            ("no limit", AdmissionLimits::default()),
            ("limit per peer", AdmissionLimits { per_peer: 10, ..AdmissionLimits::default() }),
        ] {
            group.bench_with_input(BenchmarkId::new(name, inside), &inside, |bencher, &inside| {
                let mut admission = full(limits, inside);
                bencher.iter(|| {
                    let entered = admission.enter(0, black_box(Peer(7)));
                    let (ticket, _) = entered.expect("there is room for one more");
                    admission.leave(ticket)
                });
            });
        }
    }
    group.bench_function("refused", |bencher| {
        let mut admission = full(AdmissionLimits { hard: 10_000, ..AdmissionLimits::default() }, 10_000);
        bencher.iter(|| admission.enter(0, black_box(Peer(7))).is_err());
    });
}

/// So many viewers, each with an address of its own.
fn full(limits: AdmissionLimits, inside: u32) -> Admission {
    let mut admission = Admission::new(limits, 1);
    for peer in 0..inside {
        // They stay: nobody gives this ticket back.
        let _ticket = admission.enter(0, Peer(u128::from(peer) << 16)).expect("the limit is above this");
    }
    admission
}

criterion_group! { name = benches; config = inputs::criterion(); targets = admission }
criterion_main!(benches);
