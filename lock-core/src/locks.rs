//! The entry: one client of a store, from which tasks and guards are made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::backend::LockBackend;
use crate::blocking::BlockingLocks;
use crate::builder::LocksBuilder;
use crate::clock::Clock;
use crate::driver::{Command, Deadline, End, Look};
use crate::error::{AcquireError, StoreError, WithLockError};
use crate::guard::Guard;
use crate::ids::{ClientId, TaskId};
use crate::process::ProcessSet;
use crate::request::Request;
use crate::table::{ClientInfo, Denial, Listing, Why};
use crate::task::Task;

/// Named locks in a store: one client, shared by its clones.
///
/// ```
/// use lock_core::{Locks, MemoryBackend, Request};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let locks = Locks::new(MemoryBackend::new());
/// let guard = locks.acquire(Request::exclusive("app/blog").and_shared("mail")).await?;
/// // Work, and now and then make sure of the lock:
/// guard.check()?;
/// guard.release().await?;
/// locks.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// All work is done by a driver on a thread of its own, so that a blocked runtime does not cost a
/// lease, and no runtime is needed to wait, to drop or to [block](Self::blocking). Programs end
/// with [`close`](Self::close), which writes what is queued.
#[derive(Debug, Clone)]
pub struct Locks {
    inner: Arc<Client>,
}

/// What all handles of a client share.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: ClientId,
    pub(crate) info: Arc<ClientInfo>,
    pub(crate) store: String,
    pub(crate) deadline: Arc<Deadline>,
    end: End,
    pub(crate) clock: Arc<dyn Clock>,
    numbers: AtomicU64,
    commands: mpsc::UnboundedSender<Command>,
}

impl Client {
    pub(crate) fn new(
        id: ClientId,
        info: Arc<ClientInfo>,
        store: String,
        deadline: Arc<Deadline>,
        end: End,
        clock: Arc<dyn Clock>,
        commands: mpsc::UnboundedSender<Command>,
    ) -> Self {
        Self { id, info, store, deadline, end, clock, numbers: AtomicU64::new(1), commands }
    }

    /// A number that no other task or request of this client has.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Sends a command. If the driver is gone its reply channel closes.
    pub(crate) fn send(&self, command: Command) {
        let _ = self.commands.send(command);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.commands.is_closed()
    }

    /// How the driver ended, once it has: well only if all was given back.
    pub(crate) fn how_it_ended(&self) -> Result<(), StoreError> {
        let end = self.end.get().cloned();
        end.unwrap_or_else(|| Err(StoreError::closed(&self.store)))
    }

    /// Sends a command and waits for what the store says.
    pub(crate) async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.send(command(reply));
        answer.await.unwrap_or_else(|_| Err(StoreError::closed(&self.store)))
    }

    /// Looks into a table that is read after this call.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(Look<'_>) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        self.ask(|reply| {
            Command::Query(Box::new(move |table| {
                let _ = reply.send(table.map(look));
            }))
        })
        .await
    }
}

impl Locks {
    pub(crate) fn of(client: Client) -> Self {
        Self { inner: Arc::new(client) }
    }

    /// Makes a client of this store with everything at its default.
    ///
    /// # Panics
    ///
    /// When the system has no randomness or no thread to give.
    pub fn new(backend: impl LockBackend) -> Self {
        Self::builder(backend).build()
    }

    /// Makes a client of this store to order.
    pub fn builder(backend: impl LockBackend) -> LocksBuilder {
        LocksBuilder::new(Arc::new(backend))
    }

    /// The same locks for code without a runtime.
    pub fn blocking(&self) -> BlockingLocks {
        BlockingLocks::new(self.clone())
    }

    /// The id of this client.
    pub fn client_id(&self) -> ClientId {
        self.inner.id
    }

    /// The store, as it is named in messages: it has no password in it.
    pub fn store(&self) -> &str {
        &self.inner.store
    }

    /// Starts a task: one line of work that asks for locks, under a name that people read.
    ///
    /// The name need not be unique. A bad one is reported by the first request.
    pub fn task(&self, name: impl Into<String>) -> Task {
        Task::new(self.inner.clone(), name.into().into(), None)
    }

    /// Waits for locks, as a task of its own.
    ///
    /// So it is a stranger to every guard, also to those that the caller has: who asks for a lock again, or for
    /// one above or below it, waits until that guard is gone. What is to ask again under its own locks is a
    /// task with [sub-tasks](Task::subtask):
    ///
    /// ```
    /// # use lock_core::{Locks, MemoryBackend};
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let locks = Locks::new(MemoryBackend::new());
    /// let app = locks.acquire("app").await?;
    /// assert!(locks.try_acquire("app/blog").await.is_err());
    /// let blog = locks.task("blog").under(app.task_id()).try_acquire("app/blog").await?;
    /// # blog.release().await?;
    /// # app.release().await?;
    /// # locks.close().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`AcquireError`]; never `Busy` or `TimedOut`, since it waits without a limit.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes the request out of the queue, or gives back what was granted.
    pub async fn acquire(&self, request: impl Into<Request>) -> Result<Guard, AcquireError> {
        self.anonymous().acquire(request).await
    }

    /// Takes locks if they are free, as a task of its own.
    ///
    /// It waits for no holder, but for the store: for its [patience](LocksBuilder::store_patience) if it does
    /// not answer. [`acquire_timeout`](Self::acquire_timeout) with no time at all waits 2 s for it.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Busy`] if they are not, and the others.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives back what was granted.
    pub async fn try_acquire(&self, request: impl Into<Request>) -> Result<Guard, AcquireError> {
        self.anonymous().try_acquire(request).await
    }

    /// Waits for locks for at most this long, as a task of its own, and up to 2 s more for a store that does
    /// not answer.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`] if they did not become free, and the others.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes the request out of the queue, or gives back what was granted.
    pub async fn acquire_timeout(
        &self,
        request: impl Into<Request>,
        timeout: Duration,
    ) -> Result<Guard, AcquireError> {
        self.anonymous().acquire_timeout(request, timeout).await
    }

    /// Waits for locks, does `work` under them, and gives them back.
    ///
    /// What `work` asks for by itself is asked for by a stranger, as in [`acquire`](Self::acquire).
    ///
    /// ```
    /// # use lock_core::{Locks, MemoryBackend};
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let locks = Locks::new(MemoryBackend::new());
    /// let fence = locks.with_lock("app/blog", async |guard| guard.fence()).await?;
    /// # assert!(fence > 0);
    /// # locks.close().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`WithLockError::Acquire`] when the locks are not granted, and [`WithLockError::Lost`] when
    /// they are lost on the way: then `work` is dropped at its next await. That they could not be given back
    /// is no error, since the work is done: this waits for it as long as the client's
    /// [patience](crate::LocksBuilder::store_patience), and the driver goes on.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops `work` and gives the locks back.
    pub async fn with_lock<T>(
        &self,
        request: impl Into<Request>,
        work: impl AsyncFnOnce(&Guard) -> T,
    ) -> Result<T, WithLockError> {
        self.anonymous().with_lock(request, work).await
    }

    /// Says what would keep the locks from being granted now, or `None` if they are free.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Request`] and [`AcquireError::Store`].
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    pub async fn would_block(
        &self,
        request: impl Into<Request>,
    ) -> Result<Option<Denial>, AcquireError> {
        self.anonymous().would_block(request).await
    }

    /// Says what would have to happen for the locks to be granted, and for what those in the way
    /// wait themselves.
    ///
    /// # Errors
    ///
    /// [`AcquireError::Request`] and [`AcquireError::Store`].
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    pub async fn why(&self, request: impl Into<Request>) -> Result<Why, AcquireError> {
        self.anonymous().why(request).await
    }

    /// Lists who holds what and who waits for whom, from a table that is read now.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    pub async fn list(&self) -> Result<Listing, StoreError> {
        self.inner
            .look(|mut look| {
                let mut listing = look.table.list();
                listing.version = look.version;
                look.see(listing.clients_mut());
                listing
            })
            .await
    }

    /// Says what is in the way of a task that waits, from a table that is read now; `None` if it does not
    /// wait. Of several requests of the task it is the first in the queue.
    ///
    /// It costs less than a [list](Self::list), which tells this of everybody who waits.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be read.
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    pub async fn waits_for(&self, task: &TaskId) -> Result<Option<Denial>, StoreError> {
        let task = task.clone();
        self.inner
            .look(move |mut look| {
                let mut denial = look.table.task_waits_for(&task);
                look.see(denial.iter_mut().flat_map(Denial::clients_mut));
                denial
            })
            .await
    }

    /// Frees all holds and waiters of the tasks that have this name now, and says how many tasks
    /// there were.
    ///
    /// Their holders find their locks lost; waiters get [`AcquireError::Released`]. Nobody is
    /// stopped: the fence is what keeps them off.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be used.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it may be done or not.
    pub async fn release_task(&self, name: impl Into<String>) -> Result<usize, StoreError> {
        let name = name.into();
        self.inner.ask(|reply| Command::ReleaseTask { name, reply }).await
    }

    /// Frees all holds and waiters of exactly these tasks, as [`release_task`](Self::release_task)
    /// does for all of a name, and says how many tasks were given.
    ///
    /// Ids are never used again: a task that has ended meanwhile is no error, and a new one of the
    /// same name is not touched.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be used.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it may be done or not.
    pub async fn release_tasks(
        &self,
        tasks: impl IntoIterator<Item = TaskId>,
    ) -> Result<usize, StoreError> {
        let tasks = tasks.into_iter().collect();
        self.inner.ask(|reply| Command::ReleaseTasks { tasks, reply }).await
    }

    /// Frees all holds and waiters of clients that are proven dead, and says how many clients that
    /// were.
    ///
    /// Nobody needs to call it: whoever asks for a lock sweeps the dead who keep it. It is for
    /// operators who want a clean list.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be used.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it may be done or not.
    pub async fn sweep_dead(&self) -> Result<usize, StoreError> {
        self.inner.ask(|reply| Command::Sweep { reply }).await
    }

    /// Replaces the processes that this client consists of: it is dead when all of them are.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be used.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it is done later.
    pub async fn set_processes(&self, processes: ProcessSet) -> Result<(), StoreError> {
        self.inner.ask(|reply| Command::SetProcesses { processes, reply }).await
    }

    /// Gives back everything, writes what is queued, and ends the driver.
    ///
    /// All clones and guards are closed with it; guards find their locks lost.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when that could not be written, also if that was tried by an earlier call. Then the locks of
    /// this client are free when its processes have ended; for those who cannot see whether they live, when its
    /// lease has.
    ///
    /// # Cancel safety
    ///
    /// Closing goes on when the future is dropped.
    pub async fn close(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.inner.send(Command::Close { reply });
        answer.await.unwrap_or_else(|_| self.inner.how_it_ended())
    }

    fn anonymous(&self) -> Task {
        let name = self.inner.info.name.clone();
        Task::new(self.inner.clone(), name, None)
    }
}
