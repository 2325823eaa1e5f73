//! The code with the fakes of `lock_core`: a store in memory, and one that fails when it is told to.

use downstream::{Made, ReportError, make};
use lock_core::testing::FaultyBackend;
use lock_core::{Locks, MemoryBackend};

#[tokio::test]
async fn a_report_is_made_by_one_at_a_time() {
    let store = MemoryBackend::new();
    let (here, there) = (Locks::new(store.clone()), Locks::new(store));
    let made = make(&here, "sales", async |_| {
        assert_eq!(make(&there, "sales", async |_| {}).await.unwrap(), Made::Elsewhere);
        assert_eq!(make(&there, "stock", async |_| {}).await.unwrap(), Made::Here);
    });
    assert_eq!(made.await.unwrap(), Made::Here);
}

#[tokio::test]
async fn who_has_lost_the_lock_says_so() {
    let store = MemoryBackend::new();
    let (here, operator) =
        (Locks::builder(store.clone()).name("reports").build(), Locks::new(store));
    let made = make(&here, "sales", async |_| {
        assert_eq!(operator.release_task("reports").await.unwrap(), 1);
    });
    assert!(matches!(made.await, Err(ReportError::Lost(_))));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_down_is_not_taken_for_a_busy_lock() {
    let backend = FaultyBackend::new(MemoryBackend::new());
    backend.faults().set_unavailable(true);
    let locks = Locks::builder(backend).in_current_runtime().build();
    match make(&locks, "sales", async |_| panic!("it has no lock")).await {
        Err(ReportError::Lock(error)) => assert!(!error.is_busy(), "{error}"),
        made => panic!("{made:?}"),
    }
}
