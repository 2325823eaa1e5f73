//! Named locks across processes and machines, kept in the database that people already run.
//!
//! ```
//! use lock_core::{Locks, MemoryBackend, Request};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let locks = Locks::new(MemoryBackend::new()); // or a backend for SQLite, MySQL, …
//!
//! // One lock, or several at once, all or nothing:
//! let guard = locks.acquire(Request::exclusive("app/blog").and_shared("mail")).await?;
//! assert!(locks.try_acquire("app").await.unwrap_err().is_busy()); // covers app/blog
//! guard.release().await?;
//!
//! locks.close().await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a lock means
//!
//! - **Names** are paths. A lock covers everything below it: `app` conflicts with `app/blog`, while
//!   `app/blog` and `app/shop` have nothing to do with each other.
//! - **Modes**: exclusive, shared, or a limit of holders ([`Mode`]).
//! - **Requests** are sets, granted all or nothing ([`Request`]).
//! - **Fair**: who asked first is served first, but nobody waits for somebody with whom they have
//!   nothing in common.
//! - **Tasks** ask for locks ([`Task`]); a sub-task is not blocked by the tasks that it is nested
//!   in. Everybody else is a stranger, also in the same thread: who asks twice waits for itself
//!   ([`Locks::acquire`]).
//! - **A deadlock** is found by the request that would close it: tasks that wait for each other.
//! - **The dead** are found by looking at their processes where that is possible, and by their
//!   lease where it is not. Alive means alive, however long a process was paused.
//! - **Fences** grow with every hold that conflicts with an earlier one ([`Guard::fence`]).
//!
//! # A tour
//!
//! A service makes one [`Locks`] and clones it: it is one client of the store, with one thread and one
//! connection (to Redis one more while it waits), however many tasks it has. Each line of work is a
//! [`Task`], under a name that people see when they ask who is in the way:
//!
//! ```
//! # use lock_core::{AcquireError, Locks, MemoryBackend, Request};
//! # use std::time::Duration;
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! # let locks = Locks::new(MemoryBackend::new());
//! let mut backup = locks.task("backup-17");
//! let guard = backup.acquire(Request::exclusive("app/blog").and_limit("backup", 2)).await?;
//!
//! // Who comes meanwhile may wait, wait for so long, or not at all. A refusal says for whom.
//! let mut restart = locks.task("restart-1");
//! match restart.acquire_timeout("app/blog", Duration::from_millis(10)).await {
//!     Err(AcquireError::TimedOut(denial)) => assert!(denial.to_string().contains("backup-17")),
//!     other => panic!("{other:?}"),
//! }
//!
//! // A step of the backup is not blocked by what the backup holds.
//! let step = backup.subtask("backup-17 database").try_acquire("app/blog/db").await?;
//! step.release().await?;
//!
//! // A holder asks now and then whether it still is one. This costs nothing; `verify` asks the store.
//! guard.check()?;
//! // What it writes to can refuse whoever held the lock before.
//! let _fence = guard.fence();
//!
//! // From now on it only reads: others who share may come in.
//! guard.downgrade().await?;
//! guard.release().await?; // or drop it: then the release is written in the background
//!
//! // Work that ends with its lock, also when that is lost.
//! let done = locks.with_lock("app/shop", async |_guard| "saved").await?;
//! # assert_eq!(done, "saved");
//! locks.close().await?; // writes what is queued: programs end with it
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Locks::blocking`] is the same without a runtime, all but what waits for a loss. What can go
//! wrong is in three types: [`AcquireError`] for what is not granted, [`HoldError`] for what is not
//! held any more, and [`StoreError`] for a store that cannot be used. *Busy* is never said of a store
//! that could not be asked.
//!
//! A lock alone cannot stop a holder that was paused, and goes on after another one has taken over:
//! see [`Guard::fence`].
//!
//! # Stores
//!
//! Each is a crate of its own, whose front page tells what it promises:
//!
//! - [`lock-mysql`](https://docs.rs/lock-mysql): a table of MySQL or MariaDB, for production.
//! - [`lock-sqlite`](https://docs.rs/lock-sqlite): an SQLite file, for the processes of one host.
//! - [`lock-file`](https://docs.rs/lock-file): plain files, where there is to be no database at all.
//! - [`lock-redis`](https://docs.rs/lock-redis): a key of Redis or Valkey, fast, and as durable as that is.
//!
//! # In your tests
//!
//! [`MemoryBackend`] is a store for one process; several [`Locks`] made from clones of it are several
//! clients. With the feature `test-util`, `testing` has stores that fail on demand and a clock that a
//! test moves.
//!
//! # How it works
//!
//! All of that is one pure state machine, the [`table`]. A store is only a versioned cell that
//! holds the table as bytes, with compare-and-swap: that is all a [`LockBackend`] has to be. In
//! between, a driver of each client applies what its tasks want to the table and swaps it in.
//!
//! # Watching it
//!
//! What happens to locks is told as events of `tracing`, and counted as `metrics` if that feature is
//! on. [`observability`] lists every event and every metric.
//!
//! # Platforms
//!
//! Rust from 1.88 on (`lock-mysql` from 1.94 on). Only Linux is built and tested.
//!
//! On Linux, processes are probed, and clients of one host wake each other. Elsewhere nobody can be seen
//! dead or alive: leases decide, and waiters poll; and the time for which a host is suspended may not count
//! for its own leases.
//!
//! # Features
//!
//! - `server`: what backends of stores on a server have in common: URLs, dialling, time limits, errors.
//! - `metrics`: counts and times of requests and of calls of the store, through the crate `metrics`;
//!   see [`observability`].
//! - `test-util`: fakes for the tests of whoever uses this crate: backends that fail on demand, and
//!   a clock that a test moves.
//! - `files`: what backends share whose stores are made of files; for their authors, on Unix.
//! - `failpoints`: points at which a test kills or stops its process, for the conformance suite. It
//!   changes nothing until the environment of the process says so; not meant for production.

// docs.rs says of each item which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod backend;
mod bell;
mod blocking;
mod builder;
mod clock;
#[cfg(feature = "server")]
pub mod dial;
mod driver;
mod error;
#[cfg(feature = "failpoints")]
pub mod failpoint;
#[cfg(not(feature = "failpoints"))]
mod failpoint;
#[cfg(all(unix, feature = "files"))]
pub mod files;
mod guard;
mod ids;
mod locks;
mod memory;
mod metrics;
mod name;
pub mod observability {
    #![doc = include_str!("observability.md")]
}
pub mod options;
pub mod process;
mod request;
#[cfg(feature = "server")]
pub mod server;
pub mod table;
mod task;
#[cfg(feature = "test-util")]
pub mod testing;

/// What an implementation of [`LockBackend`] is marked with: the macro of the crate `async-trait`.
pub use async_trait::async_trait;
pub use backend::{BackendError, BackendErrorKind, LockBackend, Reach, Snapshot, Swap, Version};
pub use blocking::{BlockingGuard, BlockingLocks, BlockingTask};
pub use builder::LocksBuilder;
pub use error::{AcquireError, HoldError, StoreError, VerifyError, WithLockError};
pub use guard::Guard;
pub use ids::{ClientId, IdError, RequestId, TaskId};
pub use locks::Locks;
pub use memory::MemoryBackend;
pub use name::{LockName, NameError};
#[doc(inline)]
pub use process::{Liveness, ProcessSet};
pub use request::{LockSet, Mode, Request, RequestError};
#[doc(inline)]
pub use table::{
    Blocker, ClientView, Condition, Cycle, Denial, Edge, HoldView, Listing, WaiterView, Why,
};
pub use task::Task;
