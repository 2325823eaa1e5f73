//! The driver where nothing goes wrong: what handles promise, on clients that share a store.

mod driver;

use std::time::Duration;

use driver::{World, until, within};
use lock_core::process::Liveness;
use lock_core::{
    AcquireError, HoldError, Locks, MemoryBackend, Mode, Request, VerifyError, WithLockError,
};
use tokio::time::timeout;

#[tokio::test(start_paused = true)]
async fn a_lock_is_held_until_it_is_given_back() {
    let world = World::new();
    let (one, _) = world.client();
    let (other, _) = world.client();
    let guard = one.acquire(Request::exclusive("app/blog").and_shared("mail")).await.unwrap();
    guard.check().unwrap();
    guard.verify().await.unwrap();
    assert!(other.try_acquire("app/blog/db").await.unwrap_err().is_busy());
    let beside = other.try_acquire(Request::shared("mail")).await.unwrap();
    assert_eq!(one.list().await.unwrap().holds.len(), 2);
    beside.release().await.unwrap();
    guard.release().await.unwrap();
    let next = other.try_acquire("app").await.unwrap();
    drop(next);
    one.close().await.unwrap();
    other.close().await.unwrap();
    world.assert_empty();
}

#[tokio::test]
async fn times_without_an_end_are_long_ones() {
    let builder = Locks::builder(MemoryBackend::new());
    let locks = builder.lease(Duration::MAX).store_patience(Duration::MAX).build();
    let guard = locks.acquire_timeout("a", Duration::MAX).await.unwrap();
    guard.verify().await.unwrap();
    guard.release().await.unwrap();
    locks.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_denial_says_who_and_where_and_the_place_in_the_queue() {
    let world = World::new();
    let (one, _) = world.client();
    let (other, _) = world.client();
    let mut backup = one.task("backup-17");
    let guard = backup.acquire("app/blog").await.unwrap();
    let mut update = other.task("update");
    let mut waits = std::pin::pin!(update.acquire("app"));
    assert!(timeout(Duration::from_secs(5), &mut waits).await.is_err());

    let mut late = other.task("late");
    let error = late.try_acquire("app/blog").await.unwrap_err();
    let AcquireError::Busy(denial) = &error else { panic!("{error:?}") };
    let blockers: Vec<_> =
        denial.blockers.iter().map(|b| (&*b.task, b.lock.as_str(), b.mode, b.waits)).collect();
    let held = ("backup-17", "app/blog", Mode::Exclusive, false);
    assert_eq!(blockers, [held, ("update", "app", Mode::Exclusive, true)]);
    assert_eq!(denial.place, 1);
    let holder = &denial.blockers[0].client;
    assert_eq!((holder.id, holder.state), (one.client_id(), Liveness::Alive));
    assert_eq!(holder.processes.processes[0].pid, std::process::id());
    assert!(error.to_string().contains("backup-17"), "{error}");

    let error = late.acquire_timeout("app/blog", Duration::from_secs(1)).await.unwrap_err();
    let AcquireError::TimedOut(denial) = error else { panic!("{error:?}") };
    assert_eq!((denial.blockers.len(), denial.place), (2, 1));
    assert_eq!(world.tasks(), (vec!["backup-17".into()], vec!["update".into()]));

    let blocked = other.task("x").would_block("app/blog").await.unwrap().unwrap();
    assert_eq!(blocked.blockers[0].client.state, Liveness::Alive);
    assert!(one.would_block("mail").await.unwrap().is_none());
    let listing = one.list().await.unwrap();
    assert_eq!(listing.waiting[0].blocked_by[0].task, "backup-17".into());
    let denial = one.waits_for(&listing.waiting[0].task_id).await.unwrap().unwrap();
    assert_eq!((&denial.blockers, denial.place), (&listing.waiting[0].blocked_by, 0));
    assert_eq!(denial.blockers[0].client.state, Liveness::Alive);
    assert!(one.waits_for(&listing.holds[0].task_id).await.unwrap().is_none());

    drop(guard);
    let update = within("the update", waits).await.unwrap();
    update.release().await.unwrap();
    world.until_empty().await;
}

#[tokio::test(start_paused = true)]
async fn a_time_limit_of_nothing_is_a_try() {
    let world = World::new();
    let (one, faults) = world.client();
    let guard = one.acquire_timeout("a", Duration::ZERO).await.unwrap();
    let error = one.acquire_timeout("a", Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, AcquireError::TimedOut(_)), "{error:?}");
    assert_eq!(faults.swaps(), 1, "nothing was queued");
    guard.release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn two_clients_hand_over_in_the_order_they_came() {
    let world = World::new();
    let clients = [world.client().0, world.client().0];
    let guard = clients[0].acquire("a").await.unwrap();
    let (order, mut came) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..10 {
        let (locks, order) = (clients[number % 2].clone(), order.clone());
        tokio::spawn(async move {
            let guard = locks.acquire("a").await.unwrap();
            order.send(number).unwrap();
            guard.release().await.unwrap();
        });
        world.until_waiting(number + 1).await;
    }
    guard.release().await.unwrap();
    for number in 0..10 {
        assert_eq!(within("the next", came.recv()).await, Some(number));
    }
    world.until_empty().await;
}

#[tokio::test(start_paused = true)]
async fn a_sub_task_works_under_what_its_task_holds() {
    let world = World::new();
    let (locks, _) = world.client();
    let mut backup = locks.task("backup").with_note("nightly");
    let whole = backup.acquire("app").await.unwrap();
    let mut step = backup.subtask("step");
    let part = step.try_acquire("app/blog").await.unwrap();
    assert_eq!(part.fence(), whole.fence(), "a covered name carries the fence of what covers it");
    let mut sibling = backup.subtask("sibling");
    assert!(sibling.try_acquire("app/blog").await.unwrap_err().is_busy());
    let listing = locks.list().await.unwrap();
    assert_eq!(listing.holds[0].note.as_deref(), Some("nightly"));
    assert_eq!(listing.holds[1].task_id.parent().as_ref(), Some(whole.task_id()));
    locks.close().await.unwrap();
    world.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn the_request_that_closes_a_circle_is_refused() {
    let world = World::new();
    let (one, _) = world.client();
    let (other, _) = world.client();
    let (mut left, mut right) = (one.task("left"), other.task("right"));
    let _a = left.acquire("a").await.unwrap();
    let b = right.acquire("b").await.unwrap();
    let waits = tokio::spawn(async move { left.acquire("b").await });
    world.until_waiting(1).await;
    let error = right.acquire("a").await.unwrap_err();
    let AcquireError::Deadlock(cycle) = &error else { panic!("{error:?}") };
    let edges: Vec<_> = cycle.edges.iter().map(|e| (&*e.task, e.lock.as_str())).collect();
    assert_eq!(edges, [("right", "a"), ("left", "b")]);
    drop(b);
    within("who waited", waits).await.unwrap().unwrap().release().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_downgrade_lets_in_who_fits_then() {
    let world = World::new();
    let (one, _) = world.client();
    let (other, _) = world.client();
    let guard = one.acquire("a").await.unwrap();
    let waits = tokio::spawn(async move { other.acquire(Request::shared("a")).await });
    world.until_waiting(1).await;
    guard.downgrade().await.unwrap();
    let beside = within("the reader", waits).await.unwrap().unwrap();
    assert!(beside.fence() > guard.fence());
    guard.verify().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn work_under_a_lock_ends_with_it_or_when_it_is_lost() {
    let world = World::new();
    let (locks, _) = world.client();
    let done = locks.with_lock("a", async |guard| (guard.fence(), world.table().is_empty()));
    let (fence, empty) = done.await.unwrap();
    assert!(fence > 0 && !empty);
    world.assert_empty();

    let mut task = locks.task("victim");
    let never = task.with_lock("a", async |_| std::future::pending::<()>().await);
    let (never, freed) = tokio::join!(within("the loss", never), async {
        until("it is held", || !world.table().is_empty()).await;
        locks.release_task("victim").await
    });
    assert_eq!(freed.unwrap(), 1);
    assert!(matches!(never, Err(WithLockError::Lost(HoldError::Lost))), "{never:?}");
    world.until_empty().await;

    // What ends in the same moment may have been done without the lock.
    let late = task.with_lock("a", async |guard| {
        locks.release_task("victim").await.unwrap();
        guard.lost().await;
    });
    let late = within("the loss", late).await;
    assert!(matches!(late, Err(WithLockError::Lost(HoldError::Lost))), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn bad_requests_never_reach_the_store() {
    let world = World::new();
    let (locks, faults) = world.client();
    let twice = Request::exclusive("a").and_shared("a");
    for request in [Request::exclusive("a//b"), twice, Request::limit("a", 0)] {
        let error = locks.acquire(request).await.unwrap_err();
        assert!(matches!(error, AcquireError::Request(_)), "{error:?}");
    }
    let error = locks.task("bad\nname").acquire("a").await.unwrap_err();
    assert!(matches!(error, AcquireError::Request(_)), "{error:?}");
    assert_eq!((faults.loads(), faults.swaps()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn close_gives_everything_back_and_ends_what_is_under_way() {
    let world = World::new();
    let (one, _) = world.client();
    let (other, _) = world.client();
    let guard = one.acquire("a").await.unwrap();
    let elsewhere = other.acquire("b").await.unwrap();
    let waiting = tokio::spawn({
        let one = one.clone();
        async move { one.acquire("b").await }
    });
    world.until_waiting(1).await;
    one.close().await.unwrap();
    assert!(matches!(waiting.await.unwrap(), Err(AcquireError::Closed)));
    assert_eq!(world.tasks().0.len(), 1);
    guard.lost().await;
    assert_eq!(guard.check(), Err(HoldError::Lost));
    assert_eq!(guard.remaining(), Some(Duration::ZERO));
    assert!(matches!(guard.verify().await, Err(VerifyError::Hold(HoldError::Lost))));
    assert!(matches!(guard.downgrade().await, Err(VerifyError::Hold(HoldError::Lost))));
    assert!(matches!(one.acquire("a").await, Err(AcquireError::Closed)));
    assert!(matches!(one.would_block("a").await, Err(AcquireError::Closed)));
    assert!(one.list().await.unwrap_err().is_closed());
    one.close().await.unwrap();
    guard.release().await.unwrap();
    elsewhere.release().await.unwrap();
    world.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn without_handles_the_driver_writes_what_is_left_and_ends() {
    let world = World::new();
    let (locks, faults) = world.client();
    let guard = locks.acquire("a").await.unwrap();
    drop(locks);
    assert!(!world.table().is_empty(), "a guard is a handle too");
    drop(guard);
    world.until_empty().await;
    // The driver holds the backend, and with it the last clone of the store.
    drop(faults);
    let (idle, _) = world.client();
    idle.list().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(alive(), 1);
    drop(idle);
    until("the driver has ended", || alive() == 0).await;
}

#[test]
fn nothing_needs_a_runtime_or_panics_without_one() {
    let store = MemoryBackend::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (locks, guard) = runtime.block_on(async {
        let locks = Locks::builder(store.clone()).in_current_runtime().build();
        let guard = locks.acquire("a").await.unwrap();
        (locks, guard)
    });
    drop(runtime); // The driver goes with it.
    assert_eq!(guard.check(), Err(HoldError::Lost));
    let error = locks.blocking().acquire("b").unwrap_err();
    assert!(matches!(error, AcquireError::Closed), "{error:?}");
    pollster::block_on(guard.lost());
    // It stays, and neither says that it was given back.
    assert!(pollster::block_on(guard.release()).unwrap_err().is_closed());
    assert!(locks.blocking().close().unwrap_err().is_closed());
    drop(locks);

    let locks = Locks::new(store.clone()).blocking();
    // What the dead driver left is that of a living process: it stays.
    assert!(locks.try_acquire("a").unwrap_err().is_busy());
    let mut task = locks.task("by hand");
    let guard = task.acquire("b").unwrap();
    guard.verify().unwrap();
    guard.downgrade().unwrap();
    assert_eq!(locks.list().unwrap().holds.len(), 2);
    guard.release().unwrap();
    drop(task.acquire_timeout("b", Duration::from_secs(30)).unwrap());
    locks.close().unwrap();
}

/// In real time, where polls are far apart: somebody must have rung.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_release_rings_whoever_is_next() {
    let store = MemoryBackend::new();
    let (one, other) = (Locks::new(store.clone()), Locks::new(store.clone()));
    let mut quick = 0;
    for _ in 0..20 {
        let guard = one.acquire("a").await.unwrap();
        let locks = other.clone();
        let waits = tokio::spawn(async move { locks.acquire("a").await.unwrap() });
        let waiting = || {
            !lock_core::table::LockTable::decode(&store.snapshot())
                .unwrap()
                .list()
                .waiting
                .is_empty()
        };
        until("it waits", waiting).await;
        let begin = std::time::Instant::now();
        guard.release().await.unwrap();
        let guard = within("the hand-off", waits).await.unwrap();
        // Without a bell it would look 250 ms after it queued, and not before.
        quick += usize::from(begin.elapsed() < Duration::from_millis(200));
        guard.release().await.unwrap();
    }
    assert!(quick > 10, "only {quick} of 20 were told");
    one.close().await.unwrap();
    other.close().await.unwrap();
}
