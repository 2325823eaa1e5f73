//! What is told to the recorder of the program, by the facade `metrics`.
//!
//! Whatever is told is looked up by its name each time, and not kept: a program may choose its
//! recorder after its first client, and beside a call of a store the look-up costs nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::metrics::{counter, describe_counter, describe_histogram, histogram};
use async_trait::async_trait;

use super::Answer;
use crate::backend::{BackendError, BackendErrorKind, LockBackend, Reach, Snapshot, Swap, Version};

const ACQUIRE_SECONDS: &str = "interlock_acquire_seconds";
const WAITS: &str = "interlock_waits_total";
const LOST: &str = "interlock_lost_total";
const SWEPT: &str = "interlock_swept_total";
const CALL_SECONDS: &str = "interlock_store_call_seconds";

/// A request for locks was answered.
pub(crate) fn answered(store: &str, answer: Answer, after: Duration) {
    let result = match answer {
        Answer::Granted => "granted",
        Answer::Busy => "busy",
        Answer::TimedOut => "timed_out",
        Answer::Deadlock => "deadlock",
        Answer::Released => "released",
        Answer::StoreError => "store_error",
        Answer::Closed => "closed",
        Answer::Dropped => "dropped",
    };
    histogram!(ACQUIRE_SECONDS, "store" => store.to_owned(), "result" => result).record(after);
}

/// A request is in the queue.
pub(crate) fn waits(store: &str) {
    counter!(WAITS, "store" => store.to_owned()).increment(1);
}

/// A hold was lost.
pub(crate) fn lost(store: &str) {
    counter!(LOST, "store" => store.to_owned()).increment(1);
}

/// A dead client was swept.
pub(crate) fn swept(store: &str) {
    counter!(SWEPT, "store" => store.to_owned()).increment(1);
}

/// The same store, whose calls are timed.
pub(crate) fn metered(backend: Arc<dyn LockBackend>) -> Arc<dyn LockBackend> {
    describe_histogram!(
        ACQUIRE_SECONDS,
        ::metrics::Unit::Seconds,
        "From asking for locks to the answer."
    );
    describe_counter!(WAITS, "Requests that had to queue.");
    describe_counter!(LOST, "Holds that were lost before they were given back.");
    describe_counter!(SWEPT, "Clients that were found dead and whose locks were freed.");
    describe_histogram!(
        CALL_SECONDS,
        ::metrics::Unit::Seconds,
        "From calling the store to its answer."
    );
    Arc::new(Metered { store: backend.describe(), backend })
}

/// A store whose calls are timed.
#[derive(Debug)]
struct Metered {
    store: String,
    backend: Arc<dyn LockBackend>,
}

impl Metered {
    fn called(&self, call: &'static str, began: Instant, result: &'static str) {
        let store = self.store.clone();
        let labels = [("store", store.into()), ("call", call.into()), ("result", result.into())];
        let labels = labels.map(|(key, value): (_, ::metrics::SharedString)| (key, value));
        histogram!(CALL_SECONDS, &labels).record(began.elapsed());
    }
}

fn failed(error: &BackendError) -> &'static str {
    match error.kind() {
        BackendErrorKind::Unavailable => "unavailable",
        BackendErrorKind::OutcomeUnknown => "outcome_unknown",
        BackendErrorKind::Busy => "busy",
        BackendErrorKind::Misconfigured => "misconfigured",
        BackendErrorKind::TooLarge => "too_large",
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl LockBackend for Metered {
    fn reach(&self) -> Reach {
        self.backend.reach()
    }

    fn describe(&self) -> String {
        self.store.clone()
    }

    async fn load(&self) -> Result<Snapshot, BackendError> {
        let began = Instant::now();
        let loaded = self.backend.load().await;
        self.called("load", began, loaded.as_ref().map_or_else(failed, |_| "ok"));
        loaded
    }

    async fn compare_and_swap(
        &self,
        expected: Version,
        next: Version,
        data: &[u8],
    ) -> Result<Swap, BackendError> {
        let began = Instant::now();
        let swapped = self.backend.compare_and_swap(expected, next, data).await;
        let result = match &swapped {
            Ok(Swap::Swapped) => "ok",
            Ok(Swap::Conflict) => "conflict",
            Err(error) => failed(error),
        };
        self.called("swap", began, result);
        swapped
    }

    async fn load_in_turn(&self) -> Result<Option<Snapshot>, BackendError> {
        let began = Instant::now();
        let loaded = self.backend.load_in_turn().await;
        match &loaded {
            Ok(Some(_)) => self.called("load_in_turn", began, "ok"),
            Ok(None) => {} // The store gives no turns.
            Err(error) => self.called("load_in_turn", began, failed(error)),
        }
        loaded
    }

    async fn end_turn(&self) {
        let began = Instant::now();
        self.backend.end_turn().await;
        self.called("end_turn", began, "ok");
    }

    async fn close(&self) {
        self.backend.close().await;
    }

    async fn changed(&self, seen: Version) -> Result<(), BackendError> {
        self.backend.changed(seen).await
    }
}
