//! Waiting: how soon the next process has the lock, after a release and after a death.

use std::thread::sleep;
use std::time::Duration;

use lock_bench_worker::Failure;

use crate::results::{HandOff, Recovery, Spread};
use crate::store::Store;
use crate::worker::{Recipe, Worker};

const NAME: &str = "app/blog";

/// How many pairs of processes wait at a time.
const PAIRS: usize = 6;

/// From release called in one process to acquire returned in another, after each of these waits.
pub(crate) fn measure(
    store: &Store,
    bell: bool,
    waits: &[(Duration, usize)],
) -> Result<Vec<HandOff>, Failure> {
    let recipe = || Recipe::product(store.fresh(), bell);
    let mut rows = Vec::new();
    for (wait, rounds) in waits {
        let took = hand_off(recipe, NAME, PAIRS, *wait, *rounds)?;
        let waited_ms = u64::try_from(wait.as_millis())?;
        rows.push(HandOff { store: store.name.into(), bell, waited_ms, took });
    }
    Ok(rows)
}

/// Pairs of processes that pass a lock to and fro, each pair its own.
pub(crate) fn hand_off(
    recipe: impl Fn() -> Recipe,
    name: &str,
    pairs: usize,
    wait: Duration,
    rounds: usize,
) -> Result<Spread, Failure> {
    let mut pairs: Vec<(String, Vec<Worker>)> = (0..pairs)
        .map(|pair| Ok((format!("{name}-{pair}"), recipe().start_many(2)?)))
        .collect::<Result<_, Failure>>()?;
    let mut samples = Vec::new();
    for (name, pair) in &mut pairs {
        pair[0].acquire(name)?;
    }
    for _ in 0..rounds {
        for (name, pair) in &mut pairs {
            pair[1].tell(&format!("acquire {name}"))?;
        }
        sleep(wait);
        for (_, pair) in &mut pairs {
            // One after the other, so that the pairs do not disturb each other.
            let released = pair[0].release()?;
            samples.push(pair[1].hear_time()?.saturating_sub(released));
            pair.reverse();
        }
    }
    Ok(Spread::of(samples))
}

/// From `SIGKILL` of the holder to acquire returned in another process, which has waited.
pub(crate) fn measure_recovery(store: &Store, rounds: usize) -> Result<Recovery, Failure> {
    let mut samples = Vec::new();
    for _ in 0..rounds {
        let mut pairs = Vec::new();
        for _ in 0..PAIRS {
            let recipe = Recipe::product(store.fresh(), true);
            let [mut holder, mut waiter] = [recipe.start()?, recipe.start()?];
            holder.acquire(NAME)?;
            waiter.tell(&format!("acquire {NAME}"))?;
            pairs.push((holder, waiter));
        }
        sleep(Duration::from_millis(100));
        for (holder, mut waiter) in pairs {
            let killed = holder.kill()?;
            samples.push(waiter.hear_time()?.saturating_sub(killed));
        }
    }
    Ok(Recovery { store: store.name.into(), took: Spread::of(samples) })
}
