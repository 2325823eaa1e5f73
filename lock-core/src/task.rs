//! Tasks: lines of work that ask for locks, one request after the other.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::driver::Command;
use crate::error::{AcquireError, HoldError, WithLockError};
use crate::failpoint::{Mutant, is};
use crate::guard::Guard;
use crate::ids::{IdError, RequestId, TaskId};
use crate::locks::Client;
use crate::metrics::{self, Answer};
use crate::name;
use crate::process::Liveness;
use crate::request::{LockSet, Request, RequestError};
use crate::table::{Acquire, Denial, Why};

/// One line of work that asks for locks.
///
/// It asks for one thing at a time, so it is not `Clone` and asking takes `&mut`: what runs side by
/// side is a task or [sub-task](Self::subtask) of its own. Guards outlive their task.
///
/// ```
/// # use lock_core::{Locks, MemoryBackend};
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let locks = Locks::new(MemoryBackend::new());
/// let mut backup = locks.task("backup-17");
/// let blog = backup.acquire("app/blog").await?;
///
/// // A step of the backup is not blocked by what the backup holds.
/// let mut step = backup.subtask("backup-17 database");
/// let database = step.try_acquire("app/blog/db").await?;
/// # locks.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "a task does nothing until it asks for locks"]
pub struct Task {
    client: Arc<Client>,
    name: Arc<str>,
    note: Option<Arc<str>>,
    id: Result<TaskId, IdError>,
}

impl Task {
    pub(crate) fn new(client: Arc<Client>, name: Arc<str>, under: Option<&TaskId>) -> Self {
        let id = TaskId::new(under, client.id, client.number());
        Self { client, name, note: None, id }
    }

    /// The name that people read.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id, with those of all the tasks that this one is nested in.
    ///
    /// # Errors
    ///
    /// [`IdError`] when tasks are nested deeper than [`TaskId::DEPTH_MAX`].
    pub fn id(&self) -> Result<&TaskId, IdError> {
        self.id.as_ref().map_err(Clone::clone)
    }

    /// Nests this task in another, of this client or, by its id, of any other.
    ///
    /// To be called before anything is asked for.
    ///
    /// ```
    /// # use lock_core::{Locks, MemoryBackend, TaskId};
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let store = MemoryBackend::new();
    /// # let (locks, there) = (Locks::new(store.clone()), Locks::new(store));
    /// let app = locks.task("backup-17").acquire("app").await?;
    /// let id = app.task_id().to_string(); // Given to a program that it starts, as an argument.
    ///
    /// // In that program, which has a client of its own for the same store:
    /// let backup: TaskId = id.parse()?;
    /// let database = there.task("dump").under(&backup).try_acquire("app/db").await?;
    /// assert!(there.try_acquire("app/db").await.is_err()); // Strangers are kept out.
    /// # database.release().await?;
    /// # app.release().await?;
    /// # there.close().await?;
    /// # locks.close().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn under(mut self, parent: &TaskId) -> Self {
        self.id = TaskId::new(Some(parent), self.client.id, self.client.number());
        self
    }

    /// Leaves a note for people in the table. To be called before anything is asked for.
    ///
    /// Control characters are replaced, and what is longer than 512 bytes is cut off.
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        let note = name::cleaned(&note.into());
        self.note = (!note.is_empty()).then(|| note.into());
        self
    }

    /// Starts a task that is nested in this one.
    ///
    /// It is not blocked by what this one and its ancestors hold, and does not count twice in their
    /// limits. Sub-tasks block each other, and block this task.
    pub fn subtask(&self, name: impl Into<String>) -> Self {
        let name: Arc<str> = name.into().into();
        match &self.id {
            Ok(id) => Self::new(self.client.clone(), name, Some(id)),
            Err(error) => {
                Self { client: self.client.clone(), name, note: None, id: Err(error.clone()) }
            }
        }
    }

    /// Waits for locks.
    ///
    /// ```
    /// # use lock_core::{AcquireError, Locks, MemoryBackend};
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let locks = Locks::new(MemoryBackend::new());
    /// let (mut backup, mut restart) = (locks.task("backup-17"), locks.task("restart-1"));
    /// let blog = backup.acquire("app/blog").await?;
    /// let mail = restart.acquire("mail").await?;
    ///
    /// let (restarted, refused) = tokio::join!(restart.acquire("app/blog"), async {
    ///     let refused = backup.acquire("mail").await; // It would wait for who waits for it.
    ///     drop(blog); // So it begins anew later, and lets the other one go on.
    ///     refused
    /// });
    /// assert!(matches!(refused, Err(AcquireError::Deadlock(_))));
    /// assert!(restarted.is_ok());
    /// # drop(mail);
    /// # locks.close().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`AcquireError`]; never `Busy` or `TimedOut`, since it waits without a limit. A deadlock is
    /// found when the request that would close it is made.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes the request out of the queue, or gives back what was granted.
    pub async fn acquire(&mut self, request: impl Into<Request>) -> Result<Guard, AcquireError> {
        self.ask(request.into(), true, None).await
    }

    /// Takes locks if they are free, and nobody ahead in the queue needs them. A store that does not answer
    /// is waited for, as by [`Locks::try_acquire`](crate::Locks::try_acquire).
    ///
    /// # Errors
    ///
    /// [`AcquireError::Busy`] if they are not, and the others.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future gives back what was granted.
    pub async fn try_acquire(
        &mut self,
        request: impl Into<Request>,
    ) -> Result<Guard, AcquireError> {
        self.ask(request.into(), false, None).await
    }

    /// Waits for locks for at most this long, and up to 2 s more for a store that does not answer.
    ///
    /// # Errors
    ///
    /// [`AcquireError::TimedOut`] if they did not become free, and the others.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future takes the request out of the queue, or gives back what was granted.
    pub async fn acquire_timeout(
        &mut self,
        request: impl Into<Request>,
        timeout: Duration,
    ) -> Result<Guard, AcquireError> {
        self.ask(request.into(), true, Some(timeout)).await
    }

    /// Waits for locks, does `work` under them, and gives them back.
    ///
    /// For what `work` asks for under them, [nest](Self::under) a task in that of the guard.
    ///
    /// ```
    /// # use lock_core::{Locks, MemoryBackend};
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let locks = Locks::new(MemoryBackend::new());
    /// let mut deploy = locks.task("deploy-42").with_note("release 2.1");
    /// let tables = deploy
    ///     .with_lock("app/blog", async |guard| {
    ///         let mut migration = locks.task("migration").under(guard.task_id());
    ///         migration.with_lock("app/blog/db", async |_| 3).await
    ///     })
    ///     .await??;
    /// assert_eq!(tables, 3);
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
        &mut self,
        request: impl Into<Request>,
        work: impl AsyncFnOnce(&Guard) -> T,
    ) -> Result<T, WithLockError> {
        let guard = self.acquire(request).await?;
        let done = {
            let work = std::pin::pin!(work(&guard));
            let lost = std::pin::pin!(guard.lost());
            match select(work, lost).await {
                Either::Left((done, _)) if !guard.is_lost() => done,
                _ => return Err(HoldError::Lost.into()),
            }
        };
        if let Err(error) = guard.release().await {
            // The work is done and counts; the driver goes on trying.
            tracing::warn!(%error, "lock not released yet");
        }
        Ok(done)
    }

    /// Says what would keep the locks from this task now, or `None` if it would get them.
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
        let locks = request.into().locks()?.clone();
        let id = self.valid_id()?;
        let denial = self.client.look(move |mut look| {
            let mut denial = look.table.would_block(&id, &locks)?;
            look.see(denial.clients_mut());
            if denial.clients_mut().any(|client| client.state == Liveness::Dead) {
                // The request would sweep them.
                denial = look.without_dead().0.would_block(&id, &locks)?;
                look.see(denial.clients_mut());
            }
            Some(denial)
        });
        Ok(denial.await?)
    }

    /// Says what would have to happen for this task to be granted the locks, and for what those in
    /// the way wait themselves.
    ///
    /// ```
    /// # use lock_core::{Locks, MemoryBackend, Request};
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let locks = Locks::new(MemoryBackend::new());
    /// # let _one = locks.task("backup-17").acquire(Request::limit("backup", 2)).await?;
    /// # let _two = locks.task("backup-18").acquire(Request::limit("backup", 2)).await?;
    /// let why = locks.task("backup-19").why(Request::limit("backup", 2)).await?;
    /// for condition in &why.conditions {
    ///     let tasks: Vec<&str> = condition.blockers.iter().map(|b| &*b.task).collect();
    ///     println!("{}: {} of {tasks:?} must end", condition.lock, condition.count);
    /// #     assert_eq!((condition.count, tasks), (1, vec!["backup-17", "backup-18"]));
    /// }
    /// assert!(!why.is_free());
    /// # locks.close().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`AcquireError::Request`] and [`AcquireError::Store`].
    ///
    /// # Cancel safety
    ///
    /// It only reads.
    pub async fn why(&self, request: impl Into<Request>) -> Result<Why, AcquireError> {
        let locks = request.into().locks()?.clone();
        let id = self.valid_id()?;
        let why = self.client.look(move |mut look| {
            let (table, dead) = look.without_dead();
            let mut why = table.why(&id, &locks);
            (why.version, why.dead) = (look.version, dead);
            look.see(why.clients_mut());
            why
        });
        Ok(why.await?)
    }

    async fn ask(
        &mut self,
        request: Request,
        wait: bool,
        timeout: Option<Duration>,
    ) -> Result<Guard, AcquireError> {
        let began = Instant::now();
        let locks: LockSet = request.locks()?.clone();
        let task = self.valid_id()?;
        let id = RequestId { client: self.client.id, number: self.client.number() };
        let acquire = Arc::new(Acquire {
            id,
            task: task.clone(),
            name: self.name.clone(),
            note: self.note.clone(),
            client: self.client.info.clone(),
            locks: Arc::new(locks),
            wait,
        });
        let (reply, answer) = oneshot::channel();
        let mut asked = Asked { client: &self.client, number: id.number, began, answer: None };
        self.client.send(Command::Acquire { acquire, timeout, began, reply });
        let answer = answer.await.unwrap_or(Err(AcquireError::Closed));
        asked.answer = Some(Answer::of(&answer));
        drop(asked);
        Ok(Guard::new(self.client.clone(), id, task, answer?))
    }

    fn valid_id(&self) -> Result<TaskId, AcquireError> {
        name::check(&self.name).map_err(RequestError::bad_task)?;
        self.id.clone().map_err(|_| RequestError::too_deep().into())
    }
}

/// A request that is asked for: ended if nobody waits for the answer any more.
struct Asked<'a> {
    client: &'a Client,
    number: u64,
    began: Instant,
    answer: Option<Answer>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let answer = self.answer.unwrap_or(Answer::Dropped);
        metrics::answered(&self.client.store, answer, self.began.elapsed());
        if self.answer.is_none() && !is(Mutant::LeakOnCancel) {
            self.client.send(Command::End { number: self.number, reply: None });
        }
    }
}
