//! Dumps that come back: in place, as another file, on another machine.

use std::time::{Duration, Instant};

use lock_core::process::ProcessSet;
use lock_core::testing::FaultyBackend;
use lock_core::{Locks, Reach, Snapshot, Swap, Version};

use super::super::tools::{Ghost, holds, is_busy};
use super::damaged::restore;
use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict, trials};
use crate::worker::{Order, Report, WorkerOptions};

trials!("stores":
    a_restored_dump_keeps_what_it_has_and_the_others_learn_of_their_loss,
    another_file_in_place_of_the_store_is_noticed,
    a_deleted_store_is_noticed,
    an_idle_client_gives_back_what_a_dump_brought_back,
    a_dump_on_another_machine_has_no_false_owner,
);

/// Short, so that clients with nothing else to do look into the store.
const LEASE: Duration = Duration::from_secs(2);

fn a_restored_dump_keeps_what_it_has_and_the_others_learn_of_their_loss(scene: &Scene) -> Verdict {
    rewound(scene, |dump| restore(scene, dump))
}

fn another_file_in_place_of_the_store_is_noticed(scene: &Scene) -> Verdict {
    let none = || Err(Failure::skipped("the store cannot be replaced by another one"));
    rewound(scene, |dump| scene.store().replace(Some(dump)).unwrap_or_else(none))
}

fn rewound(scene: &Scene, rewind: impl Fn(&Snapshot) -> Verdict) -> Verdict {
    let start = |name| scene.worker_with(&WorkerOptions::new(name).lease(LEASE));
    let (mut keeper, mut loser, mut waiter) = (start("keeper")?, start("loser")?, start("waiter")?);
    let backend = scene.backend()?;
    let load = || scene.block_on(backend.load());
    let kept = keeper.acquire("kept")?;
    let given = keeper.acquire("given")?;
    let dump = load()?;
    assert_eq!(keeper.call(Order::Release(given.key))?, Report::Done);
    let gone = loser.acquire("gone")?;
    let waiting = [waiter.ask("kept", None)?, waiter.ask("gone", None)?];
    is_busy(&mut waiter, "kept")?;
    let newest = load()?.version;
    let lost = loser.order(Order::Lost(gone.key))?;

    rewind(&dump)?;
    scene.count("faults", 1);
    // Who lost it learns that; it is free for who waited, under a greater fence than ever was.
    assert_eq!(loser.report(lost)?, Report::Done);
    for order in [Order::Verify(gone.key), Order::Check(gone.key)] {
        match loser.call(order)? {
            Report::Refused { kind, .. } if kind == "Lost" => {}
            other => return Err(Failure::failed(format!("its hold is gone: {other:?}"))),
        }
    }
    let taken = waiter.granted(waiting[1])?;
    assert!(taken.fence > newest.0, "{} after {newest}", taken.fence);
    // To give back what is lost touches nobody.
    assert_eq!(loser.call(Order::Release(gone.key))?, Report::Done);
    holds(&mut waiter, taken.key)?;
    is_busy(&mut loser, "gone")?;
    // Who did not lose it keeps it; what the dump brought back is nobody's.
    holds(&mut keeper, kept.key)?;
    is_busy(&mut loser, "kept")?;
    assert!(loser.acquire("given")?.fence > newest.0);
    assert_eq!(keeper.call(Order::Release(kept.key))?, Report::Done);
    assert!(waiter.granted(waiting[0])?.fence > newest.0);
    for worker in [keeper, loser, waiter] {
        worker.close()?;
    }
    Ok(())
}

fn a_deleted_store_is_noticed(scene: &Scene) -> Verdict {
    let start = |name| scene.worker_with(&WorkerOptions::new(name).lease(LEASE));
    let (mut holder, mut waiter) = (start("holder")?, start("waiter")?);
    let held = holder.acquire("app/blog")?;
    let waiting = waiter.ask("app/blog", None)?;
    is_busy(&mut waiter, "app/blog")?;
    let lost = holder.order(Order::Lost(held.key))?;
    let none = || Err(Failure::skipped("the store cannot be removed"));
    scene.store().replace(None).unwrap_or_else(none)?;
    scene.count("faults", 1);
    assert_eq!(holder.report(lost)?, Report::Done);
    let taken = waiter.granted(waiting)?;
    assert!(taken.fence > held.fence);
    is_busy(&mut holder, "app/blog")?;
    let mut late = start("late")?;
    is_busy(&mut late, "app/blog")?;
    waiter.close()?;
    assert!(late.acquire("app/blog")?.fence > taken.fence);
    late.close()?;
    holder.close()
}

/// It has nothing to renew and nothing to ask, so nothing of its own makes it look.
fn an_idle_client_gives_back_what_a_dump_brought_back(scene: &Scene) -> Verdict {
    let idle = scene.builder()?.lease(LEASE).build().blocking();
    let other = scene.locks()?.blocking();
    let backend = scene.backend()?;
    let guard = idle.acquire("app/blog")?;
    let dump = scene.block_on(backend.load())?;
    guard.release()?;
    restore(scene, &dump)?;
    let taken = other.acquire_timeout("app/blog", LIVENESS / 2)?;
    assert!(taken.fence() > dump.version.0);
    assert!(idle.try_acquire("app/blog").unwrap_err().is_busy());
    Ok(())
}

fn a_dump_on_another_machine_has_no_false_owner(scene: &Scene) -> Verdict {
    const SHORT: Duration = Duration::from_secs(1);
    let mut there = ProcessSet::current();
    there.place.boot = Some("00000000-0000-0000-0000-000000000000".into());
    let mut dead = scene.worker("dead")?;
    dead.acquire("dead")?;
    let mut living = scene.worker("living")?;
    let held = living.acquire("living")?;
    let ghost = Ghost::haunt(scene, there, SHORT, "theirs")?;
    let dump = scene.block_on(scene.backend()?.load())?;
    dead.kill()?;
    scene.count("kills", 1);

    for reach in [Reach::Host, Reach::Network] {
        let machine = scene.other_store()?;
        let backend = scene.open(&machine.spec())?;
        let put = backend.compare_and_swap(Version::ABSENT, dump.version, &dump.data);
        assert_eq!(scene.block_on(put)?, Swap::Swapped);
        let backend = FaultyBackend::new(backend).with_reach(reach);
        let locks = Locks::new(backend).blocking();
        let started = Instant::now();
        // Of a living client nobody can know that it does not use this store.
        assert!(locks.try_acquire("living").unwrap_err().is_busy());
        assert!(locks.try_acquire("dead")?.fence() > dump.version.0);
        if reach == Reach::Network {
            assert!(locks.try_acquire("theirs").unwrap_err().is_busy());
            locks.acquire_timeout("theirs", LIVENESS)?.release()?;
            assert!(started.elapsed() >= SHORT, "before its lease: {:?}", started.elapsed());
        }
        assert!(locks.try_acquire("theirs")?.fence() > ghost.guard.fence());
        // An operator can know.
        assert_eq!(locks.release_task("task living")?, 1);
        locks.try_acquire("living")?.release()?;
    }
    holds(&mut living, held.key)?;
    living.close()
}
