//! What the tests of the driver share: clients on a store in memory, and a referee of who holds.

#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod plan;

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lock_core::process::{Place, ProcessSet};
use lock_core::table::LockTable;
use lock_core::testing::{Faults, FaultyBackend, TestClock};
use lock_core::{Guard, LockSet, Locks, LocksBuilder, MemoryBackend, Mode, Reach, Request, TaskId};
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

/// Knows who holds what by their own account, and that no two of them may not.
#[derive(Debug, Clone, Default)]
pub(crate) struct Referee(Arc<Mutex<Vec<Held>>>);

#[derive(Debug)]
struct Held {
    task: TaskId,
    locks: LockSet,
    fence: u64,
    ended: bool,
}

impl Referee {
    /// To be called when a request was granted.
    pub(crate) fn begins(&self, guard: &Guard, request: &Request) -> Hold {
        let locks = request.locks().unwrap().clone();
        let new = Held { task: guard.task_id().clone(), locks, fence: guard.fence(), ended: false };
        let mut all = self.0.lock().unwrap();
        let strangers = all.iter().filter(|held| !held.is_kin(&new));
        for other in strangers.filter(|held| held.excludes(&new)) {
            assert!(other.ended, "two holders at once: {other:?} and {new:?}");
            assert!(other.fence < new.fence, "fences do not rise: {other:?} and {new:?}");
        }
        for (name, mode) in &new.locks {
            let beside = |held: &&Held| !held.ended && held.locks.contains_key(name);
            let tolerances = all.iter().filter(beside).map(|held| tolerance(held.locks[name]));
            let tightest = tolerances.min().unwrap_or(usize::MAX).min(tolerance(*mode));
            let count = all.iter().filter(beside).filter(|held| !held.is_kin(&new)).count() + 1;
            assert!(count <= tightest, "too many hold {name}: {all:?} and {new:?}");
        }
        all.push(new);
        Hold { referee: self.clone(), at: all.len() - 1 }
    }

    pub(crate) fn holds(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Ends by the account of its holder when it is dropped: to be dropped before the release.
#[derive(Debug)]
pub(crate) struct Hold {
    referee: Referee,
    at: usize,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.referee.0.lock().unwrap()[self.at].ended = true;
    }
}

impl Held {
    fn is_kin(&self, other: &Self) -> bool {
        self.task.contains(&other.task) || other.task.contains(&self.task)
    }

    fn excludes(&self, other: &Self) -> bool {
        self.locks.iter().any(|(mine, mode)| {
            other.locks.iter().any(|(theirs, other_mode)| {
                let below = |one: &str, above: &str| {
                    one.strip_prefix(above).is_some_and(|rest| rest.starts_with('/'))
                };
                let (mine, theirs) = (mine.as_str(), theirs.as_str());
                let meets = mine == theirs || below(mine, theirs) || below(theirs, mine);
                meets && (*mode == Mode::Exclusive || *other_mode == Mode::Exclusive)
            })
        })
    }
}

fn tolerance(mode: Mode) -> usize {
    match mode {
        Mode::Exclusive => 1,
        Mode::Limit(n) => n as usize,
        Mode::Shared => usize::MAX,
    }
}
