//! Leases: renewed in time, in doubt, lost, and observed by those who cannot probe.

mod driver;

use std::time::Duration;

use driver::{LEASE, World, on_boot, until, within};
use lock_core::testing::{Effect, Fault};
use lock_core::{AcquireError, HoldError, Locks, VerifyError};
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn at_rest_a_lease_costs_three_writes_per_length_and_none_costs_nothing() {
    let world = World::new();
    let (locks, faults) = world.client();
    let guard = locks.acquire("a").await.unwrap();
    let (loads, swaps) = (faults.loads(), faults.swaps());
    sleep(10 * LEASE + SECOND).await;
    assert_eq!((faults.loads() - loads, faults.swaps() - swaps), (0, 30));
    guard.check().unwrap();
    assert!(guard.remaining().unwrap() > LEASE / 2);
    guard.release().await.unwrap();
    sleep(LEASE).await;
    assert_eq!(faults.swaps() - swaps, 31, "nothing is held, nothing is renewed");

    let (builder, faults) = world.builder();
    let locks = builder.no_lease().build();
    let guard = locks.acquire("a").await.unwrap();
    let calls = faults.log().len();
    sleep(100 * LEASE).await;
    assert_eq!(faults.log().len(), calls);
    guard.check().unwrap();
    assert_eq!(guard.remaining(), None);
}

#[tokio::test(start_paused = true)]
async fn after_a_suspend_the_store_is_asked_at_once() {
    let world = World::new();
    let (locks, faults) = world.client();
    let guard = locks.acquire("a").await.unwrap();
    let fence = guard.fence();
    world.clock.suspend(2 * LEASE);
    assert_eq!(guard.check(), Err(HoldError::InDoubt));
    assert_eq!(guard.remaining(), Some(Duration::ZERO));
    let (begin, swaps) = (Instant::now(), faults.swaps());
    until("it is certain again", || guard.check().is_ok()).await;
    assert!(begin.elapsed() < SECOND);
    assert_eq!((faults.swaps() - swaps, guard.fence()), (1, fence));

    // Also when nobody checks.
    world.clock.suspend(2 * LEASE);
    sleep(10 * SECOND).await;
    guard.check().unwrap();
    world.clock.suspend(2 * LEASE);
    guard.verify().await.unwrap();
    guard.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_cannot_probe_watches_a_whole_lease_and_takes_over() {
    let world = World::new();
    let (one, faults) = world.stranger();
    let (other, _) = world.stranger();
    let guard = one.acquire("a").await.unwrap();
    faults.set_unavailable(true);
    let begin = Instant::now();
    let next = within("the takeover", other.acquire("a")).await.unwrap();
    assert!(begin.elapsed() >= LEASE && begin.elapsed() < 2 * LEASE, "{:?}", begin.elapsed());
    assert!(next.fence() > guard.fence());
    // The holder has known before.
    assert!(guard.check().is_err());
    faults.set_unavailable(false);
    guard.lost().await;
    guard.release().await.unwrap();
    next.verify().await.unwrap();
    assert_eq!(world.table().list().holds.len(), 1);
    let again = one.acquire_timeout("a", SECOND).await.unwrap_err();
    assert!(matches!(again, AcquireError::TimedOut(_)), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_slept_while_another_took_over_has_lost() {
    let world = World::new();
    let (one, faults) = world.stranger();
    let (other, _) = world.stranger();
    let guard = one.acquire("a").await.unwrap();
    for _ in 0..10 {
        faults.next_swap(Fault::Error(lock_core::BackendErrorKind::Unavailable));
    }
    faults.next_swap(Fault::Hang(Effect::Never));
    let waiting = tokio::spawn(async move { other.acquire("a").await });
    // It hangs in its renewal, as in a process that is stopped.
    let next = within("the takeover", waiting).await.unwrap().unwrap();
    faults.release();
    within("the loss", guard.lost()).await;
    drop(guard);
    sleep(SECOND).await;
    next.verify().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_store_out_of_reach_beyond_the_lease_loses_for_good() {
    let world = World::new();
    let (locks, faults) = world.client();
    let guard = locks.acquire("a").await.unwrap();
    faults.set_unavailable(true);
    let begin = Instant::now();
    until("it is in doubt", || guard.check() == Err(HoldError::InDoubt)).await;
    assert!(begin.elapsed() >= LEASE * 9 / 10);
    within("the loss", guard.lost()).await;
    assert!(begin.elapsed() <= LEASE + 6 * SECOND, "{:?}", begin.elapsed());
    faults.set_unavailable(false);
    sleep(LEASE).await;
    assert_eq!(guard.check(), Err(HoldError::Lost));
    world.assert_empty();
    locks.try_acquire("a").await.unwrap().check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_time_of_day_may_jump() {
    let world = World::new();
    let (locks, faults) = world.client();
    let mut fence = 0;
    for wall in [0, 3_000_000_000, u64::MAX >> 1, 0, 1] {
        world.clock.set_wall(Duration::from_secs(wall));
        let guard = locks.acquire("a").await.unwrap();
        sleep(LEASE).await;
        guard.check().unwrap();
        guard.verify().await.unwrap();
        assert!(guard.fence() > fence);
        fence = guard.fence();
        guard.release().await.unwrap();
    }
    // The versions are not used up: they go on for as long as ever.
    assert!(fence < lock_core::Version::MAX.0 / 2);
    assert!(faults.log().iter().all(|event| event.fault.is_none()));
}

/// The outcome of the first swap was unknown, so nothing was ever renewed for certain.
#[tokio::test(start_paused = true)]
async fn what_was_learnt_by_reading_is_renewed_too() {
    for waits in [false, true] {
        let world = World::new();
        let (other, _) = world.stranger();
        let held = if waits { Some(other.acquire("a").await.unwrap()) } else { None };
        let (locks, faults) = world.stranger();
        faults.next_swap(Fault::Unknown(Effect::Now));
        let asked = tokio::spawn(async move { locks.acquire("a").await });
        until("it is there", || {
            let list = world.table().list();
            list.holds.len() + list.waiting.len() == 1 + usize::from(waits)
        })
        .await;
        sleep(2 * LEASE).await;
        let marks: Vec<_> = world.table().clients().map(|client| client.mark).collect();
        sleep(LEASE).await;
        for (before, client) in marks.iter().zip(world.table().clients()) {
            assert!(client.mark > *before, "{} was renewed", client.id);
        }
        drop(held);
        let guard = within("the grant", asked).await.unwrap().unwrap();
        assert!(guard.remaining().is_some());
        guard.check().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_try_leaves_what_it_saw_for_the_next_of_its_boot() {
    let world = World::new();
    let (holder, faults) = world.stranger();
    let guard = holder.acquire("a").await.unwrap();
    faults.set_unavailable(true);
    let once = async |boot: &str| {
        let (builder, _) = world.builder();
        let locks: Locks = builder.processes(on_boot(boot)).build();
        let tried = locks.try_acquire("a").await;
        let ended = tried.map(|guard| guard.fence());
        locks.close().await.unwrap();
        ended
    };
    assert!(once("one").await.unwrap_err().is_busy());
    sleep(LEASE / 2).await;
    assert!(once("other").await.unwrap_err().is_busy());
    assert!(once("one").await.unwrap_err().is_busy());
    sleep(LEASE / 2 + Duration::from_millis(10)).await;
    assert!(once("other").await.unwrap_err().is_busy(), "it has seen half of it");
    assert!(once("one").await.unwrap() > guard.fence());
}

#[tokio::test(start_paused = true)]
async fn whoever_renews_between_the_verdict_and_the_swap_is_spared() {
    let world = World::new();
    let (holder, holders) = world.stranger();
    let (other, others) = world.stranger();
    let guard = holder.acquire("a").await.unwrap();
    holders.set_unavailable(true);
    let waiting = tokio::spawn(async move { other.acquire_timeout("a", LEASE * 3 / 2).await });
    world.until_waiting(1).await;
    // The sweep is on its way when the holder comes back.
    sleep(LEASE * 85 / 100).await;
    for _ in 0..3 {
        others.next_swap(Fault::DelayBefore(LEASE / 5));
    }
    sleep(LEASE / 40).await;
    holders.set_unavailable(false);
    sleep(LEASE / 8).await;
    guard.verify().await.unwrap();
    let denied = within("the denial", waiting).await.unwrap();
    assert!(denied.is_err(), "{denied:?}");
    guard.check().unwrap();
}

#[tokio::test(start_paused = true)]
async fn without_a_lease_the_unknown_are_never_swept() {
    let world = World::new();
    let (builder, _) = world.builder();
    let holder = builder.processes(on_boot("holder")).no_lease().build();
    let guard = holder.acquire("a").await.unwrap();
    let (other, _) = world.stranger();
    let error = other.acquire_timeout("a", 3 * LEASE);
    let error = error.await.unwrap_err();
    assert!(matches!(error, AcquireError::TimedOut(_)), "{error:?}");
    guard.verify().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_has_lost_a_lock_is_told_so_without_the_store() {
    let world = World::new();
    let (locks, faults) = world.client();
    let guard = locks.acquire("a").await.unwrap();
    faults.set_unavailable(true);
    within("the loss", guard.lost()).await;
    let begin = Instant::now();
    let verified = guard.verify().await;
    assert!(matches!(verified, Err(VerifyError::Hold(HoldError::Lost))), "{verified:?}");
    assert_eq!(begin.elapsed(), Duration::ZERO);
}
