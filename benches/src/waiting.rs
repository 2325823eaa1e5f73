//! What those who wait ask of the server, what serving them writes, and whether they are served in order.

use std::thread::sleep;
use std::time::{Duration, Instant};

use lock_bench_worker::Failure;
use lock_core::{Guard, Locks};

use crate::counters::Counters;
use crate::results::{Spread, Waiting};
use crate::store::{Store, locks, locks_without_renewals};
use crate::worker::{Recipe, Worker};

const NAME: &str = "app/blog";

/// How long each of them holds.
const HELD: Duration = Duration::from_millis(20);

/// That many processes wait for one lock in each store, in all of them for the same time, and are then
/// served, one store after the other.
pub(crate) async fn measure(
    stores: &[&Store],
    bell: bool,
    waiters: usize,
    time: Duration,
) -> Result<Vec<Waiting>, Failure> {
    let mut queues = Vec::new();
    for store in stores {
        queues.extend(Queue::begin(store, bell, waiters).await?);
    }
    // Those who came last look more often for a moment.
    sleep(Duration::from_millis(300));
    for queue in &mut queues {
        queue.look().await?;
    }
    sleep(time);
    let mut rates = Vec::new();
    for queue in &mut queues {
        rates.push(queue.rate().await?);
    }
    let mut rows = Vec::new();
    for (queue, rate) in queues.into_iter().zip(rates) {
        rows.push(queue.serve(rate).await?);
    }
    Ok(rows)
}

/// Processes that wait in one store.
struct Queue {
    store: String,
    bell: bool,
    counters: Counters,
    holder: Locks,
    guard: Guard,
    looker: Locks,
    workers: Vec<Worker>,
    /// When the statements were counted, and how many there were.
    counted: (Instant, u64),
}

impl Queue {
    /// Nothing, if the store does not count.
    async fn begin(store: &Store, bell: bool, waiters: usize) -> Result<Option<Self>, Failure> {
        let Some(counters) = store.counters().await? else { return Ok(None) };
        let url = store.fresh();
        // What a lease costs is another figure.
        let holder = locks_without_renewals(&url, bell)?;
        let guard = holder.acquire(NAME).await?;
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
        let (store, counted) = (store.name.into(), (Instant::now(), 0));
        Ok(Some(Self { store, bell, counters, holder, guard, looker, workers, counted }))
    }

    async fn look(&mut self) -> Result<(), Failure> {
        let statements = self.counters.statements().await?;
        self.counted = (Instant::now(), statements);
        Ok(())
    }

    /// Statements per second since it looked.
    async fn rate(&mut self) -> Result<f64, Failure> {
        let (begin, before) = self.counted;
        let seconds = begin.elapsed().as_secs_f64();
        let statements = self.counters.statements().await? - before - 1;
        Ok(f64::from(u32::try_from(statements)?) / seconds)
    }

    async fn serve(self, rate: f64) -> Result<Waiting, Failure> {
        let Self { store, bell, mut counters, holder, guard, looker, mut workers, .. } = self;
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
        Ok(Waiting {
            store,
            bell,
            waiters: workers.len(),
            rate,
            writes,
            in_order: times.is_sorted(),
            gap: Spread::of(gaps.map(|gap| gap.saturating_sub(HELD)).collect()),
        })
    }
}
