//! The server dies, is away, and comes back.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lock_core::process::ProcessSet;
use lock_core::{HoldError, Reach, VerifyError};

use super::super::tools::reaching;
use super::{assert_clean, until, within};
use crate::scene::Scene;
use crate::trial::{Failure, Verdict};
use crate::worker::{Order, Report, Worker};

const LOCKS: [&str; 3] = ["app/one", "app/two", "app"];

/// Who holds what by their own account.
#[derive(Debug, Default)]
struct Referee(Mutex<(Vec<&'static str>, BTreeMap<&'static str, u64>)>);

impl Referee {
    fn begins(&self, lock: &'static str, fence: u64) -> Verdict {
        let (held, fences) = &mut *self.0.lock().expect("nobody panics with it");
        if let Some(other) = held.iter().find(|other| overlap(other, lock)) {
            return Err(Failure::failed(format!("{lock} is held while {other} is")));
        }
        let before = fences.iter().filter(|(other, _)| overlap(other, lock));
        let before = before.map(|(_, fence)| *fence).max().unwrap_or_default();
        if fence <= before {
            return Err(Failure::failed(format!("the fence of {lock}: {fence} after {before}")));
        }
        held.push(lock);
        fences.insert(lock, fence);
        Ok(())
    }

    fn ends(&self, lock: &'static str) {
        let (held, _) = &mut *self.0.lock().expect("nobody panics with it");
        held.retain(|other| *other != lock);
    }
}

fn overlap(one: &str, other: &str) -> bool {
    one == other || one == "app" || other == "app"
}

pub(super) fn a_server_that_comes_up_late_is_waited_for(scene: &Scene) -> Verdict {
    let server = scene.needs_server()?;
    server.kill()?;
    let (builder, faults) = reaching(scene, Reach::Network)?;
    let locks = builder.build();
    scene.block_on(async {
        let asked = tokio::spawn({
            let locks = locks.clone();
            async move { locks.acquire("app/blog").await }
        });
        until("it tries twice", async || Ok(faults.loads() > 1)).await?;
        assert!(!asked.is_finished());
        server.start()?;
        scene.count("restarts", 1);
        within("the lock", asked).await???.release().await?;
        locks.close().await?;
        assert_clean(scene, "app/blog").await
    })
}

pub(super) fn a_server_that_is_killed_costs_nobody_a_lock(scene: &Scene) -> Verdict {
    let server = scene.needs_server()?;
    if !server.is_durable() {
        return Err(Failure::skipped("the server forgets what it acknowledged"));
    }
    let steady = scene.locks()?.blocking();
    let guard = steady.acquire("steady")?;
    let fence = guard.fence();
    let (referee, stop, done) = (Referee::default(), AtomicBool::new(false), AtomicUsize::new(0));
    let work = |number: u64| -> Verdict {
        let mut random = scene.random(number);
        let mut worker = scene.worker(&format!("worker {number}"))?;
        while !stop.load(Ordering::Relaxed) {
            let lock = LOCKS[random.usize(..LOCKS.len())];
            take(&mut worker, lock, &referee, &mut random)?;
            done.fetch_add(1, Ordering::Relaxed);
        }
        worker.close()
    };
    let mut random = scene.random(0);
    std::thread::scope(|threads| {
        let workers: Vec<_> = (1..=3).map(|number| threads.spawn(move || work(number))).collect();
        let mut disturb = || -> Verdict {
            for _ in 0..scene.cases(3) {
                let enough = done.load(Ordering::Relaxed) + random.usize(1..10);
                let alive = || workers.iter().any(|worker| !worker.is_finished());
                while done.load(Ordering::Relaxed) < enough && alive() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                server.kill()?;
                std::thread::sleep(Duration::from_millis(random.u64(..100)));
                server.start()?;
                scene.count("restarts", 1);
                guard.check()?;
            }
            Ok(())
        };
        let disturbed = disturb();
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().expect("workers return what goes wrong")?;
        }
        disturbed
    })?;
    scene.count("operations", done.load(Ordering::Relaxed) * 2);
    guard.verify()?;
    let listing = steady.list()?;
    assert!(listing.holds.len() == 1 && listing.waiting.is_empty(), "{listing:#?}");
    assert_eq!(listing.holds[0].fence, fence);
    guard.release()?;
    steady.close()?;
    scene.block_on(assert_clean(scene, "app"))
}

/// Holds a lock for a while, in which the server may come and go.
fn take(
    worker: &mut Worker,
    lock: &'static str,
    referee: &Referee,
    random: &mut fastrand::Rng,
) -> Verdict {
    let held = worker.acquire(lock)?;
    referee.begins(lock, held.fence)?;
    std::thread::sleep(Duration::from_micros(random.u64(..20_000)));
    let checked = worker.call(Order::Check(held.key))?;
    referee.ends(lock);
    let released = worker.call(Order::Release(held.key))?;
    if checked == Report::Done && released == Report::Done {
        return Ok(());
    }
    Err(Failure::failed(format!("the hold of {lock}: {checked:?}, its release: {released:?}")))
}

pub(super) fn a_server_that_is_down_for_longer_than_the_lease_costs_the_lock(
    scene: &Scene,
) -> Verdict {
    let server = scene.needs_server()?;
    scene.block_on(async {
        let short = || Ok::<_, Failure>(scene.builder()?.lease(Duration::from_secs(1)));
        let locks = short()?.processes(ProcessSet::default()).build();
        let endless = scene.builder()?.no_lease().build();
        let (guard, kept) = (locks.acquire("app/blog").await?, endless.acquire("kept").await?);
        guard.check()?;
        server.kill()?;
        within("the loss", guard.lost()).await?;
        assert_eq!(guard.check(), Err(HoldError::Lost));
        // For good: nobody needs to be asked.
        let verified = guard.verify().await;
        assert!(matches!(verified, Err(VerifyError::Hold(HoldError::Lost))), "{verified:?}");
        kept.check()?; // Without a lease only the table can say that it is lost.
        let away = locks.acquire_timeout("other", Duration::from_millis(50)).await;
        assert!(away.is_err_and(|error| !error.is_busy()));
        server.start()?;
        scene.count("restarts", 1);
        if server.is_durable() {
            within("the store", async { while kept.verify().await.is_err() {} }).await?;
        }
        let direct = scene.locks()?;
        let next = within("the next", direct.acquire("app/blog")).await??;
        assert!(next.fence() > guard.fence());
        guard.release().await?; // It was lost: nothing happens to the new holder.
        next.verify().await?;
        next.release().await?;
        kept.release().await?;
        locks.close().await?;
        endless.close().await?;
        assert_clean(scene, "app").await
    })
}

/// As after a restore or a failover that forgot: fences rise, and nobody writes what they remember
/// over what has happened since.
pub(super) fn a_server_that_comes_back_with_an_older_table_repeats_no_fence(
    scene: &Scene,
) -> Verdict {
    let server = scene.needs_server()?;
    scene.block_on(async {
        let (early, late) = (scene.locks()?, scene.locks()?);
        let backend = scene.backend()?;
        early.acquire("first").await?.release().await?;
        let old = backend.load().await?;
        let lost = early.acquire("app/blog").await?;
        server.kill()?;
        let Some(restored) = scene.store().restore(&old) else {
            server.start()?;
            return Err(Failure::skipped("the suite cannot restore this store"));
        };
        restored?;
        server.start()?;
        scene.count("restarts", 1);
        // One who has never seen what was forgotten.
        let next = within("the next", late.acquire("app/blog")).await??;
        assert!(next.fence() > lost.fence(), "{} after {}", next.fence(), lost.fence());
        // One whose table is of another world.
        let other = within("an acquire", early.acquire("other")).await??;
        within("the loss", lost.lost()).await?;
        next.verify().await?;
        other.verify().await?;
        next.release().await?;
        other.release().await?;
        early.close().await?;
        late.close().await?;
        assert_clean(scene, "app").await
    })
}
