//! The driver on a store that fails: every kind of fault at every step of a lock's life.

mod driver;

use std::time::Duration;

use driver::{World, until, within};
use lock_core::testing::{Effect, Fault, Faults};
use lock_core::{AcquireError, BackendErrorKind, Locks, Request};
use tokio::time::{Instant, sleep, timeout};

use BackendErrorKind::{Busy, Unavailable};

const SECOND: Duration = Duration::from_secs(1);

/// What may happen to a swap and is nobody's business.
const PASSING: [Fault; 10] = [
    Fault::Conflict,
    Fault::Panic,
    Fault::Error(Busy),
    Fault::Error(Unavailable),
    Fault::Unknown(Effect::Never),
    Fault::Unknown(Effect::Now),
    Fault::Unknown(Effect::Before(1)),
    Fault::Unknown(Effect::Before(2)),
    Fault::DelayBefore(SECOND),
    Fault::DelayAfter(SECOND),
];

/// Runs a case for each fault, on a world of its own.
async fn for_each_fault(case: impl AsyncFn(Fault, World, Locks, Faults)) {
    for fault in PASSING {
        eprintln!("{fault:?}");
        let world = World::new();
        let (locks, faults) = world.client();
        // So that the driver has a table to be optimistic about.
        locks.acquire("before").await.unwrap().release().await.unwrap();
        within("the case", case(fault, world.clone(), locks.clone(), faults.clone())).await;
        locks.close().await.unwrap();
        assert_eq!(faults.deliver_late().await, 0);
        world.assert_empty();
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_granted_once_and_given_back() {
    for_each_fault(async |fault, world, locks, faults| {
        faults.next_swap(fault);
        let guard = locks.acquire("a").await.unwrap();
        assert_eq!(world.table().list().holds.len(), 1);
        assert_eq!(world.table().list().holds[0].fence, guard.fence());
        faults.next_swap(fault);
        guard.verify().await.unwrap();
        guard.release().await.unwrap();
        world.assert_empty();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_release_is_written_before_it_is_said_to_be() {
    for_each_fault(async |fault, world, locks, faults| {
        let guard = locks.acquire("a").await.unwrap();
        faults.next_swap(fault);
        guard.release().await.unwrap();
        world.assert_empty();
        let guard = locks.acquire("a").await.unwrap();
        faults.next_swap(fault);
        drop(guard);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_waiter_queues_once_and_is_handed_the_lock() {
    for_each_fault(async |fault, world, locks, faults| {
        let (other, others) = world.client();
        let guard = other.acquire("a").await.unwrap();
        faults.next_swap(fault);
        let waiting = tokio::spawn(async move { locks.acquire("a").await });
        world.until_waiting(1).await;
        others.next_swap(fault);
        guard.release().await.unwrap();
        let guard = waiting.await.unwrap().unwrap();
        guard.verify().await.unwrap();
        guard.release().await.unwrap();
        other.close().await.unwrap();
        world.assert_empty();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_hand_off_to_a_task_of_the_same_client_is_heard_of() {
    for_each_fault(async |fault, world, locks, faults| {
        let guard = locks.acquire("a").await.unwrap();
        let waiting = tokio::spawn(async move { locks.acquire("a").await });
        world.until_waiting(1).await;
        faults.next_swap(fault);
        guard.release().await.unwrap();
        drop(waiting.await.unwrap().unwrap());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_close_writes_in_spite_of_it() {
    for_each_fault(async |fault, world, locks, faults| {
        let _guard = locks.acquire("a").await.unwrap();
        faults.next_swap(fault);
        locks.close().await.unwrap();
        world.assert_empty();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_renewal_is_repeated() {
    for_each_fault(async |fault, world, locks, faults| {
        let guard = locks.acquire("a").await.unwrap();
        let mark = || world.table().clients().next().unwrap().mark;
        for _ in 0..6 {
            let before = mark();
            faults.next_swap(fault);
            sleep(driver::LEASE / 3 + 2 * SECOND).await;
            assert!(mark() > before);
            guard.check().unwrap();
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_downgrade_and_a_release_by_name_are_done_once() {
    for_each_fault(async |fault, world, locks, faults| {
        let guard = locks.acquire("a").await.unwrap();
        faults.next_swap(fault);
        guard.downgrade().await.unwrap();
        let beside = locks.try_acquire(Request::shared("a")).await.unwrap();
        let held = locks.task("named").acquire("b").await.unwrap();
        faults.next_swap(fault);
        assert_eq!(locks.release_task("named").await.unwrap(), 1);
        within("the loss", held.lost()).await;
        assert_eq!(world.table().list().holds.len(), 2);
        beside.check().unwrap();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_a_while_costs_nothing_but_time() {
    let world = World::new();
    let (one, ones) = world.client();
    let (other, others) = world.client();
    let guard = one.acquire("a").await.unwrap();
    let waiting = tokio::spawn(async move { other.acquire("a").await });
    world.until_waiting(1).await;
    ones.set_unavailable(true);
    others.set_unavailable(true);
    let error = one.acquire_timeout("b", SECOND).await.unwrap_err();
    let AcquireError::Store(error) = error else { panic!("{error:?}") };
    assert!(error.is_unreachable() && !error.is_misconfigured(), "{error:?}");
    assert!(one.list().await.unwrap_err().is_unreachable());
    guard.check().unwrap();
    drop(guard);
    sleep(5 * SECOND).await;
    ones.set_unavailable(false);
    others.set_unavailable(false);
    let guard = within("the waiter", waiting).await.unwrap().unwrap();
    guard.release().await.unwrap();
    world.until_empty().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_tried_for_ever_when_nobody_wants_it() {
    let world = World::new();
    let (locks, faults) = world.client();
    faults.set_unavailable(true);
    assert!(locks.list().await.is_err());
    assert!(locks.acquire("a").await.is_err());
    sleep(10 * SECOND).await;
    let calls = faults.loads() + faults.swaps();
    sleep(100 * SECOND).await;
    assert_eq!(faults.loads() + faults.swaps(), calls);
}

/// The reply of a swap is lost, and what was asked in it is given up before it arrives.
#[tokio::test(start_paused = true)]
async fn what_arrives_after_everybody_gave_up_leaves_nothing() {
    for queued in [false, true] {
        for patient in [false, true] {
            let world = World::new();
            let (locks, faults) = world.client();
            let (other, _) = world.client();
            let held = if queued { Some(other.acquire("a").await.unwrap()) } else { None };
            locks.list().await.unwrap();
            faults.next_swap(Fault::Hang(Effect::Later));
            if patient {
                let error = locks.acquire_timeout("a", SECOND).await.unwrap_err();
                assert!(matches!(error, AcquireError::Store(_)), "{error:?}");
            } else {
                assert!(timeout(SECOND, locks.acquire("a")).await.is_err());
            }
            assert_eq!((faults.hanging(), faults.late()), (1, 1));
            faults.set_unavailable(true);
            faults.release();
            sleep(SECOND).await;
            assert_eq!(faults.deliver_late().await, 1);
            assert!(!world.table().is_empty());
            faults.set_unavailable(false);
            drop(held);
            world.until_empty().await;
            world.assert_usable("a").await;
        }
    }
}

/// It may still come as long as the version has not moved: so the driver moves it.
#[tokio::test(start_paused = true)]
async fn what_may_still_arrive_is_made_void() {
    let world = World::new();
    let (locks, faults) = world.client();
    locks.list().await.unwrap();
    faults.next_swap(Fault::Unknown(Effect::Later));
    faults.next_swap(Fault::Unknown(Effect::Later));
    assert!(timeout(Duration::from_millis(1), locks.acquire("a")).await.is_err());
    locks.close().await.unwrap();
    assert_eq!(faults.late(), 2);
    assert_eq!(faults.deliver_late().await, 0, "a close makes sure");
    world.assert_empty();
}

/// An older read says nothing of a swap that is under way.
#[tokio::test(start_paused = true)]
async fn an_old_read_does_not_make_a_swap_void() {
    let world = World::new();
    let (locks, faults) = world.client();
    for _ in 0..3 {
        locks.acquire("before").await.unwrap().release().await.unwrap();
    }
    faults.next_swap(Fault::Unknown(Effect::Later));
    faults.next_load(Fault::Stale(2));
    // What is built on the old read is never heard of again.
    faults.next_swap(Fault::Unknown(Effect::Never));
    assert!(timeout(Duration::from_millis(1), locks.acquire("a")).await.is_err());
    locks.close().await.unwrap();
    assert_eq!((faults.late(), faults.deliver_late().await), (1, 0));
    world.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn old_reads_decide_nothing() {
    for back in 1..6 {
        let world = World::new();
        let (locks, faults) = world.client();
        let gone = locks.acquire("gone").await.unwrap();
        gone.release().await.unwrap();
        let guard = locks.acquire("a").await.unwrap();
        let mut task = locks.task("waiter");
        let waiting = tokio::spawn(async move { task.acquire("a").await });
        world.until_waiting(1).await;
        for _ in 0..3 {
            faults.next_load(Fault::Stale(back));
        }
        // A conflict makes it read.
        faults.next_swap(Fault::Conflict);
        let other = locks.acquire("other").await.unwrap();
        guard.check().unwrap();
        guard.verify().await.unwrap();
        assert!(!waiting.is_finished(), "no grant comes from an old read");
        assert_eq!(locks.list().await.unwrap().holds.len(), 2);
        guard.release().await.unwrap();
        let guard = within("the waiter", waiting).await.unwrap().unwrap();
        assert!(guard.fence() > other.fence());
        locks.close().await.unwrap();
        world.assert_empty();
    }
}

#[tokio::test(start_paused = true)]
async fn time_limits_hold_while_a_call_hangs() {
    let world = World::new();
    let (builder, faults) = world.builder();
    let locks = builder.store_patience(3 * SECOND).build();
    let guard = locks.acquire("held").await.unwrap();
    for effect in [Effect::Never, Effect::Now, Effect::Later] {
        faults.next_swap(Fault::Hang(effect));
        let begin = Instant::now();
        let (limited, unlimited, downgrade, named) = tokio::join!(
            locks.acquire_timeout("a", SECOND),
            locks.acquire("b"),
            guard.downgrade(),
            locks.release_task("nobody"),
        );
        assert!(matches!(limited, Err(AcquireError::Store(_))), "{limited:?}");
        assert!(matches!(unlimited, Err(AcquireError::Store(_))), "{unlimited:?}");
        assert!(downgrade.is_err() && named.is_err(), "{downgrade:?} {named:?}");
        assert!(locks.list().await.unwrap_err().is_unreachable());
        assert!(begin.elapsed() < 10 * SECOND);
        faults.release();
        faults.deliver_late().await;
        until("what was given up is gone", || world.table().list().holds.len() == 1).await;
        guard.verify().await.unwrap();
    }
    faults.next_load(Fault::Hang(Effect::Never));
    let hangs = tokio::spawn({
        let locks = locks.clone();
        async move { locks.list().await }
    });
    assert!(within("the answer", hangs).await.unwrap().unwrap_err().is_unreachable());
    faults.release();
    faults.next_swap(Fault::Hang(Effect::Never));
    assert!(locks.close().await.unwrap_err().is_unreachable());
    assert!(locks.close().await.unwrap_err().is_unreachable(), "nothing is better by asking again");
    assert!(guard.release().await.unwrap_err().is_unreachable(), "it was not given back");
}

/// Rather than of "busy".
#[tokio::test(start_paused = true)]
async fn a_waiter_whose_time_is_over_while_the_store_is_away_hears_of_the_store() {
    let world = World::new();
    let (locks, faults) = world.client();
    let guard = locks.acquire("a").await.unwrap();
    let waiting = tokio::spawn({
        let locks = locks.clone();
        async move { locks.acquire_timeout("a", 5 * SECOND).await }
    });
    world.until_waiting(1).await;
    faults.set_unavailable(true);
    let error = within("the end", waiting).await.unwrap().unwrap_err();
    assert!(matches!(&error, AcquireError::Store(e) if e.is_unreachable()), "{error:?}");
    faults.set_unavailable(false);
    guard.release().await.unwrap();
    world.until_empty().await;
}

#[tokio::test(start_paused = true)]
async fn a_longer_limit_of_its_own_outlasts_a_store_that_is_away() {
    let world = World::new();
    let (builder, faults) = world.builder();
    let locks = builder.store_patience(3 * SECOND).build();
    faults.set_unavailable(true);
    let (unlimited, longer, ()) =
        tokio::join!(locks.acquire("a"), locks.acquire_timeout("b", 20 * SECOND), async {
            sleep(10 * SECOND).await;
            faults.set_unavailable(false);
        });
    assert!(matches!(unlimited, Err(AcquireError::Store(_))), "{unlimited:?}");
    longer.unwrap().release().await.unwrap();
    faults.set_unavailable(true);
    let begin = Instant::now();
    let error = locks.acquire_timeout("b", 20 * SECOND).await.unwrap_err();
    assert!(matches!(&error, AcquireError::Store(e) if e.is_unreachable()), "{error:?}");
    assert!(begin.elapsed() < 30 * SECOND);
}

/// A time limit belongs to the request, not to the hold that it became.
#[tokio::test(start_paused = true)]
async fn a_release_has_all_its_patience() {
    let world = World::new();
    let (locks, faults) = world.client();
    let guard = locks.acquire_timeout("a", 5 * SECOND).await.unwrap();
    faults.set_unavailable(true);
    let (released, ()) = tokio::join!(guard.release(), async {
        sleep(15 * SECOND).await;
        faults.set_unavailable(false);
    });
    released.unwrap();
    world.assert_empty();
}

/// Neither does a stream of questions keep the driver from writing.
#[tokio::test(start_paused = true)]
async fn questions_and_writes_take_turns() {
    let world = World::new();
    let (locks, faults) = world.client();
    let guard = locks.acquire("a").await.unwrap();
    let mark = || world.table().clients().next().unwrap().mark;
    // There is always a question that came after the last read was sent.
    let asking = tokio::spawn({
        let locks = locks.clone();
        async move {
            loop {
                faults.next_load(Fault::DelayAfter(Duration::from_millis(20)));
                let locks = locks.clone();
                tokio::spawn(async move { locks.list().await });
                sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let before = mark();
    sleep(driver::LEASE / 2).await;
    assert!(mark() > before, "the lease was renewed");
    within("the release", guard.release()).await.unwrap();
    asking.abort();
}

/// It is freed in the very swap that would take the waiter out of the queue.
#[tokio::test(start_paused = true)]
async fn a_time_limit_never_throws_a_grant_away() {
    let world = World::new();
    let (locks, faults) = world.client();
    let guard = locks.acquire("a").await.unwrap();
    let waiting = tokio::spawn({
        let locks = locks.clone();
        async move { locks.acquire_timeout("a", SECOND).await }
    });
    world.until_waiting(1).await;
    faults.next_swap(Fault::DelayAfter(2 * SECOND));
    let (other, ()) = tokio::join!(locks.acquire("other"), async {
        sleep(SECOND * 3 / 2).await;
        drop(guard);
    });
    drop(other.unwrap());
    let guard = within("the waiter", waiting).await.unwrap().unwrap();
    guard.verify().await.unwrap();
}
