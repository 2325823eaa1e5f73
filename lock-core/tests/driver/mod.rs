//! What the tests of the driver share: clients on a store in memory.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod plan;

use std::future::Future;
use std::time::Duration;

use lock_core::process::{Place, ProcessSet};
use lock_core::table::LockTable;
use lock_core::testing::{Faults, FaultyBackend, TestClock};
use lock_core::{Locks, LocksBuilder, MemoryBackend, Reach};
use tokio::time::{sleep, timeout};

/// Longer than anything may take, on the clock of tokio.
pub(crate) const BOUND: Duration = Duration::from_secs(600);
/// How long a lease is by default.
pub(crate) const LEASE: Duration = Duration::from_secs(60);

/// A store that clients reach each over a faulty way of its own.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) store: MemoryBackend,
    pub(crate) clock: TestClock,
}

impl World {
    pub(crate) fn new() -> Self {
        Self { store: MemoryBackend::new(), clock: TestClock::new() }
    }

    /// A client in this runtime.
    pub(crate) fn client(&self) -> (Locks, Faults) {
        let (builder, faults) = self.builder();
        (builder.build(), faults)
    }

    /// A client that others can only judge by its lease.
    pub(crate) fn stranger(&self) -> (Locks, Faults) {
        let (builder, faults) = self.builder();
        (builder.processes(ProcessSet::default()).build(), faults)
    }

    pub(crate) fn builder(&self) -> (LocksBuilder, Faults) {
        let backend = FaultyBackend::new(self.store.clone()).with_reach(Reach::Network);
        let faults = backend.faults();
        (Locks::builder(backend).in_current_runtime().clock(self.clock.clone()), faults)
    }

    pub(crate) fn table(&self) -> LockTable {
        LockTable::decode(&self.store.snapshot()).expect("the table keeps its rules")
    }

    /// Who holds and who waits, by the names of their tasks.
    pub(crate) fn tasks(&self) -> (Vec<String>, Vec<String>) {
        let listing = self.table().list();
        let holds = listing.holds.iter().map(|hold| hold.task.to_string()).collect();
        (holds, listing.waiting.iter().map(|waiter| waiter.task.to_string()).collect())
    }

    pub(crate) async fn until_waiting(&self, count: usize) {
        until("somebody waits", || self.table().list().waiting.len() == count).await;
    }

    pub(crate) async fn until_empty(&self) {
        until("the table is empty", || self.table().is_empty()).await;
    }

    pub(crate) fn assert_empty(&self) {
        let table = self.table();
        assert!(table.is_empty(), "something is left: {:#?}", table.list());
    }

    /// Others can take these locks, and nothing is left in the end.
    pub(crate) async fn assert_usable(&self, lock: &str) {
        let (other, _) = self.client();
        let guard = within("another client", other.acquire(lock)).await.expect("it is free");
        guard.release().await.unwrap();
        other.close().await.unwrap();
        self.until_empty().await;
    }
}

/// A place that nobody is in, with a boot id.
pub(crate) fn on_boot(boot: &str) -> ProcessSet {
    let place = Place { boot: Some(boot.into()), ..Place::default() };
    ProcessSet { place, ..ProcessSet::default() }
}

/// Polls a condition until it is true.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let polls = async {
        while !condition() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    within(what, polls).await;
}

/// Waits, but not for ever.
pub(crate) async fn within<F: Future>(what: &str, future: F) -> F::Output {
    timeout(BOUND, future).await.unwrap_or_else(|_| panic!("{what} takes for ever"))
}
