//! Layer 1: tasks and the tasks nested in them, in one client, in others, and in other processes.

use lock_core::{AcquireError, Request, TaskId};

use super::{busy, is_free, unexpected, until_empty, until_waiting, within};
use crate::scene::{LIVENESS, Scene};
use crate::trial::{Verdict, trials};
use crate::worker::{Order, Report};

trials!("handles":
    a_task_and_its_sub_tasks_are_not_blocked_by_what_it_holds,
    sub_tasks_block_each_other_and_strangers,
    a_task_and_its_sub_task_count_once_in_a_limit,
    a_covered_lock_carries_the_fence_of_what_covers_it,
    a_sub_task_goes_on_though_a_stranger_waits,
    a_holder_gets_what_is_free_though_somebody_waits_for_its_hold,
    a_sub_task_lives_in_another_client,
    a_sub_task_lives_in_another_process,
    a_task_waits_while_a_sub_task_of_it_waits,
    tasks_nest_so_deep_and_no_deeper,
);

fn a_task_and_its_sub_tasks_are_not_blocked_by_what_it_holds(scene: &Scene) -> Verdict {
    let locks = scene.locks()?;
    scene.block_on(async {
        let mut task = locks.task("task");
        let whole = task.acquire("app").await?;
        let mut step = task.subtask("step");
        assert_eq!(step.id()?.parent().as_ref(), Some(whole.task_id()));
        for name in ["app", "app/blog"] {
            let part = step.try_acquire(name).await?;
            let below = step.subtask("below").try_acquire("app/blog/db").await?;
            busy(locks.try_acquire(name).await)?;
            below.release().await?;
            part.release().await?;
        }
        task.try_acquire("app/blog").await?.release().await?;
        // Giving back the outer hold leaves the inner one.
        let part = step.acquire("app/blog").await?;
        whole.release().await?;
        part.verify().await?;
        busy(locks.try_acquire("app").await)?;
        part.release().await?;
        until_empty(&locks).await
    })
}

fn sub_tasks_block_each_other_and_strangers(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let mut task = one.task("task");
        let whole = task.acquire("app").await?;
        let mut left = task.subtask("left");
        let mut right = task.subtask("right");
        let blog = left.acquire("app/blog").await?;
        let denial = busy(right.try_acquire("app/blog").await)?;
        assert_eq!(denial.blockers.len(), 1, "the hold of the parent is not in the way");
        assert_eq!(&*denial.blockers[0].task, "left");
        let shop = right.try_acquire("app/shop").await?;
        // What a sub-task holds blocks its parent, and everybody else.
        busy(task.try_acquire("app/blog/db").await)?;
        whole.release().await?;
        busy(other.try_acquire("app/blog").await)?;
        busy(task.try_acquire("app").await)?;
        blog.release().await?;
        assert!(is_free(&other, "app/blog").await?);
        shop.release().await?;
        until_empty(&one).await
    })
}

fn a_task_and_its_sub_task_count_once_in_a_limit(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    let two = || Request::limit("a", 2);
    scene.block_on(async {
        let mut task = one.task("task");
        let outer = task.acquire(two()).await?;
        let inner = task.subtask("step").try_acquire(two()).await?;
        let beside = other.try_acquire(two()).await?;
        busy(other.try_acquire(two()).await)?;
        outer.release().await?;
        busy(other.try_acquire(two()).await)?;
        inner.release().await?;
        assert!(is_free(&other, two()).await?);
        beside.release().await?;
        until_empty(&one).await
    })
}

fn a_covered_lock_carries_the_fence_of_what_covers_it(scene: &Scene) -> Verdict {
    let locks = scene.locks()?;
    scene.block_on(async {
        let mut task = locks.task("task");
        let whole = task.acquire("app").await?;
        let mut step = task.subtask("step");
        let part = step.acquire(Request::exclusive("app/blog").and_shared("x")).await?;
        assert_eq!(part.fence_of("app/blog"), Some(whole.fence()));
        assert!(part.fence_of("x").is_some_and(|fence| fence > whole.fence()));
        part.release().await?;
        whole.release().await?;
        Ok(())
    })
}

fn a_sub_task_goes_on_though_a_stranger_waits(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let mut task = one.task("task");
        let whole = task.acquire("app").await?;
        let stranger = tokio::spawn(async move { other.acquire("app").await });
        until_waiting(&one, 1).await?;
        let part = within("the sub-task", async { task.subtask("step").acquire("app/blog").await });
        part.await??.release().await?;
        whole.release().await?;
        within("the stranger", stranger).await???.release().await?;
        until_empty(&one).await
    })
}

fn a_holder_gets_what_is_free_though_somebody_waits_for_its_hold(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let mut backup = one.task("backup");
        let a = backup.acquire("app/a").await?;
        let update = tokio::spawn({
            let other = other.clone();
            async move { other.acquire("app").await }
        });
        until_waiting(&one, 1).await?;
        // It would wait for the update, which waits for it.
        let b = within("the backup", backup.acquire("app/b")).await??;
        busy(other.try_acquire("app/c").await)?;
        a.release().await?;
        assert_eq!(one.list().await?.waiting.len(), 1);
        b.release().await?;
        within("the update", update).await???.release().await?;
        until_empty(&one).await
    })
}

fn a_sub_task_lives_in_another_client(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let mut task = one.task("task");
        let whole = task.acquire("app").await?;
        let id: TaskId = whole.task_id().to_string().parse()?;
        let mut step = other.task("step").under(&id);
        let part = step.try_acquire("app/blog").await?;
        assert_eq!(part.fence(), whole.fence());
        busy(other.try_acquire("app/blog").await)?;
        // It lives on without its parent's client.
        one.close().await?;
        part.verify().await?;
        assert_eq!(other.list().await?.holds.len(), 1);
        part.release().await?;
        until_empty(&other).await
    })
}

fn a_sub_task_lives_in_another_process(scene: &Scene) -> Verdict {
    let mut worker = scene.worker("step")?;
    let locks = scene.locks()?;
    let whole = scene.block_on(locks.acquire("app"))?;
    let order = Order::acquire("step", "app/blog", Some(LIVENESS));
    let key = worker.order(order.under(&whole.task_id().to_string()))?;
    let held = worker.granted(key)?;
    assert_eq!(held.fence, whole.fence());
    let stranger =
        worker.call(Order::acquire("stranger", "app/x", Some(std::time::Duration::ZERO)))?;
    assert!(matches!(&stranger, Report::Refused { kind, .. } if kind == "Busy"), "{stranger:?}");
    assert_eq!(worker.call(Order::Release(key))?, Report::Done);
    scene.block_on(async {
        whole.release().await?;
        until_empty(&locks).await
    })
}

fn a_task_waits_while_a_sub_task_of_it_waits(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let mut task = one.task("task");
        let a = task.acquire("a").await?;
        let mut right = other.task("right");
        let b = right.acquire("b").await?;
        let mut step = task.subtask("step");
        let waits = tokio::spawn(async move { step.acquire("b").await });
        until_waiting(&one, 1).await?;
        // The task cannot give back `a` before its step comes to its end: that closes the circle.
        let error = within("the answer", right.acquire("a")).await?;
        assert!(matches!(error, Err(AcquireError::Deadlock(_))), "{error:?}");
        b.release().await?;
        within("the step", waits).await???.release().await?;
        a.release().await?;
        until_empty(&one).await
    })
}

fn tasks_nest_so_deep_and_no_deeper(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let mut task = one.task("task");
        for _ in 1..TaskId::DEPTH_MAX {
            task = task.subtask("deeper");
        }
        let guard = task.acquire("a").await?;
        assert_eq!(&other.list().await?.holds[0].task_id, guard.task_id());
        let too_deep = task.subtask("too deep").acquire("b").await;
        let Err(AcquireError::Request(_)) = too_deep else {
            return Err(unexpected("a refused request", &too_deep));
        };
        guard.release().await?;
        until_empty(&one).await
    })
}
