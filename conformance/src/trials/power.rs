//! Layer 5 as well: the power fails at any moment, as far as files can tell.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use lock_core::process::ProcessSet;
use lock_core::{LockBackend, Locks, Reach, Request, Swap, Version};

use crate::power::{Power, Script};
use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict, trials};

trials!("power":
    a_cut_at_any_step_keeps_what_was_acknowledged,
    #[random] a_cut_that_tears_writes_keeps_what_was_acknowledged,
    #[random] a_cut_while_it_recovers_from_a_cut_keeps_what_was_acknowledged,
    #[random] a_cut_in_a_store_that_is_written_over_and_over_keeps_what_was_acknowledged,
    after_the_next_boot_nothing_is_stale);

/// New and reopened, closed well and killed, one client and two.
fn a_cut_at_any_step_keeps_what_was_acknowledged(scene: &Scene) -> Verdict {
    let mut script = Script::default();
    script.session();
    script.open(0);
    script.swap(0, 100);
    script.open(1);
    script.swap(1, 300);
    script.swap(0, 5000);
    script.close(0);
    script.swap(1, 0);
    script.close(1);
    script.session();
    script.open(0);
    script.open(1);
    script.swap(1, 200);
    script.swap(0, 20_000);
    script.die();
    script.session();
    script.open(0);
    script.swap(0, 300);
    script.die();
    Power::record(scene, &script)?.cut_everywhere()
}

fn a_cut_that_tears_writes_keeps_what_was_acknowledged(scene: &Scene) -> Verdict {
    let mut random = scene.random(1);
    let script = any_script(&mut random);
    Power::record(scene, &script)?.cut_at_random(scene.cases(400), &mut random)
}

fn a_cut_while_it_recovers_from_a_cut_keeps_what_was_acknowledged(scene: &Scene) -> Verdict {
    let mut random = scene.random(1);
    let mut first = Power::record(scene, &any_script(&mut random))?;
    for _ in 0..scene.cases(3) {
        let mut second = first.recover(&mut random, 100)?;
        second.cut_everywhere()?;
        // And a third time, for what recovers from a recovery.
        second.recover(&mut random, 5000)?.cut_at_random(50, &mut random)?;
    }
    Ok(())
}

fn any_script(random: &mut fastrand::Rng) -> Script {
    let mut script = Script::default();
    for _ in 0..random.usize(2..=4) {
        script.session();
        let clients = random.usize(1..=2);
        (0..clients).for_each(|client| script.open(client));
        for _ in 0..random.usize(1..=4) {
            let most = [10, 1000, 10_000, 100_000][random.usize(..4)];
            let bytes = random.usize(..most);
            script.swap(random.usize(..clients), bytes);
        }
        if random.bool() {
            script.die();
        } else {
            (0..clients).for_each(|client| script.close(client));
        }
    }
    script
}

/// Enough for a log to be folded into its database, and to be begun anew.
fn a_cut_in_a_store_that_is_written_over_and_over_keeps_what_was_acknowledged(
    scene: &Scene,
) -> Verdict {
    let mut script = Script::default();
    script.session();
    script.open(0);
    script.swap(0, 100);
    for _ in 0..3 {
        script.swap(0, 1_500_000);
    }
    for bytes in [100, 20_000, 100, 300_000, 100] {
        script.swap(0, bytes);
    }
    script.die();
    Power::record(scene, &script)?.cut_at_random(scene.cases(25), &mut scene.random(1))
}

/// What a host leaves behind that has lost its power: a table that names processes of an earlier boot,
/// by numbers that living ones have now.
fn after_the_next_boot_nothing_is_stale(scene: &Scene) -> Verdict {
    let mut processes = ProcessSet::current();
    if processes.place.boot.is_none() {
        return Err(Failure::skipped("the id of this boot cannot be told"));
    }
    processes.place.boot = Some("00000000-0000-4000-8000-000000000000".into());
    let earlier = scene.builder()?.lease(Duration::from_secs(1)).processes(processes).build();
    scene.block_on(async {
        let request = Request::exclusive("app/blog").and_shared("mail").and_limit("backup", 2);
        let mut task = earlier.task("before the cut");
        let held = task.acquire(request).await?;
        let nested = task.subtask("nested").acquire("app/blog/files").await?;
        let waiting = earlier.acquire("app");
        let waiting = pin!(waiting);
        let queued = async {
            while earlier.list().await?.waiting.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Ok::<_, Failure>(scene.backend()?.load().await?)
        };
        // Taken as it is from under its client, which lives on and must not be able to help.
        let cell = match select(waiting, pin!(queued)).await {
            Either::Left((granted, _)) => panic!("beside an exclusive hold: {granted:?}"),
            Either::Right((cell, _)) => cell?,
        };
        let store = scene.other_store()?;
        let other = scene.open(&store.spec())?;
        let reach = other.reach();
        let swap = other.compare_and_swap(Version::ABSENT, cell.version, &cell.data).await?;
        assert_eq!(swap, Swap::Swapped);
        let locks = Locks::new(other);
        for lock in ["app", "mail", "backup"] {
            let granted = match reach {
                Reach::Host => locks.try_acquire(lock).await?,
                Reach::Network => locks.acquire_timeout(lock, LIVENESS).await?,
            };
            assert!(granted.fence() > held.fence().max(nested.fence()), "{lock}");
            granted.release().await?;
        }
        let listing = locks.list().await?;
        assert_eq!((listing.holds.len(), listing.waiting.len()), (0, 0), "{listing:?}");
        Ok(())
    })
}
