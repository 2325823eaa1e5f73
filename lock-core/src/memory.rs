//! The in-memory backend: a cell behind a mutex, shared by its clones.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::backend::{BackendError, LockBackend, Reach, Snapshot, Swap, Version};

/// A cell in memory, for tests: clones share it, as clients share a store.
///
/// ```
/// use lock_core::{Locks, MemoryBackend};
///
/// let store = MemoryBackend::new();
/// let one = Locks::new(store.clone()).blocking();
/// let other = Locks::new(store).blocking();
/// let guard = one.acquire("app/blog")?;
/// assert!(other.try_acquire("app/blog").unwrap_err().is_busy());
/// guard.release()?;
/// other.try_acquire("app/blog")?.release()?;
/// # one.close()?;
/// # other.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryBackend {
    cell: Arc<Mutex<Snapshot>>,
}

impl MemoryBackend {
    /// Makes a new, absent cell.
    pub fn new() -> Self {
        Self::default()
    }

    /// The cell as it is now.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().clone()
    }

    /// Puts something into the cell, as restoring a dump does: for tests of what follows.
    pub fn restore(&self, snapshot: Snapshot) {
        *self.lock() = snapshot;
    }

    fn lock(&self) -> MutexGuard<'_, Snapshot> {
        self.cell.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl LockBackend for MemoryBackend {
    fn reach(&self) -> Reach {
        Reach::Host
    }

    fn describe(&self) -> String {
        "memory".into()
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        Ok(self.snapshot())
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        let mut cell = self.lock();
        if cell.version != expected {
            return Ok(Swap::Conflict);
        }
        *cell = Snapshot { version: next, data: data.into() };
        Ok(Swap::Swapped)
    }
}
