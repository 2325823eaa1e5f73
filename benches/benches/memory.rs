//! What the table and the driver cost by themselves: no server, no disk; and how that grows with the holds.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use futures_util::future::{join_all, try_join_all};
use lock_core::process::ProcessSet;
use lock_core::table::{Acquire, ClientInfo, LockTable, Op, Outcome, Stamp};
use lock_core::{ClientId, Locks, MemoryBackend, Request, RequestId, Snapshot, TaskId, Version};
use tokio::runtime::{Builder, Runtime};

/// The numbers of holds between which growth is seen.
const SIZES: [u64; 4] = [10, 100, 1_000, 10_000];

/// One op of the pure table, without reading or writing its bytes: at most logarithmic in the holds.
fn table(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table/acquire+release");
    for holds in SIZES {
        let mut table = filled(holds);
        let acquire = Op::Acquire(request(holds + 1, "app/blog"));
        let release = Op::Release(RequestId { client: client(), number: holds + 1 });
        let mut version = holds + 1;
        group.bench_function(BenchmarkId::from_parameter(holds), |bencher| {
            bencher.iter(|| {
                version += 2;
                let granted = table.apply(&acquire, stamp(version));
                debug_assert_eq!(granted, Outcome::Granted);
                table.apply(black_box(&release), stamp(version + 1));
                table.take_events();
            });
        });
    }
    group.finish();
}

/// The bytes: what a swap costs besides the op and the store. It grows with the table.
fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("table/encode");
    for holds in SIZES {
        let cell = Snapshot { version: Version(holds + 2), data: filled(holds).encode() };
        group.throughput(Throughput::Bytes(cell.data.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(holds), |bencher| {
            // What was written once is kept: so each time a table that was only read yet.
            let read = || LockTable::decode(&cell).expect("it is a table");
            bencher.iter_batched_ref(
                read,
                |table| black_box(table).encode(),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("table/decode");
    for holds in SIZES {
        let cell = Snapshot { version: Version(holds + 2), data: filled(holds).encode() };
        group.throughput(Throughput::Bytes(cell.data.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(holds), |bencher| {
            bencher.iter_batched(
                || &cell,
                |cell| LockTable::decode(black_box(cell)).expect("it was just written"),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

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

/// A table in which one client has that many holds.
fn filled(holds: u64) -> LockTable {
    let mut table = LockTable::new();
    for number in 1..=holds {
        let op = Op::Acquire(request(number, &format!("app/{number}/backup")));
        assert_eq!(table.apply(&op, stamp(number)), Outcome::Granted);
    }
    table.take_events();
    table
}

fn runtime() -> Runtime {
    // The drivers have threads of their own.
    Builder::new_current_thread().build().expect("it needs nothing")
}

fn client() -> ClientId {
    ClientId::from_random(7)
}

fn stamp(version: u64) -> Stamp {
    Stamp { version: Version(version), now_ms: version }
}

fn request(number: u64, name: &str) -> Acquire {
    let info = ClientInfo {
        name: "bench".into(),
        processes: ProcessSet::default(),
        bell: None,
        lease: Some(Duration::from_mins(1)),
    };
    Acquire {
        id: RequestId { client: client(), number },
        task: TaskId::new(None, client(), number).expect("it is not nested"),
        name: "bench".into(),
        note: None,
        client: Arc::new(info),
        locks: Arc::new(Request::exclusive(name).locks().expect("the name is good").clone()),
        wait: false,
    }
}

criterion_group!(benches, table, codec, driver, tasks, hand_off);
criterion_main!(benches);
