//! The same handles for code without a runtime: every call blocks its thread until it is done.

use std::time::Duration;

use pollster::block_on;

use crate::error::{AcquireError, HoldError, StoreError, VerifyError};
use crate::guard::Guard;
use crate::ids::{ClientId, IdError, RequestId, TaskId};
use crate::locks::Locks;
use crate::name::LockName;
use crate::process::ProcessSet;
use crate::request::Request;
use crate::table::{Denial, Listing, Why};
use crate::task::Task;

/// [`Locks`] whose calls block the calling thread.
///
/// Not for use within async code: it would block the runtime, though not the driver, unless that
/// [runs there](crate::LocksBuilder::in_current_runtime). What has no
/// blocking form, such as waiting for the loss of a lock, is a matter of [`as_async`](Self::as_async)
/// and a thread of your own.
///
/// ```
/// use lock_core::{Locks, MemoryBackend};
///
/// let locks = Locks::new(MemoryBackend::new()).blocking();
/// let guard = locks.acquire("app/blog")?;
/// guard.check()?;
/// guard.release()?;
/// locks.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct BlockingLocks(Locks);

impl BlockingLocks {
    pub(crate) fn new(locks: Locks) -> Self {
        Self(locks)
    }

    /// The async handle.
    pub fn as_async(&self) -> &Locks {
        &self.0
    }

    /// See [`Locks::client_id`].
    pub fn client_id(&self) -> ClientId {
        self.0.client_id()
    }

    /// See [`Locks::store`].
    pub fn store(&self) -> &str {
        self.0.store()
    }

    /// See [`Locks::task`].
    pub fn task(&self, name: impl Into<String>) -> BlockingTask {
        BlockingTask(self.0.task(name))
    }

    /// See [`Locks::acquire`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn acquire(&self, request: impl Into<Request>) -> Result<BlockingGuard, AcquireError> {
        block_on(self.0.acquire(request)).map(BlockingGuard)
    }

    /// See [`Locks::try_acquire`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_acquire(&self, request: impl Into<Request>) -> Result<BlockingGuard, AcquireError> {
        block_on(self.0.try_acquire(request)).map(BlockingGuard)
    }

    /// See [`Locks::acquire_timeout`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn acquire_timeout(
        &self,
        request: impl Into<Request>,
        timeout: Duration,
    ) -> Result<BlockingGuard, AcquireError> {
        block_on(self.0.acquire_timeout(request, timeout)).map(BlockingGuard)
    }

    /// See [`Locks::would_block`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn would_block(&self, request: impl Into<Request>) -> Result<Option<Denial>, AcquireError> {
        block_on(self.0.would_block(request))
    }

    /// See [`Locks::why`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn why(&self, request: impl Into<Request>) -> Result<Why, AcquireError> {
        block_on(self.0.why(request))
    }

    /// See [`Locks::list`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn list(&self) -> Result<Listing, StoreError> {
        block_on(self.0.list())
    }

    /// See [`Locks::waits_for`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn waits_for(&self, task: &TaskId) -> Result<Option<Denial>, StoreError> {
        block_on(self.0.waits_for(task))
    }

    /// See [`Locks::release_task`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn release_task(&self, name: impl Into<String>) -> Result<usize, StoreError> {
        block_on(self.0.release_task(name))
    }

    /// See [`Locks::release_tasks`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn release_tasks(
        &self,
        tasks: impl IntoIterator<Item = TaskId>,
    ) -> Result<usize, StoreError> {
        block_on(self.0.release_tasks(tasks))
    }

    /// See [`Locks::sweep_dead`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn sweep_dead(&self) -> Result<usize, StoreError> {
        block_on(self.0.sweep_dead())
    }

    /// See [`Locks::set_processes`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn set_processes(&self, processes: ProcessSet) -> Result<(), StoreError> {
        block_on(self.0.set_processes(processes))
    }

    /// See [`Locks::close`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn close(&self) -> Result<(), StoreError> {
        block_on(self.0.close())
    }
}

/// A [`Task`] whose calls block the calling thread.
///
/// ```
/// use lock_core::{Locks, MemoryBackend};
///
/// let locks = Locks::new(MemoryBackend::new()).blocking();
/// let mut backup = locks.task("backup-17").with_note("started by hand");
/// let app = backup.acquire("app")?;
/// let database = backup.subtask("backup-17 database").try_acquire("app/db")?;
/// let error = locks.task("restart-1").try_acquire("app/db").unwrap_err();
/// assert!(error.to_string().contains("backup-17"));
/// # database.release()?;
/// # app.release()?;
/// # locks.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a task does nothing until it asks for locks"]
pub struct BlockingTask(Task);

impl BlockingTask {
    /// The name that people read.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// See [`Task::id`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn id(&self) -> Result<&TaskId, IdError> {
        self.0.id()
    }

    /// See [`Task::under`].
    pub fn under(self, parent: &TaskId) -> Self {
        Self(self.0.under(parent))
    }

    /// See [`Task::with_note`].
    pub fn with_note(self, note: impl Into<String>) -> Self {
        Self(self.0.with_note(note))
    }

    /// See [`Task::subtask`].
    pub fn subtask(&self, name: impl Into<String>) -> Self {
        Self(self.0.subtask(name))
    }

    /// See [`Task::acquire`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn acquire(&mut self, request: impl Into<Request>) -> Result<BlockingGuard, AcquireError> {
        block_on(self.0.acquire(request)).map(BlockingGuard)
    }

    /// See [`Task::try_acquire`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_acquire(
        &mut self,
        request: impl Into<Request>,
    ) -> Result<BlockingGuard, AcquireError> {
        block_on(self.0.try_acquire(request)).map(BlockingGuard)
    }

    /// See [`Task::acquire_timeout`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn acquire_timeout(
        &mut self,
        request: impl Into<Request>,
        timeout: Duration,
    ) -> Result<BlockingGuard, AcquireError> {
        block_on(self.0.acquire_timeout(request, timeout)).map(BlockingGuard)
    }

    /// See [`Task::would_block`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn would_block(&self, request: impl Into<Request>) -> Result<Option<Denial>, AcquireError> {
        block_on(self.0.would_block(request))
    }

    /// See [`Task::why`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn why(&self, request: impl Into<Request>) -> Result<Why, AcquireError> {
        block_on(self.0.why(request))
    }
}

/// A [`Guard`] whose calls block the calling thread. Dropping it gives the locks back.
#[derive(Debug)]
#[must_use = "the locks are given back as soon as the guard is dropped"]
pub struct BlockingGuard(Guard);

impl BlockingGuard {
    /// The async guard.
    pub fn as_async(&self) -> &Guard {
        &self.0
    }

    /// See [`Guard::id`].
    pub fn id(&self) -> RequestId {
        self.0.id()
    }

    /// See [`Guard::task_id`].
    pub fn task_id(&self) -> &TaskId {
        self.0.task_id()
    }

    /// See [`Guard::names`].
    pub fn names(&self) -> impl Iterator<Item = &LockName> {
        self.0.names()
    }

    /// See [`Guard::fence`].
    pub fn fence(&self) -> u64 {
        self.0.fence()
    }

    /// See [`Guard::fence_of`].
    pub fn fence_of(&self, name: &str) -> Option<u64> {
        self.0.fence_of(name)
    }

    /// See [`Guard::check`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn check(&self) -> Result<(), HoldError> {
        self.0.check()
    }

    /// See [`Guard::remaining`].
    pub fn remaining(&self) -> Option<Duration> {
        self.0.remaining()
    }

    /// See [`Guard::verify`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn verify(&self) -> Result<(), VerifyError> {
        block_on(self.0.verify())
    }

    /// See [`Guard::release`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn release(self) -> Result<(), StoreError> {
        block_on(self.0.release())
    }

    /// See [`Guard::downgrade`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn downgrade(&self) -> Result<(), VerifyError> {
        block_on(self.0.downgrade())
    }
}
