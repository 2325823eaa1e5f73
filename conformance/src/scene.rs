//! What a trial has in hand: a store of its own, clients of it, workers, chance, and a place for evidence.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lock_core::{BackendError, LockBackend, Locks, LocksBuilder};

use crate::fixture::{Cluster, Fixture, Server, Store};
use crate::trial::Failure;
use crate::worker::{Worker, WorkerOptions};

/// How long anything may take that must come to an end at all.
pub const LIVENESS: Duration = Duration::from_secs(60);

/// The scene of one trial.
pub struct Scene {
    fixture: Arc<dyn Fixture>,
    store: Box<dyn Store>,
    seed: u64,
    trial: &'static str,
    effort: usize,
    has_drawn: AtomicBool,
    counts: Mutex<BTreeMap<&'static str, u64>>,
    evidence: tempfile::TempDir,
}

impl fmt::Debug for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene")
            .field("backend", &self.fixture.name())
            .field("trial", &self.trial)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Scene {
    pub(crate) fn set(
        fixture: Arc<dyn Fixture>,
        trial: &'static str,
        seed: u64,
        effort: usize,
    ) -> Result<Self, Failure> {
        let store = fixture.start()?;
        let evidence = tempfile::Builder::new().prefix("conformance-").tempdir()?;
        let (has_drawn, counts) = (AtomicBool::default(), Mutex::default());
        Ok(Self { fixture, store, seed, trial, effort, has_drawn, counts, evidence })
    }

    /// The store of this trial.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The name of the backend.
    pub(crate) fn backend_name(&self) -> &str {
        self.fixture.name()
    }

    /// Another store of the same kind.
    ///
    /// # Errors
    ///
    /// [`Failure`] as [`Fixture::start`] gives it.
    pub fn other_store(&self) -> Result<Box<dyn Store>, Failure> {
        self.fixture.start()
    }

    /// A source of chance that goes on from the seed; `stream` makes several of them differ.
    pub fn random(&self, stream: u64) -> fastrand::Rng {
        self.has_drawn.store(true, Ordering::Relaxed);
        fastrand::Rng::with_seed(self.seed ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// How many cases to do where `short` are enough for an everyday run; none is like another,
    /// by chance or because clients race.
    pub fn cases(&self, short: usize) -> usize {
        self.has_drawn.store(true, Ordering::Relaxed);
        short * self.effort
    }

    /// Whether another run would be a new one.
    pub(crate) fn has_drawn(&self) -> bool {
        self.has_drawn.load(Ordering::Relaxed)
    }

    /// Counts something for the table of results: operations, kills, restarts, faults, cases.
    pub fn count(&self, what: &'static str, times: usize) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry(what).or_default() += times as u64;
    }

    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A directory for histories and whatever else tells what happened; kept when the trial fails.
    pub fn evidence(&self) -> PathBuf {
        self.evidence.path().to_path_buf()
    }

    /// Keeps the evidence for good, with the logs of the store, and says where.
    pub(crate) fn keep(mut self) -> PathBuf {
        for log in self.store.logs() {
            if let Some(name) = log.file_name() {
                let _ = std::fs::copy(&log, self.evidence.path().join(name));
            }
        }
        self.evidence.disable_cleanup(true);
        self.evidence()
    }

    /// A client of the store at the level of the trait.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it cannot be opened.
    pub fn backend(&self) -> Result<Arc<dyn LockBackend>, Failure> {
        Ok(self.open(&self.store.spec())?)
    }

    /// A client of any store of this kind, by its spec.
    ///
    /// # Errors
    ///
    /// [`BackendError`] as the backend gives it.
    pub fn open(&self, spec: &str) -> Result<Arc<dyn LockBackend>, BackendError> {
        self.fixture.open(spec)
    }

    /// A client of the store with everything at its default.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it cannot be opened.
    pub fn locks(&self) -> Result<Locks, Failure> {
        Ok(self.builder()?.build())
    }

    /// A client of the store to order.
    ///
    /// # Errors
    ///
    /// [`Failure`] when it cannot be opened.
    pub fn builder(&self) -> Result<LocksBuilder, Failure> {
        Ok(Locks::builder(self.backend()?))
    }

    /// A client of the store in a process of its own.
    ///
    /// # Errors
    ///
    /// [`Failure::Skipped`] when the store is in the memory of this process.
    pub fn worker(&self, name: &str) -> Result<Worker, Failure> {
        self.worker_with(&WorkerOptions::new(name))
    }

    /// A client of the store in a process of its own, to order.
    ///
    /// # Errors
    ///
    /// [`Failure::Skipped`] when the store is in the memory of this process.
    pub fn worker_with(&self, options: &WorkerOptions) -> Result<Worker, Failure> {
        self.needs_processes()?;
        let spec = options.spec.clone().unwrap_or_else(|| self.store.spec());
        Worker::start(self.fixture.name(), &spec, options)
    }

    /// Skips the trial where the store is in the memory of this process.
    ///
    /// # Errors
    ///
    /// [`Failure::Skipped`].
    pub fn needs_processes(&self) -> Result<(), Failure> {
        if self.store.is_shared() {
            return Ok(());
        }
        Err(Failure::skipped("the store is in the memory of one process"))
    }

    /// Skips the trial where the store does not tell of changes.
    ///
    /// # Errors
    ///
    /// [`Failure::Skipped`].
    pub fn needs_hints(&self) -> Result<(), Failure> {
        if self.store.tells_of_changes() {
            return Ok(());
        }
        Err(Failure::skipped("the store does not tell of changes"))
    }

    /// The server, or the trial is skipped.
    ///
    /// # Errors
    ///
    /// [`Failure::Skipped`] when the store has none.
    pub fn needs_server(&self) -> Result<&dyn Server, Failure> {
        self.store.server().ok_or_else(|| Failure::skipped("the store has no server"))
    }

    /// The cluster, or the trial is skipped.
    ///
    /// # Errors
    ///
    /// [`Failure::Skipped`] when the store has no server, or one that is alone.
    pub fn needs_cluster(&self) -> Result<&dyn Cluster, Failure> {
        let alone = || Failure::skipped("the server of the store is no cluster");
        self.needs_server()?.cluster().ok_or_else(alone)
    }

    /// Runs a future to its end on a runtime of its own.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("the system has what a runtime needs");
        let output = runtime.block_on(future);
        runtime.shutdown_background();
        output
    }
}
