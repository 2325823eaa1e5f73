//! From settings to a client of the store.

use std::io;

use lock_core::{AcquireError, BackendError, BackendErrorKind, Locks, StoreError};
use lock_sqlite::{SqliteBackend, SqliteOptions};

use crate::{
    exit::Exit,
    keeper::LockError,
    notice,
    store::{Settings, Store},
    waiting,
};

impl Settings {
    /// Opens the store, creating it if it is missing.
    pub(crate) fn open(&self) -> Result<SqliteBackend, BackendError> {
        self.options().open()
    }

    /// How to open the store.
    pub(crate) fn options(&self) -> SqliteOptions {
        let Store::Sqlite(path) = &self.store;
        let options = SqliteOptions::new(path);
        match &self.namespace {
            Some(namespace) => options.namespace(namespace),
            None => options,
        }
    }

    /// The store and namespace, as they are named to people.
    pub(crate) fn describe(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} namespace {namespace}", self.store),
            None => self.store.to_string(),
        }
    }
}

/// Does something with the locks of a store that needs no run.
pub(crate) fn with_locks<T>(
    settings: &Settings,
    work: impl AsyncFnOnce(&Locks) -> Result<T, LockError>,
) -> Result<T, LockError> {
    let backend = settings.open()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error: io::Error| {
        BackendError::new(BackendErrorKind::Unavailable, "cannot start").with_source(error)
    })?;
    runtime.block_on(async {
        let locks = Locks::builder(backend).in_current_runtime().build();
        let result = work(&locks).await;
        let closed = locks.close().await;
        let result = result?;
        closed?;
        Ok(result)
    })
}

impl LockError {
    /// Tells people.
    pub(crate) fn say(&self) {
        match self {
            Self::Acquire(AcquireError::Busy(denial)) => {
                notice::say(format_args!("busy: {}", waiting::explain(denial)));
            }
            Self::Acquire(AcquireError::TimedOut(denial)) => {
                notice::say(format_args!("timed out: {}", waiting::explain(denial)));
            }
            _ => notice::say_error(self),
        }
    }

    /// How `lockctl` ends after it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Open(error) if error.kind() == BackendErrorKind::Misconfigured => Exit::Config,
            Self::Open(_) => Exit::Unreachable,
            Self::Store(error) | Self::Acquire(AcquireError::Store(error)) => of_store(error),
            Self::Acquire(AcquireError::Request(_)) => Exit::Usage,
            Self::Acquire(_) => Exit::Busy,
        }
    }
}

fn of_store(error: &StoreError) -> Exit {
    if error.is_misconfigured() { Exit::Config } else { Exit::Unreachable }
}
