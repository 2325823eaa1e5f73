//! Layer 1: queues, time limits, what a denial says, and deadlocks.

use std::time::{Duration, SystemTime};

use lock_core::process::Liveness;
use lock_core::{AcquireError, Guard, Locks, Mode, Request};
use tokio::sync::mpsc;

use super::{busy, is_free, unexpected, until_empty, until_waiting, within};
use crate::scene::{LIVENESS, Scene};
use crate::trial::{Verdict, trials};

trials!("handles":
    who_came_first_is_served_first,
    a_waiter_is_not_starved_by_those_who_fit_beside_the_holder,
    all_earlier_waiters_count_together,
    who_conflicts_with_nobody_ahead_passes,
    a_denial_says_who_where_since_when_and_the_place,
    a_denial_names_the_process_that_holds,
    who_runs_out_of_time_leaves_the_queue,
    a_time_limit_of_nothing_is_a_try,
    #[random] a_time_limit_never_throws_a_grant_away,
    a_deadlock_is_found_and_names_the_circle,
    a_deadlock_of_three_clients_is_found,
);

fn who_came_first_is_served_first(scene: &Scene) -> Verdict {
    const WAITERS: usize = 6;
    let clients = [scene.locks()?, scene.locks()?, scene.locks()?];
    scene.block_on(async {
        let guard = clients[0].acquire("a").await?;
        let (came, mut order) = mpsc::unbounded_channel();
        for number in 0..WAITERS {
            let (locks, came) = (clients[number % 3].clone(), came.clone());
            tokio::spawn(async move {
                let guard = locks.acquire("a").await;
                let fence = guard.as_ref().map_or(0, Guard::fence);
                let _ = came.send((number, fence));
                drop(guard);
            });
            until_waiting(&clients[0], number + 1).await?;
        }
        let mut last = guard.fence();
        guard.release().await?;
        for number in 0..WAITERS {
            let (next, fence) = within("the next", order.recv()).await?.expect("it is open");
            assert_eq!(next, number);
            assert!(fence > last, "fences rise in the order of the holds");
            last = fence;
        }
        until_empty(&clients[0]).await
    })
}

fn a_waiter_is_not_starved_by_those_who_fit_beside_the_holder(scene: &Scene) -> Verdict {
    let (one, other, third) = (scene.locks()?, scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let reader = one.acquire(Request::shared("app")).await?;
        let writer = tokio::spawn(async move { other.acquire("app").await });
        until_waiting(&one, 1).await?;
        for late in [Request::shared("app"), Request::shared("app/blog")] {
            let denial = busy(third.try_acquire(late).await)?;
            assert!(denial.blockers.iter().all(|blocker| blocker.waits), "{denial:?}");
            assert_eq!(denial.place, 1);
        }
        reader.release().await?;
        within("the writer", writer).await???.release().await?;
        assert!(is_free(&third, Request::shared("app")).await?);
        Ok(())
    })
}

fn all_earlier_waiters_count_together(scene: &Scene) -> Verdict {
    let clients = [scene.locks()?, scene.locks()?, scene.locks()?];
    scene.block_on(async {
        let (y, z) = (clients[0].acquire("y").await?, clients[0].acquire("z").await?);
        let x = clients[0].acquire(Request::limit("x", 3)).await?;
        let mut waiters = Vec::new();
        for (locks, name) in [(&clients[0], "y"), (&clients[1], "z")] {
            let (locks, request) = (locks.clone(), Request::limit("x", 3).and_exclusive(name));
            waiters.push(tokio::spawn(async move { locks.acquire(request).await }));
            until_waiting(&clients[0], waiters.len()).await?;
        }
        // There is room beside the holder and either waiter, but not beside all of them.
        busy(clients[2].try_acquire(Request::limit("x", 3)).await)?;
        y.release().await?;
        z.release().await?;
        for waiter in waiters {
            within("a waiter", waiter).await???.release().await?;
        }
        x.release().await?;
        assert!(is_free(&clients[2], "x").await?);
        Ok(())
    })
}

fn who_conflicts_with_nobody_ahead_passes(scene: &Scene) -> Verdict {
    let (one, other, third) = (scene.locks()?, scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let blog = one.acquire("app/blog").await?;
        let update = tokio::spawn(async move { other.acquire("app").await });
        until_waiting(&one, 1).await?;
        for free in ["mail", "box/app", "apple"] {
            assert!(is_free(&third, free).await?, "{free}");
        }
        busy(third.try_acquire("app/shop").await)?;
        blog.release().await?;
        within("the update", update).await???.release().await?;
        Ok(())
    })
}

fn a_denial_says_who_where_since_when_and_the_place(scene: &Scene) -> Verdict {
    let one = scene.builder()?.name("holder client").build();
    let (other, third) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let began = SystemTime::now();
        let mut backup = one.task("backup-17");
        let guard = backup.acquire(Request::limit("app/blog", 2).and_shared("mail")).await?;
        let update = tokio::spawn(async move { other.task("update").acquire("app").await });
        until_waiting(&one, 1).await?;

        let mut late = third.task("late");
        let asked = Request::exclusive("app/blog").and_exclusive("else");
        let error = late.try_acquire(asked.clone()).await.expect_err("it is held");
        let text = error.to_string();
        let denial = busy(Err(error))?;
        assert_eq!(&denial.locks, asked.locks()?);
        assert_eq!(denial.place, 1, "one is before it");
        let found: Vec<_> =
            denial.blockers.iter().map(|b| (&*b.task, b.lock.as_str(), b.mode, b.waits)).collect();
        let holds = ("backup-17", "app/blog", Mode::Limit(2), false);
        assert_eq!(found, [holds, ("update", "app", Mode::Exclusive, true)]);
        let holder = &denial.blockers[0];
        assert_eq!(&holder.task_id, guard.task_id());
        assert_eq!((&*holder.client.name, holder.client.id), ("holder client", one.client_id()));
        assert_eq!(holder.client.processes.processes[0].pid, std::process::id());
        assert!(holder.client.processes.place.host.is_some());
        if cfg!(target_os = "linux") {
            assert_eq!(holder.client.state, Liveness::Alive);
        }
        assert!(holder.since + LIVENESS > began && holder.since < SystemTime::now() + LIVENESS);
        for told in ["backup-17", "app/blog", &std::process::id().to_string()] {
            assert!(text.contains(told), "{text}");
        }
        let would = late.would_block(asked).await?.expect("it is held");
        assert_eq!((would.blockers, would.place), (denial.blockers, denial.place));
        guard.release().await?;
        within("the update", update).await???.release().await?;
        Ok(())
    })
}

fn a_denial_names_the_process_that_holds(scene: &Scene) -> Verdict {
    let mut worker = scene.worker("worker")?;
    let hold = worker.acquire("a")?;
    let locks = scene.locks()?;
    scene.block_on(async {
        let blocker = busy(locks.try_acquire("a").await)?.blockers.remove(0);
        assert_eq!((&*blocker.client.name, blocker.task_id.to_string()), ("worker", hold.task));
        assert_eq!(blocker.client.processes.processes[0].pid, worker.pid());
        Ok(())
    })
}

fn who_runs_out_of_time_leaves_the_queue(scene: &Scene) -> Verdict {
    let (one, other, third) = (scene.locks()?, scene.locks()?, scene.locks()?);
    let soon = Duration::from_millis(50);
    scene.block_on(async {
        let reader = one.acquire(Request::shared("a")).await?;
        let mut writer = other.task("writer");
        let error = within("the time limit", writer.acquire_timeout("a", soon)).await?;
        let Err(AcquireError::TimedOut(denial)) = error else {
            return Err(unexpected("TimedOut", &error));
        };
        assert_eq!((denial.blockers.len(), denial.place), (1, 0));
        assert_eq!(denial.blockers[0].task_id, *reader.task_id());
        // At once, and not only when somebody looks after it.
        assert!(third.list().await?.waiting.is_empty());
        third.try_acquire(Request::shared("a")).await?.release().await?;
        reader.release().await?;
        within("the next", writer.acquire_timeout("a", LIVENESS)).await??.release().await?;
        Ok(())
    })
}

fn a_time_limit_of_nothing_is_a_try(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let guard = one.acquire_timeout("a", Duration::ZERO).await?;
        let error = other.acquire_timeout("a", Duration::ZERO).await;
        assert!(matches!(error, Err(AcquireError::TimedOut(_))), "{error:?}");
        assert!(one.list().await?.waiting.is_empty());
        guard.release().await?;
        other.acquire_timeout("a", Duration::ZERO).await?.release().await?;
        Ok(())
    })
}

fn a_time_limit_never_throws_a_grant_away(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    let mut random = scene.random(1);
    let mut granted = 0;
    let rounds = scene.cases(30);
    scene.block_on(async {
        for _ in 0..rounds {
            // The lock becomes free at about the time at which the patience ends.
            let [limit, free] = [(); 2].map(|()| Duration::from_micros(random.u64(..15_000)));
            let guard = one.acquire("a").await?;
            let release = async {
                tokio::time::sleep(free).await;
                guard.release().await
            };
            let (asked, released) = tokio::join!(other.acquire_timeout("a", limit), release);
            released?;
            match asked {
                Ok(guard) => {
                    granted += 1;
                    busy(one.try_acquire("a").await)?;
                    guard.verify().await?;
                    guard.release().await?;
                }
                Err(AcquireError::TimedOut(_)) => {
                    assert!(one.list().await?.holds.is_empty(), "nobody knows of this hold");
                    assert!(is_free(&one, "a").await?);
                }
                other => return Err(unexpected("a guard or TimedOut", &other)),
            }
        }
        scene.count("cases", rounds);
        scene.count("granted", granted);
        Ok(())
    })
}

/// A task that holds one lock, and waits for another when it is told to.
async fn holder(
    locks: &Locks,
    name: &str,
    lock: &str,
) -> Result<(lock_core::Task, Guard), AcquireError> {
    let mut task = locks.task(name);
    let guard = task.acquire(lock).await?;
    Ok((task, guard))
}

fn a_deadlock_is_found_and_names_the_circle(scene: &Scene) -> Verdict {
    let (one, other) = (scene.locks()?, scene.locks()?);
    scene.block_on(async {
        let (mut left, a) = holder(&one, "left", "a").await?;
        let (mut right, b) = holder(&other, "right", "b").await?;
        let waits = tokio::spawn(async move { left.acquire("b/part").await });
        until_waiting(&one, 1).await?;
        let error = within("the answer", right.acquire("a")).await?;
        let Err(AcquireError::Deadlock(cycle)) = error else {
            return Err(unexpected("Deadlock", &error));
        };
        let edges: Vec<_> =
            cycle.edges.iter().map(|e| (&*e.task, e.lock.as_str(), &*e.holder)).collect();
        assert_eq!(edges, [("right", "a", "left"), ("left", "b", "right")]);
        let ids: Vec<_> = cycle.edges.iter().map(|e| (&e.task_id, &e.holder_id)).collect();
        assert_eq!(ids, [(b.task_id(), a.task_id()), (a.task_id(), b.task_id())]);
        let text = cycle.to_string();
        assert!(text.contains("left") && text.contains("right"), "{text}");
        // Only that request is refused: all others are as they were.
        assert_eq!(one.list().await?.waiting.len(), 1);
        a.verify().await?;
        busy(right.try_acquire("a").await)?;
        b.release().await?;
        within("who waited", waits).await???.release().await?;
        a.release().await?;
        until_empty(&one).await
    })
}

fn a_deadlock_of_three_clients_is_found(scene: &Scene) -> Verdict {
    let clients = [scene.locks()?, scene.locks()?, scene.locks()?];
    scene.block_on(async {
        let mut tasks = Vec::new();
        for (locks, name) in clients.iter().zip(["a", "b", "c"]) {
            tasks.push(holder(locks, name, name).await?);
        }
        let mut guards = Vec::new();
        let mut waiters = Vec::new();
        for (at, (mut task, guard)) in tasks.into_iter().enumerate() {
            guards.push(guard);
            let next = ["b", "c", "a"][at];
            if at < 2 {
                waiters.push(tokio::spawn(async move { task.acquire(next).await }));
                until_waiting(&clients[0], at + 1).await?;
                continue;
            }
            let error = within("the answer", task.acquire(next)).await?;
            let Err(AcquireError::Deadlock(cycle)) = error else {
                return Err(unexpected("Deadlock", &error));
            };
            assert_eq!(cycle.edges.len(), 3, "{cycle}");
        }
        while let Some(guard) = guards.pop() {
            guard.release().await?;
            if let Some(waiter) = waiters.pop() {
                within("a waiter", waiter).await???.release().await?;
            }
        }
        until_empty(&clients[0]).await
    })
}
