//! The fault-injecting backend does exactly what a test asked of it.

use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::FutureExt;
use lock_core::testing::{Call, Effect, Event, Fault, Faults, FaultyBackend, Rates};
use lock_core::{
    BackendError, BackendErrorKind, LockBackend, MemoryBackend, Reach, Snapshot, Swap, Version,
};
use tokio::time::{Instant, advance};

use BackendErrorKind::{Busy, OutcomeUnknown, TooLarge, Unavailable};

/// A store at version 1, a faulty way to it, and its handle.
fn fresh() -> (MemoryBackend, FaultyBackend, Faults) {
    let store = MemoryBackend::new();
    store.restore(snapshot(1));
    let backend = FaultyBackend::new(store.clone());
    let faults = backend.faults();
    (store, backend, faults)
}

fn snapshot(version: u64) -> Snapshot {
    Snapshot { version: Version(version), data: version.to_string().into_bytes() }
}

async fn swap(backend: &FaultyBackend, expected: u64, next: u64) -> Result<Swap, BackendError> {
    let data = snapshot(next).data;
    backend.compare_and_swap(Version(expected), Version(next), &data).await
}

fn failed<T: std::fmt::Debug>(result: Result<T, BackendError>, kind: BackendErrorKind) {
    assert_eq!(result.unwrap_err().kind(), kind);
}

/// Polls the call once.
fn is_pending(call: Pin<&mut (impl Future + ?Sized)>) -> bool {
    call.now_or_never().is_none()
}

#[tokio::test]
async fn without_faults_it_is_the_other_backend() {
    let (store, backend, faults) = fresh();
    assert_eq!(backend.load().await.unwrap(), snapshot(1));
    assert_eq!(swap(&backend, 1, 2).await.unwrap(), Swap::Swapped);
    assert_eq!(swap(&backend, 1, 3).await.unwrap(), Swap::Conflict);
    assert_eq!(store.snapshot(), snapshot(2));
    assert_eq!((faults.loads(), faults.swaps(), faults.bytes()), (1, 2, 3));
    assert_eq!(backend.describe(), "faulty memory");
    assert_eq!(backend.reach(), Reach::Host);
    assert_eq!(backend.with_reach(Reach::Network).reach(), Reach::Network);
}

#[tokio::test]
async fn conflicts_and_errors_apply_nothing_and_come_once_each_in_their_order() {
    let (store, backend, faults) = fresh();
    faults.next_swap(Fault::Conflict);
    for kind in [Busy, Unavailable, TooLarge, OutcomeUnknown] {
        faults.next_swap(Fault::Error(kind));
        faults.next_load(Fault::Error(kind));
    }
    assert_eq!(swap(&backend, 1, 2).await.unwrap(), Swap::Conflict);
    for kind in [Busy, Unavailable, TooLarge, OutcomeUnknown] {
        failed(swap(&backend, 1, 2).await, kind);
        failed(backend.load().await, kind);
    }
    assert_eq!(store.snapshot(), snapshot(1));
    assert_eq!(swap(&backend, 1, 2).await.unwrap(), Swap::Swapped);
    assert_eq!(backend.load().await.unwrap(), snapshot(2));
}

#[tokio::test]
async fn an_unavailable_store_fails_every_call_and_keeps_the_script() {
    let (_store, backend, faults) = fresh();
    faults.next_load(Fault::Error(Busy));
    faults.set_unavailable(true);
    for _ in 0..3 {
        failed(backend.load().await, Unavailable);
        failed(swap(&backend, 1, 2).await, Unavailable);
        failed(backend.changed(Version(1)).await, Unavailable);
    }
    faults.set_unavailable(false);
    failed(backend.load().await, Busy);
    assert_eq!(swap(&backend, 1, 2).await.unwrap(), Swap::Swapped);
}

#[tokio::test]
async fn an_unknown_outcome_is_never_now_or_later() {
    let (store, backend, faults) = fresh();
    faults.next_swap(Fault::Unknown(Effect::Never));
    failed(swap(&backend, 1, 2).await, OutcomeUnknown);
    assert_eq!((store.snapshot(), faults.late()), (snapshot(1), 0));

    faults.next_swap(Fault::Unknown(Effect::Now));
    failed(swap(&backend, 1, 3).await, OutcomeUnknown);
    assert_eq!((store.snapshot(), faults.late()), (snapshot(3), 0));

    faults.next_swap(Fault::Unknown(Effect::Later));
    failed(swap(&backend, 3, 4).await, OutcomeUnknown);
    assert_eq!(backend.load().await.unwrap(), snapshot(3));
    assert_eq!((faults.late(), faults.deliver_late().await), (1, 1));
    assert_eq!((store.snapshot(), faults.late()), (snapshot(4), 0));
}

#[tokio::test]
async fn what_arrives_late_is_applied_only_at_its_version() {
    let (store, backend, faults) = fresh();
    for next in [5, 6] {
        faults.next_swap(Fault::Unknown(Effect::Later));
        failed(swap(&backend, 1, next).await, OutcomeUnknown);
    }
    assert_eq!(faults.deliver_late().await, 1);
    assert_eq!(store.snapshot(), snapshot(5));

    faults.next_swap(Fault::Unknown(Effect::Later));
    failed(swap(&backend, 5, 7).await, OutcomeUnknown);
    assert_eq!(swap(&backend, 5, 8).await.unwrap(), Swap::Swapped);
    assert_eq!(faults.deliver_late().await, 0);
    assert_eq!(store.snapshot(), snapshot(8));

    faults.next_swap(Fault::Unknown(Effect::Later));
    failed(swap(&backend, 8, 9).await, OutcomeUnknown);
    assert_eq!((faults.lose_late(), faults.deliver_late().await), (1, 0));
    assert_eq!(store.snapshot(), snapshot(8));
}

#[tokio::test]
async fn what_is_late_arrives_right_before_the_nth_call() {
    let (store, backend, faults) = fresh();
    faults.next_swap(Fault::Unknown(Effect::Before(3)));
    failed(swap(&backend, 1, 2).await, OutcomeUnknown);
    assert_eq!(backend.load().await.unwrap(), snapshot(1));
    assert_eq!(backend.load().await.unwrap(), snapshot(1));
    assert_eq!(backend.load().await.unwrap(), snapshot(2));

    faults.next_swap(Fault::Unknown(Effect::Before(1)));
    failed(swap(&backend, 2, 3).await, OutcomeUnknown);
    assert_eq!(swap(&backend, 2, 4).await.unwrap(), Swap::Conflict);
    assert_eq!(store.snapshot(), snapshot(3));
}

#[tokio::test]
async fn a_stale_load_returns_what_was_seen_before() {
    let (store, backend, faults) = fresh();
    faults.next_load(Fault::Stale(1));
    assert_eq!(backend.load().await.unwrap(), snapshot(1), "nothing is older");
    swap(&backend, 1, 2).await.unwrap();
    store.restore(snapshot(3));
    for (back, version) in [(0, 2), (1, 1), (9, 1)] {
        faults.next_load(Fault::Stale(back));
        assert_eq!(backend.load().await.unwrap(), snapshot(version), "{back} back");
    }
    assert_eq!(backend.load().await.unwrap(), snapshot(3));
}

#[tokio::test(start_paused = true)]
async fn delays_pass_on_the_clock_of_tokio() {
    let (store, backend, faults) = fresh();
    let hour = Duration::from_secs(3600);
    for (fault, version_meanwhile) in [(Fault::DelayBefore(hour), 1), (Fault::DelayAfter(hour), 2)]
    {
        store.restore(snapshot(1));
        faults.next_swap(fault);
        let begun = Instant::now();
        let mut call = pin!(swap(&backend, 1, 2));
        assert!(is_pending(call.as_mut()));
        assert_eq!(store.snapshot(), snapshot(version_meanwhile), "{fault:?}");
        advance(hour / 2).await;
        assert!(is_pending(call.as_mut()));
        assert_eq!(call.await.unwrap(), Swap::Swapped);
        assert!(begun.elapsed() >= hour);
        assert_eq!(store.snapshot(), snapshot(2));

        faults.next_load(fault);
        let mut call = backend.load();
        assert!(is_pending(call.as_mut()));
        store.restore(snapshot(3));
        let seen = if version_meanwhile == 1 { 3 } else { 2 };
        assert_eq!(call.await.unwrap(), snapshot(seen), "{fault:?}");
    }
}

#[tokio::test]
async fn what_hangs_goes_on_when_released_and_is_gone_when_dropped() {
    let (store, backend, faults) = fresh();
    for (effect, meanwhile, released) in [
        (Effect::Never, 1, 2),
        (Effect::Now, 2, 2),
        (Effect::Later, 1, 1),
        (Effect::Before(1), 1, 1),
    ] {
        for release in [true, false] {
            store.restore(snapshot(1));
            faults.next_swap(Fault::Hang(effect));
            let mut call = Box::pin(swap(&backend, 1, 2));
            assert!(is_pending(call.as_mut()));
            assert_eq!((store.snapshot(), faults.hanging()), (snapshot(meanwhile), 1));
            if release {
                faults.release();
                match call.await {
                    Ok(swap) => assert_eq!((swap, released), (Swap::Swapped, 2), "{effect:?}"),
                    Err(e) => assert_eq!((e.kind(), released), (OutcomeUnknown, 1), "{effect:?}"),
                }
            } else {
                drop(call);
            }
            let finally = if release { released } else { meanwhile };
            assert_eq!((store.snapshot(), faults.hanging()), (snapshot(finally), 0), "{effect:?}");
            let comes_later = matches!(effect, Effect::Later | Effect::Before(_));
            assert_eq!(faults.deliver_late().await, usize::from(comes_later), "{effect:?}");
        }
    }
}

#[tokio::test]
async fn a_load_that_hangs_reads_after_or_before() {
    let (store, backend, faults) = fresh();
    for (effect, seen) in [(Effect::Never, 2), (Effect::Now, 1)] {
        store.restore(snapshot(1));
        faults.next_load(Fault::Hang(effect));
        let mut call = backend.load();
        assert!(is_pending(call.as_mut()));
        store.restore(snapshot(2));
        faults.release();
        assert_eq!(call.await.unwrap(), snapshot(seen), "{effect:?}");
    }
}

#[tokio::test]
async fn the_log_tells_what_really_happened() {
    let (_store, backend, faults) = fresh();
    let (now, later) = (Fault::Unknown(Effect::Now), Fault::Unknown(Effect::Later));
    backend.load().await.unwrap();
    faults.next_swap(now);
    failed(swap(&backend, 1, 2).await, OutcomeUnknown);
    faults.next_swap(later);
    failed(swap(&backend, 2, 3).await, OutcomeUnknown);
    faults.deliver_late().await;
    let told: Vec<_> = faults
        .log()
        .iter()
        .map(|Event { call, fault, swap, bytes, .. }| (*call, *fault, *swap, *bytes))
        .collect();
    let [one, two, three] = [1, 2, 3].map(Version);
    let swapped = Some(Swap::Swapped);
    assert_eq!(
        told,
        [
            (Call::Load, None, None, 1),
            (Call::Swap { expected: one, next: two }, Some(now), swapped, 1),
            (Call::Swap { expected: two, next: three }, Some(later), None, 1),
            (Call::LateSwap { expected: two, next: three }, None, swapped, 0),
        ]
    );
}

/// Swaps and loads by turns, and returns the log.
async fn run(seed: u64) -> Vec<Event> {
    let store = MemoryBackend::new();
    let rates = Rates { stale: 0.1, ..Rates::MIXED };
    let backend = FaultyBackend::random(store.clone(), seed, rates);
    let faults = backend.faults();
    assert_eq!(faults.seed(), Some(seed));
    for next in 1..=1000 {
        let _ = backend.load().await;
        let _ = swap(&backend, store.snapshot().version.0, next).await;
    }
    faults.calm();
    faults.lose_late();
    for _ in 0..100 {
        assert_eq!(backend.load().await.unwrap(), store.snapshot());
    }
    faults.log()
}

#[tokio::test]
async fn a_seed_decides_all_and_every_fault_comes() {
    let log = run(7).await;
    assert!(log == run(7).await);
    assert!(log != run(8).await);
    let has = |wanted: &dyn Fn(Fault) -> bool| log.iter().filter_map(|e| e.fault).any(wanted);
    assert!(has(&|fault| fault == Fault::Conflict));
    assert!(has(&|fault| fault == Fault::Error(Busy)));
    assert!(has(&|fault| fault == Fault::Error(Unavailable)));
    assert!(has(&|fault| fault == Fault::Unknown(Effect::Never)));
    assert!(has(&|fault| fault == Fault::Unknown(Effect::Now)));
    assert!(has(&|fault| matches!(fault, Fault::Unknown(Effect::Before(_)))));
    assert!(has(&|fault| matches!(fault, Fault::Stale(_))));
    assert!(log.iter().any(|e| e.fault.is_none()));
}

#[tokio::test(start_paused = true)]
async fn delays_at_random_end_within_their_bound() {
    let bound = Duration::from_secs(60);
    let rates = Rates { delay: 1.0, delay_max: bound, ..Rates::default() };
    let backend = FaultyBackend::random(MemoryBackend::new(), 7, rates);
    let mut longest = Duration::ZERO;
    for _ in 0..100 {
        let begun = Instant::now();
        backend.load().await.unwrap();
        longest = longest.max(begun.elapsed());
    }
    assert!(longest > bound / 2 && longest <= bound + Duration::from_millis(1), "{longest:?}");
}

#[test]
#[should_panic(expected = "not a fault of loads")]
fn a_load_cannot_conflict() {
    fresh().2.next_load(Fault::Conflict);
}

#[test]
#[should_panic(expected = "not a fault of swaps")]
fn a_swap_cannot_be_stale() {
    fresh().2.next_swap(Fault::Stale(1));
}

#[test]
#[should_panic(expected = "rates are from 0 to 1")]
fn rates_above_one_are_refused() {
    let rates = Rates { busy: 0.7, conflict: 0.7, ..Rates::default() };
    let _ = FaultyBackend::random(MemoryBackend::new(), 1, rates);
}
