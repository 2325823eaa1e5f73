//! One fault at one call among all those of several clients.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use lock_core::testing::{Effect, Fault, Faults, FaultyBackend};
use lock_core::{BackendError, LockBackend, MemoryBackend, Reach, Snapshot, Swap, Version};

/// Which calls fail, and how. Counts those of all clients.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    at: Vec<(usize, Fault)>,
    calls: AtomicUsize,
    all: Mutex<Vec<Faults>>,
}

impl Plan {
    pub(crate) fn new(at: &[(usize, Fault)]) -> Arc<Self> {
        Arc::new(Self { at: at.into(), ..Self::default() })
    }

    pub(crate) fn backend(self: &Arc<Self>, store: &MemoryBackend) -> Planned {
        let backend = FaultyBackend::new(store.clone()).with_reach(Reach::Network);
        self.all.lock().unwrap().push(backend.faults());
        Planned { faults: backend.faults(), backend, plan: self.clone() }
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Lets go what hangs, and makes arrive what is under way.
    pub(crate) async fn release(&self) {
        let all = self.all.lock().unwrap().clone();
        for faults in all {
            faults.release();
            faults.deliver_late().await;
        }
    }

    fn next(&self) -> Option<Fault> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        self.at.iter().find(|(at, _)| *at == call).map(|(_, fault)| *fault)
    }
}

/// The way of one client to the store.
#[derive(Debug)]
pub(crate) struct Planned {
    backend: FaultyBackend,
    faults: Faults,
    plan: Arc<Plan>,
}

#[async_trait]
impl LockBackend for Planned {
    fn reach(&self) -> Reach {
        self.backend.reach()
    }

    fn describe(&self) -> String {
        self.backend.describe()
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        match self.plan.next() {
            // Faults of swaps only.
            None
            | Some(
                Fault::Conflict
                | Fault::Unknown(_)
                | Fault::Hang(Effect::Later | Effect::Before(_)),
            ) => {}
            Some(fault) => self.faults.next_load(fault),
        }
        self.backend.load().await
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        match self.plan.next() {
            // A fault of loads only.
            Some(Fault::Stale(_)) | None => {}
            Some(fault) => self.faults.next_swap(fault),
        }
        self.backend.compare_and_swap(expected, next, data).await
    }
}
