//! Random work of several clients side by side, on stores that fail at random.

use std::time::Duration;

use futures_util::future::join_all;
use lock_core::table::LockTable;
use lock_core::testing::{Faults, FaultyBackend, Hold, Rates, Referee};
use lock_core::{AcquireError, Guard, LockBackend, Locks, Request, Task};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::wait::{until, within};
use crate::scene::Scene;
use crate::trial::{Failure, Verdict};

const CLIENTS: u64 = 3;
const TASKS: u64 = 5;
const STEPS: usize = 6;
/// How long an impatient request waits, in milliseconds; others wait twenty times as long.
const LIMIT_MS: u64 = 60;

/// Through faults of all kinds nobody ever holds what another holds, and once there are none, the
/// table is what the guards say that are left.
pub(super) fn no_fault_breaks_a_lock(scene: &Scene) -> Verdict {
    let cases = scene.cases(2);
    scene.count("cases", cases);
    // Side by side: most of the time is spent waiting.
    let all = (0..cases as u64).map(|case| one_soak(scene, case));
    scene.block_on(join_all(all)).into_iter().collect()
}

async fn one_soak(scene: &Scene, case: u64) -> Verdict {
    let store = scene.other_store()?;
    let seed = scene.random(case).u64(..);
    let client = |number| -> Result<(Locks, Faults), Failure> {
        let backend = scene.open(&store.spec())?;
        let backend = FaultyBackend::random(backend, seed.wrapping_add(number), Rates::MIXED);
        let faults = backend.faults();
        Ok((Locks::new(backend), faults))
    };
    let clients: Vec<(Locks, Faults)> = (0..CLIENTS).map(client).collect::<Result<_, _>>()?;
    let survivors = work(&clients, seed, &Referee::default()).await;
    let faults: usize = clients.iter().map(|(_, faults)| injected(faults)).sum();
    scene.count("faults", faults);

    for (_, faults) in &clients {
        faults.calm();
        faults.deliver_late().await;
    }
    let backend = scene.open(&store.spec())?;
    let mut guards: Vec<_> = survivors.iter().map(|(_, guard)| guard.id()).collect();
    guards.sort();
    until("the table is what the guards say", async || {
        let listing = read(&backend).await?.list();
        let mut holds: Vec<_> = listing.holds.iter().map(|hold| hold.id).collect();
        holds.sort();
        Ok(holds == guards && listing.waiting.is_empty())
    })
    .await?;
    for (_, guard) in &survivors {
        guard.verify().await?;
    }
    drop(survivors);
    for (locks, _) in &clients {
        within("the close", locks.close()).await??;
    }
    let left = read(&backend).await?;
    if left.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!("something is left: {:#?}", left.list())))
}

/// What a task still holds in the end.
type Left = (Hold, Guard);

fn injected(faults: &Faults) -> usize {
    faults.log().iter().filter(|event| event.fault.is_some()).count()
}

async fn read(backend: &impl LockBackend) -> Result<LockTable, Failure> {
    Ok(LockTable::decode(&backend.load().await?)?)
}

/// Lets tasks of all clients work side by side, and returns the guards that are left in the end.
async fn work(clients: &[(Locks, Faults)], seed: u64, referee: &Referee) -> Vec<Left> {
    let mut all = JoinSet::new();
    let mut seeds = fastrand::Rng::with_seed(seed);
    for (number, (locks, _)) in clients.iter().enumerate() {
        for task in 0..TASKS {
            let task = locks.task(format!("{number}-{task}"));
            all.spawn(work_of_one(task, seeds.fork(), referee.clone()));
        }
        all.spawn(victim(locks.clone(), seeds.fork()));
    }
    let mut survivors = Vec::new();
    while let Some(ended) = within("the work", all.join_next()).await.expect("work ends") {
        survivors.extend(ended.expect("nobody saw anything wrong"));
    }
    survivors
}

/// Some requests one after the other, each ended in one of the ways there are.
async fn work_of_one(mut task: Task, mut rng: fastrand::Rng, referee: Referee) -> Option<Left> {
    let ms = |rng: &mut fastrand::Rng, most| Duration::from_millis(rng.u64(0..most));
    for step in 1..=STEPS {
        let request = request(&mut rng);
        let mut sub = task.subtask("sub");
        let limit = ms(&mut rng, LIMIT_MS);
        let granted = match rng.usize(..5) {
            0 => task.try_acquire(request.clone()).await,
            1 => match timeout(limit, task.acquire(request.clone())).await {
                Ok(granted) => granted,
                Err(_) => continue,
            },
            2 => sub.acquire_timeout(request.clone(), limit).await,
            _ => task.acquire_timeout(request.clone(), 20 * limit).await,
        };
        match granted {
            Ok(guard) => {
                let hold = referee.begins(&guard, &request);
                if rng.usize(..4) == 0
                    && let Ok(sub) = sub.acquire_timeout(request.clone(), limit).await
                {
                    drop(referee.begins(&sub, &request));
                }
                sleep(ms(&mut rng, 20)).await;
                guard.check().expect("nobody took it away");
                if step == STEPS {
                    return Some((hold, guard));
                }
                drop(hold);
                if rng.bool() {
                    drop(guard);
                } else {
                    drop(timeout(limit, guard.release()).await);
                }
            }
            Err(AcquireError::Store(error)) => assert!(error.is_unreachable(), "{error:?}"),
            Err(AcquireError::Busy(_) | AcquireError::TimedOut(_) | AcquireError::Deadlock(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    None
}

fn request(rng: &mut fastrand::Rng) -> Request {
    const NAMES: [&str; 5] = ["a", "a/b", "a/c", "d", "e"];
    let (one, other) = (NAMES[rng.usize(..5)], NAMES[rng.usize(..5)]);
    let request = match rng.usize(..4) {
        0 => Request::shared(one),
        1 => Request::limit(one, 2),
        _ => Request::exclusive(one),
    };
    if one == other || rng.bool() { request } else { request.and_shared(other) }
}

/// Work on other locks that others free by name.
async fn victim(locks: Locks, mut rng: fastrand::Rng) -> Option<Left> {
    for _ in 0..STEPS {
        if rng.bool() {
            sleep(Duration::from_millis(rng.u64(0..30))).await;
            drop(locks.release_task("victim").await);
            continue;
        }
        let mut task = locks.task("victim");
        let asked = task.acquire_timeout(Request::exclusive("v"), Duration::from_millis(50));
        if let Ok(guard) = asked.await {
            drop(timeout(Duration::from_millis(30), guard.lost()).await);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use lock_core::process::ProcessSet;
    use lock_core::testing::TestClock;
    use lock_core::{MemoryBackend, Reach};

    use super::*;

    /// Works on a store in memory, by a clock that never makes anybody wait.
    async fn run(seed: u64, rates: Rates) -> usize {
        eprintln!("seed {seed}");
        let (store, clock, referee) = (MemoryBackend::new(), TestClock::new(), Referee::default());
        let client = |number| {
            let backend = FaultyBackend::random(store.clone(), seed * CLIENTS + number, rates);
            let backend = backend.with_reach(Reach::Network);
            let faults = backend.faults();
            // Nobody to probe, which saves time.
            let builder = Locks::builder(backend).processes(ProcessSet::default());
            (builder.in_current_runtime().clock(clock.clone()).build(), faults)
        };
        let clients: Vec<(Locks, Faults)> = (0..CLIENTS).map(client).collect();
        drop(work(&clients, seed, &referee).await);
        for (_, faults) in &clients {
            faults.calm();
        }
        let closes = clients.iter().map(|(locks, _)| locks.close());
        for closed in within("the close", join_all(closes)).await.expect("closing ends") {
            closed.unwrap();
        }
        for (_, faults) in &clients {
            faults.deliver_late().await;
        }
        let table = read(&store).await.unwrap();
        assert!(table.is_empty(), "something is left: {:#?}", table.list());
        referee.holds()
    }

    #[tokio::test(start_paused = true)]
    async fn faults_of_all_kinds() {
        let mut holds = 0;
        for seed in 0..75 {
            holds += run(seed, Rates::MIXED).await;
        }
        assert!(holds > 100, "there was something to watch: {holds}");
    }

    #[tokio::test(start_paused = true)]
    async fn slow_and_old_answers() {
        let rates = Rates {
            stale: 0.1,
            delay: 0.4,
            delay_max: Duration::from_millis(40),
            unknown: 0.2,
            ..Rates::default()
        };
        for seed in 1000..1075 {
            run(seed, rates).await;
        }
    }
}
