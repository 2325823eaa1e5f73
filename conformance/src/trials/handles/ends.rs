//! Layer 1: how holds end: released, dropped, lost, freed by name, closed.

use lock_core::{AcquireError, HoldError, Request, VerifyError, WithLockError};

use super::{busy, is_free, unexpected, until_empty, until_waiting, within};
use crate::scene::Scene;
use crate::trial::{Verdict, trials};

trials!("handles":
    a_released_lock_is_free_for_all,
    a_release_hands_over_to_who_waits,
    a_guard_is_dropped_without_a_runtime,
    who_was_freed_by_name_has_lost_the_hold,
    a_lost_guard_never_touches_who_came_after,
    only_tasks_of_that_name_are_freed,
    a_waiter_that_is_freed_by_name_is_told,
    work_under_a_lock_ends_with_it_or_when_it_is_lost,
    close_gives_back_everything,
    without_handles_everything_is_given_back,
    blocking_handles_do_the_same,
    a_worker_holds_a_lock_until_it_is_killed,
);

fn a_released_lock_is_free_for_all(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        for _ in 0..5 {
            let guard = one.acquire("a").await?;
            let task = guard.task_id().clone();
            guard.check()?;
            guard.verify().await?;
            guard.release().await?;
            // At once: who asks after the answer finds it free.
            let next = other.try_acquire("a").await?;
            assert_ne!(*next.task_id(), task);
            next.release().await?;
        }
        until_empty(&one).await
    })
}

fn a_release_hands_over_to_who_waits(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let guard = one.acquire(Request::exclusive("a").and_exclusive("b")).await?;
        let waits = |name: &'static str| {
            let other = other.clone();
            tokio::spawn(async move { other.acquire(name).await })
        };
        let waiters = [waits("a"), waits("b")];
        until_waiting(&one, 2).await?;
        guard.release().await?;
        // In the same swap: there is no moment at which nobody holds it.
        let listing = one.list().await?;
        assert_eq!((listing.holds.len(), listing.waiting.len()), (2, 0));
        for waiter in waiters {
            within("a waiter", waiter).await???.release().await?;
        }
        until_empty(&one).await
    })
}

fn a_guard_is_dropped_without_a_runtime(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    let guards = scene.block_on(async {
        Ok::<_, AcquireError>([one.acquire("a").await?, one.acquire("b").await?])
    })?;
    let [a, b] = guards;
    drop(a);
    std::thread::spawn(move || drop(b)).join().expect("dropping does not panic");
    scene.block_on(async {
        within("what was dropped", other.acquire(Request::exclusive("a").and_exclusive("b")))
            .await??
            .release()
            .await?;
        until_empty(&other).await
    })
}

fn who_was_freed_by_name_has_lost_the_hold(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let guard = one.task("victim").acquire(Request::exclusive("a").and_shared("b")).await?;
        let spared = one.task("other").acquire("c").await?;
        assert_eq!(other.release_task("victim").await?, 1);
        assert!(is_free(&other, Request::exclusive("a").and_exclusive("b")).await?);
        let verified = guard.verify().await;
        assert!(matches!(verified, Err(VerifyError::Hold(HoldError::Lost))), "{verified:?}");
        within("the loss", guard.lost()).await?;
        assert_eq!(guard.check(), Err(HoldError::Lost));
        assert!(matches!(guard.downgrade().await, Err(VerifyError::Hold(HoldError::Lost))));
        guard.release().await?;
        spared.check()?;
        spared.verify().await?;
        assert_eq!(other.release_task("victim").await?, 0, "nobody has that name");
        spared.release().await?;
        until_empty(&one).await
    })
}

fn a_lost_guard_never_touches_who_came_after(scene: &Scene) -> Verdict {
    let (one, other, third) = (scene.locks()?, scene.locks()?, scene.locks()?);
    scene.block_on(async {
        // Released, dropped, and each whether its driver has heard of the loss or not.
        for case in 0..4 {
            let old = one.task("victim").acquire("a").await?;
            let fence = old.fence();
            other.release_task("victim").await?;
            if case < 2 {
                within("the loss", old.lost()).await?;
            }
            let new = other.try_acquire("a").await?;
            assert!(new.fence() > fence);
            match case % 2 {
                0 => old.release().await?,
                _ => drop(old),
            }
            // What was dropped is written before this is.
            is_free(&one, "elsewhere").await?;
            new.check()?;
            new.verify().await?;
            busy(third.try_acquire("a").await)?;
            new.release().await?;
            scene.count("cases", 1);
        }
        until_empty(&one).await
    })
}

fn only_tasks_of_that_name_are_freed(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let alike = ["victims", "Victim", "victim ", "vict"];
        let mut spared = Vec::new();
        for (at, name) in alike.into_iter().enumerate() {
            spared.push(one.task(name).acquire(format!("spared/{at}")).await?);
        }
        let freed =
            [one.task("victim").acquire("x").await?, other.task("victim").acquire("y").await?];
        assert_eq!(one.release_task("victim").await?, 2, "of all clients");
        for guard in &freed {
            within("the loss", guard.lost()).await?;
        }
        // Who takes that name later is not meant.
        let new = other.task("victim").acquire("x").await?;
        for guard in spared.iter().chain([&new]) {
            guard.verify().await?;
        }
        for guard in spared.into_iter().chain([new]).chain(freed) {
            guard.release().await?;
        }
        until_empty(&one).await
    })
}

fn a_waiter_that_is_freed_by_name_is_told(scene: &Scene) -> Verdict {
    let (one, other, third) = (scene.locks()?, scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let guard = one.acquire("a").await?;
        let waits = tokio::spawn(async move { other.task("victim").acquire("a").await });
        until_waiting(&one, 1).await?;
        assert_eq!(third.release_task("victim").await?, 1);
        assert!(third.list().await?.waiting.is_empty());
        let told = within("the answer", waits).await??;
        assert!(matches!(told, Err(AcquireError::Released)), "{told:?}");
        assert!(one.list().await?.waiting.is_empty(), "it does not queue again");
        guard.verify().await?;
        guard.release().await?;
        until_empty(&one).await
    })
}

fn work_under_a_lock_ends_with_it_or_when_it_is_lost(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let tried = one.with_lock("a", async |_| other.try_acquire("a").await).await?;
        busy(tried)?;
        assert!(is_free(&other, "a").await?);

        let mut task = one.task("victim");
        let work = task.with_lock("a", async |_| std::future::pending::<()>().await);
        let (ended, freed) = tokio::join!(within("the loss", work), async {
            super::until("the hold", async || Ok(!other.list().await?.holds.is_empty())).await?;
            Ok::<_, crate::Failure>(other.release_task("victim").await?)
        });
        assert_eq!(freed?, 1);
        let ended = ended?;
        assert!(matches!(ended, Err(WithLockError::Lost(HoldError::Lost))), "{ended:?}");
        until_empty(&other).await
    })
}

fn close_gives_back_everything(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let held = one.acquire(Request::exclusive("a").and_shared("b")).await?;
        let dropped = one.acquire("c").await?;
        let elsewhere = other.acquire("d").await?;
        let waits = tokio::spawn({
            let one = one.clone();
            async move { one.acquire("d").await }
        });
        until_waiting(&other, 1).await?;
        drop(dropped);
        within("closing", one.close()).await??;
        let listing = other.list().await?;
        assert_eq!((listing.holds.len(), listing.waiting.len()), (1, 0));
        let told = within("the waiter", waits).await??;
        assert!(matches!(told, Err(AcquireError::Closed)), "{told:?}");
        within("the loss", held.lost()).await?;
        assert_eq!(held.check(), Err(HoldError::Lost));
        for asked in [one.acquire("a").await, one.try_acquire("a").await] {
            assert!(matches!(asked, Err(AcquireError::Closed)), "{asked:?}");
        }
        assert!(one.list().await.is_err_and(|error| error.is_closed()));
        assert!(one.release_task("x").await.is_err_and(|error| error.is_closed()));
        one.close().await?;
        let taken = other.try_acquire(Request::exclusive("a").and_exclusive("b")).await?;
        held.release().await?;
        taken.verify().await?;
        taken.release().await?;
        elsewhere.release().await?;
        until_empty(&other).await
    })
}

fn without_handles_everything_is_given_back(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let guard = one.acquire("a").await?;
        let mut task = one.task("task");
        drop(one);
        let second = task.acquire("b").await?;
        drop(guard);
        drop(task);
        busy(other.try_acquire("b").await)?;
        drop(second);
        until_empty(&other).await
    })
}

fn blocking_handles_do_the_same(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?.blocking(), scene.locks()?.blocking());
    let mut task = one.task("task");
    let guard = task.acquire(Request::exclusive("a").and_limit("b", 2))?;
    guard.check()?;
    guard.verify()?;
    let error = other.try_acquire("a/b").expect_err("it is held");
    assert_eq!(
        &*error.denial().ok_or_else(|| unexpected("Busy", &error))?.blockers[0].task,
        "task"
    );
    let soon = std::time::Duration::from_millis(20);
    let late = other.acquire_timeout("a", soon);
    assert!(matches!(late, Err(AcquireError::TimedOut(_))), "{late:?}");
    guard.downgrade()?;
    other.try_acquire(Request::shared("a"))?.release()?;
    assert_eq!(one.list()?.holds.len(), 1);
    assert_eq!(other.release_task("task")?, 1);
    assert!(guard.verify().is_err());
    guard.release()?;
    drop(other.acquire("a")?);
    one.acquire("a")?.release()?;
    one.close()?;
    other.close()?;
    Ok(())
}

fn a_worker_holds_a_lock_until_it_is_killed(scene: &Scene) -> Verdict {
    let mut worker = scene.worker("holder")?;
    let hold = worker.acquire("app/blog")?;
    assert!(hold.fence > 0);
    let locks = scene.locks()?.blocking();
    assert!(locks.try_acquire("app/blog").expect_err("it is held").is_busy());
    worker.kill()?;
    scene.count("kills", 1);
    locks.acquire("app/blog")?.release()?;
    Ok(())
}
