//! What can go wrong when locks are asked for, held and given back.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::backend::{BackendError, BackendErrorKind};
use crate::request::RequestError;
use crate::table::{Cycle, Denial, TableError};

/// Why a request was not granted.
///
/// ```
/// # use lock_core::{AcquireError, Locks, MemoryBackend};
/// # use std::time::Duration;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let locks = Locks::new(MemoryBackend::new());
/// # let held = locks.task("backup-17").acquire("app/blog").await?;
/// # let mut skipped = 0;
/// let mut restart = locks.task("restart-1");
/// match restart.acquire_timeout("app/blog", Duration::from_millis(10)).await {
///     Ok(guard) => guard.release().await?, // The work is done before that.
///     Err(AcquireError::TimedOut(denial)) => {
///         println!("not now: {denial}"); // app/blog held by backup-17 (pid 4711 on web1, 3 s)
///         assert_eq!(&*denial.blockers[0].task, "backup-17");
/// #         skipped += 1;
///     }
///     Err(error) => return Err(error.into()), // A bad name, or a store that is down.
/// }
/// # assert_eq!(skipped, 1);
/// # held.release().await?;
/// # locks.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum AcquireError {
    /// The request itself is wrong: a bad name, a name given twice, a limit of zero.
    Request(RequestError),
    /// The locks are not free, and the request was not to wait.
    Busy(Denial),
    /// The locks did not become free within the given time.
    TimedOut(Denial),
    /// Waiting would never end: the tasks in the circle wait for each other.
    Deadlock(Cycle),
    /// Somebody released the task's locks and waiters, by its name.
    Released,
    /// The store could not be asked, or its content could not be understood.
    Store(StoreError),
    /// [`Locks::close`](crate::Locks::close) was called, or the driver is gone.
    Closed,
}

impl AcquireError {
    /// Tells whether others hold or wait for the locks, also after a time limit.
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Busy(_) | Self::TimedOut(_))
    }

    /// Who and what is in the way, if that is the reason.
    pub fn denial(&self) -> Option<&Denial> {
        match self {
            Self::Busy(denial) | Self::TimedOut(denial) => Some(denial),
            _ => None,
        }
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => error.fmt(f),
            Self::Busy(denial) => write!(f, "busy: {denial}"),
            Self::TimedOut(denial) => write!(f, "timed out: {denial}"),
            Self::Deadlock(cycle) => write!(f, "this would be a deadlock: {cycle}"),
            Self::Released => f.write_str("the task's locks were released by somebody else"),
            Self::Store(error) => error.fmt(f),
            Self::Closed => f.write_str("the locks were closed"),
        }
    }
}

impl Error for AcquireError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Store(error) => error.source(),
            _ => None,
        }
    }
}

impl From<RequestError> for AcquireError {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl From<StoreError> for AcquireError {
    fn from(error: StoreError) -> Self {
        if error.is_closed() { Self::Closed } else { Self::Store(error) }
    }
}

/// The store could not be used. Cheap to clone: all who waited for it get the same.
#[derive(Debug, Clone)]
pub struct StoreError(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: String,
    cause: Cause,
}

#[derive(Debug)]
enum Cause {
    Backend(BackendError),
    Table(TableError),
    /// It did not answer in time, and did not fail either.
    Silent,
    /// The table would have more bytes than it may.
    Full {
        bytes: usize,
        bytes_max: usize,
    },
    /// The driver is gone.
    Closed,
}

impl StoreError {
    fn new(store: &str, cause: Cause) -> Self {
        Self(Arc::new(Inner { store: store.into(), cause }))
    }

    pub(crate) fn backend(store: &str, error: BackendError) -> Self {
        Self::new(store, Cause::Backend(error))
    }

    pub(crate) fn table(store: &str, error: TableError) -> Self {
        Self::new(store, Cause::Table(error))
    }

    pub(crate) fn silent(store: &str) -> Self {
        Self::new(store, Cause::Silent)
    }

    pub(crate) fn full(store: &str, bytes: usize, bytes_max: usize) -> Self {
        Self::new(store, Cause::Full { bytes, bytes_max })
    }

    pub(crate) fn closed(store: &str) -> Self {
        Self::new(store, Cause::Closed)
    }

    /// Tells whether the store could not be reached or did not answer in time.
    pub fn is_unreachable(&self) -> bool {
        match &self.0.cause {
            Cause::Silent => true,
            Cause::Backend(error) => matches!(
                error.kind(),
                BackendErrorKind::Unavailable
                    | BackendErrorKind::OutcomeUnknown
                    | BackendErrorKind::Busy
            ),
            _ => false,
        }
    }

    /// Tells whether somebody has to act before the store can be used: a missing right or table,
    /// or data that is not a lock table of this release.
    pub fn is_misconfigured(&self) -> bool {
        match &self.0.cause {
            Cause::Table(_) => true,
            Cause::Backend(error) => error.kind() == BackendErrorKind::Misconfigured,
            _ => false,
        }
    }

    /// Tells whether the table has no room for more.
    pub fn is_full(&self) -> bool {
        match &self.0.cause {
            Cause::Full { .. } => true,
            Cause::Backend(error) => error.kind() == BackendErrorKind::TooLarge,
            _ => false,
        }
    }

    /// Tells whether [`Locks::close`](crate::Locks::close) was called, or the driver is gone.
    pub fn is_closed(&self) -> bool {
        matches!(self.0.cause, Cause::Closed)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let store = &self.0.store;
        match &self.0.cause {
            Cause::Backend(error) => {
                let text = error.to_string();
                // Some name it themselves.
                if text.contains(store) { f.write_str(&text) } else { write!(f, "{store}: {text}") }
            }
            Cause::Table(error) => write!(f, "{store}: {error}"),
            Cause::Silent => write!(f, "{store}: the store did not answer in time"),
            Cause::Full { bytes, bytes_max } => write!(
                f,
                "{store}: the lock table would have {bytes} bytes, more than the {bytes_max} it \
                 may: release locks or use another namespace"
            ),
            Cause::Closed => write!(f, "{store}: the locks were closed"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.0.cause {
            Cause::Backend(error) => error.source(),
            Cause::Table(error) => error.source(),
            _ => None,
        }
    }
}

/// A hold is not certain any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HoldError {
    /// The lease could not be renewed in time, or this process was paused: the driver is asking the
    /// store. Stop what needs the lock; it may turn out to be held still.
    InDoubt,
    /// The hold is gone for good: somebody else may have the locks.
    Lost,
}

impl fmt::Display for HoldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InDoubt => "the lock is in doubt: its lease was not renewed in time",
            Self::Lost => "the lock is lost: somebody else may hold it",
        })
    }
}

impl Error for HoldError {}

/// Why asking the store about a hold gave no good answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The hold is in doubt or lost.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why work under a lock did not come to its end.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum WithLockError {
    /// The lock was not granted; the work was never started.
    #[error(transparent)]
    Acquire(#[from] AcquireError),
    /// The lock was lost; the work was dropped at its next await, or came to its end without one, and
    /// nobody knows how much of it was done under the lock.
    #[error(transparent)]
    Lost(#[from] HoldError),
}
