//! The backend: one row of an SQLite table as the versioned cell.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lock_core::files::Audience;
use lock_core::options::{DEFAULT_NAMESPACE, check_namespace, in_namespace};
use lock_core::{BackendError, BackendErrorKind, LockBackend, Reach, Snapshot, Swap, Version};

use crate::cell::{Cell, judge, may_pass};
use crate::file::{Identity, StoreFile};

/// Opening is tried again while somebody else makes the same store, or the files beside it.
const OPENING_ATTEMPTS: usize = 5;
const OPENING_PAUSE: Duration = Duration::from_millis(10);

/// How often in a row a file may turn out to be another one.
const REPLACED_MAX: usize = 5;

/// A store in an SQLite file on a local disk.
///
/// See the [crate](crate) for what it promises, and for backup and restore.
#[derive(Debug)]
pub struct SqliteBackend {
    file: StoreFile,
    namespace: String,
    open: Mutex<Option<Open>>,
}

/// How to open a [`SqliteBackend`].
///
/// ```
/// use lock_core::LockBackend;
/// use lock_sqlite::SqliteOptions;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("locks.db");
/// let backend = SqliteOptions::new(&path).namespace("billing").group_access(true).open()?;
/// assert!(backend.describe().ends_with("locks.db namespace billing"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct SqliteOptions {
    path: PathBuf,
    namespace: String,
    audience: Audience,
}

impl SqliteOptions {
    /// Options for the store at this path: namespace `default`, for this user alone.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), namespace: DEFAULT_NAMESPACE.into(), audience: Audience::OWNER }
    }

    /// Which cell of the file to use: 1 to 255 bytes without control characters, compared byte for
    /// byte.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// Lets the group use what is created: the file with mode 0660, its directory with 02770.
    #[must_use]
    pub fn group_access(mut self, group_access: bool) -> Self {
        self.audience = if group_access { Audience::GROUP } else { Audience::OWNER };
        self
    }

    /// The group that owns what is created, by its number; grants it access.
    #[must_use]
    pub fn group_id(mut self, group_id: u32) -> Self {
        self.audience = Audience::group(group_id);
        self
    }

    /// Opens the store; creates the file, and the directories that lead to it, if they are missing.
    ///
    /// A store that is busy or unavailable just now opens all the same: the next load tries again.
    ///
    /// # Errors
    ///
    /// [`BackendErrorKind::Misconfigured`]: the namespace is bad, the file cannot be used or is not
    /// such a store.
    pub fn open(self) -> Result<SqliteBackend, BackendError> {
        check_namespace(&self.namespace)?;
        let backend = SqliteBackend {
            file: StoreFile::new(&self.path, self.audience)?,
            namespace: self.namespace,
            open: Mutex::new(None),
        };
        match backend.connect() {
            Ok(open) => *backend.lock() = Some(open),
            Err(e) if e.kind() == BackendErrorKind::Misconfigured => return Err(e),
            Err(_) => {}
        }
        Ok(backend)
    }
}

impl SqliteBackend {
    /// Opens the store at this path with the default [`SqliteOptions`].
    ///
    /// # Errors
    ///
    /// As [`SqliteOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self, BackendError> {
        SqliteOptions::new(path.as_ref()).open()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_current(&self, open: &Open) -> bool {
        self.file.identity() == open.identity
    }

    /// Opens the file that is at the path now.
    fn connect(&self) -> Result<Open, BackendError> {
        for _ in 0..REPLACED_MAX {
            let path = self.file.prepare()?;
            let before = self.file.identity().database;
            let cell = self.establish(&path);
            let identity = self.file.identity();
            if before.is_none() || identity.database != before {
                continue;
            }
            let cell = cell?;
            if !identity.is_complete() {
                continue;
            }
            // Again, now that the log exists: in /tmp somebody may have laid one there meanwhile.
            self.file.check()?;
            return Ok(Open { cell, identity });
        }
        Err(self.replaced(BackendErrorKind::Unavailable, "open"))
    }

    fn establish(&self, path: &Path) -> Result<Cell, BackendError> {
        let mut attempt = 1;
        loop {
            match Cell::open(path) {
                Ok(Ok(cell)) => return Ok(cell),
                Ok(Err(what)) => {
                    let message = format!("cannot use {} as a store: {what}", path.display());
                    return Err(BackendError::new(BackendErrorKind::Misconfigured, message));
                }
                Err(e) if attempt == OPENING_ATTEMPTS || !may_pass(&e) => {
                    return Err(self.error("open", false, e));
                }
                Err(_) => std::thread::sleep(OPENING_PAUSE),
            }
            attempt += 1;
        }
    }

    /// Keeps the connection if all is well, and doubts a swap if the file is another one after it.
    fn settle(
        &self,
        slot: &mut Option<Open>,
        open: Open,
        result: Result<Swap, BackendError>,
    ) -> Result<Swap, BackendError> {
        if self.is_current(&open) {
            if is_sound(&result) {
                *slot = Some(open);
            }
            return result;
        }
        match result {
            // It may be in the file that is gone, in the one that came, or in a log that is lost.
            Ok(Swap::Swapped) => Err(self.replaced(BackendErrorKind::OutcomeUnknown, "write")),
            result => result,
        }
    }

    fn replaced(&self, kind: BackendErrorKind, operation: &str) -> BackendError {
        let path = self.file.path().display();
        BackendError::new(kind, format!("cannot {operation} {path}: it was replaced meanwhile"))
    }

    fn error(&self, operation: &str, swapping: bool, error: rusqlite::Error) -> BackendError {
        let (kind, what) = judge(&error, swapping);
        let path = self.file.path().display();
        BackendError::new(kind, format!("cannot {operation} {path}: {what}")).with_source(error)
    }
}

#[async_trait]
impl LockBackend for SqliteBackend {
    fn reach(&self) -> Reach {
        Reach::Host
    }

    fn describe(&self) -> String {
        let path = self.file.path().display();
        in_namespace(format!("sqlite:{path}"), &self.namespace)
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        let mut slot = self.lock();
        for _ in 0..REPLACED_MAX {
            let open = match slot.take() {
                Some(open) => open,
                None => self.connect()?,
            };
            let result = open.cell.read(&self.namespace);
            if !self.is_current(&open) {
                continue;
            }
            let result = result.map_err(|e| self.error("read", false, e));
            if is_sound(&result) {
                *slot = Some(open);
            }
            return result;
        }
        Err(self.replaced(BackendErrorKind::Unavailable, "read"))
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        let mut slot = self.lock();
        // The old one is closed first, or the new one would share its memory within this process.
        let open = match slot.take().filter(|open| self.is_current(open)) {
            Some(open) => open,
            None => self.connect()?,
        };
        let result = open
            .cell
            .swap(&self.namespace, expected, next, data)
            .map_err(|e| self.error("write", true, e));
        self.settle(&mut slot, open, result)
    }
}

/// A connection and the files it has open.
#[derive(Debug)]
struct Open {
    cell: Cell,
    identity: Identity,
}

/// Whether the connection is worth keeping.
fn is_sound<T>(result: &Result<T, BackendError>) -> bool {
    result.as_ref().map_or_else(|error| error.kind().spares_connection(), |_| true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_into_a_file_that_was_replaced_meanwhile_is_in_doubt() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("locks.db");
        let backend = SqliteBackend::open(&path).unwrap();
        let mut slot = backend.lock();
        let open = slot.take().unwrap();
        let swap = open.cell.swap("default", Version::ABSENT, Version(1), b"one").unwrap();
        let open = {
            // While all is well, the connection is kept and the answer passed on.
            assert_eq!(backend.settle(&mut slot, open, Ok(swap)).unwrap(), Swap::Swapped);
            slot.take().unwrap()
        };
        std::fs::rename(&path, dir.path().join("moved.db")).unwrap();
        let error = backend.settle(&mut slot, open, Ok(Swap::Swapped)).unwrap_err();
        assert_eq!(error.kind(), BackendErrorKind::OutcomeUnknown);
        assert!(slot.is_none());
    }
}
