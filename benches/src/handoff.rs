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

/// Two processes that pass a lock to and fro, and how long that took.
struct Pair {
    name: String,
    workers: Vec<Worker>,
    took: Vec<Duration>,
}

/// From release called in one process to acquire returned in another, after that wait, with or without a
/// bell; in all of the stores at once, for most of the time nobody does anything. Beside them, what it takes to wake
/// processes that have slept for so long: the same by a lock server on this socket.
pub(crate) fn measure(
    stores: &[(&Store, bool)],
    socket: &str,
    wait: Duration,
    rounds: usize,
) -> Result<Vec<HandOff>, Failure> {
    let mut pairs = Vec::new();
    for (store, bell) in stores {
        pairs.extend(start(|| Recipe::product(store.fresh(), *bell), NAME, PAIRS)?);
    }
    pairs.extend(start(|| Recipe::new("socket", socket), NAME, PAIRS)?);
    pass(&mut pairs, wait, rounds)?;
    let bare = spread(&pairs[stores.len() * PAIRS..]);
    let waited_ms = u64::try_from(wait.as_millis())?;
    let of_stores = stores.iter().zip(pairs.chunks(PAIRS));
    Ok(of_stores
        .map(|(&(store, bell), pairs)| HandOff {
            store: store.name.into(),
            bell,
            waited_ms,
            took: spread(pairs),
            bare,
        })
        .collect())
}

/// The same by pairs of another kind.
pub(crate) fn hand_off(
    recipe: impl Fn() -> Recipe,
    name: &str,
    count: usize,
    wait: Duration,
    rounds: usize,
) -> Result<Spread, Failure> {
    let mut pairs = start(recipe, name, count)?;
    pass(&mut pairs, wait, rounds)?;
    Ok(spread(&pairs))
}

/// Pairs that have a lock each, which the first of them holds.
fn start(recipe: impl Fn() -> Recipe, name: &str, count: usize) -> Result<Vec<Pair>, Failure> {
    let pair = |number| {
        let (name, mut workers) = (format!("{name}-{number}"), recipe().start_many(2)?);
        workers[0].acquire(&name)?;
        Ok(Pair { name, workers, took: Vec::new() })
    };
    (0..count).map(pair).collect()
}

/// One after the other, so that the pairs do not disturb each other.
fn pass(pairs: &mut [Pair], wait: Duration, rounds: usize) -> Result<(), Failure> {
    for _ in 0..rounds {
        for Pair { name, workers, .. } in &mut *pairs {
            workers[1].tell(&format!("acquire {name}"))?;
        }
        sleep(wait);
        for Pair { workers, took, .. } in &mut *pairs {
            let released = workers[0].release()?;
            took.push(workers[1].hear_time()?.saturating_sub(released));
            workers.reverse();
        }
    }
    Ok(())
}

fn spread(pairs: &[Pair]) -> Spread {
    Spread::of(pairs.iter().flat_map(|pair| pair.took.iter().copied()).collect())
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
