//! Random work of several clients on stores that fail at random.

mod driver;

use std::time::Duration;

use driver::{Referee, World, within};
use lock_core::process::ProcessSet;
use lock_core::testing::{Faults, FaultyBackend, Rates};
use lock_core::{AcquireError, Locks, MemoryBackend, Reach, Request, Task};
use tokio::time::{sleep, timeout};

const CLIENTS: usize = 3;
const TASKS: usize = 5;
const STEPS: usize = 6;

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

/// Some requests one after the other, each ended in one of the ways there are.
async fn work(mut task: Task, mut rng: fastrand::Rng, referee: Referee) {
    let ms = |rng: &mut fastrand::Rng, most| Duration::from_millis(rng.u64(0..most));
    for _ in 0..STEPS {
        let request = request(&mut rng);
        let mut sub = task.subtask("sub");
        let limit = ms(&mut rng, 200);
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
}

/// Work on other locks that others free by name.
async fn victim(locks: Locks, mut rng: fastrand::Rng) {
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
}

async fn run(seed: u64, rates: Rates) -> usize {
    eprintln!("seed {seed}");
    let (store, referee) = (MemoryBackend::new(), Referee::default());
    let world = World { store: store.clone(), ..World::new() };
    let clients: Vec<(Locks, Faults)> = (0..CLIENTS as u64)
        .map(|number| {
            let seed = seed * CLIENTS as u64 + number;
            let backend = FaultyBackend::random(store.clone(), seed, rates);
            let backend = backend.with_reach(Reach::Network);
            let faults = backend.faults();
            // Nobody to probe, which saves time.
            let builder = Locks::builder(backend).processes(ProcessSet::default());
            let builder = builder.in_current_runtime();
            (builder.clock(world.clock.clone()).build(), faults)
        })
        .collect();
    let mut all = tokio::task::JoinSet::new();
    for (number, (locks, _)) in clients.iter().enumerate() {
        for task in 0..TASKS {
            let rng = fastrand::Rng::with_seed(seed << 16 | (number * TASKS + task) as u64);
            all.spawn(work(locks.task(format!("{number}-{task}")), rng, referee.clone()));
        }
        let rng = fastrand::Rng::with_seed(seed << 32 | number as u64);
        all.spawn(victim(locks.clone(), rng));
    }
    while let Some(ended) = within("the work", all.join_next()).await {
        ended.unwrap();
    }
    for (locks, faults) in &clients {
        faults.calm();
        within("the close", locks.close()).await.unwrap();
        faults.deliver_late().await;
    }
    world.assert_empty();
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
