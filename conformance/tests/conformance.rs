//! The suite on the store that comes with the core, and on a cell that is served over TCP.

mod cell;

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lock_conformance::{Fixture, Start, Store, Verdict};
use lock_core::{BackendError, BackendErrorKind, LockBackend, MemoryBackend, Snapshot};

fn main() -> ExitCode {
    if let Some(code) = cell::server::main() {
        return code;
    }
    lock_conformance::run(&[Arc::new(Memory::default()), Arc::new(cell::Tcp)])
}

/// Cells in the memory of this process, by their specs.
#[derive(Default)]
struct Memory {
    cells: Mutex<HashMap<String, MemoryBackend>>,
    last: AtomicU64,
}

impl Fixture for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn start(&self) -> Start {
        let spec = self.last.fetch_add(1, Ordering::Relaxed).to_string();
        let cell = MemoryBackend::new();
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.insert(spec.clone(), cell.clone());
        Ok(Box::new(MemoryStore { spec, cell }))
    }

    fn open(&self, spec: &str) -> Result<Arc<dyn LockBackend>, BackendError> {
        let cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let none = || BackendError::new(BackendErrorKind::Misconfigured, format!("no cell {spec}"));
        Ok(Arc::new(cells.get(spec).ok_or_else(none)?.clone()))
    }
}

struct MemoryStore {
    spec: String,
    cell: MemoryBackend,
}

impl Store for MemoryStore {
    fn spec(&self) -> String {
        self.spec.clone()
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn restore(&self, cell: &Snapshot) -> Option<Verdict> {
        self.cell.restore(cell.clone());
        Some(Ok(()))
    }
}
