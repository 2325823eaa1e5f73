//! From settings to a client of the store.

use std::{io, path::Path, sync::Arc};

use lock_core::options::{DEFAULT_NAMESPACE, in_namespace};
use lock_core::{AcquireError, BackendError, BackendErrorKind, LockBackend, Locks, StoreError};
use lock_file::FileOptions;
#[cfg(feature = "mysql")]
use lock_mysql::{MySqlBackend, MySqlOptions};
#[cfg(feature = "redis")]
use lock_redis::{RedisBackend, RedisOptions};
use lock_sqlite::SqliteOptions;
use tokio::runtime::{Builder, Runtime};

#[cfg(any(feature = "mysql", feature = "redis"))]
use crate::store::{NAMESPACE_VARIABLE, ServerUrl};
use crate::{
    exit::Exit,
    keeper::LockError,
    notice,
    store::{Settings, Store},
    waiting,
};

impl Settings {
    /// Opens the store; a file is created if it is missing, a server is not asked yet.
    pub(crate) fn open(&self) -> Result<Arc<dyn LockBackend>, BackendError> {
        Ok(match &self.store {
            Store::Sqlite(path) => Arc::new(self.sqlite(path).open()?),
            Store::File(path, strategy) => Arc::new(self.file(path, *strategy).open()?),
            #[cfg(feature = "mysql")]
            Store::Mysql(url) => Arc::new(self.mysql(url)?),
            #[cfg(feature = "redis")]
            Store::Redis(url) => Arc::new(self.redis(url)?),
            #[cfg(not(all(feature = "mysql", feature = "redis")))]
            _ => unreachable!("such settings are refused"),
        })
    }

    /// How to open the file.
    pub(crate) fn sqlite(&self, path: &Path) -> SqliteOptions {
        let options = SqliteOptions::new(path);
        match &self.namespace {
            Some(namespace) => options.namespace(namespace),
            None => options,
        }
    }

    /// How to open the directory.
    pub(crate) fn file(&self, path: &Path, strategy: Option<&str>) -> FileOptions {
        let mut options = FileOptions::new(path);
        if let Some(strategy) = strategy {
            options = options.strategy(strategy.parse().expect("the URL was read"));
        }
        match &self.namespace {
            Some(namespace) => options.namespace(namespace),
            None => options,
        }
    }

    /// The table of a server; nothing is connected yet.
    #[cfg(feature = "mysql")]
    pub(crate) fn mysql(&self, url: &ServerUrl) -> Result<MySqlBackend, BackendError> {
        let options = MySqlOptions::from_url(url.with_secrets());
        let options = options.map_err(|error| self.bad_url(error))?;
        match self.namespace_beside(options.chosen_namespace())? {
            Some(namespace) => options.namespace(namespace).build(),
            None => options.build(),
        }
    }

    /// The key of a server; nothing is connected yet.
    #[cfg(feature = "redis")]
    pub(crate) fn redis(&self, url: &ServerUrl) -> Result<RedisBackend, BackendError> {
        let options = RedisOptions::from_url(url.with_secrets());
        let options = options.map_err(|error| self.bad_url(error))?;
        match self.namespace_beside(options.chosen_namespace())? {
            Some(namespace) => options.namespace(namespace).build(),
            None => options.build(),
        }
    }

    #[cfg(any(feature = "mysql", feature = "redis"))]
    fn bad_url(&self, error: BackendError) -> BackendError {
        let what = format!("store given by {}", self.chosen_by);
        BackendError::new(BackendErrorKind::Misconfigured, what).with_source(error)
    }

    /// The namespace that was chosen, which the URL may say too, if it says the same.
    #[cfg(any(feature = "mysql", feature = "redis"))]
    fn namespace_beside(&self, in_url: Option<&str>) -> Result<Option<&str>, BackendError> {
        match (self.namespace.as_deref(), in_url) {
            (Some(namespace), Some(other)) if namespace != other => Err(BackendError::new(
                BackendErrorKind::Misconfigured,
                format!(
                    "which namespace is meant? The URL of the store says {other:?}, and --namespace, \
                     {NAMESPACE_VARIABLE} or a configuration file says {namespace:?}"
                ),
            )),
            (namespace, _) => Ok(namespace),
        }
    }

    /// The store and namespace, as they are named to people.
    pub(crate) fn describe(&self) -> String {
        let namespace = self.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
        in_namespace(self.store.to_string(), namespace)
    }
}

/// A runtime for a command that does one thing.
pub(crate) fn runtime() -> Result<Runtime, BackendError> {
    Builder::new_current_thread().enable_all().build().map_err(|error: io::Error| {
        BackendError::new(BackendErrorKind::Unavailable, "cannot start").with_source(error)
    })
}

/// Does something with the locks of a store that needs no run.
pub(crate) fn with_locks<T>(
    settings: &Settings,
    work: impl AsyncFnOnce(&Locks) -> Result<T, LockError>,
) -> Result<T, LockError> {
    let backend = settings.open()?;
    runtime()?.block_on(async {
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
