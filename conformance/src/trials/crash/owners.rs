//! Who owns a lock when processes die, give up, fail, are freed by force, or start others.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lock_core::process::Liveness;
use lock_core::table::Listing;
use lock_core::{AcquireError, BlockingLocks};

use crate::scene::{LIVENESS, Scene};
use crate::trial::{Failure, Verdict};
use crate::worker::{Order, Report, Worker, WorkerOptions};

/// What a client must not be freed after, when it is seen alive.
const LEASE: Duration = Duration::from_secs(1);

pub(super) fn a_child_that_outlives_its_supervisor_keeps_the_locks(scene: &Scene) -> Verdict {
    let mut supervisor = scene.worker_with(&WorkerOptions::new("supervisor").lease(LEASE))?;
    // It ends by itself should this process be killed.
    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn()?;
    expect(&mut supervisor, Order::Processes(vec![child.id()]), "Done")?;
    let held = supervisor.acquire("app/blog")?;
    supervisor.kill()?;
    scene.count("kills", 1);

    let mut restarted = scene.worker("supervisor")?;
    let key = restarted.ask("app/blog", Some(Duration::ZERO))?;
    expect_report(&mut restarted, key, "Busy")?;
    let locks = scene.locks()?.blocking();
    // Nobody renews the lease now, and still it is not what decides.
    is_kept_by_the_living(&locks, "app/blog", LEASE + LEASE / 4)?;

    child.kill()?;
    child.wait()?;
    scene.count("kills", 1);
    let key = restarted.ask("app/blog", None)?;
    let next = restarted.granted(key)?;
    ensure(next.fence > held.fence, || format!("{} after {}", next.fence, held.fence))?;
    restarted.close()
}

/// Waits for a lock, in vain, because its holder is seen alive.
pub(super) fn is_kept_by_the_living(locks: &BlockingLocks, name: &str, time: Duration) -> Verdict {
    match locks.acquire_timeout(name, time) {
        Err(AcquireError::TimedOut(denial))
            if denial.blockers.iter().all(|blocker| blocker.client.state == Liveness::Alive) =>
        {
            Ok(())
        }
        other => Err(Failure::failed(format!("somebody alive holds {name}: {other:?}"))),
    }
}

pub(super) fn a_stale_guard_releases_nothing_of_the_next_holder(scene: &Scene) -> Verdict {
    let (mut old, mut next) = (scene.worker("old")?, scene.worker("next")?);
    for stale_is_dropped in [false, true] {
        let stale = old.acquire("app/blog")?;
        let kept = old.acquire("app/shop")?;
        expect(&mut next, Order::ReleaseTask("task app/blog".into()), "Count")?;
        let held = next.acquire("app/blog")?;
        if stale_is_dropped {
            expect(&mut old, Order::Drop(stale.key), "Done")?;
        } else {
            expect(&mut old, Order::Release(stale.key), "Done")?;
        }
        // What was queued before is written when this is answered.
        expect(&mut old, Order::Verify(kept.key), "Done")?;
        expect(&mut old, Order::Release(kept.key), "Done")?;
        expect(&mut next, Order::Verify(held.key), "Done")?;
        let key = old.ask("app/blog", Some(Duration::ZERO))?;
        expect_report(&mut old, key, "Busy")?;
        let listing = scene.locks()?.blocking().list()?;
        let fences: Vec<u64> = listing.holds.iter().map(|hold| hold.fence).collect();
        ensure(fences == [held.fence], || format!("{listing:?}"))?;
        expect(&mut next, Order::Release(held.key), "Done")?;
    }
    Ok(())
}

pub(super) fn a_task_that_is_freed_by_force_learns_it(scene: &Scene) -> Verdict {
    let (mut holder, mut waiter) = (scene.worker("holder")?, scene.worker("waiter")?);
    let mut operator = scene.worker("operator")?;
    let held = holder.acquire("app/blog")?;
    let bystander = holder.acquire("app/shop")?;
    let waiting = waiter.ask("app/blog", None)?;
    let locks = scene.locks()?.blocking();
    until(&locks, "it waits", |listing| listing.waiting.len() == 1)?;
    // Holder and waiter have the same name.
    match operator.call(Order::ReleaseTask("task app/blog".into()))? {
        Report::Count(2) => {}
        other => return Err(Failure::failed(format!("two tasks were to be freed: {other:?}"))),
    }
    expect_report(&mut waiter, waiting, "Released")?;
    let next = operator.acquire("app/blog")?;
    ensure(next.fence > held.fence, || format!("{} after {}", next.fence, held.fence))?;
    expect(&mut holder, Order::Verify(held.key), "Lost")?;
    expect(&mut holder, Order::Check(held.key), "Lost")?;
    expect(&mut holder, Order::Lost(held.key), "Done")?;
    expect(&mut holder, Order::Verify(bystander.key), "Done")?;
    expect(&mut operator, Order::Verify(next.key), "Done")
}

pub(super) fn sweeping_on_demand_frees_the_dead_and_nobody_else(scene: &Scene) -> Verdict {
    let (mut dead, mut alive) = (scene.worker("dead")?, scene.worker("alive")?);
    dead.acquire("app/blog")?;
    let kept = alive.acquire("app/shop")?;
    let locks = scene.locks()?.blocking();
    ensure(!locks.why("app/blog")?.is_free(), || "its holder lives".into())?;
    let swept = locks.sweep_dead()?;
    ensure(swept == 0, || format!("all live, and {swept} were swept"))?;
    dead.kill()?;
    scene.count("kills", 1);

    // Whoever asks is told so, and nothing is changed by that.
    let why = locks.why("app/blog")?;
    ensure(why.is_free() && why.dead.len() == 1, || format!("{why:?}"))?;
    ensure(locks.list()?.holds.len() == 2, || "looking has swept".into())?;
    let swept = locks.sweep_dead()?;
    ensure(swept == 1, || format!("one was dead, and {swept} were swept"))?;
    let listing = locks.list()?;
    let fences: Vec<u64> = listing.holds.iter().map(|hold| hold.fence).collect();
    ensure(fences == [kept.fence], || format!("{listing:?}"))?;
    expect(&mut alive, Order::Verify(kept.key), "Done")
}

pub(super) fn a_waiter_that_gives_up_lets_the_queue_move_on(scene: &Scene) -> Verdict {
    let (mut holder, mut waiter) = (scene.worker("holder")?, scene.worker("waiter")?);
    let mut next = scene.worker("next")?;
    let locks = scene.locks()?.blocking();
    let held = holder.acquire("app/blog")?;
    let given_up = waiter.ask("app/blog", None)?;
    until(&locks, "one waits", |listing| listing.waiting.len() == 1)?;
    let waits = next.ask("app/blog", None)?;
    until(&locks, "two wait", |listing| listing.waiting.len() == 2)?;
    expect(&mut waiter, Order::Drop(given_up), "Done")?;
    until(&locks, "one has given up", |listing| listing.waiting.len() == 1)?;
    expect(&mut holder, Order::Release(held.key), "Done")?;
    let got = next.granted(waits)?;

    // And so it does when the waiter is killed, while all the others live.
    let waits = waiter.ask("app/blog", None)?;
    until(&locks, "one waits", |listing| listing.waiting.len() == 1)?;
    let last = holder.ask("app/blog", None)?;
    until(&locks, "two wait", |listing| listing.waiting.len() == 2)?;
    waiter.kill()?;
    scene.count("kills", 1);
    expect(&mut next, Order::Release(got.key), "Done")?;
    let got = holder.granted(last)?;
    expect(&mut holder, Order::Release(got.key), "Done")?;
    until(&locks, "nothing is left", |listing| {
        listing.waiting.is_empty() && listing.holds.is_empty()
    })
    .map_err(|failure| Failure::failed(format!("order {waits} of the dead: {failure:?}")))
}

pub(super) fn a_worker_that_ends_without_a_word_leaks_nothing(scene: &Scene) -> Verdict {
    let mut worker = scene.worker("worker")?;
    worker.acquire("app/blog")?;
    worker.acquire("app/shop")?;
    let locks = scene.locks()?.blocking();
    let other = scene.locks()?.blocking().acquire("mail")?;
    let waits = worker.ask("mail", None)?;
    until(&locks, "it waits", |listing| listing.waiting.len() == 1)?;
    worker.order(Order::Exit)?;
    worker.ended()?;
    locks.acquire_timeout("app", LIVENESS)?.release()?;
    other.verify()?;
    other.release()?;
    locks.acquire_timeout("mail", LIVENESS)?.release()?;
    let listing = locks.list()?;
    ensure(listing.holds.is_empty() && listing.waiting.is_empty(), || {
        format!("of order {waits} or before: {listing:?}")
    })
}

pub(super) fn work_that_fails_under_a_lock_leaks_nothing(scene: &Scene) -> Verdict {
    let (locks, others) = (scene.locks()?, scene.locks()?.blocking());
    scene.block_on(async {
        let failed = locks.with_lock("app/blog", async |_| Err::<(), _>("it cannot start")).await;
        ensure(matches!(failed, Ok(Err(_))), || format!("{failed:?}"))?;
        // The locks are given back when this is answered, by a client that goes on.
        others.as_async().try_acquire("app/blog").await?.release().await?;

        let one = locks.clone();
        let panicked = tokio::spawn(async move {
            one.with_lock("app/shop", async |_| std::panic::resume_unwind(Box::new(()))).await
        });
        ensure(panicked.await.is_err(), || "the panic is gone".into())?;
        let one = locks.clone();
        let failed: Result<(), AcquireError> = async move {
            let _guard = one.acquire("mail").await?;
            one.try_acquire("mail").await.map(drop)
        }
        .await;
        ensure(failed.is_err_and(|error| error.is_busy()), || "it has it twice".into())?;
        for name in ["app/shop", "mail"] {
            others.as_async().acquire_timeout(name, LIVENESS).await?.release().await?;
        }
        let listing = others.as_async().list().await?;
        ensure(listing.holds.is_empty(), || format!("{listing:?}"))
    })
}

pub(super) fn subtasks_in_other_processes_share_the_lock_of_their_parent(scene: &Scene) -> Verdict {
    let (mut parent, mut child) = (scene.worker("parent")?, scene.worker("child")?);
    let mut grandchild =
        scene.worker_with(&WorkerOptions::new("grandchild").wrapped_in(["setsid"]))?;
    let stranger = scene.locks()?.blocking();
    let held = parent.acquire("app")?;
    let order = |task: &str| Order::acquire("step", "app/blog", Some(Duration::ZERO)).under(task);
    let key = child.order(order(&held.task))?;
    let step = child.granted(key)?;
    let key = grandchild.order(order(&step.task))?;
    let detached = grandchild.granted(key)?;
    ensure([step.fence, detached.fence] == [held.fence; 2], || {
        format!("a fence of its own would lock its parent out: {step:?} {detached:?} {held:?}")
    })?;
    // A sibling is a stranger.
    let key = parent.order(order(&held.task))?;
    expect_report(&mut parent, key, "Busy")?;

    // Whoever of them dies, the detached one keeps what it has.
    child.kill()?;
    parent.kill()?;
    scene.count("kills", 2);
    stranger.acquire_timeout("app/shop", LIVENESS)?.release()?;
    let busy = stranger.try_acquire("app/blog");
    ensure(busy.is_err_and(|error| error.is_busy()), || "it has lost its lock".into())?;
    expect(&mut grandchild, Order::Verify(detached.key), "Done")?;
    grandchild.close()?;
    stranger.acquire_timeout("app", LIVENESS)?.release()?;
    Ok(())
}

/// Orders, and wants to hear this: `Done`, `Count`, or the kind of a refusal.
pub(super) fn expect(worker: &mut Worker, order: Order, wanted: &str) -> Verdict {
    let text = format!("{order:?}");
    let key = worker.order(order)?;
    expect_report(worker, key, wanted).map_err(|failure| match failure {
        Failure::Failed(what) => Failure::Failed(format!("{text}: {what}")),
        skipped @ Failure::Skipped(_) => skipped,
    })
}

pub(super) fn expect_report(worker: &mut Worker, key: u64, wanted: &str) -> Verdict {
    let report = worker.report(key)?;
    let kind = match &report {
        Report::Done => "Done",
        Report::Count(_) => "Count",
        Report::Refused { kind, .. } => kind,
        _ => "something",
    };
    ensure(kind == wanted, || format!("{report:?}, and not {wanted}"))
}

pub(super) fn ensure(holds: bool, what: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(Failure::failed(what())) }
}

/// Waits until the store says something.
pub(super) fn until(locks: &BlockingLocks, what: &str, seen: impl Fn(&Listing) -> bool) -> Verdict {
    let end = Instant::now() + LIVENESS;
    loop {
        let listing = locks.list()?;
        if seen(&listing) {
            return Ok(());
        }
        ensure(Instant::now() < end, || format!("not seen: {what}: {listing:?}"))?;
        thread::sleep(Duration::from_millis(1));
    }
}
