//! One client against the floor: a lock taken and given back, beside few and many holds of others.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use lock_bench_worker::Failure;
use lock_core::{Guard, LockBackend, Locks, MemoryBackend, Swap, Version};

use crate::counters::{Counters, Logged};
use crate::floor::{Elsewhere, Floor, NAME, Site, contents};
use crate::results::{Holding, Parts, Spread, Versus};
use crate::store::{Store, backend, locks};

/// So many rounds are not counted.
const WARM_UP: usize = 20;

/// How many holds of others are in the tables that grow.
pub(crate) const SIZES: [usize; 4] = [10, 100, 1_000, 10_000];

/// In turns with the bare statements or calls of the same bytes, now the one first and now the other.
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
    let mut counters = store.counters().await?;
    if let Some(counters) = &mut counters {
        counters.forget_logs().await?;
    }
    let before = logged(&mut counters).await?;
    let mut samples = [const { Vec::new() }; 4];
    for index in 0..count + WARM_UP {
        // A server that writes out its log every few statements must not meet the same one each time.
        let bare_first = [fastrand::bool(), fastrand::bool()];
        let mut now = [Duration::ZERO; 4];
        if bare_first[0] {
            now[1] = floor.swap(&held).await?;
        }
        let start = Instant::now();
        let guard = own.acquire(NAME).await?;
        now[0] = start.elapsed();
        if !bare_first[0] {
            now[1] = floor.swap(&held).await?;
        }
        if bare_first[1] {
            now[3] = floor.swap(&free).await?;
        }
        let start = Instant::now();
        guard.release().await?;
        now[2] = start.elapsed();
        if !bare_first[1] {
            now[3] = floor.swap(&free).await?;
        }
        if index >= WARM_UP {
            samples.iter_mut().zip(now).for_each(|(samples, one)| samples.push(one));
        }
    }
    let swaps = 4 * (count + WARM_UP) as u64;
    let (main, binary) = logged(&mut counters).await?.since(&before);
    let logged = (main.map(|bytes| bytes / swaps), binary.map(|bytes| bytes / swaps));
    drop(guards);
    others.close().await?;
    own.close().await?;
    let [acquire, bare_acquire, release, bare_release] = samples.map(Spread::of);
    let row = |operation: &str, data: &str, ours, floor| Versus {
        store: store.name.into(),
        operation: operation.into(),
        holds,
        bytes: data.len(),
        ours,
        floor: Some(floor),
        logged,
    };
    Ok([row("acquire", &held, acquire, bare_acquire), row("release", &free, release, bare_release)])
}

/// What was written so far: by the server, or by this process where there is none.
async fn logged(counters: &mut Option<Counters>) -> Result<Logged, Failure> {
    match counters {
        Some(counters) => counters.logged().await,
        None => Logged::of_process(),
    }
}

/// What an acquire consists of, each in turns with the bare swap, on cells of their own: the swap of the
/// backend, the bare one asked of another thread, and acquire with the driver in the runtime of who asks.
pub(crate) async fn measure_parts(store: &Store, count: usize) -> Result<Parts, Failure> {
    let inline = Locks::builder(backend(&store.fresh())?).in_current_runtime().build();
    let own = store.fresh();
    let [held, _] = contents(&locks(&own, true)?, &*backend(&own)?).await?;
    let data: Arc<str> = held.into();
    let mut floor = Floor::new(Site::new(store), &data).await?;
    let elsewhere = Elsewhere::start(store, &data)?;
    let cell = backend(&store.fresh())?;
    let mut version = cell.load().await?.version;
    let mut samples = [const { [Vec::new(), Vec::new()] }; 3];
    for (part, [parts, bares]) in samples.iter_mut().enumerate() {
        for index in 0..count + WARM_UP {
            let bare = floor.swap(&data).await?;
            let start = Instant::now();
            let took = match part {
                0 => {
                    let next = Version(version.0 + 1);
                    let swap = cell.compare_and_swap(version, next, data.as_bytes()).await?;
                    if swap != Swap::Swapped {
                        return Err("a cell of its own has changed".into());
                    }
                    version = next;
                    start.elapsed()
                }
                1 => elsewhere.swap(&data).await?,
                _ => {
                    let guard = inline.acquire(NAME).await?;
                    let took = start.elapsed();
                    floor.swap(&data).await?; // As the release that is measured, too.
                    guard.release().await?;
                    took
                }
            };
            if index >= WARM_UP {
                parts.push(took);
                bares.push(bare);
            }
        }
    }
    inline.close().await?;
    let [cell, asked, in_runtime] = samples.map(|pair| pair.map(Spread::of));
    Ok(Parts { store: store.name.into(), cell, asked, in_runtime })
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
        logged: (None, None),
    };
    Ok([row("acquire", &held, acquire), row("release", &free, release)])
}

/// How large a cell is by holds of one client, and by holds of a client each.
pub(crate) async fn measure_bytes() -> Result<[Holding; 2], Failure> {
    const MANY: usize = 100;
    let mut rows = Vec::new();
    for clients in [1, MANY] {
        let cell = MemoryBackend::new();
        let new = || Locks::builder(cell.clone()).in_current_runtime().build();
        let all: Vec<Locks> = (0..clients).map(|_| new()).collect();
        let (mut guards, mut sizes) = (Vec::new(), Vec::new());
        for number in 0..MANY {
            let locks = &all[number % clients];
            guards.push(locks.acquire(&*format!("app/{number}/backup")).await?);
            sizes.push(cell.load().await?.data.len());
        }
        drop(guards);
        for locks in all {
            locks.close().await?;
        }
        let (first, bytes) = (sizes[0], sizes[MANY - 1]);
        let each = f64::from(u32::try_from(bytes - first)?) / f64::from(u32::try_from(MANY - 1)?);
        rows.push(Holding { clients, holds: MANY, bytes, each });
    }
    Ok(rows.try_into().expect("two were asked for"))
}

/// Takes many locks at once.
pub(crate) async fn hold(locks: &Locks, count: usize) -> Result<Vec<Guard>, Failure> {
    let guards = (0..count).map(|number| {
        let locks = locks.clone();
        async move { locks.acquire(&*format!("app/{number}/backup")).await }
    });
    Ok(try_join_all(guards).await?)
}

impl Versus {
    /// How many times the floor it is, and how many microseconds more.
    pub(crate) fn above(&self) -> Option<(f64, f64)> {
        let floor = self.floor?.p50;
        (floor > 0.0).then(|| (self.ours.p50 / floor, self.ours.p50 - floor))
    }
}
