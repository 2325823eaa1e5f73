//! What the driver costs a store and what it makes of its answers: batches, bytes, bad data.

mod driver;

use std::time::Duration;

use driver::{World, within};
use lock_core::testing::Fault;
use lock_core::{AcquireError, BackendErrorKind, Snapshot, Version};
use tokio::task::JoinSet;

#[tokio::test(start_paused = true)]
async fn what_is_asked_meanwhile_is_written_together() {
    let world = World::new();
    let (locks, faults) = world.client();
    faults.next_swap(Fault::DelayBefore(Duration::from_millis(10)));
    let mut asked = JoinSet::new();
    for number in 0..64 {
        let locks = locks.clone();
        asked.spawn(async move { locks.acquire(format!("lock/{number}")).await.unwrap() });
    }
    let guards = within("all", asked.join_all()).await;
    assert!(faults.swaps() <= 3, "{}", faults.swaps());
    assert_eq!(world.table().list().holds.len(), 64);
    drop(guards);
    world.until_empty().await;
    assert!(faults.swaps() <= 6, "{}", faults.swaps());
}

#[tokio::test(start_paused = true)]
async fn without_rivals_an_acquire_is_one_swap_and_a_release_another() {
    let world = World::new();
    let (locks, faults) = world.client();
    locks.acquire("a").await.unwrap().release().await.unwrap();
    assert_eq!((faults.loads(), faults.swaps()), (1, 2));
    for round in 1..20 {
        let guard = locks.acquire("a").await.unwrap();
        assert_eq!((faults.loads(), faults.swaps()), (1, 2 * round + 1));
        guard.release().await.unwrap();
    }
    assert_eq!((faults.loads(), faults.swaps()), (1, 40));
}

#[tokio::test(start_paused = true)]
async fn a_hand_off_is_one_write_however_many_wait() {
    let world = World::new();
    let (locks, faults) = world.client();
    let guard = locks.acquire("a").await.unwrap();
    let mut waiting = JoinSet::new();
    for _ in 0..20 {
        let locks = locks.clone();
        waiting.spawn(async move { locks.acquire("a").await.unwrap() });
    }
    world.until_waiting(20).await;
    let swaps = faults.swaps();
    guard.release().await.unwrap();
    let next = within("the next", waiting.join_next()).await.unwrap().unwrap();
    assert_eq!(faults.swaps() - swaps, 1);
    next.release().await.unwrap();
    locks.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_never_overwritten() {
    let newer = br#"{"interlock":99,"clients":{},"queue":[],"what":"else"}"#;
    for data in [&b"garbage"[..], b"", b"{}", newer] {
        let world = World::new();
        let (locks, faults) = world.client();
        let guard = locks.acquire("a").await.unwrap();
        let waiting = tokio::spawn({
            let locks = locks.clone();
            async move { locks.acquire("a").await }
        });
        world.until_waiting(1).await;
        let good = world.store.snapshot();
        let bad = Snapshot { version: Version(good.version.0 + 1), data: data.to_vec() };
        world.store.restore(bad.clone());

        let (other, _) = world.client();
        let begin = tokio::time::Instant::now();
        let error = other.acquire("b").await.unwrap_err();
        let AcquireError::Store(error) = error else { panic!("{error:?}") };
        assert!(error.is_misconfigured() && !error.is_unreachable(), "{error:?}");
        assert!(std::error::Error::source(&error).is_some() || !error.to_string().is_empty());
        assert!(other.list().await.unwrap_err().is_misconfigured());
        assert!(other.release_task("a").await.unwrap_err().is_misconfigured());
        let error = within("the waiter", waiting).await.unwrap().unwrap_err();
        assert!(matches!(&error, AcquireError::Store(e) if e.is_misconfigured()), "{error:?}");
        assert!(begin.elapsed() < Duration::from_secs(10));
        guard.check().unwrap();
        assert!(other.close().await.is_ok(), "it has nothing there");
        assert_eq!(world.store.snapshot(), bad);

        // Somebody repairs it.
        world.store.restore(Snapshot { version: Version(bad.version.0 + 1), ..good });
        locks.close().await.unwrap();
        world.assert_empty();
        drop(faults);
    }
}

/// A failure of some time ago says nothing about the store of today.
#[tokio::test(start_paused = true)]
async fn a_close_tries_once_more() {
    let world = World::new();
    let (locks, faults) = world.client();
    let _guard = locks.acquire("a").await.unwrap();
    faults.next_load(Fault::Error(BackendErrorKind::Misconfigured));
    assert!(locks.list().await.unwrap_err().is_misconfigured());
    locks.close().await.unwrap();
    world.assert_empty();

    let (locks, faults) = world.client();
    let _guard = locks.acquire("a").await.unwrap();
    for _ in 0..2 {
        faults.next_load(Fault::Error(BackendErrorKind::Misconfigured));
        faults.next_swap(Fault::Error(BackendErrorKind::Misconfigured));
    }
    assert!(within("the close", locks.close()).await.unwrap_err().is_misconfigured());
}

/// It lives, so nobody may sweep it, and it has nothing to renew that would make it look.
#[tokio::test(start_paused = true)]
async fn an_idle_client_gives_back_what_a_restored_store_has_of_it() {
    let world = World::new();
    let (idle, _) = world.client();
    let guard = idle.acquire("a").await.unwrap();
    let dump = world.store.snapshot();
    guard.release().await.unwrap();
    world.store.restore(dump);
    let (other, _) = world.client();
    within("the idle one looks", other.acquire("a")).await.unwrap().release().await.unwrap();
    world.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn a_table_has_a_limit_that_only_what_grows_it_meets() {
    let world = World::new();
    let (builder, _) = world.builder();
    let locks = builder.table_bytes_max(4096).build();
    let mut held = Vec::new();
    let error = loop {
        match locks.acquire(format!("lock/{}", held.len())).await {
            Ok(guard) => held.push(guard),
            Err(error) => break error,
        }
    };
    let AcquireError::Store(error) = error else { panic!("{error:?}") };
    assert!(error.is_full() && !error.is_misconfigured(), "{error:?}");
    assert!(held.len() > 5 && world.store.snapshot().data.len() <= 4096);
    // Another client with a smaller limit can still give back what it has.
    let (builder, _) = world.builder();
    let small = builder.table_bytes_max(100).build();
    assert!(matches!(small.acquire("b").await, Err(AcquireError::Store(e)) if e.is_full()));
    small.release_task("nobody").await.unwrap();
    held.pop().unwrap().release().await.unwrap();
    held[0].downgrade().await.unwrap();
    held.push(locks.acquire("lock/x").await.unwrap());
    locks.close().await.unwrap();
    world.assert_empty();
}

#[tokio::test(start_paused = true)]
async fn a_store_that_takes_no_more_bytes_refuses_what_is_new() {
    let world = World::new();
    let (locks, faults) = world.client();
    let guard = locks.acquire("a").await.unwrap();
    faults.next_swap(Fault::Error(BackendErrorKind::TooLarge));
    let error = locks.acquire("b").await.unwrap_err();
    assert!(matches!(&error, AcquireError::Store(e) if e.is_full()), "{error:?}");
    guard.verify().await.unwrap();
    guard.release().await.unwrap();
    world.assert_empty();
}
