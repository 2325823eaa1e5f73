//! One process with many tasks, each with a lock of its own: how much they get done, and how many it can hold.

use std::path::Path;
use std::time::Instant;

use lock_bench_worker::Failure;

use crate::results::{Many, Tasks};
use crate::store::{Store, locks};
use crate::versus::hold;
use crate::worker::{Recipe, Worker};

/// The tasks of the figure.
pub(crate) const TASKS: u32 = 64;

/// How many locks one process holds at once.
const LOCKS: usize = 10_000;

/// The name of this product's own rows.
pub(crate) const OURS: &str = "interlock";

/// The crate that offers `GET_LOCK`.
pub(crate) const CRATE: &str = "distributed-lock-mysql";

/// This product with one task and with many.
pub(crate) fn measure(store: &Store, seconds: f64) -> Result<Vec<Tasks>, Failure> {
    let mut rows = Vec::new();
    for tasks in [1, TASKS] {
        let mut worker = start(&Recipe::product(store.fresh(), true))?;
        rows.push(count(store, OURS, &mut worker, tasks, seconds)?);
    }
    Ok(rows)
}

/// The other crate with many tasks, if it is there and the store is one for it.
pub(crate) fn measure_crate(
    store: &Store,
    peers: Option<&Path>,
    seconds: f64,
) -> Result<Option<Tasks>, Failure> {
    let (Some(peers), "mysql" | "mariadb") = (peers, store.name) else { return Ok(None) };
    let (program, at) = (Some(peers.into()), store.at());
    let mut worker = start(&Recipe { program, approach: CRATE.into(), at })?;
    count(store, CRATE, &mut worker, TASKS, seconds).map(Some)
}

/// A worker with the threads that a service would have.
pub(crate) fn start(recipe: &Recipe) -> Result<Worker, Failure> {
    recipe.start_with(std::thread::available_parallelism().map_or(2, usize::from).max(2))
}

fn count(
    store: &Store,
    way: &str,
    worker: &mut Worker,
    tasks: u32,
    seconds: f64,
) -> Result<Tasks, Failure> {
    let rate = rate_of(worker, tasks, seconds)?;
    Ok(Tasks { store: store.name.into(), way: way.into(), count: tasks, rate })
}

/// How often per second that many tasks acquire and release.
pub(crate) fn rate_of(worker: &mut Worker, tasks: u32, seconds: f64) -> Result<f64, Failure> {
    // What is only done at the first use is not counted: connecting, say.
    worker.tell(&format!("tasks {tasks} 0"))?;
    worker.hear()?;
    worker.tell(&format!("tasks {tasks} {seconds}"))?;
    let begin = Instant::now();
    let count: u32 = worker.hear()?.parse()?;
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

/// How long it takes to hold very many locks, and by how many connections.
pub(crate) async fn measure_many(store: &Store) -> Result<Many, Failure> {
    let mut counters = store.counters().await?;
    let before = match &mut counters {
        Some(counters) => counters.connections().await?,
        None => 0,
    };
    let locks = locks(&store.fresh(), true)?;
    let start = Instant::now();
    let guards = hold(&locks, LOCKS).await?;
    let seconds = start.elapsed().as_secs_f64();
    let connections = match &mut counters {
        Some(counters) => Some(counters.connections().await?.saturating_sub(before)),
        None => None,
    };
    let many = Many { store: store.name.into(), locks: guards.len(), connections, seconds };
    drop(guards);
    locks.close().await?;
    Ok(many)
}
