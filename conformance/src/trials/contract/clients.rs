//! Layer 1: what several clients of one cell may expect of each other, in threads and processes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use lock_core::{BackendError, LockBackend, Swap, Version};
use tokio::time::timeout;

use crate::cell::{add_one, load, number, put, swap};
use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict, trials};
use crate::worker::{Order, Report};

trials!("contract":
    #[random] a_load_is_as_new_as_what_anybody_was_told,
    #[random] of_many_with_the_same_expectation_one_swaps,
    #[random] threads_lose_no_update,
    #[random] processes_lose_no_update,
    what_was_acknowledged_is_there_for_who_comes_later,
    what_was_acknowledged_is_there_when_its_client_is_killed,
    #[random] a_client_opens_while_others_write,
    two_stores_are_independent,
    a_store_is_named_without_its_secret,
    a_store_says_who_can_reach_it,
    a_change_is_told,
    a_hint_is_only_a_hint,
);

const CLIENTS: usize = 6;

fn a_load_is_as_new_as_what_anybody_was_told(scene: &Scene) -> Verdict {
    let enough = scene.cases(100) as u64;
    let (told, loads) = (AtomicU64::new(0), AtomicU64::new(0));
    let ended = AtomicBool::new(false);
    let reading = async |backend: Arc<dyn LockBackend>| {
        let mut last = 0;
        while !ended.load(Ordering::SeqCst) {
            let told = told.load(Ordering::SeqCst);
            let found = load(&*backend).await?.version.0;
            if found < told {
                return Err(Failure::failed(format!("read {found} after {told} was told")));
            }
            // Only a load that others have written before says anything.
            loads.fetch_add(u64::from(told > last), Ordering::SeqCst);
            last = told;
        }
        Ok(())
    };
    let writing = async |writers: [Arc<dyn LockBackend>; 2]| {
        let mut version = 0;
        while version < enough || loads.load(Ordering::SeqCst) < enough {
            if ended.load(Ordering::SeqCst) {
                break;
            }
            // By two in turn, so that nobody can do with what it remembers itself.
            let writer = &*writers[usize::from(version % 2 == 0)];
            let (expected, next) = (Version(version), Version(version + 1));
            assert_eq!(swap(writer, expected, next, b"x").await?, Swap::Swapped);
            told.store(next.0, Ordering::SeqCst);
            version = next.0;
        }
        Ok::<(), Failure>(())
    };
    let (readers, writers) =
        ([scene.backend()?, scene.backend()?], [scene.backend()?, scene.backend()?]);
    std::thread::scope(|scope| {
        let (reading, ended) = (&reading, &ended);
        let readers = readers.map(|reader| {
            scope.spawn(move || {
                let _stop = Stop(ended);
                alone(reading(reader))
            })
        });
        let written = {
            let _stop = Stop(ended);
            alone(writing(writers))
        };
        for reader in readers {
            reader.join().expect("it does not panic")?;
        }
        scene.count("operations", usize::try_from(loads.load(Ordering::SeqCst)).unwrap_or(0));
        written
    })
}

/// Ends the others with this one, also when it panics.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn of_many_with_the_same_expectation_one_swaps(scene: &Scene) -> Verdict {
    let rounds = scene.cases(25) as u64;
    let barrier = Barrier::new(CLIENTS);
    // In each round all expect the version that the last one ended with, and send one of their own.
    let racing = async |client: u64, backend: Arc<dyn LockBackend>| {
        let mut wins = Vec::new();
        let mut expected = Version::ABSENT;
        for _ in 0..rounds {
            barrier.wait();
            let next = Version(expected.0 + 1 + client);
            let swapped = swap(&*backend, expected, next, &client.to_le_bytes()).await;
            barrier.wait();
            wins.push(swapped.map(|swap| swap == Swap::Swapped));
            match load(&*backend).await {
                Ok(found) => expected = found.version,
                Err(error) => wins.push(Err(error)),
            }
        }
        wins
    };
    let mut backends = Vec::new();
    for _ in 0..CLIENTS {
        backends.push(scene.backend()?);
    }
    let results: Vec<Vec<_>> = std::thread::scope(|scope| {
        let racing = &racing;
        let clients: Vec<_> = (0..)
            .zip(backends)
            .map(|(client, backend)| scope.spawn(move || alone(racing(client, backend))))
            .collect();
        clients.into_iter().map(|client| client.join().expect("it does not panic")).collect()
    });
    let mut winners = vec![0; usize::try_from(rounds).unwrap_or_default()];
    for client in results {
        for (round, win) in client.into_iter().enumerate() {
            winners[round] += usize::from(win?);
        }
    }
    scene.count("operations", winners.len() * CLIENTS);
    assert!(winners.iter().all(|winners| *winners == 1), "winners of each round: {winners:?}");
    Ok(())
}

fn threads_lose_no_update(scene: &Scene) -> Verdict {
    let times = scene.cases(20);
    let counting = || -> Verdict {
        let backend = scene.backend()?;
        alone(async {
            for _ in 0..times {
                add_one(&*backend).await?;
            }
            Ok(())
        })
    };
    std::thread::scope(|scope| -> Verdict {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(counting)).collect();
        clients.into_iter().try_for_each(|client| client.join().expect("it does not panic"))
    })?;
    total_is(scene, times * CLIENTS)
}

fn processes_lose_no_update(scene: &Scene) -> Verdict {
    let times = scene.cases(20);
    let mut workers = Vec::new();
    for number in 0..CLIENTS {
        workers.push(scene.worker(&format!("counter {number}"))?);
    }
    let mut orders = Vec::new();
    for worker in &mut workers {
        orders.push(worker.order(Order::Count(times as u64))?);
    }
    for (worker, order) in workers.iter_mut().zip(orders) {
        assert_eq!(worker.report(order)?, Report::Done);
    }
    total_is(scene, times * CLIENTS)
}

fn total_is(scene: &Scene, total: usize) -> Verdict {
    let backend = scene.backend()?;
    let found = alone(load(&*backend))?;
    assert_eq!(number(&found.data)?, total as u64, "updates were lost");
    assert_eq!(found.version.0, total as u64);
    scene.count("operations", total);
    Ok(())
}

fn what_was_acknowledged_is_there_for_who_comes_later(scene: &Scene) -> Verdict {
    let backend = scene.backend()?;
    let last = alone(async {
        put(&*backend, b"first").await?;
        put(&*backend, b"last").await
    })?;
    drop(backend);
    let later = scene.backend()?;
    assert_eq!(alone(load(&*later))?, last);
    if scene.store().is_shared() {
        let report = scene.worker("reader")?.call(Order::Load)?;
        assert_eq!(report, Report::Cell { version: last.version.0, data: last.data });
    }
    Ok(())
}

fn what_was_acknowledged_is_there_when_its_client_is_killed(scene: &Scene) -> Verdict {
    for round in 1..=3 {
        let mut worker = scene.worker("writer")?;
        assert_eq!(worker.call(Order::Count(3))?, Report::Done);
        worker.kill()?;
        scene.count("kills", 1);
        let backend = scene.backend()?;
        assert_eq!(number(&alone(load(&*backend))?.data)?, 3 * round);
    }
    Ok(())
}

fn a_client_opens_while_others_write(scene: &Scene) -> Verdict {
    let opened = scene.cases(20);
    let told = AtomicU64::new(0);
    let ended = AtomicBool::new(false);
    // Nobody has used the store before: the first of them make what it is made of.
    let writing = || -> Verdict {
        let backend = scene.backend()?;
        alone(async {
            while !ended.load(Ordering::SeqCst) {
                told.fetch_max(add_one(&*backend).await?, Ordering::SeqCst);
            }
            Ok(())
        })
    };
    std::thread::scope(|scope| {
        let stop = Stop(&ended);
        let writers = [scope.spawn(writing), scope.spawn(writing)];
        let all = (0..opened).try_for_each(|_| -> Verdict {
            let told = told.load(Ordering::SeqCst);
            let backend = scene.backend()?;
            alone(async {
                let found = number(&load(&*backend).await?.data)?;
                assert!(found >= told, "read {found} after {told} was told");
                assert!(add_one(&*backend).await? > found);
                Ok(())
            })
        });
        drop(stop);
        writers.into_iter().try_for_each(|writer| writer.join().expect("it does not panic"))?;
        all
    })
}

fn two_stores_are_independent(scene: &Scene) -> Verdict {
    let second = scene.other_store()?;
    let (one, other) = (scene.backend()?, scene.open(&second.spec())?);
    scene.block_on(async {
        let first = put(&*one, b"one").await?;
        assert_eq!(load(&*other).await?.version, Version::ABSENT);
        let next = Version(first.version.0 + 1);
        assert_eq!(swap(&*other, first.version, next, b"x").await?, Swap::Conflict);
        put(&*other, b"other").await?;
        assert_eq!(load(&*one).await?, first);
        Ok(())
    })
}

fn a_store_is_named_without_its_secret(scene: &Scene) -> Verdict {
    let (one, other) = (scene.backend()?, scene.backend()?);
    let name = one.describe();
    assert!(!name.is_empty() && !name.contains(char::is_control), "{name:?}");
    assert_eq!(name, other.describe(), "all clients of a store call it the same");
    let second = scene.other_store()?;
    alone(put(&*one, b"x"))?;
    assert_eq!(name, one.describe(), "its name does not change by use");
    let spec = scene.store().spec();
    for secret in secrets(&spec).into_iter().chain(secrets(&second.spec())) {
        for shown in [name.clone(), format!("{one:?}")] {
            assert!(!shown.contains(&secret), "a secret of the spec is shown");
        }
    }
    Ok(())
}

/// What is secret in a spec: what is written as the password of a URL.
fn secrets(spec: &str) -> Option<String> {
    let (_, rest) = spec.split_once("://")?;
    let (user, _) = rest.split('/').next()?.rsplit_once('@')?;
    let (_, password) = user.split_once(':')?;
    (!password.is_empty()).then(|| password.into())
}

fn a_store_says_who_can_reach_it(scene: &Scene) -> Verdict {
    let (one, other) = (scene.backend()?, scene.backend()?);
    let reach = one.reach();
    assert_eq!(reach, other.reach(), "all clients of a store say the same");
    alone(put(&*one, b"x"))?;
    assert_eq!(reach, one.reach(), "it does not change by use");
    Ok(())
}

/// How long to look at a store that may never tell.
const LOOK: Duration = Duration::from_millis(50);

fn a_change_is_told(scene: &Scene) -> Verdict {
    let (one, other) = (scene.backend()?, scene.backend()?);
    let tells = scene.store().tells_of_changes();
    scene.block_on(async {
        for data in [b"first", b"again", b"third"] {
            let seen = load(&*one).await?.version;
            // Written while it is asked, when the question may not have arrived, and before.
            let (asked, written) = tokio::join!(told(&*one, seen, tells), put(&*other, data));
            written?;
            if asked? != tells || told(&*one, seen, tells).await? != tells {
                let text = if tells {
                    "it does not tell of a change, though its fixture says it does"
                } else {
                    "it tells of a change, and its fixture does not say so"
                };
                return Err(Failure::failed(text));
            }
        }
        Ok(())
    })?;
    scene.needs_hints()
}

/// Whether it tells that the cell has moved, with all the time it needs if it `has_to`.
async fn told(
    backend: &dyn LockBackend,
    seen: Version,
    has_to: bool,
) -> Result<bool, BackendError> {
    let time = if has_to { LIVENESS } else { LOOK };
    match timeout(time, backend.changed(seen)).await {
        Ok(told) => told.map(|()| true),
        Err(_) => Ok(false),
    }
}

fn a_hint_is_only_a_hint(scene: &Scene) -> Verdict {
    const HINTS_MAX: usize = 20;
    let (one, other) = (scene.backend()?, scene.backend()?);
    scene.block_on(async {
        let now = put(&*one, b"now").await?.version;
        // Nothing moves: it may be wrong now and then, but not for ever, or drivers would spin.
        let mut hints = 0;
        while let Ok(hint) = timeout(LOOK, one.changed(now)).await {
            hint?;
            hints += 1;
            assert!(hints < HINTS_MAX, "it says that the cell has moved, and it never has");
        }
        // It is pending while the same client works and another one writes; and it does not fail.
        for round in 0..5_u64 {
            let seen = load(&*one).await?.version;
            let told = timeout(LOOK, one.changed(seen));
            let (told, written) = tokio::join!(told, async {
                assert_eq!(load(&*one).await?.version, seen);
                put(&*other, &round.to_le_bytes()).await
            });
            told.unwrap_or(Ok(()))?;
            assert_eq!(load(&*one).await?, written?);
        }
        // What is long ago, or has never been, is no error either.
        for seen in [Version::ABSENT, Version(1), Version::MAX] {
            timeout(LOOK, one.changed(seen)).await.unwrap_or(Ok(()))?;
        }
        let last = put(&*one, b"last").await?;
        assert_eq!(load(&*other).await?, last, "and all goes on");
        Ok(())
    })
}

/// Runs a future on a runtime of this thread. A client is only used in one of them, as by a driver.
fn alone<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the system has what a runtime needs").block_on(future)
}
