//! Futures that are dropped on the way, at any of their awaits.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use lock_core::{BackendError, LockBackend, Reach, Snapshot, Swap, Version};
use tokio::sync::watch;

/// So many polls are enough for anything that ends.
pub(crate) const POLLS_MAX: usize = 500;

/// Polls a future so often, each time when it is woken, and drops it at once after the last poll.
///
/// Its output, if it came to its end before.
pub(crate) async fn polled<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(move |context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Where a future is dropped: before its first poll, after so many, or while its driver is right
/// before or after its so-manieth call of the store.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    Polls(usize),
    Steps(usize),
}

impl Cut {
    /// Runs a future up to the cut; its output, if it came to its end before.
    ///
    /// The driver goes on when this returns, and not before.
    pub(crate) async fn run<F: Future>(self, gate: &Gate, future: F) -> Option<F::Output> {
        match self {
            Self::Polls(polls) => polled(future, polls).await,
            Self::Steps(steps) => {
                gate.stop_after(steps);
                let output = {
                    let future = pin!(future);
                    tokio::select! {
                        // Who stands at the gate is not looked at any more.
                        biased;
                        () = gate.stopped() => None,
                        output = future => Some(output),
                    }
                };
                gate.open();
                output
            }
        }
    }
}

/// Counts the steps of a driver at its store, and stops it at one of them.
#[derive(Debug, Clone)]
pub(crate) struct Gate(watch::Sender<Steps>);

#[derive(Debug, Clone, Copy, Default)]
struct Steps {
    taken: usize,
    /// The step at which it stops, until the gate is opened.
    stop: Option<usize>,
}

impl Steps {
    fn is_stopped(self) -> bool {
        self.stop.is_some_and(|stop| self.taken >= stop)
    }
}

impl Gate {
    fn stop_after(&self, steps: usize) {
        self.0.send_modify(|at| at.stop = Some(at.taken + steps));
    }

    fn open(&self) {
        self.0.send_modify(|at| at.stop = None);
    }

    async fn stopped(&self) {
        let mut at = self.0.subscribe();
        let _ = at.wait_for(|at| at.is_stopped()).await;
    }

    async fn pass(&self) {
        self.0.send_modify(|at| at.taken += 1);
        let mut at = self.0.subscribe();
        let _ = at.wait_for(|at| !at.is_stopped()).await;
    }
}

/// A client of a store whose loads and swaps pass a gate before and after.
#[derive(Debug)]
pub(crate) struct Gated {
    inner: Arc<dyn LockBackend>,
    gate: Gate,
}

impl Gated {
    pub(crate) fn new(inner: Arc<dyn LockBackend>) -> (Self, Gate) {
        let gate = Gate(watch::Sender::default());
        (Self { inner, gate: gate.clone() }, gate)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl LockBackend for Gated {
    fn reach(&self) -> Reach {
        self.inner.reach()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        self.gate.pass().await;
        let loaded = self.inner.load().await;
        self.gate.pass().await;
        loaded
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        self.gate.pass().await;
        let swapped = self.inner.compare_and_swap(expected, next, data).await;
        self.gate.pass().await;
        swapped
    }

    async fn load_in_turn(&self) -> Result<Option<Snapshot>, BackendError> {
        self.gate.pass().await;
        let loaded = self.inner.load_in_turn().await;
        self.gate.pass().await;
        loaded
    }

    async fn end_turn(&self) {
        self.inner.end_turn().await;
    }

    async fn close(&self) {
        self.inner.close().await;
    }

    async fn changed(&self, seen: Version) -> Result<(), BackendError> {
        self.inner.changed(seen).await
    }
}
