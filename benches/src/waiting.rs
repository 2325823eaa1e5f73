//! What those who wait ask of the server, what serving them writes, and whether they are served in order.

use std::thread::sleep;
use std::time::{Duration, Instant};

use lock_bench_worker::Failure;

use crate::results::{Spread, Waiting};
use crate::store::{Store, locks};
use crate::worker::{Recipe, Worker};

const NAME: &str = "app/blog";

/// How long each of them holds.
const HELD: Duration = Duration::from_millis(20);

/// That many processes wait for one lock for a while, and are then served one after the other.
pub(crate) async fn measure(
    store: &Store,
    bell: bool,
    waiters: usize,
    time: Duration,
) -> Result<Option<Waiting>, Failure> {
    let Some(mut counters) = store.counters().await? else { return Ok(None) };
    let url = store.fresh();
    let holder = locks(&url, bell)?;
    let guard = holder.acquire(NAME).await?;
    // What a lease costs is another figure.
    let way =
        if bell { "interlock-without-renewals" } else { "interlock-without-renewals-or-bell" };
    let mut workers = Recipe::new(way, &url).start_many(waiters)?;
    let looker = locks(&url, bell)?;
    for (index, worker) in workers.iter_mut().enumerate() {
        worker.tell(&format!("hold {NAME} {}", HELD.as_millis()))?;
        while looker.list().await?.waiting.len() <= index {
            sleep(Duration::from_millis(2));
        }
    }
    // Those who came last look more often for a moment.
    sleep(Duration::from_millis(300));
    let before = counters.statements().await?;
    let begin = Instant::now();
    sleep(time);
    let statements = counters.statements().await? - before - 1;
    let seconds = begin.elapsed().as_secs_f64();
    let before = counters.writes().await?;
    guard.release().await?;
    let times: Vec<Duration> =
        workers.iter_mut().map(Worker::hear_time).collect::<Result<_, _>>()?;
    // The last one gives it back too.
    while !looker.list().await?.holds.is_empty() {
        sleep(Duration::from_millis(5));
    }
    // The last one hands it on to nobody.
    let writes = (counters.writes().await? - before).saturating_sub(1);
    looker.close().await?;
    holder.close().await?;
    let gaps = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    Ok(Some(Waiting {
        store: store.name.into(),
        bell,
        waiters,
        rate: f64::from(u32::try_from(statements)?) / seconds,
        writes,
        in_order: times.is_sorted(),
        gap: Spread::of(gaps.map(|gap| gap.saturating_sub(HELD)).collect()),
    }))
}
