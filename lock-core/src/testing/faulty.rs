//! The fault-injecting backend and the handle by which a test steers it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use fastrand::Rng;
use tokio::sync::watch;
use tokio::time::sleep;

use super::fault::{Call, Effect, Event, Fault, Rates};
use crate::backend::{BackendError, BackendErrorKind, LockBackend, Reach, Snapshot, Swap, Version};

/// How many changes back [`Fault::Stale`] can go.
const SEEN_MAX: usize = 16;

/// A backend that passes calls on to another one, and fails as a test says.
///
/// Without faults it is the other backend. Delays need a runtime of tokio with its clock, which may
/// be paused; nothing else does.
///
/// ```
/// use lock_core::testing::{Effect, Fault, FaultyBackend};
/// use lock_core::{LockBackend, MemoryBackend, Version};
///
/// let store = MemoryBackend::new();
/// let backend = FaultyBackend::new(store.clone());
/// let faults = backend.faults();
///
/// // The swap is applied, but its answer is lost.
/// faults.next_swap(Fault::Unknown(Effect::Now));
/// let swap = backend.compare_and_swap(Version::ABSENT, Version(1), b"data");
/// assert!(pollster::block_on(swap).is_err());
/// assert_eq!(store.snapshot().version, Version(1));
///
/// // The store is down for a while.
/// faults.set_unavailable(true);
/// assert!(pollster::block_on(backend.load()).is_err());
/// faults.set_unavailable(false);
/// assert_eq!(pollster::block_on(backend.load())?.data, b"data");
/// assert_eq!((faults.loads(), faults.swaps()), (2, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FaultyBackend {
    faults: Faults,
    reach: Reach,
}

impl FaultyBackend {
    /// Wraps a backend; nothing fails until the test says so.
    pub fn new(inner: impl LockBackend) -> Self {
        Self::with_source(inner, None)
    }

    /// Wraps a backend whose calls fail at random, as often as the rates say.
    ///
    /// Faults that are scripted come first. The seed is printed to stderr, for the next run.
    ///
    /// # Panics
    ///
    /// If a rate, or the sum of all, is not between 0 and 1.
    pub fn random(inner: impl LockBackend, seed: u64, rates: Rates) -> Self {
        rates.assert_valid();
        eprintln!("faults of {} have seed {seed}", inner.describe());
        Self::with_source(inner, Some(Random { seed, rng: Rng::with_seed(seed), rates }))
    }

    /// Lets the store say that it has this reach, such as a store in memory that plays a network.
    #[must_use]
    pub fn with_reach(mut self, reach: Reach) -> Self {
        self.reach = reach;
        self
    }

    /// The handle by which a test steers it; clones of it are the same handle.
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    fn with_source(inner: impl LockBackend, random: Option<Random>) -> Self {
        let reach = inner.reach();
        let state = Mutex::new(State { random, ..State::default() });
        let shared = Shared { inner: Box::new(inner), state, releases: watch::Sender::new(0) };
        Self { faults: Faults { shared: Arc::new(shared) }, reach }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl LockBackend for FaultyBackend {
    fn reach(&self) -> Reach {
        self.reach
    }

    fn describe(&self) -> String {
        format!("faulty {}", self.faults.shared.inner.describe())
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        let faults = &self.faults;
        let (place, fault) = faults.begin(Call::Load, 0).await;
        match fault {
            Some(Fault::Error(kind)) => Err(error(kind, "load")),
            Some(Fault::Panic) => panic!("a fault that was asked for"),
            Some(Fault::Stale(back)) => match faults.seen(back) {
                Some(stale) => Ok(stale),
                None => faults.load(place).await,
            },
            Some(Fault::DelayBefore(time)) => {
                sleep(time).await;
                faults.load(place).await
            }
            Some(Fault::DelayAfter(time)) => {
                let loaded = faults.load(place).await;
                sleep(time).await;
                loaded
            }
            Some(Fault::Hang(Effect::Now)) => {
                let loaded = faults.load(place).await;
                faults.hang().await;
                loaded
            }
            Some(Fault::Hang(_)) => {
                faults.hang().await;
                faults.load(place).await
            }
            // Others are not let in for a load.
            Some(Fault::Conflict | Fault::Unknown(_)) | None => faults.load(place).await,
        }
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        let faults = &self.faults;
        let (place, fault) = faults.begin(Call::Swap { expected, next }, data.len()).await;
        let now = async || faults.swap(place, expected, next, data).await;
        let later =
            |due| faults.state().late.push_back(Late { due, expected, next, data: data.into() });
        let unknown = Err(error(BackendErrorKind::OutcomeUnknown, "swap"));
        match fault {
            Some(Fault::Conflict) => Ok(Swap::Conflict),
            Some(Fault::Error(kind)) => Err(error(kind, "swap")),
            Some(Fault::Panic) => panic!("a fault that was asked for"),
            Some(Fault::DelayBefore(time)) => {
                sleep(time).await;
                now().await
            }
            Some(Fault::DelayAfter(time)) => {
                let swapped = now().await;
                sleep(time).await;
                swapped
            }
            Some(Fault::Unknown(effect)) => {
                match effect {
                    Effect::Never => {}
                    // An error of the store below is nothing that got lost: it is told.
                    Effect::Now => {
                        now().await?;
                    }
                    Effect::Later => later(None),
                    Effect::Before(calls) => later(Some(calls)),
                }
                unknown
            }
            Some(Fault::Hang(effect)) => match effect {
                Effect::Never => {
                    faults.hang().await;
                    now().await
                }
                Effect::Now => {
                    let swapped = now().await;
                    faults.hang().await;
                    swapped
                }
                Effect::Later | Effect::Before(_) => {
                    later(if let Effect::Before(calls) = effect { Some(calls) } else { None });
                    faults.hang().await;
                    unknown
                }
            },
            // Others are not let in for a swap.
            Some(Fault::Stale(_)) | None => now().await,
        }
    }

    /// None: turns would hide what the tests of races are after.
    async fn load_in_turn(&self) -> Result<Option<Snapshot>, BackendError> {
        Ok(None)
    }

    async fn end_turn(&self) {
        self.faults.shared.inner.end_turn().await;
    }

    async fn close(&self) {
        self.faults.shared.inner.close().await;
    }

    async fn changed(&self, seen: Version) -> Result<(), BackendError> {
        if self.faults.state().unavailable {
            return Err(error(BackendErrorKind::Unavailable, "watch"));
        }
        self.faults.shared.inner.changed(seen).await
    }
}

/// Steers a [`FaultyBackend`] and tells what it did.
#[derive(Debug, Clone)]
pub struct Faults {
    shared: Arc<Shared>,
}

impl Faults {
    /// Lets the next load that has no fault yet fail like this.
    ///
    /// # Panics
    ///
    /// If it is a fault of swaps: [`Fault::Conflict`], [`Fault::Unknown`], or hanging with an
    /// effect that comes later.
    pub fn next_load(&self, fault: Fault) {
        assert!(fault.fits_load(), "{fault:?} is not a fault of loads");
        self.state().loads.push_back(fault);
    }

    /// Lets the next swap that has no fault yet fail like this.
    ///
    /// # Panics
    ///
    /// If it is a fault of loads: [`Fault::Stale`].
    pub fn next_swap(&self, fault: Fault) {
        assert!(fault.fits_swap(), "{fault:?} is not a fault of swaps");
        self.state().swaps.push_back(fault);
    }

    /// Makes the store unavailable for every call, or available again; what is scripted waits.
    pub fn set_unavailable(&self, unavailable: bool) {
        self.state().unavailable = unavailable;
    }

    /// Stops all faults at random, for good: to see that everything comes to an end.
    pub fn calm(&self) {
        self.state().calm = true;
    }

    /// Lets every call go on that hangs now.
    pub fn release(&self) {
        self.shared.releases.send_modify(|count| *count += 1);
    }

    /// How many calls hang now.
    pub fn hanging(&self) -> usize {
        self.shared.releases.receiver_count()
    }

    /// Makes the swaps that are under way arrive, in their order, and returns how many of them
    /// were applied: each only if the version is still what it expects.
    ///
    /// # Cancel safety
    ///
    /// If dropped, those that have not arrived yet are lost.
    pub async fn deliver_late(&self) -> usize {
        let late: Vec<_> = self.state().late.drain(..).collect();
        self.deliver(late).await
    }

    /// Makes the swaps that are under way get lost, and returns how many they were.
    pub fn lose_late(&self) -> usize {
        self.state().late.drain(..).count()
    }

    /// How many swaps are under way.
    pub fn late(&self) -> usize {
        self.state().late.len()
    }

    /// How many loads were asked for.
    pub fn loads(&self) -> usize {
        self.state().log.iter().filter(|event| event.call == Call::Load).count()
    }

    /// How many swaps were asked for; those that arrive late are not counted twice.
    pub fn swaps(&self) -> usize {
        self.state().log.iter().filter(|event| matches!(event.call, Call::Swap { .. })).count()
    }

    /// How many bytes swaps have sent and loads have read.
    pub fn bytes(&self) -> usize {
        self.state().log.iter().map(|event| event.bytes).sum()
    }

    /// All calls so far, in their order.
    pub fn log(&self) -> Vec<Event> {
        self.state().log.clone()
    }

    /// The seed of faults at random.
    pub fn seed(&self) -> Option<u64> {
        self.state().random.as_ref().map(|random| random.seed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a call into the log and says what goes wrong in it.
    async fn begin(&self, call: Call, bytes: usize) -> (usize, Option<Fault>) {
        let due = self.state().take_due();
        self.deliver(due).await;
        let mut state = self.state();
        let fault = state.choose(call);
        (state.record(call, fault, bytes), fault)
    }

    async fn deliver(&self, late: Vec<Late>) -> usize {
        let mut applied = 0;
        for Late { expected, next, data, .. } in late {
            let place = self.state().record(Call::LateSwap { expected, next }, None, 0);
            let swap = self.swap(place, expected, next, &data).await;
            applied += usize::from(matches!(swap, Ok(Swap::Swapped)));
        }
        applied
    }

    async fn load(&self, place: usize) -> Result<Snapshot, BackendError> {
        let snapshot = self.shared.inner.load().await?;
        let mut state = self.state();
        state.log[place].bytes = snapshot.data.len();
        state.see(&snapshot);
        Ok(snapshot)
    }

    async fn swap(
        &self,
        place: usize,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        let swap = self.shared.inner.compare_and_swap(expected, next, data).await?;
        let mut state = self.state();
        state.log[place].swap = Some(swap);
        if swap == Swap::Swapped {
            state.see(&Snapshot { version: next, data: data.into() });
        }
        Ok(swap)
    }

    fn seen(&self, back: usize) -> Option<Snapshot> {
        let state = self.state();
        state.seen.get(back).or(state.seen.back()).cloned()
    }

    async fn hang(&self) {
        let mut releases = self.shared.releases.subscribe();
        // The sender is ours, so this ends only by a release.
        let _ = releases.changed().await;
    }
}

#[derive(Debug)]
struct Shared {
    inner: Box<dyn LockBackend>,
    state: Mutex<State>,
    /// Counts releases; whoever hangs listens.
    releases: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    loads: VecDeque<Fault>,
    swaps: VecDeque<Fault>,
    random: Option<Random>,
    calm: bool,
    unavailable: bool,
    late: VecDeque<Late>,
    /// What was seen, the newest first.
    seen: VecDeque<Snapshot>,
    log: Vec<Event>,
}

#[derive(Debug)]
struct Random {
    seed: u64,
    rng: Rng,
    rates: Rates,
}

/// A swap that is under way, for so many calls more or until it is asked for.
#[derive(Debug)]
struct Late {
    due: Option<u64>,
    expected: Version,
    next: Version,
    data: Vec<u8>,
}

impl State {
    fn choose(&mut self, call: Call) -> Option<Fault> {
        if self.unavailable {
            return Some(Fault::Error(BackendErrorKind::Unavailable));
        }
        let scripted = if call == Call::Load { &mut self.loads } else { &mut self.swaps };
        if let Some(fault) = scripted.pop_front() {
            return Some(fault);
        }
        let random = self.random.as_mut().filter(|_| !self.calm)?;
        random.rates.draw(&mut random.rng, call)
    }

    fn record(&mut self, call: Call, fault: Option<Fault>, bytes: usize) -> usize {
        self.log.push(Event { call, fault, swap: None, bytes });
        self.log.len() - 1
    }

    fn take_due(&mut self) -> Vec<Late> {
        let mut due = Vec::new();
        for mut late in std::mem::take(&mut self.late) {
            late.due = late.due.map(|calls| calls.saturating_sub(1));
            if late.due == Some(0) { due.push(late) } else { self.late.push_back(late) }
        }
        due
    }

    fn see(&mut self, snapshot: &Snapshot) {
        if self.seen.front().is_none_or(|newest| newest.version != snapshot.version) {
            self.seen.push_front(snapshot.clone());
            self.seen.truncate(SEEN_MAX);
        }
    }
}

fn error(kind: BackendErrorKind, operation: &str) -> BackendError {
    BackendError::new(kind, format!("cannot {operation}: a fault was injected ({kind:?})"))
}
