//! What the driver costs by itself, over a cell in memory: no server, no disk; and how that grows with the holds.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::{join_all, try_join_all};
use lock_core::{Locks, MemoryBackend};
use tokio::runtime::{Builder, Runtime};

/// The numbers of holds between which growth is seen.
const SIZES: [u64; 4] = [10, 100, 1_000, 10_000];

/// Handles, driver and table over a cell in memory: what a client pays besides its store.
fn driver(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("driver/acquire+release");
    for holds in SIZES {
        let cell = MemoryBackend::new();
        let others = Locks::new(cell.clone());
        let guards = runtime.block_on(try_join_all((0..holds).map(|number| {
            let others = others.clone();
            async move { others.acquire(&*format!("app/{number}/backup")).await }
        })));
        let guards = guards.expect("nobody else is there");
        let locks = Locks::new(cell).blocking();
        group.bench_function(BenchmarkId::from_parameter(holds), |bencher| {
            bencher.iter(|| {
                let guard = locks.acquire("app/blog").expect("it is free");
                guard.release().expect("it is held");
            });
        });
        drop(guards);
        runtime.block_on(others.close()).expect("memory does not fail");
        locks.close().expect("memory does not fail");
    }
    group.finish();
}

/// 64 tasks of one client, each with a lock of its own: batches of ops share a swap.
fn tasks(criterion: &mut Criterion) {
    const TASKS: u64 = 64;
    let runtime = runtime();
    let locks = Locks::new(MemoryBackend::new());
    let mut group = criterion.benchmark_group("driver/tasks");
    group.throughput(Throughput::Elements(TASKS));
    group.bench_function(BenchmarkId::from_parameter(TASKS), |bencher| {
        bencher.to_async(&runtime).iter(|| {
            join_all((0..TASKS).map(|task| {
                let locks = locks.clone();
                async move {
                    let guard = locks.acquire(&*format!("app/{task}")).await.expect("it is free");
                    guard.release().await.expect("it is held");
                }
            }))
        });
    });
    group.finish();
}

/// From release called to acquire returned, between two clients that meet only in the cell.
fn hand_off(criterion: &mut Criterion) {
    let cell = MemoryBackend::new();
    let [one, other] = [(); 2].map(|()| Locks::new(cell.clone()).blocking());
    criterion.bench_function("driver/hand-off", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut sum = Duration::ZERO;
            for _ in 0..rounds {
                let guard = one.acquire("app/blog").expect("it is free");
                let waiter = {
                    let other = other.clone();
                    std::thread::spawn(move || {
                        let guard = other.acquire("app/blog").expect("it is handed on");
                        (Instant::now(), guard)
                    })
                };
                while one.list().expect("memory does not fail").waiting.is_empty() {
                    std::thread::yield_now();
                }
                let start = Instant::now();
                guard.release().expect("it is held");
                let (granted, guard) = waiter.join().expect("it does not panic");
                sum += granted.saturating_duration_since(start);
                guard.release().expect("it is held");
            }
            sum
        });
    });
}

fn runtime() -> Runtime {
    // The drivers have threads of their own.
    Builder::new_current_thread().build().expect("it needs nothing")
}

criterion_group!(benches, driver, tasks, hand_off);
criterion_main!(benches);
