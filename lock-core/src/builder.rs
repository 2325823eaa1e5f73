//! How a client is made: what can be said of it, and how its driver starts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::backend::LockBackend;
use crate::clock::{Clock, SystemClock};
use crate::driver::{Actor, Config, Deadline, End};
use crate::ids::ClientId;
use crate::locks::{Client, Locks};
use crate::metrics;
use crate::process::ProcessSet;
use crate::table::ClientInfo;

/// How long a lease is if nothing else is said.
const LEASE: Duration = Duration::from_secs(60);
const LEASE_MIN: Duration = Duration::from_secs(1);
/// How long to wait for a store that does not answer, if nothing else is said.
const PATIENCE: Duration = Duration::from_secs(30);
/// No lease is longer, and no store is waited for longer: a time that never ends cannot be added to another one.
const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Makes a [`Locks`] to order.
///
/// ```
/// # use lock_core::{Locks, MemoryBackend};
/// # use std::time::Duration;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let locks = Locks::builder(MemoryBackend::new())
///     .name("nightly") // What people see of whoever does not name its task.
///     .lease(Duration::from_secs(20)) // A host that vanishes keeps its locks no longer.
///     .store_patience(Duration::from_secs(5))
///     .build();
/// let guard = locks.acquire("app/blog").await?;
/// assert!(guard.remaining().is_some_and(|left| left <= Duration::from_secs(20)));
/// assert_eq!(&*locks.list().await?.holds[0].task, "nightly");
/// # guard.release().await?;
/// # locks.close().await?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a builder does nothing until it is built"]
pub struct LocksBuilder {
    backend: Arc<dyn LockBackend>,
    name: Option<String>,
    lease: Option<Duration>,
    processes: Option<ProcessSet>,
    patience: Duration,
    bytes_max: usize,
    clock: Arc<dyn Clock>,
    here: bool,
    bell: bool,
}

impl fmt::Debug for LocksBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocksBuilder").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl LocksBuilder {
    /// How many bytes a table may have if nothing else is said: 8 MiB.
    pub const TABLE_BYTES_MAX: usize = 8 << 20;

    pub(crate) fn new(backend: Arc<dyn LockBackend>) -> Self {
        Self {
            backend,
            name: None,
            lease: Some(LEASE),
            processes: None,
            patience: PATIENCE,
            bytes_max: Self::TABLE_BYTES_MAX,
            clock: Arc::new(SystemClock),
            here: false,
            bell: true,
        }
    }

    /// Sets the name of the client, used for tasks without one. By default that of the program.
    ///
    /// Control characters are replaced, and what is too long is cut off.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the length of the lease, 60 s by default, 1 s at least and a year at most. It is renewed three
    /// times within its length.
    ///
    /// Whoever cannot see whether this process lives takes its locks when the lease has run out. So does this
    /// process count its own locks for lost if it could not renew in time, on every store: keep the lease
    /// well above the longest stop of the store and above the time that connecting to it may take.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = Some(lease.clamp(LEASE_MIN, TIME_MAX));
        self
    }

    /// Does without a lease: only a proof of death or an operator frees the locks.
    pub fn no_lease(mut self) -> Self {
        self.lease = None;
        self
    }

    /// Sets the processes that this client consists of. By default the current one.
    pub fn processes(mut self, processes: ProcessSet) -> Self {
        self.processes = Some(processes);
        self
    }

    /// Sets how long to wait for a store that does not answer, 30 s by default and a year at most.
    ///
    /// It bounds every call, also [`try_acquire`](Locks::try_acquire). A request waits as long as its own time
    /// limit, if that is longer; if it is shorter, it bounds the request in its stead, with 2 s more for the
    /// answer.
    ///
    /// ```
    /// # use lock_core::testing::FaultyBackend;
    /// # use lock_core::{AcquireError, Locks, MemoryBackend};
    /// # use std::time::Duration;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// # let store = FaultyBackend::new(MemoryBackend::new());
    /// # let faults = store.faults();
    /// # faults.set_unavailable(true);
    /// let patience = Duration::from_millis(100);
    /// let locks = Locks::builder(store).store_patience(patience).build(); // The store is down.
    /// match locks.try_acquire("app/blog").await {
    ///     Err(AcquireError::Store(error)) => assert!(error.is_unreachable()), // Not busy.
    ///     other => panic!("{other:?}"),
    /// }
    /// # faults.set_unavailable(false);
    /// # locks.close().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn store_patience(mut self, patience: Duration) -> Self {
        self.patience = patience.min(TIME_MAX);
        self
    }

    /// Sets how many bytes the table may have, [`TABLE_BYTES_MAX`](Self::TABLE_BYTES_MAX) by default. Requests
    /// that would make it larger are refused.
    pub fn table_bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Runs the driver in the tokio runtime that [`build`](Self::build) is called in, which must
    /// have its timers and I/O enabled.
    ///
    /// Meant for tests with a paused clock: a runtime that is blocked can cost the lease, and a
    /// [blocking](Locks::blocking) call within a runtime of one thread waits for ever for the driver that
    /// it blocks.
    ///
    /// ```
    /// # use lock_core::{Locks, MemoryBackend};
    /// # use std::time::Duration;
    /// # let mut runtime = tokio::runtime::Builder::new_current_thread();
    /// # runtime.enable_all().start_paused(true).build()?.block_on(async {
    /// // In a test with `#[tokio::test(start_paused = true)]`:
    /// let locks = Locks::builder(MemoryBackend::new()).in_current_runtime().build();
    /// let guard = locks.acquire("app/blog").await?;
    /// let late = locks.acquire_timeout("app/blog", Duration::from_secs(3600)).await;
    /// assert!(late.unwrap_err().is_busy()); // An hour later, which took no time.
    /// # guard.release().await?;
    /// # locks.close().await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn in_current_runtime(mut self) -> Self {
        self.here = true;
        self
    }

    /// Reads these clocks instead of those of the host.
    #[cfg(feature = "test-util")]
    pub fn clock(mut self, clock: crate::clock::TestClock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Does without the bell by which clients on one host tell each other to look, as clients on
    /// different hosts do.
    #[cfg(feature = "test-util")]
    pub fn no_bell(mut self) -> Self {
        self.bell = false;
        self
    }

    /// Starts the driver.
    ///
    /// # Panics
    ///
    /// When the system has no randomness or no thread to give, or, in the current runtime, when
    /// there is none.
    pub fn build(self) -> Locks {
        let id = ClientId::from_random(getrandom::u64().expect("the system has randomness"));
        let info = ClientInfo {
            name: client_name(self.name).into(),
            processes: self.processes.unwrap_or_else(ProcessSet::current),
            bell: None,
            lease: self.lease,
        };
        let store = self.backend.describe();
        let (deadline, end) = (Arc::new(Deadline::new()), End::default());
        let config = Config {
            id,
            info: info.clone(),
            backend: metrics::metered(self.backend),
            clock: self.clock.clone(),
            deadline: deadline.clone(),
            end: end.clone(),
            patience: self.patience,
            bytes_max: self.bytes_max,
            bell: self.bell,
        };
        let (commands, received) = mpsc::unbounded_channel();
        if self.here {
            tokio::spawn(Actor::new(config, received).run());
        } else {
            let drive = move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.expect("the system has what a runtime needs");
                runtime.block_on(async { Actor::new(config, received).run().await });
            };
            let thread = std::thread::Builder::new().name("interlock".into());
            thread.spawn(drive).expect("the system has a thread to give");
        }
        Locks::of(Client::new(id, Arc::new(info), store, deadline, end, self.clock, commands))
    }
}

/// A name that can be in a table: that given, or that of the program.
fn client_name(given: Option<String>) -> String {
    let program = || {
        let path = std::env::args_os().next().map(std::path::PathBuf::from)?;
        Some(path.file_name()?.to_string_lossy().into_owned())
    };
    let name = given.or_else(program).unwrap_or_default();
    let clean = crate::name::cleaned(&name);
    if clean.is_empty() { "unnamed".into() } else { clean }
}
