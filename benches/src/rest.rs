//! A client that only holds: what it asks of the server.

use std::time::{Duration, Instant};

use lock_bench_worker::Failure;
use lock_core::Locks;
use tokio::time::sleep;

use crate::results::Rest;
use crate::store::{Store, backend};
use crate::versus::hold;

/// Each with a hold.
pub(crate) const TASKS: [usize; 3] = [1, 64, 1_000];

/// The statements of a client whose tasks hold and want nothing, for that time.
pub(crate) async fn measure(
    store: &Store,
    tasks: usize,
    lease: Option<Duration>,
    time: Duration,
) -> Result<Option<Rest>, Failure> {
    let Some(mut counters) = store.counters().await? else { return Ok(None) };
    let builder = Locks::builder(backend(&store.fresh())?);
    let locks = match lease {
        None => builder.no_lease().build(),
        Some(lease) => builder.lease(lease).build(),
    };
    let guards = hold(&locks, tasks).await?;
    let before = counters.statements().await?;
    let begin = Instant::now();
    sleep(time).await;
    let statements = counters.statements().await? - before - 1;
    let seconds = begin.elapsed().as_secs_f64();
    guards.iter().try_for_each(lock_core::Guard::check)?;
    drop(guards);
    locks.close().await?;
    Ok(Some(Rest {
        store: store.name.into(),
        tasks: u32::try_from(tasks)?,
        lease_seconds: lease.map(|lease| lease.as_secs_f64()),
        seconds,
        statements,
    }))
}
