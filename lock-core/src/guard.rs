//! Guards: what a holder has in hand.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::backend::Version;
use crate::driver::{Command, Grant};
use crate::error::{HoldError, StoreError, VerifyError};
use crate::ids::{RequestId, TaskId};
use crate::locks::Client;
use crate::name::LockName;

/// Locks that are held. Dropping it gives them back.
///
/// Dropping only queues the release: it does no I/O, never panics and needs no runtime.
/// [`release`](Self::release) waits until the store knows.
#[must_use = "the locks are given back as soon as the guard is dropped"]
pub struct Guard {
    client: Arc<Client>,
    id: RequestId,
    task: TaskId,
    fences: BTreeMap<LockName, Version>,
    lost: watch::Receiver<bool>,
    released: bool,
}

impl Guard {
    pub(crate) fn new(client: Arc<Client>, id: RequestId, task: TaskId, grant: Grant) -> Self {
        Self { client, id, task, fences: grant.fences, lost: grant.lost, released: false }
    }

    /// The id of the hold.
    pub fn id(&self) -> RequestId {
        self.id
    }

    /// The id of the task that holds the locks.
    pub fn task_id(&self) -> &TaskId {
        &self.task
    }

    /// The names of the locks.
    pub fn names(&self) -> impl Iterator<Item = &LockName> {
        self.fences.keys()
    }

    /// The fencing token: greater than that of every earlier hold that conflicts with this one, but for what
    /// the same line of work holds ([`fence_of`](Self::fence_of)).
    ///
    /// A resource that remembers the greatest fence it was written with, and refuses smaller ones,
    /// is safe from holders that have lost their lock without knowing. (See M. Kleppmann, "How to
    /// do distributed locking", 2016.) It is the greatest of [`fence_of`](Self::fence_of) all its
    /// names: where a hold has several locks, each for a resource of its own, take the fence of each.
    ///
    /// ```
    /// # use lock_core::{Locks, MemoryBackend};
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let locks = Locks::new(MemoryBackend::new());
    /// let mut written_with = 0; // Kept next to the data, as a column of the same row, say.
    /// let mut write = |fence: u64| {
    ///     let is_good = fence >= written_with; // UPDATE … SET fence = ? WHERE fence <= ?
    ///     written_with = written_with.max(fence);
    ///     is_good
    /// };
    /// let paused = locks.with_lock("app/blog", async |guard| guard.fence()).await?;
    /// let next = locks.with_lock("app/blog", async |guard| guard.fence()).await?;
    /// assert!(write(next));
    /// assert!(!write(paused)); // It wakes up, and comes too late.
    /// # locks.close().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn fence(&self) -> u64 {
        self.fences.values().map(|fence| fence.0).max().unwrap_or_default()
    }

    /// The fencing token of one lock, or `None` if it is not among those held.
    ///
    /// A lock that is covered by an exclusive one that the same line of work already holds carries that
    /// one's fence, and so do those of all its sub-tasks: they write to the same resource in turn.
    pub fn fence_of(&self, name: &str) -> Option<u64> {
        self.fences.get(name).map(|fence| fence.0)
    }

    /// Tells whether the locks are certainly held. Local, free and without waiting.
    ///
    /// ```
    /// # use lock_core::{Locks, MemoryBackend};
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let locks = Locks::new(MemoryBackend::new());
    /// # let mut copied = Vec::new();
    /// let guard = locks.acquire("app/blog").await?;
    /// for table in ["posts", "comments"] {
    ///     guard.check()?; // Stops before it touches what may be somebody else's by now.
    ///     copied.push(table);
    /// }
    /// guard.release().await?;
    /// assert_eq!(copied.len(), 2);
    /// # locks.close().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`HoldError::InDoubt`] when the lease could not be renewed in time or this process was
    /// paused: the driver is asking the store then, and the hold may yet turn out to be good.
    /// [`HoldError::Lost`] when it is gone for good.
    pub fn check(&self) -> Result<(), HoldError> {
        if self.is_lost() {
            return Err(HoldError::Lost);
        }
        match self.client.deadline.get() {
            Some(deadline) if self.client.clock.boot() >= deadline => {
                self.client.send(Command::Nudge);
                Err(HoldError::InDoubt)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn is_lost(&self) -> bool {
        *self.lost.borrow() || self.lost.has_changed().is_err() || self.client.is_closed()
    }

    /// How long the locks are certain to be held yet, if nothing is renewed; `None` without end, and no time
    /// at all if they are lost.
    pub fn remaining(&self) -> Option<Duration> {
        if self.is_lost() {
            return Some(Duration::ZERO);
        }
        let deadline = self.client.deadline.get()?;
        Some(deadline.saturating_sub(self.client.clock.boot()))
    }

    /// Asks the store whether the locks are held, and renews the lease if that is in doubt.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Hold`] when they are lost; [`VerifyError::Store`] when the store cannot be
    /// asked.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub async fn verify(&self) -> Result<(), VerifyError> {
        if self.is_lost() {
            return Err(HoldError::Lost.into()); // For good: nothing needs to be asked.
        }
        let (reply, answer) = oneshot::channel();
        let number = self.id.number;
        self.client.send(Command::Verify { number, reply });
        answer.await.unwrap_or(Err(HoldError::Lost.into()))
    }

    /// Resolves when the locks are lost for good; never before.
    ///
    /// ```
    /// # use lock_core::{HoldError, Locks, MemoryBackend};
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let locks = Locks::new(MemoryBackend::new());
    /// # let copying = std::future::pending::<()>();
    /// let guard = locks.task("backup-17").acquire("app/blog").await?;
    /// locks.release_task("backup-17").await?; // An operator wants the backup to be gone.
    ///
    /// let done = tokio::select! {
    ///     () = copying => true,
    ///     () = guard.lost() => false,
    /// };
    /// assert!(!done);
    /// assert_eq!(guard.check(), Err(HoldError::Lost));
    /// # locks.close().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Nothing is missed: a later call resolves at once.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        let _ = lost.wait_for(|lost| *lost).await;
    }

    /// Gives the locks back and waits until the store knows. Whoever is next has them then.
    ///
    /// Releasing a lost guard is no error, and never touches a new holder.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the store cannot be used. The driver goes on trying, unless it is gone
    /// ([`is_closed`](StoreError::is_closed)): then the locks are free when this process has ended.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped the release goes on.
    pub async fn release(mut self) -> Result<(), StoreError> {
        self.released = true;
        let number = self.id.number;
        let released = self.client.ask(|reply| Command::End { number, reply: Some(reply) }).await;
        match released {
            // Closing has given it back, or has not.
            Err(error) if error.is_closed() => self.client.how_it_ended(),
            released => released,
        }
    }

    /// Turns the exclusive locks of this hold into shared ones, and lets in who fits then.
    ///
    /// ```
    /// # use lock_core::{Locks, MemoryBackend, Request};
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let locks = Locks::new(MemoryBackend::new());
    /// let upgrade = locks.acquire("app/blog").await?;
    /// // The files are replaced. To compare them with the new release it only reads:
    /// upgrade.downgrade().await?;
    /// let backup = locks.try_acquire(Request::shared("app/blog")).await?;
    /// assert!(locks.try_acquire("app/blog").await.is_err()); // Nobody writes meanwhile.
    /// # backup.release().await?;
    /// # upgrade.release().await?;
    /// # locks.close().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`VerifyError::Hold`] when the locks are lost; [`VerifyError::Store`] when the store cannot
    /// be used.
    ///
    /// # Cancel safety
    ///
    /// When the future is dropped it may be done or not.
    pub async fn downgrade(&self) -> Result<(), VerifyError> {
        let number = self.id.number;
        match self.client.ask(|reply| Command::Downgrade { number, reply }).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(HoldError::Lost.into()),
            Err(error) if error.is_closed() => Err(HoldError::Lost.into()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.released {
            self.client.send(Command::End { number: self.id.number, reply: None });
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("id", &self.id)
            .field("task", &self.task)
            .field("fences", &self.fences)
            .finish_non_exhaustive()
    }
}
