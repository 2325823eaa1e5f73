//! One client in each store: a lock taken, given back, and the bare swap of the same bytes that this consists of.
//!
//! `cargo xtask bench` compares them in turns; this is for seeing what a change did. Stores that are not here
//! are left out.

// What the harness measures by, on stores that it starts alike.
#[path = "../src/counters.rs"]
#[expect(dead_code, reason = "nothing is counted here")]
mod counters;
#[path = "../src/floor.rs"]
#[expect(dead_code, reason = "it is asked in its own thread")]
mod floor;
#[path = "../src/store.rs"]
#[expect(dead_code, reason = "the harness needs more of it")]
mod store;

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use lock_bench_worker::Failure;
use tokio::runtime::{Builder, Runtime};

use crate::floor::{Floor, NAME, Site, contents};
use crate::store::{Store, backend, locks};

fn stores(criterion: &mut Criterion) {
    let runtime = Builder::new_current_thread().enable_all().build().expect("it needs nothing");
    for name in Store::ALL {
        let measured = runtime
            .block_on(Store::start(name, &[]))
            .and_then(|store| measure(criterion, &runtime, &store));
        if let Err(error) = measured {
            eprintln!("{name} is left out: {error}");
        }
    }
}

fn measure(criterion: &mut Criterion, runtime: &Runtime, store: &Store) -> Result<(), Failure> {
    let url = store.fresh();
    let (locks, cell) = (locks(&url, true)?, backend(&url)?);
    let [held, free] = runtime.block_on(contents(&locks, &*cell))?;
    let mut floor = runtime.block_on(Floor::new(Site::new(store), &free))?;
    let mut group = criterion.benchmark_group(store.name);
    for (operation, is_acquire) in [("acquire", true), ("release", false)] {
        group.bench_function(operation, |bencher| {
            bencher.to_async(runtime).iter_custom(async |rounds| {
                let mut sum = Duration::ZERO;
                for _ in 0..rounds {
                    let start = Instant::now();
                    let guard = locks.acquire(NAME).await.expect("it is free");
                    let middle = Instant::now();
                    guard.release().await.expect("it is held");
                    sum += if is_acquire { middle - start } else { middle.elapsed() };
                }
                sum
            });
        });
    }
    group.bench_function("bare", |bencher| {
        bencher.iter_custom(|rounds| {
            runtime.block_on(async {
                let mut sum = Duration::ZERO;
                for _ in 0..rounds {
                    sum += floor.swap(&held).await.expect("nobody else swaps it");
                }
                sum
            })
        });
    });
    group.finish();
    Ok(runtime.block_on(locks.close())?)
}

criterion_group!(benches, stores);
criterion_main!(benches);
