//! How long the metrics of a large test set take.
//!
//!     cargo bench --bench metric

use std::{hint::black_box, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use rand::{Rng, SeedableRng, rngs::ChaCha8Rng};
use roga::metric::{BootstrapConfig, DeLong, DetectionMetricsConfig, Roc, VideoKey};

/// Probabilities, those of positives higher on average, and labels.
fn items(count: usize, seed: u64) -> (Vec<f64>, Vec<bool>) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut uniform = || (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let labels = |item| item % 3 == 0;
    let scores = (0..count).map(|item| (uniform() + f64::from(u8::from(labels(item)))) / 2.0);
    (scores.collect(), (0..count).map(labels).collect())
}

fn metric(c: &mut Criterion) {
    let mut group = c.benchmark_group("metric");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));

    let (a, labels) = items(1_000_000, 0);
    let (b, _) = items(1_000_000, 1);
    group.bench_function("1e6/auc, ap and eer", |bench| {
        bench.iter(|| {
            let roc = Roc::new(&a, &labels).expect("there are two classes");
            black_box((roc.auc(), roc.average_precision(), roc.equal_error_rate()))
        })
    });
    group.bench_function("1e6/delong", |bench| {
        bench.iter(|| black_box(DeLong::new(&a, &b, &labels)))
    });
    let video =
        |item: usize| VideoKey::new("set", "method", (item / 96 * 3 + item % 3).to_string());
    let videos: Vec<VideoKey> = (0..a.len()).map(video).collect();
    group.bench_function("1e6/all, by frame and video", |bench| {
        let config = DetectionMetricsConfig::new();
        bench.iter(|| black_box(config.measure(&a, &labels, Some(&videos))))
    });

    let (scores, labels) = items(10_000, 2);
    let bootstrap = BootstrapConfig::new()
        .init(&labels)
        .expect("there are two classes");
    group.bench_function("1e4/1000 bootstrap replicates of the auc", |bench| {
        bench.iter(|| black_box(bootstrap.roc_interval(&scores, Roc::auc)))
    });
    group.finish();
}

criterion_group!(benches, metric);
criterion_main!(benches);
