//! Many processes on one cell, each with a lock of its own: how much they get done, and how evenly.

use std::time::Duration;

use lock_bench_worker::Failure;

use crate::results::{Contention, Spread};
use crate::store::Store;
use crate::worker::{Recipe, Worker};

/// The processes of the figure.
const PROCESSES: usize = 16;

/// The way that the others are compared with.
pub(crate) const NAIVE: &str = "naive";

/// Trying again at once, and this product with and without the help of the host.
pub(crate) async fn measure(store: &Store, seconds: u32) -> Result<Vec<Contention>, Failure> {
    let mut rows = Vec::new();
    for way in [NAIVE, "interlock", "interlock-without-bell"] {
        rows.push(one(store, way, seconds).await?);
    }
    Ok(rows)
}

async fn one(store: &Store, way: &str, seconds: u32) -> Result<Contention, Failure> {
    let url = store.fresh();
    // The table of the naive is as large as that of the others, in which all hold or wait.
    let mut holders = Recipe::product(&url, true).start_many(PROCESSES)?;
    for (index, holder) in holders.iter_mut().enumerate() {
        holder.acquire(&format!("app/{index}"))?;
    }
    let mut workers = Recipe::new(way, &url).start_many(PROCESSES)?;
    if way != NAIVE {
        holders.iter_mut().try_for_each(|holder| holder.release().map(drop))?;
        holders.clear();
    }
    let mut counters = store.counters().await?;
    let before = match &mut counters {
        Some(counters) => counters.statements().await?,
        None => 0,
    };
    for (index, worker) in workers.iter_mut().enumerate() {
        worker.tell(&format!("loop app/{index} {seconds}"))?;
    }
    let mut samples = Vec::new();
    for worker in &mut workers {
        let mut own = worker.hear_samples()?;
        let releases = worker.hear_samples()?;
        // The naive have nothing to give back.
        if way != NAIVE {
            own.extend(releases);
        }
        samples.push(own);
    }
    let statements = match &mut counters {
        Some(counters) => counters.statements().await? - before - 1,
        None => 0,
    };
    drop(workers);
    Ok(sum_up(store, way, seconds, &samples, statements))
}

#[expect(clippy::cast_precision_loss, reason = "it is not that much")]
fn sum_up(
    store: &Store,
    way: &str,
    seconds: u32,
    samples: &[Vec<Duration>],
    statements: u64,
) -> Contention {
    let counts = samples.iter().map(Vec::len);
    let (sum, least) = (counts.clone().sum::<usize>() as f64, counts.min().unwrap_or(0) as f64);
    Contention {
        store: store.name.into(),
        way: way.into(),
        processes: PROCESSES,
        rate: sum / f64::from(seconds),
        slowest: least / (sum / PROCESSES as f64),
        statements: statements as f64 / sum.max(1.0),
        took: Spread::of(samples.concat()),
    }
}

/// How often per second several processes acquire and release, and what the slowest got done as
/// part of the mean.
#[expect(clippy::cast_precision_loss, reason = "it is not that much")]
pub(crate) fn rate_of(
    workers: &mut [Worker],
    name: impl Fn(usize) -> String,
    seconds: f64,
) -> Result<(f64, f64), Failure> {
    for (index, worker) in workers.iter_mut().enumerate() {
        worker.tell(&format!("loop {} {seconds}", name(index)))?;
    }
    let mut counts = Vec::new();
    for worker in &mut *workers {
        worker.hear_samples()?;
        counts.push(worker.hear_samples()?.len());
    }
    let sum = counts.iter().sum::<usize>() as f64;
    let least = counts.into_iter().min().unwrap_or(0) as f64;
    Ok((sum / seconds, least / (sum / workers.len() as f64)))
}
