//! Backends in memory that are broken in one way each.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lock_conformance::{Fixture, Start, Store};
use lock_core::{
    BackendError, BackendErrorKind, LockBackend, MemoryBackend, Reach, Snapshot, Swap, Version,
};
use tokio::task::yield_now;
use tokio::time::sleep;

/// The fixture of a backend with a flaw, or with none.
pub(crate) struct Flawed {
    flaw: String,
    cells: Mutex<HashMap<String, Shared>>,
}

/// What all clients of a store share: the cell, and what a replica of it has.
#[derive(Debug, Clone, Default)]
struct Shared {
    cell: MemoryBackend,
    replica: MemoryBackend,
}

struct Spec {
    spec: String,
    hints: bool,
}

impl Store for Spec {
    fn spec(&self) -> String {
        self.spec.clone()
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn tells_of_changes(&self) -> bool {
        self.hints
    }
}

impl Flawed {
    pub(crate) fn new(flaw: String) -> Self {
        Self { flaw, cells: Mutex::default() }
    }
}

impl Fixture for Flawed {
    fn name(&self) -> &'static str {
        "flawed"
    }

    fn start(&self) -> Start {
        static LAST: AtomicU64 = AtomicU64::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let spec = format!("flawed://user:pass{number}word@host/{number}");
        Ok(Box::new(Spec { spec, hints: self.flaw != "hints in secret" }))
    }

    fn open(&self, spec: &str) -> Result<Arc<dyn LockBackend>, BackendError> {
        let key = if self.flaw == "one cell for all stores" { "" } else { spec };
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = match self.flaw.as_str() {
            "every client has its own cell" => Shared::default(),
            _ => cells.entry(key.into()).or_default().clone(),
        };
        Ok(Arc::new(Broken {
            flaw: self.flaw.clone(),
            spec: spec.into(),
            shared,
            first: Mutex::default(),
            used: AtomicBool::new(false),
            jammed: AtomicBool::new(false),
        }))
    }
}

struct Broken {
    flaw: String,
    spec: String,
    shared: Shared,
    first: Mutex<Option<Snapshot>>,
    used: AtomicBool,
    jammed: AtomicBool,
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the spec: it has a secret.
        f.debug_struct("Broken").field("flaw", &self.flaw).finish_non_exhaustive()
    }
}

impl Broken {
    fn is(&self, flaw: &str) -> bool {
        self.flaw == flaw
    }

    fn error(kind: BackendErrorKind) -> BackendError {
        BackendError::new(kind, "cannot do that: it is broken")
    }

    /// The version as it is kept.
    #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
    fn kept_version(&self, expected: Version, next: Version) -> Version {
        match self.flaw.as_str() {
            "versions are floats" => Version(next.0 as f32 as u64),
            "versions have 32 bits" => Version(u64::from(next.0 as u32)),
            "counts itself" => Version(expected.0 + 1),
            _ => next,
        }
    }

    /// The bytes as they are kept.
    fn kept_data(&self, data: &[u8]) -> Vec<u8> {
        match self.flaw.as_str() {
            "folds case" => data.to_ascii_lowercase(),
            "trims" => data.trim_ascii().into(),
            "keeps three bytes a character" => {
                String::from_utf8_lossy(data).replace(|c: char| c.len_utf8() > 3, "?").into()
            }
            "cuts off" => data[..data.len().min(1 << 20)].into(),
            _ => data.into(),
        }
    }

    fn conflicts(&self, found: &Snapshot, expected: Version, data: &[u8]) -> bool {
        let differs = found.version != expected;
        match self.flaw.as_str() {
            "compares nothing" => false,
            "swaps what is older" => found.version > expected,
            "creates what exists" => differs && expected != Version::ABSENT,
            "swaps what is absent" => differs && found.version != Version::ABSENT,
            "the same bytes are no swap" => differs || found.data == data,
            _ => differs,
        }
    }
}

#[async_trait]
impl LockBackend for Broken {
    fn reach(&self) -> Reach {
        let changes = self.is("changes its reach") && self.used.load(Ordering::Relaxed);
        if changes { Reach::Network } else { Reach::Host }
    }

    fn describe(&self) -> String {
        if self.is("shows the secret") {
            return self.spec.clone();
        }
        format!("flawed:{}", self.spec.rsplit('/').next().unwrap_or_default())
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        if self.is("a dropped load jams it") {
            if self.jammed.swap(true, Ordering::Relaxed) {
                return Err(Self::error(BackendErrorKind::Unavailable));
            }
            yield_now().await;
            self.jammed.store(false, Ordering::Relaxed);
        }
        let cell = self.shared.cell.snapshot();
        match self.flaw.as_str() {
            "reads a replica" => Ok(self.shared.replica.snapshot()),
            "reads once" => {
                let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(first.get_or_insert(cell).clone())
            }
            "empty is absent" if cell.data.is_empty() => Ok(Snapshot::default()),
            "an absent cell is an error" if cell.version == Version::ABSENT => {
                Err(Self::error(BackendErrorKind::Misconfigured))
            }
            "a hint blocks the client" if self.jammed.load(Ordering::Relaxed) => {
                Err(Self::error(BackendErrorKind::Unavailable))
            }
            _ => Ok(cell),
        }
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        self.used.store(true, Ordering::Relaxed);
        let found = self.shared.cell.snapshot();
        if self.conflicts(&found, expected, data) {
            return Ok(Swap::Conflict);
        }
        let new =
            Snapshot { version: self.kept_version(expected, next), data: self.kept_data(data) };
        match self.flaw.as_str() {
            "compares, and then writes" => {
                std::thread::sleep(Duration::from_millis(1));
                self.shared.cell.restore(new);
                return Ok(Swap::Swapped);
            }
            "writes in halves" => {
                let half = new.data[..new.data.len() / 2].to_vec();
                self.shared.cell.restore(Snapshot { version: next, data: half });
                yield_now().await;
                self.shared.cell.restore(new);
                return Ok(Swap::Swapped);
            }
            _ => {}
        }
        let swap = self.shared.cell.compare_and_swap(found.version, new.version, &new.data).await;
        // What was there before reaches the replica now.
        self.shared.replica.restore(found);
        swap
    }

    async fn changed(&self, seen: Version) -> Result<(), BackendError> {
        match self.flaw.as_str() {
            "always hints" => Ok(()),
            "cannot hint" => Err(Self::error(BackendErrorKind::Unavailable)),
            "a hint blocks the client" => {
                self.jammed.store(true, Ordering::Relaxed);
                std::future::pending().await
            }
            _ => {
                while self.shared.cell.snapshot().version <= seen {
                    sleep(Duration::from_millis(1)).await;
                }
                Ok(())
            }
        }
    }
}
