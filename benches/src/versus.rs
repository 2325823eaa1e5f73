//! One client against the floor: a lock taken and given back, beside few and many holds of others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use lock_bench_worker::Failure;
use lock_core::{Guard, LockBackend, Locks, MemoryBackend};

use crate::floor::{Elsewhere, Floor, Site};
use crate::results::{Spread, Versus};
use crate::store::{Store, backend, locks};

/// What is measured.
const NAME: &str = "app/blog";

/// So many rounds are not counted.
const WARM_UP: usize = 20;

/// How many holds of others are in the tables that grow.
pub(crate) const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

/// In turns with the bare statements or calls of the same bytes.
pub(crate) async fn measure(
    store: &Store,
    holds: usize,
    count: usize,
) -> Result<[Versus; 2], Failure> {
    let url = store.fresh();
    let others = locks(&url, true)?;
    let guards = hold(&others, holds).await?;
    let own = locks(&url, true)?;
    let cell = backend(&url)?;
    let [held, free] = contents(&own, &*cell).await?;
    let mut floor = Floor::new(Site::new(store), &free).await?;
    let (held, elsewhere) = (Arc::<str>::from(held), Elsewhere::start(store, &free)?);
    // What the thread of the driver costs is looked at where nobody holds anything.
    let inline = match holds {
        0 => Some(Locks::builder(backend(&store.fresh())?).in_current_runtime().build()),
        _ => None,
    };
    let mut counters = store.counters().await?;
    let before = match &mut counters {
        Some(counters) => Some(counters.logged().await?),
        None => None,
    };
    let mut samples = [const { Vec::new() }; 6];
    for index in 0..count + WARM_UP {
        let mut now = [Duration::ZERO; 6];
        now[1] = floor.swap(&held).await?;
        let start = Instant::now();
        let guard = own.acquire(NAME).await?;
        now[0] = start.elapsed();
        now[3] = floor.swap(&free).await?;
        let start = Instant::now();
        guard.release().await?;
        now[2] = start.elapsed();
        if let Some(inline) = &inline {
            now[4] = elsewhere.swap(&held).await?;
            let start = Instant::now();
            let guard = inline.acquire(NAME).await?;
            now[5] = start.elapsed();
            guard.release().await?;
        }
        if index >= WARM_UP {
            samples.iter_mut().zip(now).for_each(|(samples, one)| samples.push(one));
        }
    }
    let mut logged = (None, None);
    if let (Some(counters), Some(before)) = (&mut counters, before) {
        let swaps = if inline.is_some() { 7 } else { 4 } * (count + WARM_UP) as u64;
        let (main, binary) = counters.logged().await?.since(&before);
        logged = (main.map(|bytes| bytes / swaps), binary.map(|bytes| bytes / swaps));
    }
    drop(guards);
    others.close().await?;
    own.close().await?;
    if let Some(inline) = &inline {
        inline.close().await?;
    }
    let [acquire, bare_acquire, release, bare_release, asked, in_runtime] = samples.map(Spread::of);
    let row = |operation: &str, data: &str, ours, floor| Versus {
        store: store.name.into(),
        operation: operation.into(),
        holds,
        bytes: data.len(),
        ours,
        floor: Some(floor),
        asked: (inline.is_some() && operation == "acquire").then_some(asked),
        in_runtime: (inline.is_some() && operation == "acquire").then_some(in_runtime),
        logged,
    };
    Ok([row("acquire", &held, acquire, bare_acquire), row("release", &free, release, bare_release)])
}

/// What the table and the driver cost by themselves: the cell is in memory.
pub(crate) async fn measure_memory(holds: usize, count: usize) -> Result<[Versus; 2], Failure> {
    let cell = MemoryBackend::new();
    let others = Locks::new(cell.clone());
    let guards = hold(&others, holds).await?;
    let own = Locks::new(cell.clone());
    let [held, free] = contents(&own, &cell).await?;
    let mut samples = [const { Vec::new() }; 2];
    for index in 0..count + WARM_UP {
        let start = Instant::now();
        let guard = own.acquire(NAME).await?;
        let middle = Instant::now();
        guard.release().await?;
        if index >= WARM_UP {
            samples[0].push(middle - start);
            samples[1].push(middle.elapsed());
        }
    }
    drop(guards);
    others.close().await?;
    own.close().await?;
    let [acquire, release] = samples.map(Spread::of);
    let row = |operation: &str, data: &str, ours| Versus {
        store: "memory".into(),
        operation: operation.into(),
        holds,
        bytes: data.len(),
        ours,
        floor: None,
        asked: None,
        in_runtime: None,
        logged: (None, None),
    };
    Ok([row("acquire", &held, acquire), row("release", &free, release)])
}

/// Takes many locks at once.
pub(crate) async fn hold(locks: &Locks, count: usize) -> Result<Vec<Guard>, Failure> {
    let guards = (0..count).map(|number| {
        let locks = locks.clone();
        async move { locks.acquire(&*format!("app/{number}/backup")).await }
    });
    Ok(try_join_all(guards).await?)
}

/// What is in the cell while the lock is held, and while it is not.
async fn contents(locks: &Locks, cell: &dyn LockBackend) -> Result<[String; 2], Failure> {
    let guard = locks.acquire(NAME).await?;
    let held = cell.load().await?.data;
    guard.release().await?;
    let free = cell.load().await?.data;
    Ok([String::from_utf8(held)?, String::from_utf8(free)?])
}

impl Versus {
    /// How many times the floor it is, and how many microseconds more.
    pub(crate) fn above(&self) -> Option<(f64, f64)> {
        let floor = self.floor?.p50;
        (floor > 0.0).then(|| (self.ours.p50 / floor, self.ours.p50 - floor))
    }
}
