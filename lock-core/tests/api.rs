//! What the compiler must be able to say of public items: who may send, share, wait for and drop them.

use std::error::Error;
use std::fmt::{Debug, Display};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::time::Duration;

use lock_core::dial::{Addresses, DialError};
use lock_core::process::{DeathWatch, Process, ProcessSet, WatchError};
use lock_core::server::{BadCertificate, Doing, ServerUrls};
use lock_core::table::{LockTable, TableError};
use lock_core::testing::{Faults, FaultyBackend, Referee, TestClock};
use lock_core::{
    AcquireError, BackendError, Blocker, BlockingGuard, BlockingLocks, BlockingTask, ClientId,
    Cycle, Denial, Guard, HoldError, IdError, Listing, LockBackend, LockName, LockSet, Locks,
    LocksBuilder, MemoryBackend, Mode, NameError, Request, RequestError, RequestId, Snapshot,
    StoreError, Task, TaskId, VerifyError, Version, Why, WithLockError,
};

/// Between threads, by value and by reference, for as long as anybody likes.
fn is_shared<T: Send + Sync + Debug + 'static>() {}

/// A value like any other.
fn is_plain<T: Send + Sync + Debug + Clone + Eq + Unpin + UnwindSafe + RefUnwindSafe + 'static>() {}

/// An error that `Box<dyn Error + Send + Sync>` takes.
fn is_error<T: Error + Display + Send + Sync + Unpin + 'static>() {}

/// The future of an async call, which `tokio::spawn` takes.
fn is_sent<F: Future + Send>(future: F) {
    drop(future);
}

#[test]
fn handles_go_between_threads() {
    is_shared::<Locks>();
    is_shared::<Task>();
    is_shared::<Guard>();
    is_shared::<BlockingLocks>();
    is_shared::<BlockingTask>();
    is_shared::<BlockingGuard>();
    is_shared::<LocksBuilder>();
    is_shared::<DeathWatch>();
    is_shared::<MemoryBackend>();
    is_shared::<FaultyBackend>();
    is_shared::<Faults>();
    is_shared::<Referee>();
    is_shared::<TestClock>();
    is_shared::<LockTable>();
    is_shared::<Addresses>();
    is_shared::<ServerUrls>();
    is_shared::<Box<dyn LockBackend>>();
}

#[test]
fn values_are_plain() {
    is_plain::<Doing>();
    is_plain::<BadCertificate>();
    is_plain::<LockName>();
    is_plain::<Mode>();
    is_plain::<LockSet>();
    is_plain::<Request>();
    is_plain::<ClientId>();
    is_plain::<TaskId>();
    is_plain::<RequestId>();
    is_plain::<Version>();
    is_plain::<Snapshot>();
    is_plain::<Process>();
    is_plain::<ProcessSet>();
    is_plain::<Blocker>();
    is_plain::<Cycle>();
    is_plain::<Denial>();
    is_plain::<Listing>();
    is_plain::<Why>();
}

#[test]
fn errors_go_anywhere() {
    is_error::<AcquireError>();
    is_error::<StoreError>();
    is_error::<HoldError>();
    is_error::<VerifyError>();
    is_error::<WithLockError>();
    is_error::<BackendError>();
    is_error::<TableError>();
    is_error::<NameError>();
    is_error::<RequestError>();
    is_error::<IdError>();
    is_error::<WatchError>();
    is_error::<DialError>();
}

#[tokio::test]
async fn a_store_may_be_chosen_when_the_program_runs() {
    let store = MemoryBackend::new();
    let boxed: Box<dyn LockBackend> = Box::new(store.clone());
    let shared: Arc<dyn LockBackend> = Arc::new(store);
    let (one, other) = (Locks::new(boxed), Locks::new(shared));
    let guard = one.acquire("a").await.unwrap();
    assert!(other.try_acquire("a").await.unwrap_err().is_busy());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn futures_can_be_spawned() {
    let locks = Locks::new(MemoryBackend::new());
    let mut task = locks.task("task");
    for name in &["a", "b"] {
        is_sent(locks.acquire(name));
    }
    is_sent(locks.try_acquire(&Request::shared("a")));
    is_sent(locks.acquire_timeout(String::from("a"), Duration::ZERO));
    is_sent(locks.would_block("a"));
    is_sent(locks.why("a"));
    is_sent(locks.list());
    is_sent(locks.release_task("task"));
    is_sent(locks.release_tasks([]));
    is_sent(locks.sweep_dead());
    is_sent(locks.set_processes(ProcessSet::current()));
    is_sent(task.acquire("a"));
    is_sent(task.with_lock("a", async |_| ()));
    let guard = task.acquire("a").await.unwrap();
    is_sent(guard.verify());
    is_sent(guard.lost());
    is_sent(guard.downgrade());
    is_sent(guard.release());
    is_sent(locks.close());
}
